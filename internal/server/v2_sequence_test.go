package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// inferred is an answer of the inference route.
type inferred struct {
	Version    string `json:"model_version"`
	Parameters struct {
		ID    any    `json:"sequence_id"`
		Step  uint64 `json:"step"`
		Seed  uint64 `json:"seed"`
		Reset string `json:"reset"`
	} `json:"parameters"`
	Outputs []struct {
		Data []float32 `json:"data"`
	} `json:"outputs"`
	Error string `json:"error"`
}

const inferPath = "/v2/models/carla-ppo/infer"

func turn(x, y float32, parameters string) string {
	return fmt.Sprintf(`{"parameters":{%s},"inputs":[{"name":"observation","shape":[1,2],"datatype":"FP32","data":[%v,%v]}]}`, parameters, x, y)
}

// infer sends one request of a sequence and holds its answer to a status.
func (s *site) infer(path string, x, y float32, parameters string, status int) (a inferred) {
	s.t.Helper()
	r := s.do("POST", path, turn(x, y, parameters))
	if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.status != status {
		s.t.Fatalf("%s: %d %v %s, want %d", parameters, r.status, err, r.body, status)
	}
	return a
}

func (s *site) inferred(what, path string, x, y float32, parameters string, wantX, wantY float32) inferred {
	s.t.Helper()
	a := s.infer(path, x, y, parameters, 200)
	if d := a.Outputs[0].Data; d[0] != wantX || d[1] != wantY {
		s.t.Errorf("%s: %v, want %v %v", what, d, wantX, wantY)
	}
	return a
}

func (s *site) inferRefused(path, parameters string, status int, want string) {
	s.t.Helper()
	if a := s.infer(path, 1, 1, parameters, status); !strings.Contains(a.Error, want) {
		s.t.Errorf("%s: %q, want %q", parameters, a.Error, want)
	}
}

