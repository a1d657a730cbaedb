//go:build e2e

package chaos_test

import (
	"fmt"
	"testing"
	"time"
)

// wastedMax is the part of the answers that may be computed and be too late.
const wastedMax = 0.01

// deadlineRows make a request one of half a millisecond or so, which a deadline
// of 1 ms has room for.
const deadlineRows = 8

// TestDeadlines (L3): at three times the capacity, with deadlines of 1 to 100 ms,
// what is answered is answered in time, and hardly anything is computed that is
// not.
func TestDeadlines(t *testing.T) {
	p := serve(t, "WORKERS=1")
	ask := p.request(quick, `{"priority":"control","observations":`+observations(deadlineRows)+`,"deterministic":true}`)
	p.load(ask, 4, 0, time.Second)
	capacity := p.load(ask, 16, 0, min(*duration, 5*time.Second)).Throughput()
	t.Logf("figure: capacity %.0f/s", capacity)
	for _, ms := range []int{1, 5, 20, 100} {
		ask := p.request(quick, fmt.Sprintf(`{"priority":"control","observations":%s,"deterministic":true,"deadline_ms":%d}`, observations(deadlineRows), ms))
		lateBefore := p.metric("carla_rl_deadline_refusals_total", `reason="late"`)
		r := p.load(ask, overloadConnections, 3*capacity, *duration)
		wasted := p.metric("carla_rl_deadline_refusals_total", `reason="late"`) - lateBefore
		late, lateP99 := count(r, 504)
		full, _ := count(r, 429)
		share := wasted / max(1, wasted+float64(r.Good))
		t.Logf("figure: deadline %d ms at 3 times the capacity: %.0f/s good, from the sending P50 %v P99 %v P99.9 %v; 504: %d, P99 %v; 429: %d; computed in vain %.0f (%.2f %%)",
			ms, r.Throughput(), r.Service.Percentile(50), r.Service.Percentile(99), r.Service.Percentile(99.9), late, lateP99, full, wasted, 100*share)
		if r.Broken > 0 || r.Wrong > 0 || r.Good+full+late != r.Answered {
			t.Errorf("%d ms: %v", ms, r.Err())
		}
		if r.Good == 0 || late+full == 0 {
			t.Errorf("%d ms: %d good, %d refused", ms, r.Good, late+full)
		}
		if share > wastedMax {
			t.Errorf("%d ms: %.1f %% of what was computed came too late", ms, 100*share)
		}
	}
}
