package server_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// aPage is a console of two files.
var aPage = []server.Asset{
	{Name: "index.html", MediaType: "text/html; charset=utf-8", Body: []byte("<!doctype html><title>a page</title>")},
	{Name: "app.js", MediaType: "text/javascript; charset=utf-8", Body: []byte("let one = 1;")},
}

func TestConsoleFiles(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Console: aPage})
	for path, file := range map[string]server.Asset{"/console": aPage[0], "/console/app.js": aPage[1], "/console/app.js?v=1": aPage[1]} {
		r := s.do("GET", path, "")
		if r.status != 200 || r.body != string(file.Body) || r.header.Get("Content-Type") != file.MediaType {
			t.Errorf("%s: %d %v %q", path, r.status, r.header, r.body)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	answers, _ := s.raw("GET http://" + s.addr + "/console/app.js HTTP/1.1\r\nHost: " + s.addr + "\r\nConnection: close\r\n\r\n")
	if len(answers) != 1 || answers[0].status != 200 {
		t.Errorf("a target in absolute form: %+v", answers)
	}
	for _, path := range []string{"/console/", "/console/index.html", "/console/other.js", "/console/app.js/", "/console//app.js"} {
		if r := s.do("GET", path, ""); r.status != 404 {
			t.Errorf("%s: %d, want 404", path, r.status)
		}
	}
	if r := s.do("POST", "/console", "{}"); r.status != 405 {
		t.Errorf("POST: %d, want 405", r.status)
	}
}

// TestPagesAreSentOnce holds that a browser which has a file is told so, and
// gets it again once its bytes have changed.
func TestPagesAreSentOnce(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Console: aPage})
	tags := map[string]string{}
	for _, path := range []string{"/console", "/console/app.js", "/docs", "/docs/docs.js", "/docs/docs.css"} {
		tag := s.do("GET", path, "").header.Get("ETag")
		if len(tag) < 10 || tag[0] != '"' || tags[tag] != "" {
			t.Fatalf("%s: tag %q, as that of %q", path, tag, tags[tag])
		}
		tags[tag] = path
		for _, sent := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			r := s.do("GET", path, "", "If-None-Match", sent)
			if r.status != 304 || r.body != "" || r.header.Get("ETag") != tag {
				t.Errorf("%s with %s: %d %q", path, sent, r.status, r.body)
			}
		}
		for _, sent := range []string{`"other"`, tag[:len(tag)-2] + `x"`, ""} {
			if r := s.do("GET", path, "", "If-None-Match", sent); r.status != 200 || r.body == "" {
				t.Errorf("%s with %q: %d", path, sent, r.status)
			}
		}
	}
	other := []server.Asset{{Name: "index.html", MediaType: "text/html", Body: []byte("another page")}}
	changed := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Console: other})
	for tag := range tags {
		if r := changed.do("GET", "/console", "", "If-None-Match", tag); r.status != 200 {
			t.Errorf("another page with %s: %d", tag, r.status)
		}
	}
}

// TestHome holds who gets the page at /.
func TestHome(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Console: aPage})
	f := func(accept string, page bool) {
		t.Helper()
		var headers []string
		if accept != "" {
			headers = []string{"Accept", accept}
		}
		r := s.do("GET", "/", "", headers...)
		if page && (r.status != 200 || r.body != string(aPage[0].Body)) || !page && (r.status != 307 || !strings.Contains(r.body, `"service"`)) {
			t.Errorf("Accept %q: %d %q", accept, r.status, r.body)
		}
		if r.header.Get("Vary") != "Accept" {
			t.Errorf("Accept %q: Vary is %q", accept, r.header.Get("Vary"))
		}
	}
	f("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true)
	f("text/html", true)
	f("TEXT/HTML ; q=0.5", true)
	f("application/json;q=0.4, text/html;q=0.5", true)
	f("application/json, text/html", true)
	f("application/json, text/html;q=0.9", false)
	f("application/json", false)
	f("*/*", false)
	f("", false)
	f("text/html;q=0", false)
	f("text/html;q=x", false)
	f("text/html;q=NaN", false)
	f("text/plain", false)
}

// TestNoConsole holds that without files there is no such route, and that / is
// as it was.
func TestNoConsole(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	for _, path := range []string{"/console", "/console/app.js"} {
		if r := s.do("GET", path, ""); r.status != 404 {
			t.Errorf("%s: %d, want 404", path, r.status)
		}
	}
	if r := s.do("GET", "/", "", "Accept", "text/html"); r.status != 307 || r.header.Get("Location") != "docs" {
		t.Errorf("/: %d %v", r.status, r.header)
	}
}
