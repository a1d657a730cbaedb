package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

const (
	benchSamples = 31
	benchSample  = 5 * time.Millisecond
)

// benchRows are the numbers of rows at which a policy is measured alone.
var benchRows = []int{1, 8, 32, 128}

// benchAlone measures calls of the policy on one lane, checked observations in
// and actions out.
func benchAlone(p *policy.Policy, bar *benchBar) ([]benchForward, error) {
	p.Prepare(1)
	runner := p.Runner(0)
	c := p.Contract()
	var all []benchForward
	for i, rows := range benchRows {
		bar.show(float64(i)/float64(len(benchRows)), "the policy alone")
		o := newSampler(p, 1).sample(rows)
		call := &policy.Call{Rows: rows, In: o.in, Actions: make([]float32, rows*c.ActionWidth()), Deterministic: true, State: c.NewState(rows)}
		act := func() (time.Duration, error) {
			begin := time.Now()
			err := runner.Act(call)
			return time.Since(begin), err
		}
		if _, err := act(); err != nil {
			return nil, fmt.Errorf("%d rows: %w", rows, err)
		}
		first, err := act()
		if err != nil {
			return nil, err
		}
		n := max(1, int(benchSample/max(first, 1)))
		var times []float64
		for range benchSamples {
			begin := time.Now()
			for range n {
				if err := runner.Act(call); err != nil {
					return nil, err
				}
			}
			times = append(times, float64(time.Since(begin))/float64(n))
		}
		slices.Sort(times)
		median := times[len(times)/2]
		all = append(all, benchForward{rows, median, times[0], float64(rows) / median * 1e9, n})
	}
	bar.done++
	return all, nil
}
