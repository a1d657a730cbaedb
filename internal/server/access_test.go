package server_test

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// paths are the routes with their methods, and whether they are open to all.
var paths = []struct {
	method, path, body string
	open               bool // asks for no key and answers for any host
	page               bool // asks for no key
}{
	{"POST", "/predict", guideRequest, false, false},
	{"POST", "/v1/models/carla-ppo/predict", guideRequest, false, false},
	{"POST", "/v1/models/carla-ppo/versions/v0.1.0/predict", guideRequest, false, false},
	{"GET", "/metadata", "", false, false},
	{"GET", "/v1/models", "", false, false},
	{"GET", "/v1/models/carla-ppo", "", false, false},
	{"GET", "/v1/models/carla-ppo/versions/v0.1.0", "", false, false},
	{"GET", "/versions", "", false, false},
	{"POST", "/warmup", "", false, false},
	{"GET", "/openapi.json", "", false, false},
	{"GET", "/healthz", "", true, false},
	{"GET", "/livez", "", true, false},
	{"GET", "/readyz", "", true, false},
	{"GET", "/startupz", "", true, false},
	{"GET", "/metrics", "", true, false},
	{"GET", "/docs", "", false, true},
	{"GET", "/docs/docs.js", "", false, true},
	{"GET", "/docs/docs.css", "", false, true},
}

func TestKeys(t *testing.T) {
	keys, err := server.NewKeys(server.PlainKey("first-key", server.ScopeInfer), server.PlainKey(" second-key\n", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys, MetricsHandler: emptyMetrics})
	cases := []struct {
		name    string
		headers []string
		ok      bool
	}{
		{"none", nil, false},
		{"X-API-Key", []string{"X-API-Key", "first-key"}, true},
		{"the second key", []string{"X-API-Key", "second-key"}, true},
		{"Bearer", []string{"Authorization", "Bearer first-key"}, true},
		{"bearer", []string{"Authorization", "bearer first-key"}, true},
		{"Api-Key", []string{"Authorization", "Api-Key first-key"}, true},
		{"wrong and right", []string{"X-API-Key", "no", "Authorization", "Bearer first-key"}, true},
		{"wrong", []string{"X-API-Key", "first-kex"}, false},
		{"a prefix", []string{"X-API-Key", "first-ke"}, false},
		{"longer", []string{"X-API-Key", "first-key1"}, false},
		{"empty", []string{"X-API-Key", ""}, false},
		{"Basic", []string{"Authorization", "Basic first-key"}, false},
		{"no scheme", []string{"Authorization", "first-key"}, false},
		{"empty bearer", []string{"Authorization", "Bearer "}, false},
	}
	for _, p := range paths {
		for _, c := range cases {
			r := s.do(p.method, p.path, p.body, c.headers...)
			want := 200
			if !c.ok && !p.open && !p.page {
				want = 401
			}
			if r.status != want {
				t.Errorf("%s %s with key %s: %d, want %d", p.method, p.path, c.name, r.status, want)
			}
			if want == 401 && (r.code(t) != "UNAUTHORIZED" || r.header.Get("WWW-Authenticate") != "Bearer") {
				t.Errorf("%s %s with key %s: %v %s", p.method, p.path, c.name, r.header, r.body)
			}
		}
	}
	if err := keys.Replace(infer("third-key")); err != nil {
		t.Fatal(err)
	}
	if r := s.do("GET", "/metadata", "", "X-API-Key", "first-key"); r.status != 401 {
		t.Errorf("a key that was replaced: %d", r.status)
	}
	if r := s.do("GET", "/metadata", "", "X-API-Key", "third-key"); r.status != 200 {
		t.Errorf("the key that replaced it: %d", r.status)
	}
}

func TestKeysRefused(t *testing.T) {
	k := infer("a")
	nameless, scopeless, strange := k, k, k
	nameless.Name, scopeless.Scopes, strange.Scopes = "", 0, 1<<7
	for _, list := range [][]server.Key{nil, {infer("")}, {k, infer(" \n")}, {nameless}, {scopeless}, {strange}, {k, admin(" a")}, make([]server.Key, server.MaxKeys+1)} {
		if _, err := server.NewKeys(list...); err == nil {
			t.Errorf("NewKeys(%+v) is taken", list)
		}
	}
	keys := keysOf(t, k)
	if err := keys.Replace(nameless); err == nil {
		t.Error("a nameless key is taken")
	}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys})
	if r := s.do("GET", "/metadata", "", "X-API-Key", "a"); r.status != 200 {
		t.Errorf("after a table that was refused: %d", r.status)
	}
}

