package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// memory is a backend of a policy with state: of the values x of a step it
// makes h = h/2 + x, which is the action, and where it draws adds what seed,
// step and row give.
type memory struct {
	fakeBackend
	mu      sync.Mutex // guards what follows
	target  server.Target
	problem error // of Resolve
	hook    func(req *serving.Request) error
	pins    []string // versions that were asked for
}

func newMemory() *memory {
	c := unnamed(2)
	c.Stochastic, c.DeterministicDefault = true, true
	c.State = []policy.StateSpec{{Name: "h", Shape: []int{2}, Width: 2, Initial: []float32{0, 0}, Reset: []float32{0, 0}}}
	return &memory{target: server.Target{Model: "carla-ppo", Version: "v0.1.0", Digest: "sha256:one", Contract: c}}
}

// change makes another version the one that answers; its contract is a copy of
// that before.
func (b *memory) change(version, digest, onChange string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := *b.target.Contract
	c.OnVersionChange = onChange
	b.target = server.Target{Model: "carla-ppo", Version: version, Digest: digest, Contract: &c}
}

func (b *memory) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problem = err
}

func (b *memory) on(hook func(req *serving.Request) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = hook
}

func (b *memory) Resolve(model, version string) (server.Target, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pins = append(b.pins, version)
	switch {
	case model != "" && model != b.target.Model:
		return server.Target{}, server.ErrModelNotFound
	case b.problem != nil:
		return server.Target{}, b.problem
	case version != "" && version != b.target.Version:
		return server.Target{}, server.ErrVersionNotFound
	}
	return b.target, nil
}

func (b *memory) Act(_ context.Context, t *server.Target, req *serving.Request) error {
	b.mu.Lock()
	hook := b.hook
	b.mu.Unlock()
	if hook != nil {
		if err := hook(req); err != nil {
			return err
		}
	}
	req.Actions = append(req.Actions[:0], make([]float32, 2*req.Rows)...)
	for i, x := range req.Inputs[0] {
		req.State[0][i] = req.State[0][i]/2 + x
		req.Actions[i] = req.State[0][i]
		if !req.Deterministic {
			row := req.Row + uint64(i/2)
			req.Actions[i] += float32((req.Seed*31+req.Step*7+row)%1009) / 1009
		}
	}
	req.Infer = time.Microsecond
	return nil
}

// sessionAnswer is what a session's routes answer.
type sessionAnswer struct {
	ID            string      `json:"session_id"`
	Model         string      `json:"model"`
	Version       string      `json:"version"`
	Digest        string      `json:"digest"`
	Step          uint64      `json:"step"`
	Episode       uint64      `json:"episode"`
	Seed          uint64      `json:"seed"`
	Deterministic bool        `json:"deterministic"`
	TTL           float64     `json:"ttl_s"`
	Expires       float64     `json:"expires_at"`
	Actions       [][]float32 `json:"actions"`
	Reset         string      `json:"reset"`
}

// ask sends a request and holds its answer to a status.
func (s *site) ask(method, path, body string, status int) (a sessionAnswer) {
	s.t.Helper()
	r := s.do(method, path, body)
	if r.status != status {
		s.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, r.status, r.body, status)
	}
	if err := json.Unmarshal([]byte(r.body), &a); err != nil {
		s.t.Fatalf("%v: %s", err, r.body)
	}
	return a
}

// refusal sends a request that is refused with a code.
func (s *site) refused(method, path, body string, status int, code string) reply {
	s.t.Helper()
	r := s.do(method, path, body)
	if r.status != status || r.code(s.t) != code {
		s.t.Fatalf("%s %s %.200s: %d %s, want %d %s", method, path, body, r.status, r.body, status, code)
	}
	return r
}

func (s *site) act(id string, x, y float32, members string) sessionAnswer {
	s.t.Helper()
	return s.ask("POST", "/v1/sessions/"+id+"/act", observe(x, y, members), 200)
}

func observe(x, y float32, members string) string {
	return fmt.Sprintf(`{"observation":[%v,%v]%s}`, x, y, members)
}

