package telemetry_test

import (
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotPaths holds what is counted for one request.
func TestHotPaths(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	route, infer, act := m.Route("POST", "/predict"), m.Inference("m", "v"), m.Saturation("m", "v", []string{"a", "b"}, []float64{0, -1}, []float64{1, 1})
	actions := []float32{0, 0.5}
	hot.Path(t, "telemetry request", 1000, 0, func() {
		m.Active(1)
		route(200, 70*time.Microsecond, "")
		infer(0, 1, true, false, time.Microsecond, time.Microsecond, time.Microsecond, time.Microsecond)
		act(actions)
		m.Active(-1)
	})
}