func TestHosts(t *testing.T) {
	f := func(list, host string, ok bool) {
		t.Helper()
		s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), AllowedHosts: strings.Fields(list), MetricsHandler: emptyMetrics})
		for _, p := range paths {
			want := 200
			if !ok && !p.open {
				want = 421
			}
			if r := s.do(p.method, p.path, p.body, "Host", host); r.status != want {
				t.Errorf("allowed %q, Host %q: %s %s: %d, want %d", list, host, p.method, p.path, r.status, want)
			}
		}
	}
	f("", "anything", true)
	f("a *", "anything", true)
	f("yourdomain.com api.yourdomain.com", "yourdomain.com", true)
	f("yourdomain.com api.yourdomain.com", "API.YourDomain.com:8080", true)
	f("yourdomain.com", "yourdomain.com.", true)
	f("yourdomain.com", "evil", false)
	f("yourdomain.com", "yourdomain.com.evil", false)
	f("yourdomain.com", "a.yourdomain.com", false)
	f("*.yourdomain.com", "a.yourdomain.com", true)
	f("*.yourdomain.com", "a.b.yourdomain.com:1", true)
	f("*.yourdomain.com", "yourdomain.com", false)
	f("*.yourdomain.com", "evilyourdomain.com", false)
	f("127.0.0.1", "127.0.0.1.evil", false)
	f("127.0.0.1", "127.0.0.1:8080", true)
	f("::1", "[::1]:8080", true)
	f("[::1]", "[0:0:0:0:0:0:0:1]", true)
	f("::1", "[::2]", false)
	f("localhost", "10.0.0.7:8080", false)
}

// TestLoopbackHosts holds that a server of this machine only does not answer
// for a name that leads to it, while it has no list.
func TestLoopbackHosts(t *testing.T) {
	f := func(list, host string, ok bool) {
		t.Helper()
		s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), AllowedHosts: strings.Fields(list), LoopbackOnly: true, MetricsHandler: emptyMetrics})
		for _, p := range paths {
			want := 200
			if !ok && !p.open {
				want = 421
			}
			if r := s.do(p.method, p.path, p.body, "Host", host); r.status != want {
				t.Errorf("allowed %q, Host %q: %s %s: %d, want %d", list, host, p.method, p.path, r.status, want)
			}
		}
	}
	f("", "localhost", true)
	f("", "LocalHost.:8080", true)
	f("", "app.localhost:80", true)
	f("", "127.0.0.1:8080", true)
	f("", "127.1.2.3", true)
	f("", "[::1]:8080", true)
	f("", "[::ffff:127.0.0.1]", true)
	f("", "evil.example", false)
	f("", "localhost.evil.example", false)
	f("", "evillocalhost", false)
	f("", "127.0.0.1.evil.example", false)
	f("", "0.0.0.0:8080", false)
	f("", "10.0.0.7", false)
	f("*", "evil.example", true)
	f("a.example", "a.example", true)
	f("a.example", "localhost", false)
}

func TestLoopbackHostsOverUnixSocket(t *testing.T) {
	s, err := server.New(&fakeBackend{contract: driving()}, server.Options{Limits: fast(), LoopbackOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /metadata HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answers, _ := readAnswers(t, c, time.Minute); len(answers) != 1 || answers[0].status != 200 {
		t.Errorf("%+v", answers)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestKeysReplacedWhileMatched is for the race detector too: the set of keys
// grows and shrinks under requests that show one which is always there.
func TestKeysReplacedWhileMatched(t *testing.T) {
	many := []server.Key{infer("one-key"), infer("two-key"), infer("three-key"), infer("four-key"), infer("always")}
	keys, err := server.NewKeys(many...)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := keys.Replace(many[i%len(many):]...); err != nil {
				t.Error(err)
			}
		}
	})
	for range 300 {
		if r := s.do("GET", "/metadata", "", "X-API-Key", "always"); r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
			break
		}
	}
	close(stop)
	wg.Wait()
}

