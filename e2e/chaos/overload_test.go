//go:build e2e

package chaos_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// What an overload may cost, in refusalMax the 99th percentile from the sending
// of a request that is refused.
const (
	goodputMin = 0.9 // of the peak, at five times the capacity
	refusalMax = 5 * time.Millisecond
	aliveMax   = 50 * time.Millisecond
	normalMax  = 5 * time.Second
)

// overloadConnections are more than the server has room for, so that what is
// too much reaches it.
const overloadConnections = 512

// overloadRows make a request one of several milliseconds: what is measured is
// the queue, and not how fast this machine can read what it refuses. Requests of
// one row run 32 at a time, so ten times their capacity are tens of thousands a
// second: then client and server have no processor left to send and to refuse
// them with, and a refusal takes as long as its turn to be read.
const overloadRows = 16

// TestOverload (L2): a server that is asked for one, two, five and ten times
// what it can do goes on doing it, refuses the rest at once, says that it lives,
// and is itself again when the load is gone.
func TestOverload(t *testing.T) {
	ledger.Begin(t)
	p := serve(t, "WORKERS=1", "CARLA_RL_MAX_QUEUE=64")
	ask := p.request(slow, `{"priority":"control","observations":`+observations(overloadRows)+`,"deterministic":true}`)
	p.load(ask, 4, 0, 2*time.Second) // until it is known how long a call takes
	var figures []string
	var capacity float64
	var refused uint64
	p.steady(t, func() (broken []string) {
		figures, refused = nil, 0
		breaks := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
		// The peak is what is reached at all, and the machine of one moment is not
		// that of the next: the capacity is taken before and after.
		closed := p.load(ask, 4, 0, min(*duration, 5*time.Second))
		capacity = closed.Throughput()
		t.Logf("figure: capacity %.0f/s (closed loop of 4 connections), P50 %v, P99 %v", capacity, closed.Service.Percentile(50), closed.Service.Percentile(99))
		if err := closed.Err(); err != nil {
			breaks("at capacity: %v", err)
		}
		good := map[float64]float64{}
		for _, times := range []float64{1, 2, 5, 10} {
			stop, worst := make(chan struct{}), make(chan time.Duration)
			go func() { worst <- p.alive(stop) }()
			r := p.load(ask, overloadConnections, times*capacity, *duration)
			close(stop)
			lives := <-worst
			full, fullP99 := count(r, 429)
			late, lateP99 := count(r, 504)
			good[times] = r.Throughput()
			t.Logf("figure: %.0f times the capacity: %.0f/s good, accepted P50 %v P99 %v; 429: %d, P99 %v; 504: %d, P99 %v; /livez at most %v; %d not sent",
				times, r.Throughput(), r.Service.Percentile(50), r.Service.Percentile(99), full, fullP99, late, lateP99, lives, r.Planned-r.Sent)
			figures = append(figures, fmt.Sprintf("%.0f times: %.0f/s good, P99 %.0f ms, refusals P99 %.2f ms", times, r.Throughput(), ms(r.Service.Percentile(99)), ms(fullP99)))
			refused += full + late
			if r.Broken > 0 || r.Wrong > 0 || r.Good+full+late != r.Answered {
				t.Errorf("%.0f times: %v", times, r.Err())
			}
			if times >= 5 && full == 0 {
				breaks("%.0f times: nothing was refused with 429", times)
			}
			if times > 1 && full > 0 && fullP99 > refusalMax {
				breaks("%.0f times: refusals took %v", times, fullP99)
			}
			if lives > aliveMax {
				breaks("%.0f times: /livez took %v", times, lives)
			}
		}
		// Within five seconds everything is as before.
		begun := time.Now()
		for {
			r := p.load(ask, 8, capacity/2, 500*time.Millisecond)
			if took := time.Since(begun); r.Err() == nil || took > normalMax {
				if t.Logf("figure: normal %v after the overload, P99 %v", took, r.Service.Percentile(99)); r.Err() != nil {
					breaks("at half the capacity after the overload: %v", r.Err())
				}
				figures = append(figures, fmt.Sprintf("normal after %.1f s", took.Seconds()))
				break
			}
		}
		again := p.load(ask, 4, 0, min(*duration, 5*time.Second)).Throughput()
		peak := slices.Max([]float64{min(capacity, again), good[1], good[2]})
		figures = append(figures, fmt.Sprintf("at 5 times %.0f %% of the peak", 100*good[5]/peak))
		if good[5] < goodputMin*peak {
			breaks("%.0f/s good at five times the capacity, want %.2f of the peak of %.0f/s", good[5], goodputMin, peak)
		}
		return broken
	})
	if n := p.metric("carla_rl_requests_shed_total", `priority="control"`); n == 0 {
		t.Error("no metric tells of what was refused")
	}
	ledger.Add(t, ledger.Row{
		ID: "L2", Test: "one, two, five and ten times the capacity, then half of it", Load: fmt.Sprintf("up to %.0f requests/s of %d observations for %v each, %d connections", 10*capacity, overloadRows, *duration, overloadConnections),
		Inputs: ledger.N(int(refused), "requests too many, refused"), Lost: ledger.Nothing, Figures: figures,
	})
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