func equalAction(t *testing.T, what string, a sessionAnswer, x, y float32) {
	t.Helper()
	if len(a.Actions) != 1 || a.Actions[0][0] != x || a.Actions[0][1] != y {
		t.Errorf("%s: actions %v, want [[%v %v]]", what, a.Actions, x, y)
	}
}

func TestSession(t *testing.T) {
	s := serve(t, newMemory(), server.Options{Limits: fast()})
	r := s.do("POST", "/v1/sessions", `{"id":"robot-7","seed":9,"ttl_s":90.5}`)
	const want = `{"session_id":"robot-7","model":"carla-ppo","version":"v0.1.0","digest":"sha256:one","step":0,"episode":0,"seed":9,"deterministic":true,"ttl_s":90.5,"expires_at":`
	if r.status != 201 || !strings.HasPrefix(r.body, want) || r.header.Get("Location") != "/v1/sessions/robot-7" {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	equalAction(t, "first", s.act("robot-7", 1, 2, ""), 1, 2)
	a := s.act("robot-7", 1, 0, `,"step":1`)
	if equalAction(t, "second", a, 1.5, 1); a.ID != "robot-7" || a.Step != 1 || a.Episode != 0 || a.Reset != "" || a.Version != "v0.1.0" {
		t.Errorf("%+v", a)
	}
	if a = s.act("robot-7", 1, 0, `,"episode_start":true`); a.Step != 2 || a.Episode != 1 {
		t.Errorf("%+v", a)
	}
	equalAction(t, "an episode that begins", a, 1, 0)
	if i := s.ask("GET", "/v1/sessions/robot-7", "", 200); i.Step != 3 || i.Episode != 1 || i.Seed != 9 || i.TTL != 90.5 {
		t.Errorf("%+v", i)
	}
	if i := s.ask("POST", "/v1/sessions/robot-7/reset", "", 200); i.Step != 0 || i.Episode != 0 || i.Seed != 9 {
		t.Errorf("%+v", i)
	}
	if i := s.ask("POST", "/v1/sessions/robot-7/reset", `{"seed":10}`, 200); i.Seed != 10 {
		t.Errorf("%+v", i)
	}
	if a = s.act("robot-7", 4, 4, `,"step":0`); a.Step != 0 || a.Episode != 0 {
		t.Errorf("%+v", a)
	}
	equalAction(t, "after the reset", a, 4, 4)
	if r := s.do("HEAD", "/v1/sessions/robot-7", ""); r.status != 200 || r.body != "" {
		t.Errorf("%d %q", r.status, r.body)
	}
	if r := s.do("DELETE", "/v1/sessions/robot-7", ""); r.status != 204 || r.body != "" {
		t.Errorf("%d %q", r.status, r.body)
	}
	for _, p := range [][2]string{{"DELETE", ""}, {"GET", ""}, {"POST", "/act"}, {"POST", "/reset"}} {
		s.refused(p[0], "/v1/sessions/robot-7"+p[1], observe(1, 1, ""), 404, "SESSION_NOT_FOUND")
	}
}

// TestSessionDefaults is of sessions about which nothing was said.
func TestSessionDefaults(t *testing.T) {
	b := newMemory()
	s := serve(t, b, server.Options{Limits: fast()})
	ids, seeds := map[string]bool{}, map[uint64]bool{}
	for _, body := range []string{"", "{}", " \n", `{"model":null,"version":null,"id":null,"seed":null,"deterministic":null,"ttl_s":null}`} {
		i := s.ask("POST", "/v1/sessions", body, 201)
		if len(i.ID) < 20 || ids[i.ID] || seeds[i.Seed] || i.Seed >= 1<<53 || i.TTL != 600 || !i.Deterministic {
			t.Errorf("%q: %+v", body, i)
		}
		ids[i.ID], seeds[i.Seed] = true, true
		s.act(i.ID, 1, 1, "")
	}
	drawn := s.ask("POST", "/v1/sessions", `{"model":"carla-ppo","version":"v0.1.0","deterministic":false}`, 201)
	for members, want := range map[string]bool{"": false, `,"deterministic":null`: false, `,"deterministic":true`: true, `,"deterministic":false`: false} {
		if a := s.act(drawn.ID, 1, 1, members); a.Deterministic != want {
			t.Errorf("%q: deterministic %v", members, a.Deterministic)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.pins[len(b.pins)-1]; last != "v0.1.0" {
		t.Errorf("the acts of a session of v0.1.0 asked for version %q", last)
	}
}

func TestSessionRefused(t *testing.T) {
	m := &countingMetrics{}
	s := serve(t, newMemory(), server.Options{Limits: fast(), Metrics: m, Sessions: serving.NewSessions(serving.SessionOptions{Max: 2, MaxTTL: time.Hour})})
	open := func(body, field, message string) {
		t.Helper()
		e := s.refused("POST", "/v1/sessions", body, 422, "VALIDATION_ERROR").envelope(t).Details.ValidationErrors
		if len(e) != 1 || e[0].Field != field || !strings.Contains(e[0].Message, message) {
			t.Errorf("%s: %+v, want %s: %s", body, e, field, message)
		}
	}
	open(`[]`, "body", "expected an object, got an array")
	open(`{"models":"x"}`, "body.models", `did you mean "model"?`)
	open(`{"id":"a","id":"b"}`, "body.id", "got another")
	open(`{"id":7}`, "body.id", "expected a string, got a number")
	for _, id := range []string{"", ".a", "a/b", "../a", "a b", "a..b", "ü", `a\u0000`, "v2/carla-ppo/number/7", strings.Repeat("a", 65), "-a", "%2e"} {
		open(`{"id":"`+id+`"}`, "body.id", "expected 1 to 64 of")
		open(`{"model":"`+id+`"}`, "body.model", "expected 1 to 64 of")
		open(`{"version":"`+id+`"}`, "body.version", "expected 1 to 64 of")
	}
	open(`{"seed":-1}`, "body.seed", "expected a whole number from 0 to 9007199254740991, got -1")
	open(`{"seed":9007199254740992}`, "body.seed", "expected a whole number")
	open(`{"seed":"1"}`, "body.seed", "expected a whole number, got a string")
	open(`{"deterministic":1}`, "body.deterministic", "expected true or false, got a number")
	for _, ttl := range []string{"0", "-1", "3600.1", "1e300"} {
		open(`{"ttl_s":`+ttl+`}`, "body.ttl_s", "expected more than 0 and at most 3600 seconds, got "+ttl)
	}
	open(`{"ttl_s":"1"}`, "body.ttl_s", "expected a number of seconds, got a string")
	s.refused("POST", "/v1/sessions", `{"id":`, 400, "MALFORMED_JSON")
	s.refused("POST", "/v1/sessions", `{} x`, 400, "MALFORMED_JSON")
	s.refused("POST", "/v1/sessions", `{"model":"other"}`, 404, "MODEL_NOT_FOUND")
	s.refused("POST", "/v1/sessions", `{"version":"v9"}`, 404, "VERSION_NOT_FOUND")
	if r := s.do("POST", "/v1/sessions", "{}", "Content-Type", "text/plain"); r.status != 415 {
		t.Errorf("%d %s", r.status, r.body)
	}

	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	s.refused("POST", "/v1/sessions", `{"id":"a"}`, 409, "SESSION_EXISTS")
	s.ask("POST", "/v1/sessions", "", 201)
	r := s.refused("POST", "/v1/sessions", "", 429, "TOO_MANY_SESSIONS")
	if r.header.Get("Retry-After") != "1" || m.get("rejected sessions") != 1 {
		t.Errorf("Retry-After %q, counted %d", r.header.Get("Retry-After"), m.get("rejected sessions"))
	}

	act := func(body, field, message string) {
		t.Helper()
		e := s.refused("POST", "/v1/sessions/a/act", body, 422, "VALIDATION_ERROR").envelope(t).Details.ValidationErrors
		if len(e) == 0 || e[0].Field != field || !strings.Contains(e[0].Message, message) {
			t.Errorf("%s: %+v, want %s: %s", body, e, field, message)
		}
	}
	act(`{}`, "body.observation", "expected one observation, got nothing")
	act(`{"observations":[[1,2],[3,4]]}`, "body.observations", "got 2")
	for _, member := range []string{`"state":null`, `"seed":1`, `"row":0`, `"session_id":"a"`} {
		act(observe(1, 2, ","+member), "body."+strings.Split(member, `"`)[1], "expected one of")
	}
	s.refused("POST", "/v1/sessions/a/act", "", 415, "UNSUPPORTED_MEDIA_TYPE")
	if r := s.do("POST", "/v1/sessions/a/act", "", "Content-Type", "application/octet-stream"); r.status != 415 || !strings.Contains(r.body, "application/json or application/msgpack, and") {
		t.Errorf("raw bytes: %d %s", r.status, r.body)
	}
	if e := s.refused("POST", "/v1/sessions/a/reset", `{"id":"b"}`, 422, "VALIDATION_ERROR").envelope(t); e.Message != `id: expected one of seed, got "id"` {
		t.Error(e.Message)
	}
	if i := s.ask("GET", "/v1/sessions/a", "", 200); i.Step != 0 {
		t.Errorf("what was refused moved the session: %+v", i)
	}
	equalAction(t, "one in a list", s.ask("POST", "/v1/sessions/a/act", `{"observations":[[1,2]]}`, 200), 1, 2)
}

// TestSessionPaths holds that a name which no session can have is no route, and
// that it is in no label.
func TestSessionPaths(t *testing.T) {
	m := &countingMetrics{}
	s := serve(t, newMemory(), server.Options{Limits: fast(), Metrics: m})
	for _, id := range []string{"..", ".", "", "%2e%2e", "a%2fb", "a..b", "-a", "a b", strings.Repeat("a", 65), "\xd1\x81", "v2/carla-ppo/number/7", "a;b", "a\x00"} {
		for _, tail := range []string{"", "/act", "/reset"} {
			answers, _ := s.raw("GET /v1/sessions/" + id + tail + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if len(answers) != 1 || answers[0].status != 404 && answers[0].status != 400 {
				t.Errorf("%q: %+v", id+tail, answers)
			}
		}
	}
	for path, allow := range map[string]string{
		"/v1/sessions": "POST, OPTIONS", "/v1/sessions/a": "GET, HEAD, DELETE, OPTIONS", "/v1/sessions/a/act": "POST, OPTIONS", "/v1/sessions/a/reset": "POST, OPTIONS",
	} {
		if r := s.do("OPTIONS", path, ""); r.status != 204 || r.header.Get("Allow") != allow {
			t.Errorf("OPTIONS %s: %d %q", path, r.status, r.header.Get("Allow"))
		}
		if r := s.do("PUT", path, "{}"); r.status != 405 || r.header.Get("Allow") != allow {
			t.Errorf("PUT %s: %d %q", path, r.status, r.header.Get("Allow"))
		}
	}
	s.ask("POST", "/v1/sessions", `{"id":"robot-7"}`, 201)
	s.act("robot-7", 1, 2, "")
	s.do("DELETE", "/v1/sessions/robot-7", "")
	s.do("GET", "/v1/sessions/robot-7", "")
	for _, key := range []string{"POST /v1/sessions 201", "POST /v1/sessions/{id}/act 200", "DELETE /v1/sessions/{id} 204", "GET /v1/sessions/{id} 404", "error SESSION_NOT_FOUND /v1/sessions/{id}", "infer carla-ppo v0.1.0 rows=1 deterministic=true err=false"} {
		if m.get(key) != 1 {
			t.Errorf("%s was counted %d times", key, m.get(key))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.seen {
		if strings.Contains(key, "robot") || strings.Contains(key, "..") {
			t.Errorf("a client's name is in a label: %s", key)
		}
	}
}

func TestSessionKeys(t *testing.T) {
	keys, err := server.NewKeys(server.PlainKey("k", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, newMemory(), server.Options{Limits: fast(), Keys: keys})
	if r := s.do("POST", "/v1/sessions", `{"id":"a"}`, "X-API-Key", "k"); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, p := range [][2]string{{"POST", "/v1/sessions"}, {"POST", "/v1/sessions/a/act"}, {"POST", "/v1/sessions/a/reset"}, {"GET", "/v1/sessions/a"}, {"DELETE", "/v1/sessions/a"}} {
		s.refused(p[0], p[1], observe(1, 1, ""), 401, "UNAUTHORIZED")
	}
	if r := s.do("GET", "/v1/sessions/a", "", "X-API-Key", "k"); r.status != 200 || !strings.Contains(r.body, `"step":0`) {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestSessionStep(t *testing.T) {
	s := serve(t, newMemory(), server.Options{Limits: fast()})
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	s.act("a", 1, 0, `,"step":0`)
	for _, step := range []string{"0", "2", "9007199254740991"} {
		r := s.refused("POST", "/v1/sessions/a/act", observe(5, 5, `,"episode_start":true,"step":`+step), 409, "STEP_MISMATCH")
		if !strings.Contains(r.body, `"details":{"expected":1,"got":`+step+`,"request_id":`) || !strings.Contains(r.body, "the session is at step 1, the request is for step "+step) {
			t.Error(r.body)
		}
	}
	a := s.act("a", 1, 0, `,"step":1`)
	if equalAction(t, "after the refusals", a, 1.5, 0); a.Episode != 0 {
		t.Errorf("%+v", a)
	}
}

// TestSessionEnds holds that an idle session ends, and that looking at it does
// not keep it.
func TestSessionEnds(t *testing.T) {
	var mu sync.Mutex
	now := time.Unix(1_795_000_000, 0)
	pass := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	sessions := serving.NewSessions(serving.SessionOptions{Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	s := serve(t, newMemory(), server.Options{Limits: fast(), Sessions: sessions})
	if i := s.ask("POST", "/v1/sessions", `{"id":"a","ttl_s":10}`, 201); i.Expires != 1_795_000_010 {
		t.Errorf("%+v", i)
	}
	pass(9 * time.Second)
	s.act("a", 1, 1, "")
	pass(9 * time.Second)
	if i := s.ask("GET", "/v1/sessions/a", "", 200); i.Expires != 1_795_000_019 {
		t.Errorf("%+v", i)
	}
	pass(time.Second)
	s.refused("POST", "/v1/sessions/a/act", observe(1, 1, ""), 404, "SESSION_NOT_FOUND")
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
}

// TestSessionFailures holds that an act which fails changes nothing.
func TestSessionFailures(t *testing.T) {
	b := newMemory()
	s := serve(t, b, server.Options{Limits: fast()})
	s.ask("POST", "/v1/sessions", `{"id":"a"}`, 201)
	s.act("a", 2, 0, "")
	spoil := func(err error) func(*serving.Request) error {
		return func(req *serving.Request) error {
			req.State[0][0] = 1000
			return err
		}
	}
	f := func(err error, status int, code string) {
		t.Helper()
		b.on(spoil(err))
		s.refused("POST", "/v1/sessions/a/act", observe(5, 5, `,"episode_start":true`), status, code)
		b.on(nil)
	}
	f(serving.ErrQueueFull, 429, "RESOURCE_EXHAUSTED")
	f(serving.ErrDeadline, 504, "DEADLINE_EXCEEDED")
	f(errors.New("broken"), 500, "INTERNAL_ERROR")
	b.on(func(req *serving.Request) error {
		req.State[0][0] = 1000
		panic("broken")
	})
	s.refused("POST", "/v1/sessions/a/act", observe(5, 5, ""), 500, "INTERNAL_ERROR")
	b.on(nil)
	s.refused("POST", "/v1/sessions/a/act", `{"observation":[5]}`, 422, "VALIDATION_ERROR")
	s.refused("POST", "/v1/sessions/a/act", `{"observation":`, 400, "MALFORMED_JSON")
	a := s.act("a", 1, 0, "")
	if equalAction(t, "after the failures", a, 2, 0); a.Step != 1 || a.Episode != 0 {
		t.Errorf("%+v", a)
	}
}
