package server_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// exceptions are the routes that do not ask for a key of inference, and what
// they ask for. A route that is added and not named here has to ask for one.
var exceptions = map[string]server.Scope{
	"/healthz": 0, "/livez": 0, "/readyz": 0, "/startupz": 0, "/v2/health/live": 0, "/v2/health/ready": 0,
	"/docs": 0, "/docs/docs.js": 0, "/docs/docs.css": 0, "/": 0, "/console": 0, "/console/{file}": 0,
	"/metrics":      server.ScopeMetrics,
	"/admin/reload": server.ScopeAdmin, "/admin/rollback": server.ScopeAdmin,
}

// named is a key with a name.
func named(name, text string, scopes server.Scope) server.Key {
	k := server.PlainKey(text, scopes)
	k.Name = name
	return k
}

// TestKeyMatrix holds every route and method to every kind of key, by the table
// of routes that the server itself goes by: closed unless it is said otherwise.
func TestKeyMatrix(t *testing.T) {
	expired, soon := named("expired", "expired-key", server.ScopeInfer), named("soon", "soon-key", server.ScopeInfer)
	expired.Expires, soon.Expires = time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	table := []server.Key{
		named("robot", "infer-key", server.ScopeInfer), named("prometheus", "metrics-key", server.ScopeMetrics), named("ops", "admin-key", server.ScopeAdmin),
		named("both", "both-key", server.ScopeInfer|server.ScopeMetrics), expired, soon, named("revoked", "revoked-key", server.ScopeInfer|server.ScopeMetrics|server.ScopeAdmin),
	}
	keys := keysOf(t, table...)
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys, MetricsHandler: emptyMetrics, Console: aPage})
	if err := keys.Replace(table[:len(table)-1]...); err != nil {
		t.Fatal(err)
	}
	const none = server.Scope(0)
	sent := []struct {
		name   string
		scopes server.Scope
		known  bool
		header []string
	}{
		{"none", none, false, nil},
		{"wrong", none, false, []string{"X-API-Key", "infer-kex"}},
		{"empty", none, false, []string{"X-API-Key", ""}},
		{"name in place of key", none, false, []string{"X-API-Key", "ops"}},
		{"hash in place of key", none, false, []string{"X-API-Key", "sha256:69a52655"}},
		{"revoked", none, false, []string{"X-API-Key", "revoked-key"}},
		{"expired", none, false, []string{"Authorization", "Bearer expired-key"}},
		{"basic", none, false, []string{"Authorization", "Basic admin-key"}},
		{"infer", server.ScopeInfer, true, []string{"X-API-Key", "infer-key"}},
		{"not expired yet", server.ScopeInfer, true, []string{"X-API-Key", "soon-key"}},
		{"metrics", server.ScopeMetrics, true, []string{"Authorization", "Bearer metrics-key"}},
		{"infer and metrics", server.ScopeInfer | server.ScopeMetrics, true, []string{"Authorization", "api-key both-key"}},
		{"admin", server.ScopeInfer | server.ScopeMetrics | server.ScopeAdmin, true, []string{"X-API-Key", "admin-key"}},
		{"metrics here, admin there", server.ScopeInfer | server.ScopeMetrics | server.ScopeAdmin, true, []string{"X-API-Key", "metrics-key", "Authorization", "Bearer admin-key"}},
		{"infer here, wrong there", server.ScopeInfer, true, []string{"X-API-Key", "infer-key", "Authorization", "Bearer wrong"}},
	}
	fill := strings.NewReplacer("{model}", "carla-ppo", "{version}", "v0.1.0", "{id}", "a-session", "{file}", "app.js")
	seen := 0
	for _, e := range s.Endpoints() {
		want, ok := exceptions[e.Template]
		if !ok {
			want = server.ScopeInfer
		}
		path := fill.Replace(e.Template)
		for _, key := range sent {
			status, code := 0, ""
			switch {
			case want == 0 || key.scopes&want != 0:
			case key.known:
				status, code = 403, "FORBIDDEN"
			default:
				status, code = 401, "UNAUTHORIZED"
			}
			check := func(what string, r reply) {
				t.Helper()
				seen++
				if status == 0 {
					if r.status == 401 || r.status == 403 {
						t.Errorf("%s with key %s: %d %s", what, key.name, r.status, r.body)
					}
					return
				}
				if r.status != status || !strings.HasPrefix(e.Template, "/v2") && r.code(t) != code {
					t.Errorf("%s with key %s: %d %s, want %d %s", what, key.name, r.status, r.body, status, code)
				}
				if got := r.header.Get("WWW-Authenticate"); (got == "Bearer") != (status == 401) {
					t.Errorf("%s with key %s: %d with WWW-Authenticate %q", what, key.name, r.status, got)
				}
			}
			for _, method := range e.Methods {
				body := ""
				if method == "POST" && !strings.HasPrefix(path, "/admin") {
					body = guideRequest
				}
				// The second request of a connection goes the hot way where there is one.
				for range 2 {
					check(method+" "+path, s.do(method, path, body, key.header...))
				}
				if method == "GET" {
					check("HEAD "+path, headOf(s, path, status, code, key.header))
				}
			}
		}
	}
	for _, key := range sent {
		for _, path := range []string{"/v1/stream", "/"} {
			want := 101
			switch {
			case key.scopes&server.ScopeInfer != 0:
			case key.known:
				want = 403
			default:
				want = 401
			}
			if _, r := s.handshake(path, key.header...); r.status != want {
				t.Errorf("upgrade of %s with key %s: %d, want %d", path, key.name, r.status, want)
			}
		}
		// What is no route, or another writing of one, is none for anybody.
		for _, path := range []string{"/admin/other", "/Predict", "/predict/", "//predict", "/%70redict", "/metrics/", "/x/../admin/reload"} {
			if answers, _ := s.raw("GET " + path + " HTTP/1.1\r\nHost: " + s.addr + "\r\nConnection: close\r\n\r\n"); len(answers) != 1 || answers[0].status != 404 {
				t.Errorf("%s with key %s: %+v", path, key.name, answers)
			}
		}
	}
	if seen < 500 {
		t.Errorf("only %d requests were made", seen)
	}
}

