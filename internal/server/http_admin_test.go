package server_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// Reload implements server.Admin: of the model "broken" it refuses a version.
func (b *fakeBackend) Reload(_ context.Context, model string) (server.Reloaded, error) {
	switch model {
	case "", "carla-ppo":
		return server.Reloaded{Result: "unchanged", TookMS: 0.5, Models: []server.ModelChange{{Model: "carla-ppo", Result: "unchanged", Version: "v0.1.0"}}}, nil
	case "broken":
		return server.Reloaded{Result: "failed", TookMS: 0.5, Models: []server.ModelChange{{
			Model: model, Result: "failed", Version: "v0.1.0", Refused: []server.RefusedChange{{Version: "v0.2.0", Reason: "model.pt: missing"}},
		}}}, nil
	}
	return server.Reloaded{}, &server.UnknownError{Err: server.ErrModelNotFound, Message: "no " + model}
}

// Rollback implements server.Admin: the model "first" has no version before.
func (b *fakeBackend) Rollback(model string) (server.ModelChange, error) {
	switch model {
	case "", "carla-ppo":
		return server.ModelChange{Model: "carla-ppo", Result: "changed", Version: "v0.1.0", Before: "v0.2.0"}, nil
	case "first":
		return server.ModelChange{}, fmt.Errorf("roll back %s: %w", model, server.ErrNoPrevious)
	}
	return server.ModelChange{}, &server.UnknownError{Err: server.ErrModelNotFound, Message: "no " + model}
}

// admin and infer are keys of a text.
func admin(text string) server.Key { return server.PlainKey(text, server.ScopeAdmin) }
func infer(text string) server.Key { return server.PlainKey(text, server.ScopeInfer) }

func keysOf(t *testing.T, keys ...server.Key) *server.Keys {
	t.Helper()
	k, err := server.NewKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestAdminKeys holds each kind of key to the routes that it is good for.
func TestAdminKeys(t *testing.T) {
	list := func(admins, infers bool) *server.Keys {
		var keys []server.Key
		if infers {
			keys = append(keys, infer("infer-key"))
		}
		if admins {
			keys = append(keys, admin("admin-key"), admin("admin-key-2"))
		}
		if len(keys) == 0 {
			return nil
		}
		return keysOf(t, keys...)
	}
	for _, c := range []struct {
		name         string
		infer, admin bool
		key          string
		code         string // of an act
		versions     int    // status of /versions
	}{
		{"off", false, false, "", "ADMIN_DISABLED", 200},
		{"off, with a key", true, false, "infer-key", "ADMIN_DISABLED", 200},
		{"off, without", true, false, "", "ADMIN_DISABLED", 401},
		{"no key", false, true, "", "UNAUTHORIZED", 200},
		{"a wrong one", false, true, "admin-kez", "UNAUTHORIZED", 200},
		{"right", false, true, "admin-key", "", 200},
		{"the second", true, true, "admin-key-2", "", 200},
		{"of another scope", true, true, "infer-key", "FORBIDDEN", 200},
		{"none of both", true, true, "", "UNAUTHORIZED", 401},
	} {
		s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: list(c.admin, c.infer), Keyless: !c.infer})
		for _, path := range []string{"/admin/reload", "/admin/rollback"} {
			r := s.do("POST", path, "", "X-API-Key", c.key)
			got := ""
			if r.status != 200 {
				got = r.code(t)
			}
			if got != c.code {
				t.Errorf("%s: POST %s: %d %q, want %q", c.name, path, r.status, got, c.code)
			}
			if r := s.do("GET", path, "", "X-API-Key", c.key); r.status != 405 {
				t.Errorf("%s: GET %s: %d", c.name, path, r.status)
			}
		}
		if r := s.do("GET", "/versions", "", "X-API-Key", c.key); r.status != c.versions {
			t.Errorf("%s: GET /versions: %d, want %d", c.name, r.status, c.versions)
		}
	}
}

func TestAdminActs(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keysOf(t, admin("admin-key"))})
	f := func(path, body string, status int, want string) {
		t.Helper()
		r := s.do("POST", path, body, "Authorization", "Bearer admin-key")
		if r.status != status || !strings.Contains(r.body, want) {
			t.Errorf("POST %s %s: %d %s, want %d %s", path, body, r.status, r.body, status, want)
		}
	}
	f("/admin/reload", "", 200, `{"result":"unchanged","took_ms":0.5,"models":[{"model":"carla-ppo","result":"unchanged","version":"v0.1.0"}]}`)
	f("/admin/reload", `{"model":null}`, 200, `"result":"unchanged"`)
	f("/admin/reload", `{"model":"broken"}`, 200, `"refused":[{"version":"v0.2.0","reason":"model.pt: missing"}]`)
	f("/admin/reload", `{"model":"none"}`, 404, "MODEL_NOT_FOUND")
	f("/admin/rollback", `{}`, 200, `{"model":"carla-ppo","result":"changed","version":"v0.1.0","before":"v0.2.0"}`)
	f("/admin/rollback", `{"model":"first"}`, 409, "NO_PREVIOUS_VERSION")
	f("/admin/rollback", `{"model":"a/b"}`, 422, "body.model")
	f("/admin/rollback", `{"model":7}`, 422, "body.model")
	f("/admin/rollback", `{"version":"v1"}`, 422, "body.version")
	f("/admin/rollback", `{"model":"first","model":"carla-ppo"}`, 422, "body.model")
	f("/admin/rollback", `{"model":"first"} x`, 400, "MALFORMED_JSON")
	f("/admin/rollback", `[]`, 422, "body")
}

