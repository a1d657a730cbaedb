package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
)

// forward runs the bare network of the model on its own inputs. ONNX Runtime
// takes an ONNX file as it is where this program does not know its operators.
func (c *predictCmd) forward(q *question) ([]byte, error) {
	given, err := parseTensors(q.Inputs)
	if err != nil {
		return nil, err
	}
	names, outs, err := c.step(q, maps.Clone(given))
	if c.Engine == engineONNXRuntime && runONNXFile != nil && errors.Is(err, errors.ErrUnsupported) {
		var fileErr error
		if names, outs, fileErr = runONNXFile(c.Model, given); fileErr != nil {
			return nil, fmt.Errorf("%w; and on ONNX Runtime: %w", err, fileErr)
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return c.outputsAnswer(names, outs)
}

// step runs the bare network once.
func (c *predictCmd) step(q *question, given map[string]*tensor) ([]string, []values, error) {
	b, err := c.bareNetwork(q)
	if err != nil {
		return nil, nil, err
	}
	return b.step(given)
}

// sequence runs the network on one step after another, carries its state from
// each to the next, and stacks the outputs.
func (c *predictCmd) sequence(q *question) ([]byte, error) {
	if len(q.Sequence) == 0 {
		return nil, errors.New("input: sequence has no step")
	}
	for _, i := range q.ResetBefore {
		if i < 0 || i >= len(q.Sequence) {
			return nil, fmt.Errorf("input: reset_before: there is no step %d in a sequence of %d", i, len(q.Sequence))
		}
	}
	b, err := c.bareNetwork(q)
	if err != nil {
		return nil, err
	}
	var names []string
	var stacked []values
	for i, step := range q.Sequence {
		if slices.Contains(q.ResetBefore, i) {
			b.reset()
		}
		given, err := parseTensors(step)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		n, outs, err := b.step(given)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if i == 0 {
			names, stacked = n, outs
			for j := range stacked {
				stacked[j].shape = append([]int{1}, stacked[j].shape...)
			}
			continue
		}
		for j := range stacked {
			if !slices.Equal(stacked[j].shape[1:], outs[j].shape) {
				return nil, fmt.Errorf("step %d: output %s has the shape %v, in the steps before %v", i, names[j], outs[j].shape, stacked[j].shape[1:])
			}
			stacked[j].shape[0]++
			stacked[j].data = append(stacked[j].data, outs[j].data...)
		}
	}
	return c.outputsAnswer(names, stacked)
}

// bareNetwork opens the network of the model file for the question.
func (c *predictCmd) bareNetwork(q *question) (*bareNetwork, error) {
	n, err := c.network()
	if err != nil {
		return nil, err
	}
	engine, err := openEngine(c.Engine)
	if err != nil {
		return nil, err
	}
	deterministic := q.Deterministic == nil || *q.Deterministic
	return newBareNetwork(n, engine, deterministic, *q.Seed), nil
}

// parseTensors reads tensors by name. A network that takes a dict has an input
// for each key of it: an object is taken for the inputs that its members are.
func parseTensors(inputs ordered) (map[string]*tensor, error) {
	given := make(map[string]*tensor, len(inputs))
	put := func(name string, v jsontext.Value) error {
		if given[name] != nil {
			return fmt.Errorf("input %s: it is given twice", name)
		}
		t, err := parseTensor(v)
		if err != nil {
			return fmt.Errorf("input %s: %w", name, err)
		}
		given[name] = t
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if inputs[name].Kind() != '{' {
			if err := put(name, inputs[name]); err != nil {
				return nil, err
			}
			continue
		}
		var members ordered
		if err := json.Unmarshal(inputs[name], &members); err != nil {
			return nil, fmt.Errorf("input %s: %w", name, err)
		}
		for _, member := range slices.Sorted(maps.Keys(members)) {
			if err := put(member, members[member]); err != nil {
				return nil, err
			}
		}
	}
	return given, nil
}

// network decodes the model file, or that of the artifact.
func (c *predictCmd) network() (format.Network, error) {
	dir, _, err := artifactFolder(c.Model)
	if err != nil {
		return nil, err
	}
	if isFolder(dir) {
		a, err := artifact.OpenPath(dir, artifact.Limits{})
		if err != nil {
			return nil, err
		}
		return readNetwork(a)
	}
	o, err := openPath(dir)
	if err != nil {
		return nil, err
	}
	if o.network == nil {
		return nil, fmt.Errorf("%s is %s, not a network", o.name, o.what())
	}
	return o.network, nil
}
