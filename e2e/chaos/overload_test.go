//go:build e2e

package chaos_test

import (
	"testing"
	"time"
)

// What an overload may cost, in refusalMax the 99th percentile from the sending
// of a request that is refused.
const (
	goodputMin = 0.9 // of the peak, at five times the capacity
	refusalMax = 5 * time.Millisecond
	aliveMax   = 50 * time.Millisecond
)

// overloadConnections are more than the server has room for, so that what is
// too much reaches it.
const overloadConnections = 512

// overloadRows make a request one of several milliseconds: what is measured is
// the queue, and not how fast this machine can read what it refuses.
const overloadRows = 16

// TestOverload (L2): a server that is asked for one, two, five and ten times
// what it can do goes on doing it, refuses the rest at once, says that it lives,
// and is itself again when the load is gone.
func TestOverload(t *testing.T) {
	p := serve(t, "WORKERS=1", "CARLA_RL_MAX_QUEUE=64")
	ask := p.request(slow, `{"priority":"control","observations":`+observations(overloadRows)+`,"deterministic":true}`)
	p.load(ask, 4, 0, 2*time.Second) // until it is known how long a call takes
	closed := p.load(ask, 8, 0, min(*duration, 5*time.Second))
	capacity := closed.Throughput()
	t.Logf("figure: capacity %.0f/s (closed loop of 8 connections), P50 %v, P99 %v", capacity, closed.Service.Percentile(50), closed.Service.Percentile(99))
	if err := closed.Err(); err != nil {
		t.Errorf("at capacity: %v", err)
	}
	peak := capacity
	for _, times := range []float64{1, 2, 5, 10} {
		stop, worst := make(chan struct{}), make(chan time.Duration)
		go func() { worst <- p.alive(stop) }()
		r := p.load(ask, overloadConnections, times*capacity, *duration)
		close(stop)
		lives := <-worst
		full, fullP99 := count(r, 429)
		late, lateP99 := count(r, 504)
		t.Logf("figure: %.0f times the capacity: %.0f/s good, accepted P50 %v P99 %v; 429: %d, P99 %v; 504: %d, P99 %v; /livez at most %v; %d not sent",
			times, r.Throughput(), r.Service.Percentile(50), r.Service.Percentile(99), full, fullP99, late, lateP99, lives, r.Planned-r.Sent)
		peak = max(peak, r.Throughput())
		if r.Broken > 0 || r.Wrong > 0 || r.Good+full+late != r.Answered {
			t.Errorf("%.0f times: %v", times, r.Err())
		}
		if times == 5 && r.Throughput() < goodputMin*peak {
			t.Errorf("%.0f/s good at five times the capacity, want %.2f of the peak of %.0f/s", r.Throughput(), goodputMin, peak)
		}
		if times >= 5 && full == 0 {
			t.Errorf("%.0f times: nothing was refused with 429", times)
		}
		if full > 0 && fullP99 > refusalMax {
			t.Errorf("%.0f times: refusals took %v", times, fullP99)
		}
		if lives > aliveMax {
			t.Errorf("%.0f times: /livez took %v", times, lives)
		}
	}
	// Within five seconds everything is as before.
	begun := time.Now()
	for {
		r := p.load(ask, 8, capacity/2, 500*time.Millisecond)
		if r.Err() == nil {
			t.Logf("figure: normal %v after the overload, P99 %v", time.Since(begun), r.Service.Percentile(99))
			break
		}
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("at half the capacity after the overload: %v", r.Err())
		}
	}
	if n := p.metric("carla_rl_requests_shed_total", `priority="control"`); n == 0 {
		t.Error("no metric tells of what was refused")
	}
}