// waitingBackend has reloads that wait.
type waitingBackend struct {
	*fakeBackend
	came, leave chan struct{}
}

func (b waitingBackend) Reload(context.Context, string) (server.Reloaded, error) {
	b.came <- struct{}{}
	<-b.leave
	return server.Reloaded{Result: "unchanged", Models: []server.ModelChange{}}, nil
}

// TestAdminActsAreBounded: whoever has the key cannot hold every connection with
// acts that wait for each other.
func TestAdminActsAreBounded(t *testing.T) {
	b := waitingBackend{&fakeBackend{contract: driving()}, make(chan struct{}), make(chan struct{})}
	s := serve(t, b, server.Options{Limits: fast(), Keys: keysOf(t, admin("k")), Keyless: true})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if r := s.do("POST", "/admin/reload", "", "X-API-Key", "k"); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	for range 64 {
		<-b.came
	}
	r := s.do("POST", "/admin/reload", "", "X-API-Key", "k")
	if r.status != 429 || r.code(t) != "TOO_MANY_ADMIN_ACTS" || r.header.Get("Retry-After") != "1" {
		t.Errorf("one more: %d %s %v", r.status, r.body, r.header)
	}
	if r := s.do("GET", "/versions", ""); r.status != 200 {
		t.Errorf("another route: %d %s", r.status, r.body)
	}
	close(b.leave)
	wg.Wait()
}

// TestAdminIsOffWithoutVersionsThatChange is of a backend that cannot.
func TestAdminIsOffWithoutVersionsThatChange(t *testing.T) {
	s := serve(t, struct{ server.Backend }{&fakeBackend{contract: driving()}}, server.Options{Limits: fast(), Keys: keysOf(t, admin("k"))})
	if r := s.do("POST", "/admin/reload", "", "X-API-Key", "k"); r.status != 403 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// lines is a writer for many goroutines.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) audits() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, `"event_type":"audit"`) {
			list = append(list, line)
		}
	}
	return list
}

// TestAdminActsAreOnRecord: who, from where, what and what came of it, also of
// those who may not; and never a key.
func TestAdminActsAreOnRecord(t *testing.T) {
	out := &lines{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{
		Limits: fast(), Keys: keysOf(t, infer("infer-key"), admin("admin-key")), Logger: slog.New(slog.NewJSONHandler(out, nil)),
	})
	s.do("POST", "/admin/rollback", "", "X-API-Key", "admin-key", "X-Request-ID", "one")
	s.do("POST", "/admin/rollback", `{"model":"first"}`, "Authorization", "Bearer admin-key", "X-Request-ID", "two")
	s.do("POST", "/admin/reload", "", "X-API-Key", "infer-key", "X-Request-ID", "three")
	s.do("POST", "/admin/reload", "", "X-Request-ID", "four")
	got := out.audits()
	// printf admin-key | sha256sum, and of infer-key
	want := [][]string{
		{`"act":"rollback"`, `"key":"sha256:69a52655"`, `"from":"127.0.0.1:`, `"result":"changed"`, `"request_id":"one"`},
		{`"act":"rollback"`, `"key":"sha256:69a52655"`, `"model":"first"`, `"result":"refused"`, `"error":"NO_PREVIOUS_VERSION"`, `"request_id":"two"`},
		{`"act":"reload"`, `"key":"sha256:6fef5f99"`, `"result":"refused"`, `"error":"FORBIDDEN"`, `"request_id":"three"`},
		{`"act":"reload"`, `"key":"none"`, `"result":"refused"`, `"error":"UNAUTHORIZED"`, `"request_id":"four"`},
	}
	if len(got) != len(want) {
		t.Fatalf("%d records: %v", len(got), got)
	}
	for i := range want {
		for _, part := range want[i] {
			if !strings.Contains(got[i], part) {
				t.Errorf("record %d has no %s: %s", i, part, got[i])
			}
		}
		if strings.Contains(got[i], "admin-key") || strings.Contains(got[i], "infer-key") {
			t.Errorf("record %d has a key: %s", i, got[i])
		}
	}
}
