package server_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestCountedReadiness holds that the gauge says what /readyz says.
func TestCountedReadiness(t *testing.T) {
	counted, b := &countingMetrics{}, &fakeBackend{contract: driving()}
	s := serve(t, b, server.Options{Limits: fast(), Metrics: counted})
	f := func(want bool) {
		t.Helper()
		status := 503
		if want {
			status = 200
		}
		if got := s.do("GET", "/readyz", "").status; got != status || counted.ready() != want {
			t.Errorf("/readyz answers %d and the gauge says %v, want %d and %v", got, counted.ready(), status, want)
		}
	}
	f(true)
	b.readiness.Store(&server.NotReadyError{Model: "carla-ppo"})
	f(false)
	b.readiness.Store(nil)
	f(true)
}

// TestCountedDiscrete holds that the first and the last of several choices are
// no bounds, and that an action without a name gets one.
func TestCountedDiscrete(t *testing.T) {
	counted := &countingMetrics{}
	c := driving()
	c.Actions = []policy.Action{{Low: 0, High: 3, Discrete: true, Size: 1}}
	s := serve(t, &fakeBackend{contract: c}, server.Options{Limits: fast(), Metrics: counted})
	if got := s.do("POST", "/predict", guideRequest).status; got != 200 {
		t.Fatalf("status %d", got)
	}
	if counted.get("actions of carla-ppo v0.1.0: [action] in [-Inf] to [+Inf]") != 1 {
		t.Errorf("counted %v", counted.seen)
	}
}
