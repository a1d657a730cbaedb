package policy

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Call is one call of a policy for one or more rows. It belongs to the caller,
// who may use it again.
type Call struct {
	Rows int
	// In holds, for each input of the contract, Rows×Width values in row-major
	// order that have been checked against the contract (Contract.Check).
	In [][]float32
	// Actions has room for Rows×ActionWidth values.
	Actions       []float32
	Deterministic bool
	// Seed, Step and Row key the draws of a stochastic policy: row i of the
	// call is drawn as row Row+i of that seed and step, so that it has the same
	// draws in every batch.
	Seed, Step, Row uint64
	// State holds, for each part of the contract's state, Rows×Width values,
	// which the call replaces by those of the next step. A call that fails
	// leaves them as they were. Nil for a policy that keeps none.
	State [][]float32
	// Masks has Rows×Masks values, 0 for each action that may not be taken;
	// nil allows all.
	Masks []float32
	// Extras has room, for each of Contract.Extras, for Rows×Width values; nil
	// asks for none. They tell of what the policy gave, also where its envelope
	// has the action otherwise.
	Extras [][]float32

	// Raw leaves out the envelope of a policy that has one: the actions are
	// what its network gives, only held to be finite.
	Raw bool
	// Histories has, for each row, that of the stream which the row is a step
	// of, nil for none; nil for a call without any.
	Histories []*envelope.History
	// Interventions is what the envelope changed, in the order of the rows. A
	// call that begins cuts it to nothing and uses its memory again.
	Interventions []envelope.Intervention
	// Enveloping is how long the call took to hold its actions to the
	// envelope; 0 where there is none.
	Enveloping time.Duration
	// First tells that the call was the runner's first in its form, and took the
	// time to compile it or to make its memory as well.
	First bool
}

// Runner acts for one lane. It owns the memory of its programs.
type Runner struct {
	policy    *Policy
	width     int // of one action row
	low, high []float32
	runs      [len(forms{})]ProgramRunner // made when first used
	plain     bool                        // observation in, action out, and nothing else

	action  [1][]float32
	in, out [][]float32 // of one run, in the order of the graph
	next    [][]float32 // the state after the run
	rowIn   [][]float32 // of one row, for a policy that takes them in turn
	rowOut  [][]float32
}

// ActionError says that a policy answered with a value that may not leave as
// an action, or came to no answer. Nothing of the answer is to be used.
type ActionError struct {
	Row    int
	Action string // the action's name, or its position where it has none
	Value  float32
	Low    float64
	High   float64
	// Fallback is the word of one that has nothing to put in the place of the
	// action, because it is made of the action before and there is none; empty
	// otherwise.
	Fallback string

	// Err is why there is no value; nil where there is one. It is
	// graph.ErrStepBudget for a policy whose loops go on and on.
	Err error
}

// Unwrap returns Err.
func (e *ActionError) Unwrap() error { return e.Err }

func (e *ActionError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("the policy gave no action for row %d: %v", e.Row, e.Err)
	}
	text := fmt.Sprintf("the policy gave %v for action %s of row %d, outside its contract of %v to %v", e.Value, e.Action, e.Row, e.Low, e.High)
	if v := float64(e.Value); math.IsNaN(v) || math.IsInf(v, 0) {
		text = fmt.Sprintf("the policy gave %v for action %s of row %d, which is not finite", e.Value, e.Action, e.Row)
	}
	if e.Fallback != "" {
		text += "; the fallback " + e.Fallback + " has no action before this one"
	}
	return text
}

// newRunner returns a runner whose forms without masks have run once.
func (p *Policy) newRunner() (*Runner, error) {
	c := &p.contract
	r := &Runner{policy: p, width: c.ActionWidth(), next: make([][]float32, len(c.State))}
	r.plain = len(c.State) == 0 && p.batchable
	r.low, r.high = c.actionBounds()
	return r, r.warm()
}

// warm runs the forms without masks on a row of zeros, whose result is of no
// interest: zeros may lie outside the contract. A form that compiled runs one
// row, unless an engine finds out only then that it cannot.
func (r *Runner) warm() error {
	c := r.policy.newCall(1)
	for _, c.Deterministic = range []bool{true, false} {
		var unusable *ActionError
		if err := r.Act(c); err != nil && !errors.As(err, &unusable) {
			return fmt.Errorf("the policy does not run: %w", err)
		}
	}
	return nil
}

// newCall returns a call with memory of its own, at the start of an episode. It
// shows what the network gives, for golden vectors and trials: a policy that is
// broken is not to be taken for one that falls back.
func (p *Policy) newCall(rows int) *Call {
	c := &Call{Rows: rows, Deterministic: true, Raw: true, Actions: make([]float32, rows*p.contract.ActionWidth()), State: p.contract.NewState(rows)}
	for _, in := range p.contract.Inputs {
		c.In = append(c.In, make([]float32, rows*in.Width))
	}
	return c
}

