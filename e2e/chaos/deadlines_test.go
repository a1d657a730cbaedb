//go:build e2e

package chaos_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// wastedMax is the part of what is computed that may be too late.
const wastedMax = 0.01

// deadlineRows make a request one of a quarter of a millisecond or so, which a
// deadline of 1 ms has room for.
const deadlineRows = 8

// TestDeadlines (L3): at three times the capacity, with deadlines of 1 to 100 ms,
// what is answered is answered in time, and hardly anything is computed that is
// not.
//
// What is computed in vain is counted by the server: runs that were over behind
// their deadline. An answer that was in time there and reached the client later,
// through two sockets and a busy client, was not computed in vain. A run that
// takes longer than its whole deadline, where runs of its kind take a quarter of
// a millisecond, was stopped by the system to let others run. No admission can
// foresee it, so the part of the runs that take longer than 1, 5 or 20 ms though
// they have 100 is measured under the same load and in the same try, and what is
// wasted may be one in a hundred beyond that. On a machine of its own that part
// is next to nothing. What begins with too little left, which is what an
// admission can do wrong, is not in it: that is late after a run like any other.
func TestDeadlines(t *testing.T) {
	ledger.Begin(t)
	p := serve(t, "WORKERS=1")
	ask := p.request(quick, `{"priority":"control","observations":`+observations(deadlineRows)+`,"deterministic":true}`)
	p.load(ask, 4, 0, time.Second)
	capacity := p.load(ask, 16, 0, min(*duration, 5*time.Second)).Throughput()
	t.Logf("figure: capacity %.0f/s", capacity)
	var figures []string
	var refused uint64
	p.steady(t, func() (broken []string) {
		figures, refused = nil, 0
		var held map[int]float64 // the part of the runs that take longer than so many ms
		for _, ms := range []int{100, 20, 5, 1} {
			ask := p.request(quick, fmt.Sprintf(`{"priority":"control","observations":%s,"deterministic":true,"deadline_ms":%d}`, observations(deadlineRows), ms))
			lateBefore, runsBefore := p.metric("carla_rl_deadline_refusals_total", `reason="late"`), p.runs()
			r := p.load(ask, overloadConnections, 3*capacity, *duration)
			wasted := p.metric("carla_rl_deadline_refusals_total", `reason="late"`) - lateBefore
			late, lateP99 := count(r, 504)
			full, _ := count(r, 429)
			if ms == 100 {
				held = map[int]float64{}
				after := p.runs()
				for limit, n := range after {
					held[limit] = 1 - (n-runsBefore[limit])/max(1, after[100]-runsBefore[100])
				}
			}
			share := wasted / max(1, wasted+float64(r.Good))
			t.Logf("figure: deadline %d ms at 3 times the capacity: %.0f/s good, from the sending P50 %v P99 %v P99.9 %v; 504: %d, P99 %v; 429: %d; computed in vain %.0f (%.2f %%); %.2f %% of those with 100 ms take longer",
				ms, r.Throughput(), r.Service.Percentile(50), r.Service.Percentile(99), r.Service.Percentile(99.9), late, lateP99, full, wasted, 100*share, 100*held[ms])
			figures = append(figures, fmt.Sprintf("%d ms: %.0f/s in time, %.2f %% computed in vain", ms, r.Throughput(), 100*share))
			refused += late + full
			if r.Broken > 0 || r.Wrong > 0 || r.Good+full+late != r.Answered {
				t.Errorf("%d ms: %v", ms, r.Err())
			}
			if r.Good == 0 || late+full == 0 {
				broken = append(broken, fmt.Sprintf("%d ms: %d good, %d refused", ms, r.Good, late+full))
			}
			if share > wastedMax+held[ms] {
				broken = append(broken, fmt.Sprintf("%d ms: %.2f %% of what was computed came too late, and %.2f %% of all runs take longer than that", ms, 100*share, 100*held[ms]))
			}
		}
		return broken
	})
	ledger.Add(t, ledger.Row{
		ID: "L3", Test: "deadlines of 1, 5, 20 and 100 ms at three times the capacity", Load: fmt.Sprintf("%.0f requests/s for %v each", 3*capacity, *duration),
		Inputs: ledger.N(int(refused), "requests more than there was time for, refused"), Lost: ledger.Nothing,
		Figures: append(figures, fmt.Sprintf("capacity %.0f/s", capacity)),
	})
}

// runs is how many runs of the quick policy took no longer than so many
// milliseconds, of those that were answered.
func (p *process) runs() map[int]float64 {
	n := map[int]float64{}
	for ms, le := range map[int]string{1: "0.001", 5: "0.005", 20: "0.02", 100: "+Inf"} {
		n[ms] = p.metric("carla_rl_inference_duration_seconds_bucket", `model="`+quick+`"`, `le="`+le+`"`)
	}
	return n
}
