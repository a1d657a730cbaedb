package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// act asks the policy for the actions of observations.
func (c *predictCmd) act(q *question) ([]byte, error) {
	engine, err := openEngine(c.Engine)
	if err != nil {
		return nil, err
	}
	p, err := openPolicy(c.Model, c.Preprocessor, c.VecNormalize, q.rowShape(), policy.Options{Engine: engine})
	if err != nil {
		return nil, err
	}
	contract := p.Contract()
	o, err := q.pack(contract)
	if err != nil {
		return nil, err
	}
	deterministic := contract.DeterministicDefault
	if q.Deterministic != nil {
		deterministic = *q.Deterministic
	}
	o.enveloped = true
	a, err := ask(p, o, deterministic, *q.Seed)
	if err != nil {
		return nil, err
	}
	b := append(appendActions([]byte(`{"actions":`), contract, o.rows, a.actions), `,"outputs":`...)
	if b, err = c.selected(b, a.names, a.outputs); err != nil {
		return nil, err
	}
	if len(a.interventions) > 0 {
		b = append(b, `,"interventions":`...)
		b = server.AppendInterventions(b, contract, a.interventions)
	}
	if moving := contract.Moving(); moving != nil && !o.sequence(contract) {
		b = append(b, `,"unheld":`...)
		b = server.AppendUnheld(b, moving)
	}
	return append(b, '}'), nil
}

// rowShape is the shape of one observation that is given as nested lists, nil
// for any other.
func (q *question) rowShape() []int {
	if q.Observations.Kind() != '[' {
		return nil
	}
	t, err := parseTensor(q.Observations)
	if err != nil || len(t.shape) < 2 || len(t.data) == 0 {
		return nil
	}
	return t.shape[1:]
}

// pack puts the question into the form of the contract and holds it to that.
func (q *question) pack(c *policy.Contract) (*observations, error) {
	rows, err := observationRows(q.Observations)
	if err != nil {
		return nil, fmt.Errorf("input: observations: %w", err)
	}
	o := newObservations(c, len(rows))
	o.step, o.row = q.Step, q.Row
	for row, obs := range rows {
		if err := c.Pack(boolsAsNumbers(c, obs), row, o.in); err != nil {
			return nil, err
		}
	}
	if err := c.Check(len(rows), o.in); err != nil {
		return nil, err
	}
	if q.EpisodeStart != nil {
		t, err := parseTensor(q.EpisodeStart)
		if err == nil && (len(t.shape) != 1 || len(t.data) != len(rows)) {
			err = fmt.Errorf("expected %d values of true or false, got the shape %v", len(rows), t.shape)
		}
		if err != nil {
			return nil, fmt.Errorf("input: episode_start: %w", err)
		}
		for _, f := range t.data {
			o.episodeStart = append(o.episodeStart, f != 0)
		}
	}
	if q.ActionMasks != nil {
		if o.masks, err = q.masks(c, len(rows)); err != nil {
			return nil, fmt.Errorf("input: action_masks: %w", err)
		}
	}
	return o, nil
}

// masks reads a row of masks for each observation. Those of several choices
// may be nested or follow one another.
func (q *question) masks(c *policy.Contract, rows int) ([]float32, error) {
	if c.Masks == 0 {
		return nil, errors.New("the policy takes none")
	}
	t, err := parseTensor(q.ActionMasks)
	if err != nil {
		return nil, err
	}
	if len(t.data) != rows*c.Masks || len(t.shape) < 2 || t.shape[0] != rows {
		return nil, fmt.Errorf("expected %d rows of %d, got the shape %v", rows, c.Masks, t.shape)
	}
	masks := float32s(t.data)
	return masks, c.CheckMasks(rows, masks)
}

// boolsAsNumbers puts 0 and 1 in the place of false and true in what a network
// takes as booleans. Elsewhere they stay, and are refused.
func boolsAsNumbers(c *policy.Contract, obs any) any {
	features, named := obs.(map[string]any)
	if !named {
		if len(c.Inputs) == 1 && c.Inputs[0].DType == graph.Bool {
			return boolAsNumber(obs)
		}
		return obs
	}
	for i := range c.Features {
		f := &c.Features[i]
		if v, ok := features[f.Name]; ok && c.Inputs[f.Input].DType == graph.Bool {
			features[f.Name] = boolAsNumber(v)
		}
	}
	return obs
}

func boolAsNumber(v any) any {
	switch v := v.(type) {
	case bool:
		if v {
			return 1.0
		}
		return 0.0
	case []any:
		for i := range v {
			v[i] = boolAsNumber(v[i])
		}
	}
	return v
}

// observationRows reads rows of observations. An object is taken for the
// columns of them, as an environment of several parts gives a batch.
func observationRows(v jsontext.Value) ([]any, error) {
	var given any
	if err := json.Unmarshal(v, &given); err != nil {
		return nil, err
	}
	var rows []any
	switch given := given.(type) {
	case []any:
		rows = given
	case map[string]any:
		for name, column := range given {
			list, ok := column.([]any)
			switch {
			case !ok:
				return nil, fmt.Errorf("expected a list of observations, or an object of such lists; %s is %s", name, kindOf(column))
			case rows == nil:
				rows = make([]any, len(list))
				for i := range rows {
					rows[i] = map[string]any{}
				}
			case len(list) != len(rows):
				return nil, fmt.Errorf("the lists of an object differ in length: expected %d, %s has %d", len(rows), name, len(list))
			}
			for i, x := range list {
				rows[i].(map[string]any)[name] = x
			}
		}
	default:
		return nil, fmt.Errorf("expected a list, got %s", kindOf(given))
	}
	if len(rows) == 0 {
		return nil, errors.New("expected at least one, got none")
	}
	return rows, nil
}

func kindOf(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(x)
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	return fmt.Sprint(x)
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
	v := values{shape: a.Shape, dtype: graph.Float32, data: float64s(data)}
	if a.Discrete {
		v.dtype = graph.Int64
	}
	return v.append(b)
}
