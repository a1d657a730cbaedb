package policy

import (
	"errors"
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// Runner acts for one lane. It owns the memory of its plans.
type Runner struct {
	contract      *Contract
	width         int // of one action row
	low, high     []float32
	deterministic *plan.Runner
	stochastic    *plan.Runner
	out           [1][]float32
}

// ActionError says that a policy answered with a value that may not leave as
// an action. Nothing of the answer is to be used.
type ActionError struct {
	Row    int
	Action string // the action's name, or its position where it has none
	Value  float32
	Low    float64
	High   float64
}

func (e *ActionError) Error() string {
	if v := float64(e.Value); math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Sprintf("the policy gave %v for action %s of row %d, which is not finite", e.Value, e.Action, e.Row)
	}
	return fmt.Sprintf("the policy gave %v for action %s of row %d, outside its contract of %v to %v", e.Value, e.Action, e.Row, e.Low, e.High)
}

func (p *Policy) newRunner() *Runner {
	r := &Runner{
		contract:      &p.contract,
		width:         p.contract.ActionWidth(),
		deterministic: p.deterministic.plan.NewRunner(),
	}
	r.stochastic = r.deterministic
	if p.contract.Stochastic {
		r.stochastic = p.stochastic.plan.NewRunner()
	}
	r.low, r.high = p.contract.actionBounds()
	r.warm()
	return r
}

// warm runs both plans on a row of zeros, whose result is of no interest:
// zeros may lie outside the contract. A plan that compiled runs one row.
func (r *Runner) warm() {
	in := make([][]float32, len(r.contract.Inputs))
	for i := range in {
		in[i] = make([]float32, r.contract.Inputs[i].Width)
	}
	actions := make([]float32, r.width)
	for _, deterministic := range []bool{true, false} {
		var unusable *ActionError
		if err := r.Act(1, in, actions, deterministic, 0); err != nil && !errors.As(err, &unusable) {
			panic("policy: a compiled plan does not run: " + err.Error())
		}
	}
}

// Act computes rows actions. in holds, for each input of the contract,
// rows×Width values in row-major order that have been checked against the
// contract (Contract.Check); actions has room for rows×ActionWidth values.
// seed keys the draws of a stochastic policy: the same seed, row for row,
// gives the same actions in every batch. An *ActionError means that no value
// of actions may be used.
func (r *Runner) Act(rows int, in [][]float32, actions []float32, deterministic bool, seed uint64) error {
	run := r.stochastic
	if deterministic {
		run = r.deterministic
	}
	r.out[0] = actions[:rows*r.width]
	if err := run.Run(rows, in, r.out[:], graph.Noise{Seed: seed}); err != nil {
		return err
	}
	for row := range rows {
		action := r.out[0][row*r.width:][:r.width]
		for i, v := range action {
			// Written so that a NaN, which compares false, is refused.
			if v >= r.low[i] && v <= r.high[i] && v-v == 0 {
				continue
			}
			bound, ok := r.snap(i, v)
			if !ok {
				return r.refuse(row, i, v)
			}
			action[i] = bound
		}
	}
	return nil
}

// snap returns the bound of action value i that v has passed by no more than
// rounding: an action that is unscaled, low + (a+1)/2·(high-low), may end some
// units in the last place beyond its bound where a is 1 or -1.
func (r *Runner) snap(i int, v float32) (float32, bool) {
	const ulps = 4 * 0x1p-23 // of the larger bound
	low, high := r.low[i], r.high[i]
	slack := ulps * max(-low, low, -high, high)
	switch {
	case slack-slack != 0: // a side without a bound
	case v > high && v <= high+slack:
		return high, true
	case v < low && v >= low-slack:
		return low, true
	}
	return 0, false
}

func (r *Runner) refuse(row, i int, v float32) error {
	for j := range r.contract.Actions {
		if a := &r.contract.Actions[j]; i >= a.Offset && i < a.Offset+a.Size {
			return &ActionError{Row: row, Action: a.name(i - a.Offset), Value: v, Low: a.Low, High: a.High}
		}
	}
	panic("policy: an action value belongs to no action")
}
