package main

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// act asks the policy for the actions of observations.
func (c *predictCmd) act(q *question) ([]byte, error) {
	p, err := c.policy()
	if err != nil {
		return nil, err
	}
	var rows []any
	if err := json.Unmarshal(q.Observations, &rows); err != nil {
		return nil, fmt.Errorf("input: observations: %w", err)
	}
	if len(rows) == 0 {
		return nil, errors.New("input: observations: expected at least one, got none")
	}
	contract := p.Contract()
	call := newCall(p, len(rows))
	for row, obs := range rows {
		if err := contract.Pack(obs, row, call.In); err != nil {
			return nil, err
		}
	}
	if err := contract.Check(len(rows), call.In); err != nil {
		return nil, err
	}
	call.Deterministic, call.Seed = contract.DeterministicDefault, *q.Seed
	if q.Deterministic != nil {
		call.Deterministic = *q.Deterministic
	}
	if err := p.Runner(0).Act(call); err != nil {
		return nil, err
	}
	answer := appendActions([]byte(`{"actions":`), contract, len(rows), call.Actions)
	names, outs := outputs(p, call)
	return append(object(append(answer, `,"outputs":`...), names, outs), '}'), nil
}

// newCall returns a call with room for rows, each at the start of an episode.
func newCall(p *policy.Policy, rows int) *policy.Call {
	c := p.Contract()
	call := &policy.Call{Rows: rows, Actions: make([]float32, rows*c.ActionWidth()), State: p.NewState(rows)}
	for _, in := range c.Inputs {
		call.In = append(call.In, make([]float32, rows*in.Width))
	}
	for _, o := range p.Outputs() {
		call.Outputs = append(call.Outputs, make([]float32, rows*o.Width))
	}
	return call
}

// outputs returns what the policy gave beside the actions: its mean, its
// value, ..., each with the rows first unless it is one for all rows.
func outputs(p *policy.Policy, call *policy.Call) ([]string, []values) {
	var names []string
	var outs []values
	for i, o := range p.Outputs() {
		data := call.Outputs[i]
		v := values{dtype: o.DType, shape: o.Shape}
		if o.Fixed {
			data = data[:o.Width]
		} else {
			v.shape = append([]int{call.Rows}, o.Shape...)
		}
		if v.dtype == graph.Float64 && p.Engine() == policy.Plan {
			v.dtype = graph.Float32 // The plan computes in float32; more digits would be noise.
		}
		for _, f := range data {
			v.data = append(v.data, float64(f))
		}
		names, outs = append(names, o.Name), append(outs, v)
	}
	return names, outs
}

// policy opens the policy that the flags name.
func (c *predictCmd) policy() (*policy.Policy, error) {
	o := policy.Options{Engine: policy.Plan, Detailed: true}
	if c.Engine == engineReference {
		o.Engine = policy.Reference
	}
	if c.Preprocessor != "" || c.VecNormalize != "" {
		return openWith(c.Model, c.Preprocessor, c.VecNormalize, o)
	}
	dir, _, err := artifactFolder(c.Model)
	if err != nil {
		return nil, err
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	return policy.Open(a, o)
}

// appendActions appends rows of actions as the contract names them: an object
// a row, or a list where the actions have no names.
func appendActions(b []byte, c *policy.Contract, rows int, actions []float32) []byte {
	width := c.ActionWidth()
	b = append(b, '[')
	for row := range rows {
		if row > 0 {
			b = append(b, ',')
		}
		values := actions[row*width:][:width]
		if len(c.Actions) == 1 && c.Actions[0].Name == "" {
			b = appendAction(b, &c.Actions[0], values)
			continue
		}
		b = append(b, '{')
		for i := range c.Actions {
			a := &c.Actions[i]
			if i > 0 {
				b = append(b, ',')
			}
			b, _ = jsontext.AppendQuote(b, a.Name)
			b = append(b, ':')
			b = appendAction(b, a, values[a.Offset:][:a.Size])
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendAction(b []byte, a *policy.Action, data []float32) []byte {
	v := values{shape: a.Shape, dtype: graph.Float32, data: make([]float64, len(data))}
	if a.Discrete {
		v.dtype = graph.Int64
	}
	for i, f := range data {
		v.data[i] = float64(f)
	}
	return v.append(b)
}
