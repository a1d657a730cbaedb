package main

import (
	"errors"
	"fmt"
	"math"

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
	in := make([][]float32, len(contract.Inputs))
	for i := range in {
		in[i] = make([]float32, len(rows)*contract.Inputs[i].Width)
	}
	for row, obs := range rows {
		if err := contract.Pack(obs, row, in); err != nil {
			return nil, err
		}
	}
	if err := contract.Check(len(rows), in); err != nil {
		return nil, err
	}
	deterministic := contract.DeterministicDefault
	if q.Deterministic != nil {
		deterministic = *q.Deterministic
	}
	actions, err := c.actions(p, len(rows), in, deterministic, *q.Seed)
	if err != nil {
		return nil, err
	}
	answer := appendActions([]byte(`{"actions":`), contract, len(rows), actions)
	names, outs, err := c.outputs(p, len(rows), in)
	if err != nil {
		return nil, err
	}
	return append(object(append(answer, `,"outputs":`...), names, outs), '}'), nil
}

// outputs computes what the network of the policy gives beside the action: its
// mean, its value, ..., of the deterministic form.
func (c *predictCmd) outputs(p *policy.Policy, rows int, in [][]float32) ([]string, []values, error) {
	g := p.Detailed()
	if g == nil {
		return nil, nil, nil
	}
	tensors := make([]*tensor, len(in))
	for i, data := range in {
		tensors[i] = &tensor{shape: []int{rows, p.Contract().Inputs[i].Width}, data: make([]float64, len(data))}
		for j, v := range data {
			tensors[i].data[j] = float64(v)
		}
	}
	outs, err := evaluate(g, c.Engine, rows, tensors, graph.Noise{})
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, o := range g.Outputs[1:] {
		names = append(names, o.Name)
	}
	return names, outs[1:], nil
}

// actions runs the policy on the engine that was asked for.
func (c *predictCmd) actions(p *policy.Policy, rows int, in [][]float32, deterministic bool, seed uint64) ([]float32, error) {
	contract := p.Contract()
	out := make([]float32, rows*contract.ActionWidth())
	if c.Engine == enginePlan {
		err := p.Runner(0).Act(rows, in, out, deterministic, seed)
		return out, err
	}
	if !deterministic && contract.Stochastic {
		return nil, errors.New("unsupported: sampling with --engine reference")
	}
	tensors := make([]*graph.Tensor, len(in))
	for i, data := range in {
		tensors[i] = graph.Float32s(data, rows, contract.Inputs[i].Width)
	}
	outs, err := graph.Evaluate(p.Composed(), rows, tensors, graph.Noise{Seed: seed})
	if err != nil {
		return nil, err
	}
	for i := range out {
		v := outs[0].At(i)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("the policy gave %v, which is not finite", v)
		}
		out[i] = float32(v)
	}
	return out, nil
}

// policy opens the policy that the flags name.
func (c *predictCmd) policy() (*policy.Policy, error) {
	if c.Preprocessor != "" || c.VecNormalize != "" {
		return openWith(c.Model, c.Preprocessor, c.VecNormalize)
	}
	dir, _, err := artifactFolder(c.Model)
	if err != nil {
		return nil, err
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	return policy.Open(a)
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
