package server_test

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// apart is a server whose routes of admins have a listener of their own.
func apart(t *testing.T, b server.Backend, o server.Options) (everybody, admins *site) {
	t.Helper()
	o.AdminApart = true
	s := serve(t, b, o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.ServeAdmin(ln) }() // ends with the server, or goleak tells
	a := &site{Server: s.Server, addr: ln.Addr().String(), t: t}
	a.do("GET", "/livez", "")
	return s, a
}

// TestAdminApart: each listener answers its own routes, whatever the key.
func TestAdminApart(t *testing.T) {
	s, a := apart(t, &fakeBackend{contract: driving()}, server.Options{
		Limits: fast(), Keys: keysOf(t, admin("admin-key"), infer("infer-key")), MetricsHandler: emptyMetrics,
	})
	fill := strings.NewReplacer("{model}", "carla-ppo", "{version}", "v0.1.0", "{id}", "a-session")
	open := map[string]bool{"/versions": true}
	for route, scope := range exceptions {
		open[route] = scope != 0 || strings.HasSuffix(route, "z") || strings.HasPrefix(route, "/v2/health/")
	}
	seen := 0
	for _, e := range s.Endpoints() {
		path := fill.Replace(e.Template)
		for _, method := range e.Methods {
			body := ""
			if method == "POST" && !strings.HasPrefix(path, "/admin") {
				body = guideRequest
			}
			for range 2 { // the second one could go the hot way
				here := s.do(method, path, body, "X-API-Key", "admin-key")
				there := a.do(method, path, body, "X-API-Key", "admin-key")
				switch {
				case strings.HasPrefix(path, "/admin/"):
					if here.status != 403 || here.code(t) != "ADMIN_DISABLED" || !strings.Contains(here.body, "server.admin_listen") || there.status != 200 {
						t.Errorf("%s %s: %d %s, and of admins %d %s", method, path, here.status, here.body, there.status, there.body)
					}
				case open[e.Template]:
					if there.status != http.StatusOK {
						t.Errorf("%s %s of admins: %d %s", method, path, there.status, there.body)
					}
				case there.status != 404 || there.code(t) != "NOT_FOUND" || here.status == 403:
					t.Errorf("%s %s: %d, and of admins %d %s", method, path, here.status, there.status, there.body)
				}
				seen++
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d requests were made", seen)
	}
	for key, want := range map[string]int{"": 401, "infer-key": 403, "wrong": 401} {
		if r := a.do("POST", "/admin/reload", "", "X-API-Key", key); r.status != want {
			t.Errorf("a reload with key %q: %d, want %d", key, r.status, want)
		}
	}
	if _, r := a.handshake("/v1/stream", "X-API-Key", "admin-key"); r.status != 404 {
		t.Errorf("a stream of admins: %d", r.status)
	}
}

// TestAdminApartWithoutAKey has nothing to open it with.
func TestAdminApartWithoutAKey(t *testing.T) {
	_, a := apart(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keysOf(t, infer("k"))})
	if r := a.do("POST", "/admin/reload", "", "X-API-Key", "k"); r.status != 403 || r.code(t) != "ADMIN_DISABLED" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestAdminApartHosts: each listener has names of its own while there is no
// list, and the same ones with it.
func TestAdminApartHosts(t *testing.T) {
	f := func(o server.Options, host string, here, there int) {
		t.Helper()
		o.Limits, o.Keys = fast(), keysOf(t, admin("k"))
		s, a := apart(t, &fakeBackend{contract: driving()}, o)
		if r := s.do("GET", "/versions", "", "Host", host, "X-API-Key", "k"); r.status != here {
			t.Errorf("Host %s: %d, want %d", host, r.status, here)
		}
		if r := a.do("GET", "/versions", "", "Host", host, "X-API-Key", "k"); r.status != there {
			t.Errorf("Host %s of admins: %d, want %d", host, r.status, there)
		}
	}
	f(server.Options{AdminLoopbackOnly: true}, "evil.example", 200, 421)
	f(server.Options{LoopbackOnly: true}, "evil.example", 421, 200)
	f(server.Options{AdminLoopbackOnly: true}, "localhost", 200, 200)
	f(server.Options{AdminLoopbackOnly: true, AllowedHosts: []string{"a.example"}}, "a.example", 200, 200)
	f(server.Options{AllowedHosts: []string{"a.example"}}, "localhost", 421, 421)
}

// TestAdminsAreHeardInACrowd: when every connection of the server is taken, an
// admin still reaches it.
func TestAdminsAreHeardInACrowd(t *testing.T) {
	limits := fast()
	limits.MaxConns = 2
	counted := &countingMetrics{}
	s, a := apart(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: counted, Keys: keysOf(t, admin("k"))})
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "no connection is open", func() bool { return counted.open() == 0 })
	for range 2 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	eventually(t, "all are open", func() bool { return counted.open() == 2 })
	if answers, _ := s.raw("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"); len(answers) != 1 || answers[0].status != 503 {
		t.Errorf("a third connection: %+v", answers)
	}
	if r := a.do("POST", "/admin/reload", "", "X-API-Key", "k"); r.status != 200 {
		t.Errorf("an admin: %d %s", r.status, r.body)
	}
}

// TestAdminLimits: how many acts run at a time, and how long a reload is waited
// for, are settings.
func TestAdminLimits(t *testing.T) {
	limits := fast()
	limits.MaxAdminActs = 2
	counted := &countingMetrics{}
	b := waitingBackend{&fakeBackend{contract: driving()}, make(chan struct{}), make(chan struct{})}
	s := serve(t, b, server.Options{Limits: limits, Metrics: counted, Keys: keysOf(t, admin("k")), Keyless: true})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { s.do("POST", "/admin/reload", "", "X-API-Key", "k") })
		<-b.came
	}
	if r := s.do("POST", "/admin/reload", "", "X-API-Key", "k"); r.status != 429 || r.code(t) != "TOO_MANY_ADMIN_ACTS" {
		t.Errorf("a third: %d %s", r.status, r.body)
	}
	if n := counted.get("rejected admin_acts"); n != 1 {
		t.Errorf("%d refusals are counted", n)
	}
	close(b.leave)
	wg.Wait()
}
