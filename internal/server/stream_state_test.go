package server_test

import (
	"context"
	"encoding/binary"
	"math"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// TestStreamKeepsState carries the state of a policy from message to message,
// over messages that are refused or fail, and resets it where an episode
// begins. Two streams do not see each other's.
func TestStreamKeepsState(t *testing.T) {
	c := unnamed(2)
	c.State = []policy.StateSpec{{Name: "h", Shape: []int{1}, Width: 1, Initial: []float32{0}, Reset: []float32{0}}}
	fail := atomic.Bool{}
	b := &fakeBackend{contract: c, act: func(_ context.Context, req *serving.Request) error {
		h := &req.State[0][0]
		if fail.Load() {
			*h = 99 // what a failed act leaves behind is nobody's
			return serving.ErrQueueFull
		}
		*h++
		req.Actions[0] = *h
		return nil
	}}
	s := serve(t, b, server.Options{Limits: fast()})
	one, other := s.stream("/v1/stream"), s.stream("/v1/stream")
	ask := func(w *wire, more string, want float64) {
		t.Helper()
		w.send(`{"observation":[1,2]` + more + `}`)
		var a struct {
			Actions [][]float64 `json:"actions"`
			Error   string      `json:"error"`
		}
		m := w.read()
		if err := json.Unmarshal(m.Payload, &a); err != nil || len(a.Actions) != 1 || a.Actions[0][0] != want {
			t.Errorf("%v, want %v: %s", err, want, m.Payload)
		}
	}
	refuse := func(w *wire, more, code string) {
		t.Helper()
		if a := w.ask(`{"observation":[1,2]` + more + `}`); a.Error != code {
			t.Errorf("%+v, want %s", a, code)
		}
	}
	ask(one, "", 1)
	ask(one, "", 2)
	ask(other, "", 1)
	refuse(one, `,"nonsense":1`, "VALIDATION_ERROR")
	fail.Store(true)
	refuse(one, "", "RESOURCE_EXHAUSTED")
	refuse(one, `,"episode_start":true`, "RESOURCE_EXHAUSTED")
	fail.Store(false)
	ask(one, "", 3)
	ask(one, `,"episode_start":true`, 1)
	ask(one, `,"step":4`, 2)
	ask(other, "", 2)
	pi := s.stream("/")
	pi.read()
	for _, want := range []float32{1, 2} {
		if err := pi.Send(websocket.Binary, pack(t, `{"observation/state":[1,2]}`)); err != nil {
			t.Fatal(err)
		}
		var r msgpack.Reader
		var a msgpack.Array
		r.Begin(pi.read().Payload)
		if _, ok := r.Map(0); !ok {
			t.Fatal(r.Problem())
		}
		if name, ok := r.Key(); !ok || string(name) != "actions" || !r.Array(&a, 1) || math.Float32frombits(binary.LittleEndian.Uint32(a.Data)) != want {
			t.Errorf("openpi: %s %v %v, want %v", name, a.Shape, a.Data, want)
		}
	}
}