// Act computes the actions of the call's rows, and with them its extras and
// the state of the next step. An *ActionError means that no value of either may
// be used.
func (r *Runner) Act(c *Call) error {
	i := formOf(c.Deterministic, c.Masks != nil, c.Extras != nil)
	run := r.runs[i]
	if c.First = run == nil; c.First {
		var err error
		if run, err = r.start(i); err != nil {
			return err
		}
	}
	noise := graph.Noise{Seed: c.Seed, Step: c.Step, Row: c.Row}
	actions := c.Actions[:c.Rows*r.width]
	if r.plain && c.Masks == nil && c.Extras == nil {
		r.action[0] = actions
		if err := run.Run(c.Rows, c.In, r.action[:], noise); err != nil {
			return err
		}
		return r.check(c, actions)
	}
	if err := r.gather(c); err != nil {
		return err
	}
	if err := r.runRows(run, c.Rows, noise); err != nil {
		return err
	}
	if err := r.check(c, actions); err != nil {
		return err
	}
	for i, next := range r.next {
		copy(c.State[i], next)
	}
	return nil
}

// start makes the runner of a form.
func (r *Runner) start(i int) (ProgramRunner, error) {
	f := r.policy.forms[i]
	if f == nil {
		return nil, errors.New("the policy takes no action masks")
	}
	for j, other := range r.policy.forms {
		if other == f && r.runs[j] != nil {
			r.runs[i] = r.runs[j]
			return r.runs[i], nil
		}
	}
	program, err := f.compile()
	if err != nil {
		return nil, err
	}
	r.runs[i] = program.NewRunner()
	return r.runs[i], nil
}

// gather puts the memory of the call in the order of the graph, cut to what
// its rows need.
func (r *Runner) gather(c *Call) error {
	contract := &r.policy.contract
	if len(c.In) != len(contract.Inputs) || len(c.State) != len(contract.State) || c.Extras != nil && len(c.Extras) != len(contract.Extras) {
		return fmt.Errorf("policy: a call with %d inputs, %d states and %d extras; the policy has %d, %d and %d",
			len(c.In), len(c.State), len(c.Extras), len(contract.Inputs), len(contract.State), len(contract.Extras))
	}
	g := gathering{rows: c.Rows, to: r.in[:0]}
	for i, x := range c.In {
		g.add(contract.Inputs[i].Name, x, contract.Inputs[i].Width)
	}
	if c.Masks != nil {
		g.add(masksInput, c.Masks, contract.Masks)
	}
	for i, x := range c.State {
		g.add(contract.State[i].Name, x, contract.State[i].Width)
	}
	r.in, g.to = g.to, r.out[:0]
	g.add("action", c.Actions, r.width)
	for i, x := range c.Extras {
		g.add(contract.Extras[i].Name, x, contract.Extras[i].Width)
	}
	for i := range r.next {
		want := c.Rows * contract.State[i].Width
		if cap(r.next[i]) < want {
			r.next[i] = make([]float32, want)
		}
		r.next[i] = r.next[i][:want]
		g.to = append(g.to, r.next[i])
	}
	r.out = g.to
	return g.err
}

// gathering collects slices of a call.
type gathering struct {
	rows int
	to   [][]float32
	err  error // the first
}

func (g *gathering) add(name string, x []float32, width int) {
	want := g.rows * width
	if len(x) < want {
		if g.err == nil {
			g.err = fmt.Errorf("policy: %s has %d values, %d rows need %d", name, len(x), g.rows, want)
		}
		return
	}
	g.to = append(g.to, x[:want])
}

// runRows runs all rows together, or in turn where the policy takes no
// batches.
func (r *Runner) runRows(run ProgramRunner, rows int, noise graph.Noise) error {
	if r.policy.batchable {
		return run.Run(rows, r.in, r.out, noise)
	}
	first := noise.Row
	for row := range rows {
		noise.Row = first + uint64(row)
		r.rowIn, r.rowOut = r.rowIn[:0], r.rowOut[:0]
		for _, x := range r.in {
			r.rowIn = append(r.rowIn, part(x, row, rows))
		}
		for _, x := range r.out {
			r.rowOut = append(r.rowOut, part(x, row, rows))
		}
		err := run.Run(1, r.rowIn, r.rowOut, noise)
		switch {
		case errors.Is(err, graph.ErrStepBudget):
			return &ActionError{Row: row, Err: graph.ErrStepBudget}
		case err != nil:
			return fmt.Errorf("row %d: %w", row, err)
		}
	}
	return nil
}

// part is one of the equal parts of x.
func part(x []float32, i, parts int) []float32 {
	n := len(x) / parts
	return x[i*n : (i+1)*n]
}

// check holds the actions of a call to the envelope, or to the contract where
// there is none.
func (r *Runner) check(c *Call, actions []float32) error {
	c.Interventions, c.Enveloping = c.Interventions[:0], 0
	switch {
	case r.policy.envelope == nil:
		return r.checkContract(c.Rows, actions)
	case c.Raw:
		return r.finite(actions)
	}
	begun := time.Now()
	err := r.envelop(c, actions)
	c.Enveloping = time.Since(begun)
	if err != nil {
		c.Interventions = c.Interventions[:0]
	}
	return err
}

func (r *Runner) checkContract(rows int, actions []float32) error {
	for row := range rows {
		action := actions[row*r.width:][:r.width]
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

func (r *Runner) refuse(row, i int, v float32) *ActionError {
	actions := r.policy.contract.Actions
	for j := range actions {
		if a := &actions[j]; i >= a.Offset && i < a.Offset+a.Size {
			return &ActionError{Row: row, Action: a.name(i - a.Offset), Value: v, Low: a.Low, High: a.High}
		}
	}
	panic("policy: an action value belongs to no action")
}
