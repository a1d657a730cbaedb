package envelope_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotPaths holds the envelope around one action.
func TestHotPaths(t *testing.T) {
	e := make1(t, driving(envelope.FallbackBrake))
	h := envelope.NewHistory(3)
	found := make([]envelope.Intervention, 0, 3)
	action := []float32{0.5, 0, 0.1}
	hot.Path(t, "envelope apply", 1000, 0, func() {
		action[0], action[1], action[2] = 0.5, 0, 0.1
		e.Apply(0, action, h, found[:0])
	})
	hot.Path(t, "envelope intervene", 1000, 0, func() {
		action[0], action[1], action[2] = 2, nan, 2
		e.Apply(0, action, h, found[:0])
	})
	c := scorer(t, envelope.Statistics{Mean: []float64{0, 0}, Deviation: []float64{1, 1}, Covariance: []float64{1, 0, 0, 1}, MaxZ: 9, MaxDistance: 9})
	obs := []float32{1, 2}
	hot.Path(t, "envelope score", 1000, 0, func() { c.Check(obs) })
}
