package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// notebook is an experience log that keeps outcomes in memory.
type notebook struct {
	mu       sync.Mutex // guards what follows
	outcomes []server.Outcome
	problem  error
	steps    []server.RecordedStep
}

func (n *notebook) Outcome(_ context.Context, o *server.Outcome) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.problem != nil {
		return n.problem
	}
	n.outcomes = append(n.outcomes, *o)
	return nil
}

func (n *notebook) Last(limit int) []server.RecordedStep {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]server.RecordedStep(nil), n.steps[max(0, len(n.steps)-limit):]...)
}

// logged is a site with a notebook and a session in which two acts were made.
func logged(t *testing.T) (*site, *notebook) {
	t.Helper()
	n := &notebook{}
	s := serve(t, newMemory(), server.Options{Limits: fast(), Experience: n})
	s.want("POST", "/v1/sessions", `{"id":"r","seed":1}`, 201)
	s.want("POST", "/v1/sessions/r/act", `{"observation":[1,2]}`, 200)
	s.want("POST", "/v1/sessions/r/act", `{"observation":[1,2],"episode_start":true}`, 200)
	return s, n
}

func (s *site) want(method, path, body string, status int) string {
	s.t.Helper()
	r := s.do(method, path, body)
	if r.status != status {
		s.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, r.status, r.body, status)
	}
	return r.body
}

func TestOutcome(t *testing.T) {
	s, n := logged(t)
	if got := s.want("POST", "/v1/sessions/r/outcome", `{"reward":-0.5}`, 200); got != `{"session_id":"r","step":1,"recorded":true}` {
		t.Errorf("answer %s", got)
	}
	s.want("POST", "/v1/sessions/r/outcome", `{"step":0,"reward":null,"terminated":true,"truncated":false,"info":{"lap":[1,2]}}`, 200)
	if len(n.outcomes) != 2 {
		t.Fatalf("%d outcomes", len(n.outcomes))
	}
	a, b := n.outcomes[0], n.outcomes[1]
	if a.Session != "r" || a.Step != 1 || a.Episode != 1 || *a.Reward != -0.5 || a.Terminated || a.Info != nil || a.ID == "" {
		t.Errorf("first: %+v", a)
	}
	if b.Step != 0 || b.Reward != nil || !b.Terminated || b.Truncated || string(b.Info) != `{"lap":[1,2]}` || b.ID == a.ID {
		t.Errorf("second: %+v", b)
	}
}

// TestOutcomeTwice has the same outcome of the same step have the same key, and
// no other: also not that of a session of the same name that came later.
func TestOutcomeTwice(t *testing.T) {
	s, n := logged(t)
	for _, body := range []string{`{"reward":1}`, `{"step":1,"reward":1.0}`, `{"step":0,"reward":1}`, `{"reward":2}`, `{"reward":1,"truncated":true}`, `{"reward":1,"info":1}`} {
		s.want("POST", "/v1/sessions/r/outcome", body, 200)
	}
	s.want("POST", "/v1/sessions/r/reset", `{"seed":1}`, 200)
	for range 2 {
		s.want("POST", "/v1/sessions/r/act", `{"observation":[1,2]}`, 200)
	}
	s.want("POST", "/v1/sessions/r/outcome", `{"reward":1}`, 200)
	seen := map[string]int{}
	for i, o := range n.outcomes {
		if j, ok := seen[o.ID]; ok && (i != 1 || j != 0) {
			t.Errorf("outcomes %d and %d have the same key", j, i)
		}
		seen[o.ID] = i
	}
	if n.outcomes[0].ID != n.outcomes[1].ID {
		t.Error("the same outcome has two keys")
	}
}

