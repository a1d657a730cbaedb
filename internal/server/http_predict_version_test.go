package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestStateOfAnotherVersion: a state that a client carried over a change of the
// version begins anew by a contract that says reset, which the answer tells, and
// is refused by one that drains.
func TestStateOfAnotherVersion(t *testing.T) {
	b := newMemory()
	s := serve(t, b, server.Options{Limits: fast()})
	ask := func(state string) string {
		t.Helper()
		r := s.do("POST", "/predict", `{"observations":[[1,2]],"state":`+state+`}`)
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return r.body
	}
	token := func(body string) string {
		_, rest, _ := strings.Cut(body, `"state":"`)
		state, _, _ := strings.Cut(rest, `"`)
		return fmt.Sprintf("%q", state)
	}
	first := ask("null")
	if strings.Contains(first, `"reset"`) {
		t.Errorf("nothing was reset: %s", first)
	}
	state := token(first)
	b.change("v0.2.0", "sha256:two", "drain")
	refusedPost(t, s, `{"observations":[[1,2]],"state":`+state+`}`, 422, "state: the state is of another version of model carla-ppo than v0.2.0, which answers: begin again with null")
	b.change("v0.3.0", "sha256:three", "reset")
	over := ask(state)
	if !strings.Contains(over, `"reset":"version"`) || strings.Contains(over, `"reset":"version","reset"`) {
		t.Errorf("a state that began anew: %s", over)
	}
	if again := ask(token(over)); strings.Contains(again, `"reset"`) {
		t.Errorf("told twice: %s", again)
	}
	// The word of one request is not that of the next.
	if plain := ask("null"); strings.Contains(plain, `"reset"`) {
		t.Errorf("nothing was reset: %s", plain)
	}
}
