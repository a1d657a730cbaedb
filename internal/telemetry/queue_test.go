package telemetry_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

func TestQueueMetrics(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	m.Waited(0, 3*time.Millisecond)
	m.Shed(1)
	m.QueueStats(func() telemetry.QueueStats {
		return telemetry.QueueStats{
			Batches: 2, Joined: 5, Rerun: 1, Divided: 3, Slices: 12, Yields: 4,
			Hits: 7, Misses: 8, Bypassed: 9, Evicted: 6, Kept: 10, KeptBytes: 4096,
			Waiting: [2]int{1, 20}, Oldest: [2]time.Duration{0, 1500 * time.Millisecond},
		}
	})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`carla_rl_queue_wait_seconds_bucket{priority="control",le="0.005"} 1`,
		`carla_rl_queue_wait_seconds_count{priority="batch"} 0`,
		`carla_rl_requests_shed_total{priority="batch"} 1`,
		`carla_rl_requests_shed_total{priority="control"} 0`,
		`carla_rl_queue_requests{priority="batch"} 20`,
		`carla_rl_queue_oldest_seconds{priority="batch"} 1.5`,
		`carla_rl_joined_batches_total 2`,
		`carla_rl_joined_requests_total 5`,
		`carla_rl_joined_reruns_total 1`,
		`carla_rl_divided_requests_total 3`,
		`carla_rl_slices_total 12`,
		`carla_rl_slice_yields_total 4`,
		`carla_rl_cache_requests_total{result="hit"} 7`,
		`carla_rl_cache_requests_total{result="miss"} 8`,
		`carla_rl_cache_requests_total{result="bypassed"} 9`,
		`carla_rl_cache_evictions_total 6`,
		`carla_rl_cache_entries 10`,
		`carla_rl_cache_bytes 4096`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
}