func TestOutcomeIsRefused(t *testing.T) {
	s, n := logged(t)
	f := func(status int, code, want, body string) {
		t.Helper()
		got := s.want("POST", "/v1/sessions/r/outcome", body, status)
		if !strings.Contains(got, `"error":"`+code+`"`) || !strings.Contains(got, want) {
			t.Errorf("%s: no %s and %q in %s", body, code, want, got)
		}
	}
	f(422, "VALIDATION_ERROR", `"field":"body"`, ``)
	f(422, "VALIDATION_ERROR", `"field":"body"`, `{}`)
	f(422, "VALIDATION_ERROR", `"field":"body"`, `{"terminated":false,"reward":null}`)
	f(422, "VALIDATION_ERROR", `"field":"body.score"`, `{"reward":1,"score":1}`)
	f(422, "VALIDATION_ERROR", `"field":"body.reward"`, `{"reward":"1"}`)
	f(422, "VALIDATION_ERROR", `"field":"body.reward"`, `{"reward":1e999}`)
	f(422, "VALIDATION_ERROR", `"field":"body.step"`, `{"reward":1,"step":-1}`)
	f(422, "VALIDATION_ERROR", `"field":"body.step"`, `{"reward":1,"step":1.5}`)
	f(422, "VALIDATION_ERROR", `"field":"body.truncated"`, `{"truncated":1}`)
	f(422, "VALIDATION_ERROR", `"field":"body.info"`, `{"info":{"a":1,"a":2}}`)
	f(422, "VALIDATION_ERROR", "expected at most 16384 bytes", `{"info":"`+strings.Repeat("x", 17000)+`"}`)
	f(400, "MALFORMED_JSON", "", `{"reward":1`)
	f(400, "MALFORMED_JSON", "", `{"reward":NaN}`)
	f(400, "MALFORMED_JSON", "", `{"reward":1}{}`)
	f(409, "STEP_MISMATCH", `"expected":1,"got":2`, `{"reward":1,"step":2}`)
	if len(n.outcomes) != 0 {
		t.Errorf("recorded: %+v", n.outcomes)
	}
	s.want("POST", "/v1/sessions/nobody/outcome", `{"reward":1}`, 404)
	s.want("POST", "/v1/sessions", `{"id":"new"}`, 201)
	if got := s.want("POST", "/v1/sessions/new/outcome", `{"reward":1}`, 409); !strings.Contains(got, "no step yet") {
		t.Errorf("before the first act: %s", got)
	}
	n.problem = errors.New("postgres://secret")
	if got := s.want("POST", "/v1/sessions/r/outcome", `{"reward":1}`, 503); strings.Contains(got, "secret") || !strings.Contains(got, "EXPERIENCE_UNAVAILABLE") {
		t.Errorf("while the log fails: %s", got)
	}
}

func TestLastSteps(t *testing.T) {
	s, n := logged(t)
	if got := s.want("GET", "/v1/experience", "", 200); got != `{"steps":[]}` {
		t.Errorf("without any: %s", got)
	}
	for i := range uint64(300) {
		n.steps = append(n.steps, server.RecordedStep{Sequence: i, Model: "carla-ppo", Version: "v0.1.0", Digest: "sha256:one", Observation: []float32{1, 2}, Action: []float32{3},
			Interventions: []server.StepIntervention{{Value: 0, Kind: "clipped"}}})
	}
	f := func(query string, first, count int) {
		t.Helper()
		got := s.want("GET", "/v1/experience"+query, "", 200)
		if strings.Count(got, `"sequence":`) != count || !strings.Contains(got, fmt.Sprintf(`"sequence":%d,`, first)) || strings.Contains(got, fmt.Sprintf(`"sequence":%d,`, first-count)) {
			t.Errorf("%s: %d steps: %.300s", query, strings.Count(got, `"sequence":`), got)
		}
		if !strings.Contains(got, `"action":"action"`) {
			t.Errorf("%s: no name of the action that was changed: %.300s", query, got)
		}
	}
	f("", 299, 20)
	f("?limit=1", 299, 1)
	f("?limit=256", 299, 256)
	for _, limit := range []string{"0", "-1", "257", "x", "", "1.5", "99999999999999999999"} {
		if got := s.want("GET", "/v1/experience?limit="+limit, "", 422); !strings.Contains(got, `"field":"query.limit"`) {
			t.Errorf("limit %q: %s", limit, got)
		}
	}
}

// TestWithoutALog asks a server that keeps none.
func TestWithoutALog(t *testing.T) {
	s := serve(t, newMemory(), server.Options{Limits: fast()})
	s.want("POST", "/v1/sessions", `{"id":"r"}`, 201)
	for _, got := range []string{s.want("GET", "/v1/experience", "", 409), s.want("POST", "/v1/sessions/r/outcome", `{"reward":1}`, 409)} {
		if !strings.Contains(got, `"error":"EXPERIENCE_OFF"`) || !strings.Contains(got, "DATABASE_URL") {
			t.Errorf("answer %s", got)
		}
	}
}