func TestHostsRefused(t *testing.T) {
	for _, entry := range []string{"", "https://a", "a/b", "*.*", "a b", "*."} {
		if _, err := server.New(&fakeBackend{}, server.Options{AllowedHosts: []string{entry}}); err == nil {
			t.Errorf("allowed host %q is taken", entry)
		}
	}
}

func TestCORS(t *testing.T) {
	f := func(list, origin string, status int, allow, credentials string) {
		t.Helper()
		s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), CORSOrigins: strings.Fields(list)})
		r := s.do("POST", "/predict", guideRequest, "Origin", origin, "Host", "api.example")
		preflight := s.do("OPTIONS", "/predict", "", "Origin", origin, "Host", "api.example", "Access-Control-Request-Method", "POST")
		for _, got := range []reply{r, preflight} {
			if a, c := got.header.Get("Access-Control-Allow-Origin"), got.header.Get("Access-Control-Allow-Credentials"); a != allow || c != credentials {
				t.Errorf("origins %q, Origin %q: allows %q with credentials %q, want %q and %q", list, origin, a, c, allow, credentials)
			}
			if got.header.Get("Access-Control-Allow-Origin") == "*" && got.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("origins %q, Origin %q: every origin with credentials", list, origin)
			}
		}
		wantPreflight := 204
		if status == 403 {
			wantPreflight = 403
		}
		if r.status != status || preflight.status != wantPreflight {
			t.Errorf("origins %q, Origin %q: %d and %d, want %d and %d", list, origin, r.status, preflight.status, status, wantPreflight)
		}
		if methods := preflight.header.Get("Access-Control-Allow-Methods"); (methods == "GET, POST, DELETE") != (allow != "") {
			t.Errorf("origins %q, Origin %q: methods %q", list, origin, methods)
		}
		for key, got := range map[string]reply{"Access-Control-Allow-Headers": preflight, "Access-Control-Expose-Headers": r} {
			if strings.Contains(got.header.Get(key), "Inference-Header-Content-Length") != (allow != "") {
				t.Errorf("origins %q, Origin %q: %s %q", list, origin, key, got.header.Get(key))
			}
		}
		if r := s.do("GET", "/healthz", "", "Origin", origin); r.status != 200 || r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("origins %q, Origin %q: /healthz: %d %v", list, origin, r.status, r.header)
		}
	}
	f("", "https://evil", 403, "", "")
	f("", "null", 403, "", "")
	f("", "http://api.example", 200, "", "")
	f("", "http://api.example.evil", 403, "", "")
	f("https://yourdomain.com", "https://yourdomain.com", 200, "https://yourdomain.com", "true")
	f("https://yourdomain.com/", "https://yourdomain.com", 200, "https://yourdomain.com", "true")
	f("https://yourdomain.com", "http://yourdomain.com", 403, "", "")
	f("https://yourdomain.com", "https://yourdomain.com.evil", 403, "", "")
	f("https://yourdomain.com", "https://yourdomain.com:444", 403, "", "")
	f("https://a https://b", "https://b", 200, "https://b", "true")
	f("*", "https://evil", 200, "*", "")
	f("*", "null", 200, "*", "")
	f("* https://a", "https://a", 200, "https://a", "true")
}

func TestCORSRefused(t *testing.T) {
	for _, entry := range []string{"", "yourdomain.com", "https://", "https://a/b", "https://u@a", "ftp://a"} {
		if _, err := server.New(&fakeBackend{}, server.Options{CORSOrigins: []string{entry}}); err == nil {
			t.Errorf("CORS origin %q is taken", entry)
		}
	}
}

// TestErrorsReachPages holds that a page that may call the server can read its
// errors.
func TestErrorsReachPages(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), CORSOrigins: []string{"https://a"}})
	r := s.do("POST", "/predict", "{}", "Origin", "https://a")
	if r.status != 422 || r.header.Get("Access-Control-Allow-Origin") != "https://a" || r.header.Get("Vary") != "Origin" {
		t.Errorf("%d %v", r.status, r.header)
	}
}