func TestSequence(t *testing.T) {
	sessions := serving.NewSessions(serving.SessionOptions{})
	s := serve(t, newMemory(), server.Options{Limits: fast(), Sessions: sessions})
	const missing = "sequence 7 of model carla-ppo is not under way: the first request of a sequence needs sequence_start, and one that is idle for 10m0s ends"
	s.inferRefused(inferPath, `"sequence_id":7`, 400, missing)
	s.inferRefused(inferPath, `"sequence_id":7,"sequence_end":true`, 400, missing)
	s.inferRefused(inferPath, ``, 400, "this policy keeps state: send sequence_id, with sequence_start on the first request of an episode")
	s.inferRefused(inferPath, `"sequence_id":0`, 400, "this policy keeps state")

	a := s.inferred("first", inferPath, 1, 2, `"sequence_id":7,"sequence_start":true`, 1, 2)
	if a.Parameters.ID != 7.0 || a.Parameters.Step != 0 {
		t.Errorf("%+v", a)
	}
	s.inferred("the string", inferPath, 5, 5, `"sequence_id":"7","sequence_start":true`, 5, 5)
	s.inferred("the largest number", inferPath, 6, 6, `"sequence_id":18446744073709551615,"sequence_start":true,"sequence_end":false`, 6, 6)
	if a = s.inferred("second", inferPath, 1, 0, `"sequence_id":7`, 1.5, 1); a.Parameters.Step != 1 {
		t.Errorf("%+v", a)
	}
	if a = s.inferred("the string again", inferPath, 0, 0, `"sequence_id":"7"`, 2.5, 2.5); a.Parameters.ID != "7" {
		t.Errorf("%+v", a)
	}
	s.inferred("the largest number again", inferPath, 0, 0, `"sequence_id":18446744073709551615`, 3, 3)
	s.inferred("a path with a version", inferPath[:len(inferPath)-6]+"/versions/v0.1.0/infer", 4, 4, `"sequence_id":7,"sequence_start":true`, 4, 4)
	s.inferred("third", inferPath, 0, 0, `"sequence_id":7,"sequence_end":true`, 0.75, 0.5)
	s.inferRefused(inferPath, `"sequence_id":7`, 400, missing)
	s.inferred("a start in the middle", inferPath, 9, 9, `"sequence_id":"7","sequence_start":true`, 9, 9)
	s.inferred("all of a sequence", inferPath, 1, 1, `"sequence_id":8,"sequence_start":true,"sequence_end":true`, 1, 1)
	s.inferRefused(inferPath, `"sequence_id":8`, 400, "sequence 8 of model carla-ppo is not under way")
	if n := sessions.Len(); n != 3 {
		t.Errorf("%d sessions are open", n)
	}
	for _, id := range []string{"7", "v2", "v2%2Fcarla-ppo%2Fnumber%2F7", "number/7"} {
		if r := s.do("GET", "/v1/sessions/"+id, ""); r.status != 404 {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
}

// TestSequenceSeed is of sequences of a policy that draws.
func TestSequenceSeed(t *testing.T) {
	s := serve(t, newMemory(), server.Options{Limits: fast()})
	run := func(id, seed string) (drawn []float32, told uint64) {
		start := fmt.Sprintf(`"deterministic":false,"sequence_id":%s,"sequence_start":true%s`, id, seed)
		a := s.infer(inferPath, 1, 1, start, 200)
		b := s.infer(inferPath, 1, 1, fmt.Sprintf(`"deterministic":false,"sequence_id":%s,"sequence_end":true`, id), 200)
		if a.Parameters.Seed != b.Parameters.Seed {
			t.Errorf("seeds %d and %d in one sequence", a.Parameters.Seed, b.Parameters.Seed)
		}
		return append(a.Outputs[0].Data, b.Outputs[0].Data...), a.Parameters.Seed
	}
	first, told := run("3", `,"seed":11`)
	again, toldAgain := run("3", `,"seed":11`)
	if fmt.Sprint(first) != fmt.Sprint(again) || told != toldAgain {
		t.Errorf("%v %d, again %v %d", first, told, again, toldAgain)
	}
	if _, other := run("3", `,"seed":12`); other == told {
		t.Error("another seed draws the same")
	}
	if _, other := run("4", `,"seed":11`); other == told {
		t.Error("another sequence draws the same")
	}
	_, a := run("3", "")
	if _, b := run("3", ""); a == b {
		t.Error("two sequences without a seed draw the same")
	}
}

// TestSequenceFailures holds that a request which fails changes nothing, but
// where it was the first there is no sequence.
func TestSequenceFailures(t *testing.T) {
	b := newMemory()
	sessions := serving.NewSessions(serving.SessionOptions{Max: 2})
	s := serve(t, b, server.Options{Limits: roomy(), Sessions: sessions})
	full := func(req *serving.Request) error {
		req.State[0][0] = 1000
		return serving.ErrQueueFull
	}
	b.on(full)
	s.inferRefused(inferPath, `"sequence_id":1,"sequence_start":true`, 429, "too many requests")
	if n := sessions.Len(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
	b.on(nil)
	s.inferred("first", inferPath, 2, 0, `"sequence_id":1,"sequence_start":true`, 2, 0)
	b.on(full)
	s.inferRefused(inferPath, `"sequence_id":1`, 429, "too many requests")
	s.inferRefused(inferPath, `"sequence_id":1,"sequence_end":true`, 429, "too many requests")
	b.on(func(*serving.Request) error { panic("broken") })
	s.inferRefused(inferPath, `"sequence_id":1`, 500, "unexpected")
	b.on(nil)
	s.inferred("second", inferPath, 0, 0, `"sequence_id":1`, 1, 0)

	s.infer(inferPath, 1, 1, `"sequence_id":2,"sequence_start":true`, 200)
	s.inferRefused(inferPath, `"sequence_id":3,"sequence_start":true`, 429, "too many sessions are open")

	hook, came, open := gated()
	b.on(hook)
	done := make(chan reply, 1)
	go func() { done <- s.do("POST", inferPath, turn(0, 0, `"sequence_id":1`)) }()
	<-came
	s.inferRefused(inferPath, `"sequence_id":1`, 409, "another request of the session is under way")
	s.inferRefused(inferPath, `"sequence_id":1,"sequence_start":true`, 409, "another request of the session is under way")
	open()
	if r := <-done; r.status != 200 || !strings.Contains(r.body, `"data":[0.5,0.0]`) {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestSequenceVersions is of sequences whose model has another version, of
// another form too.
func TestSequenceVersions(t *testing.T) {
	b := newMemory()
	b.change("v0.1.0", "sha256:one", "drain")
	s := serve(t, b, server.Options{Limits: fast()})
	s.infer(inferPath, 2, 0, `"sequence_id":1,"sequence_start":true`, 200)
	b.change("v0.2.0", "sha256:two", "drain")
	if a := s.inferred("it drains", inferPath, 0, 0, `"sequence_id":1`, 1, 0); a.Version != "v0.1.0" || a.Parameters.Reset != "" {
		t.Errorf("%+v", a)
	}
	if a := s.infer(inferPath, 2, 0, `"sequence_id":1,"sequence_start":true`, 200); a.Version != "v0.2.0" {
		t.Errorf("%+v", a)
	}
	b.change("v0.2.0", "sha256:two", "reset")
	s.infer(inferPath, 2, 0, `"sequence_id":1,"sequence_start":true`, 200)
	b.change("v0.3.0", "sha256:three", "reset")
	if a := s.inferred("it begins again", inferPath, 3, 0, `"sequence_id":1`, 3, 0); a.Version != "v0.3.0" || a.Parameters.Reset != "version" {
		t.Errorf("%+v", a)
	}
}

// TestSequenceOfAPolicyWithoutState counts its steps all the same.
func TestSequenceOfAPolicyWithoutState(t *testing.T) {
	s := serve(t, &fakeBackend{contract: unnamed(2)}, server.Options{Limits: fast()})
	s.inferred("no sequence", inferPath, 100, 200, `"sequence_id":""`, 1, 2)
	s.inferred("first", inferPath, 100, 200, `"sequence_id":"a","sequence_start":true`, 1, 2)
	if a := s.inferred("second", inferPath, 100, 200, `"sequence_id":"a"`, 1, 2); a.Parameters.Step != 1 {
		t.Errorf("%+v", a)
	}
}
