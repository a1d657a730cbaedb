package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// observations are rows for a policy, by its contract.
type observations struct {
	rows  int
	in    [][]float32 // by Contract.Inputs, rows×Width each
	masks []float32   // rows×Contract.Masks, nil where everything is allowed

	// episodeStart makes of the rows one sequence, in which an episode begins
	// where it is true; nil where each row is an episode of its own.
	episodeStart []bool

	// step and row key the draws: row i is drawn as row row+i, or in a sequence
	// as row row of step step+i.
	step, row uint64

	// enveloped has the actions held to the policy's envelope, as a server
	// does. Comparisons look at what its network gives.
	enveloped bool
}

// newObservations has room for rows.
func newObservations(c *policy.Contract, rows int) *observations {
	o := &observations{rows: rows}
	for i := range c.Inputs {
		o.in = append(o.in, make([]float32, rows*c.Inputs[i].Width))
	}
	return o
}

// sequence tells whether the rows are to go through a policy in their order.
func (o *observations) sequence(c *policy.Contract) bool {
	return o.episodeStart != nil && (len(c.State) > 0 || o.enveloped && c.NeedsHistory())
}

// answer is what a policy gave for observations.
type answer struct {
	actions []float32 // rows×ActionWidth
	names   []string  // of the outputs
	outputs []values

	interventions []envelope.Intervention
}

// ask acts on the rows.
func ask(p *policy.Policy, o *observations, deterministic bool, seed uint64) (*answer, error) {
	if o.sequence(p.Contract()) {
		return askSequence(p, o, deterministic, seed)
	}
	call := newCall(p, o.rows)
	call.In, call.Masks = o.in, o.masks
	call.Step, call.Row = o.step, o.row
	call.Deterministic, call.Seed, call.Raw = deterministic, seed, !o.enveloped
	if err := p.Runner(0).Act(call); err != nil {
		return nil, err
	}
	a := &answer{actions: call.Actions, interventions: call.Interventions}
	a.addExtras(p, o.rows, call.Extras)
	return a, nil
}

// askSequence acts on one row after another and carries the state. The state
// after each step is one of the outputs.
func askSequence(p *policy.Policy, o *observations, deterministic bool, seed uint64) (*answer, error) {
	c := p.Contract()
	call := newCall(p, 1)
	call.Deterministic, call.Seed, call.Raw = deterministic, seed, !o.enveloped
	history := envelope.NewHistory(c.ActionWidth())
	call.Histories = []*envelope.History{history}
	a := &answer{}
	extras := make([][]float32, len(c.Extras))
	states := make([][]float32, len(c.State))
	for row := range o.rows {
		for i := range c.Inputs {
			w := c.Inputs[i].Width
			call.In[i] = o.in[i][row*w:][:w]
		}
		if o.masks != nil {
			call.Masks = o.masks[row*c.Masks:][:c.Masks]
		}
		if o.episodeStart[row] {
			c.ResetState(call.State, 0)
			history.Reset()
		}
		call.Step, call.Row = o.step+uint64(row), o.row
		if err := p.Runner(0).Act(call); err != nil {
			return nil, fmt.Errorf("step %d: %w", row, err)
		}
		a.actions = append(a.actions, call.Actions...)
		for _, v := range call.Interventions {
			v.Row = row
			a.interventions = append(a.interventions, v)
		}
		for i := range extras {
			extras[i] = append(extras[i], call.Extras[i]...)
		}
		for i := range states {
			states[i] = append(states[i], call.State[i]...)
		}
	}
	a.addExtras(p, o.rows, extras)
	for i, s := range c.State {
		a.add(s.Name, values{shape: append([]int{o.rows}, s.Shape...), dtype: graph.Float32, data: float64s(states[i])})
	}
	return a, nil
}

func (a *answer) add(name string, v values) {
	a.names, a.outputs = append(a.names, name), append(a.outputs, v)
}

// addExtras adds what the policy gave beside the action, the parameters of its
// distribution by their own names.
func (a *answer) addExtras(p *policy.Policy, rows int, extras [][]float32) {
	for i, spec := range p.Contract().Extras {
		a.add(extraName(&spec), newValues(p, spec, rows, extras[i]))
	}
}

// extraName is the name of an extra among the outputs of predict.
func extraName(e *policy.ExtraSpec) string { return strings.TrimPrefix(e.Name, "distribution.") }

// newCall returns a call with room for rows, each at the start of an episode.
func newCall(p *policy.Policy, rows int) *policy.Call {
	c := p.Contract()
	call := &policy.Call{Rows: rows, Actions: make([]float32, rows*c.ActionWidth()), State: c.NewState(rows)}
	for _, in := range c.Inputs {
		call.In = append(call.In, make([]float32, rows*in.Width))
	}
	for _, e := range c.Extras {
		call.Extras = append(call.Extras, make([]float32, rows*e.Width))
	}
	return call
}

// newValues gives an output its shape: the rows first, unless it is one for
// all rows.
func newValues(p *policy.Policy, spec policy.ExtraSpec, rows int, data []float32) values {
	v := values{dtype: spec.DType, shape: spec.Shape}
	if spec.Fixed {
		data = data[:spec.Width]
	} else {
		v.shape = append([]int{rows}, spec.Shape...)
	}
	if v.dtype == graph.Float64 && p.Engine() != policy.Reference {
		v.dtype = graph.Float32 // It was computed in float32; more digits would be noise.
	}
	v.data = float64s(data)
	if name := extraName(&spec); name == "logits" || name == "probs" {
		v.parts = choices(p, spec.Width)
	}
	return v
}

// choices are the numbers of the categories of an action that is several
// choices, whose logits lie side by side; nil for any other.
func choices(p *policy.Policy, width int) []int {
	s := p.Description().Spaces
	if s == nil {
		return nil
	}
	parts := categories(s.Action.Text)
	sum := 0
	for _, n := range parts {
		sum += n
	}
	if sum != width {
		return nil
	}
	return parts
}

// difference is how far two lists of numbers are from each other.
type difference struct {
	Max      float64 // of |a-b|; the largest number where only one is finite
	Mean     float64 // of |a-b|
	Relative float64 // largest |a-b|/|b|
	At       int     // element of Max
	Failed   int     // elements beyond the tolerance
}

// differ compares a with b, which is taken for right, element by element:
// |a-b| <= atol + rtol·|b|. NaN is equal to NaN, and an infinity to itself.
func differ(a, b []float64, atol, rtol float64) difference {
	var d difference
	for i := range b {
		if a[i] == b[i] || math.IsNaN(a[i]) && math.IsNaN(b[i]) {
			continue
		}
		e := math.Abs(a[i] - b[i])
		apart := !(e <= math.MaxFloat64)
		if apart {
			e = math.MaxFloat64 // which JSON can hold
		}
		d.Mean += e / float64(len(b))
		if e > d.Max {
			d.Max, d.At = e, i
		}
		if b[i] != 0 {
			d.Relative = max(d.Relative, min(e/math.Abs(b[i]), math.MaxFloat64))
		}
		if apart || !(e <= atol+rtol*math.Abs(b[i])) {
			d.Failed++
		}
	}
	d.Mean = min(d.Mean, math.MaxFloat64)
	return d
}
