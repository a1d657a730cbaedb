package server_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestPriorities: one row is of control and several are of batch, on every way,
// unless the request says otherwise.
func TestPriorities(t *testing.T) {
	c := driving()
	b := question(c, nil)
	s := serve(t, b, server.Options{Limits: fast()})
	const row = `{"speed":1,"steering":0,"sensors":[0,0,0,0,0]}`
	const one, two = `{"observations":[` + row + `]`, `{"observations":[` + row + `,` + row + `]`
	f := func(want serving.Priority, answered reply) {
		t.Helper()
		if answered.status != 200 || b.last.Priority != want {
			t.Errorf("%d %s: %v, want %v", answered.status, answered.body, b.last.Priority, want)
		}
	}
	post := func(body string) reply { return s.do("POST", "/predict", body) }
	f(serving.PriorityControl, post(one+`}`))
	f(serving.PriorityBatch, post(two+`}`))
	f(serving.PriorityBatch, post(one+`,"priority":"batch"}`))
	f(serving.PriorityControl, post(two+`,"priority":"control"}`))
	f(serving.PriorityControl, post(one+`}`)) // and nothing is left of those before

	bytes := strings.Repeat("\x00", 28)
	f(serving.PriorityControl, send(s, "", bytes))
	f(serving.PriorityBatch, send(s, "", bytes+bytes))
	f(serving.PriorityControl, send(s, "priority=control", bytes+bytes))
	f(serving.PriorityBatch, send(s, `priority=%22batch%22`, bytes))

	infer := func(parameters string) reply {
		return s.do("POST", "/v2/models/carla-ppo/infer", asked(parameters, ""))
	}
	f(serving.PriorityBatch, infer(``)) // two rows
	f(serving.PriorityBatch, infer(`"priority":0`))
	f(serving.PriorityControl, infer(`"priority":1`))
	f(serving.PriorityBatch, infer(`"priority":2`))

	refusedPost(t, s, one+`,"priority":"high"}`, 422, `priority: expected "control" or "batch", got "high"`)
	refusedPost(t, s, one+`,"priority":1}`, 422, `priority: expected "control" or "batch", got a number`)
	if r := send(s, "priority=high", bytes); r.status != 422 || !strings.Contains(r.body, `query.priority: expected`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := s.do("POST", "/v1/sessions", `{"priority":"batch"}`); r.status != 422 {
		t.Errorf("a session is of control, and one that asks for batch is answered %d", r.status)
	}
}