// headOf is the answer to HEAD, with the body that GET has.
func headOf(s *site, path string, status int, code string, headers []string) reply {
	r := s.do("HEAD", path, "", headers...)
	if r.status == status {
		r.body = `{"error":"` + code + `"}`
	}
	return r
}

// TestMetricsAreOpenUntilAKeyIsForThem, and stay closed when that key goes.
func TestMetricsAreOpenUntilAKeyIsForThem(t *testing.T) {
	keys := keysOf(t, infer("k"), admin("a"))
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys, MetricsHandler: emptyMetrics})
	f := func(key string, want int) {
		t.Helper()
		if r := s.do("GET", "/metrics", "", "X-API-Key", key); r.status != want {
			t.Errorf("key %q: %d, want %d", key, r.status, want)
		}
	}
	f("", 200)
	if err := keys.Replace(infer("k"), admin("a"), named("m", "m", server.ScopeMetrics)); err != nil {
		t.Fatal(err)
	}
	f("", 401)
	f("k", 403)
	f("m", 200)
	f("a", 200)
	if err := keys.Replace(infer("k"), admin("a")); err != nil {
		t.Fatal(err)
	}
	f("", 401)
	f("m", 401)
	f("a", 200)
}

// TestKeyOfAStreamIsTakenAway: the messages behind that are refused.
func TestKeyOfAStreamIsTakenAway(t *testing.T) {
	keys := keysOf(t, infer("one-key"), infer("other-key"))
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys})
	w := s.stream("/v1/stream", "X-API-Key", "one-key")
	ask := func(want string) {
		t.Helper()
		if got := w.ask(`{"observation":` + guideObservation + `}`); got.Error != want || want == "" && len(got.Actions) != 1 {
			t.Errorf("got %+v, want the error %q", got, want)
		}
	}
	ask("")
	if err := keys.Replace(infer("other-key")); err != nil {
		t.Fatal(err)
	}
	ask("UNAUTHORIZED")
	if err := keys.Replace(infer("other-key"), infer("one-key")); err != nil {
		t.Fatal(err)
	}
	ask("")
	if err := keys.Replace(infer("other-key"), server.PlainKey("one-key", server.ScopeMetrics)); err != nil {
		t.Fatal(err)
	}
	ask("UNAUTHORIZED")
}

// TestAccessLogNamesTheKey and never has it.
func TestAccessLogNamesTheKey(t *testing.T) {
	out := &lines{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{
		Limits: fast(), AccessLog: true, Logger: slog.New(slog.NewJSONHandler(out, nil)), Keys: keysOf(t, named("robot-7", "the-secret-text", server.ScopeInfer)),
	})
	for range 3 { // the later ones go the hot way
		s.do("POST", "/predict", guideRequest, "X-API-Key", "the-secret-text")
	}
	s.do("POST", "/predict", guideRequest, "X-API-Key", "the-other-text")
	s.do("GET", "/metadata", "", "Authorization", "Bearer the-secret-text")
	out.mu.Lock()
	defer out.mu.Unlock()
	if n := bytes.Count(out.b.Bytes(), []byte(`"key":"robot-7"`)); n != 4 {
		t.Errorf("%d lines name the key, want 4: %s", n, &out.b)
	}
	if bytes.Contains(out.b.Bytes(), []byte("-text")) {
		t.Errorf("a line has a key: %s", &out.b)
	}
}
