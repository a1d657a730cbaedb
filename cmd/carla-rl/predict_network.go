package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
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

// transform runs a preprocessor on rows of features, or on an object of rows
// for one whose observations have parts.
func (c *predictCmd) transform(rows jsontext.Value) ([]byte, error) {
	p, err := c.preprocessor()
	if err != nil {
		return nil, err
	}
	if p.Identity() && rows.Kind() == '{' {
		return c.passed(rows)
	}
	given, err := transformRows(p, rows)
	if err != nil {
		return nil, fmt.Errorf("input: transform: %w", err)
	}
	g, err := p.Graph(given[0].shape[1])
	if err != nil {
		return nil, err
	}
	engine, err := openEngine(c.Engine)
	if err != nil {
		return nil, err
	}
	run, err := newProgram(engine, g)
	if err != nil {
		return nil, err
	}
	n, err := rowsOf(g, given)
	if err != nil {
		return nil, err
	}
	outs, err := run.run(n, given, graph.Noise{})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(g.Outputs))
	for i, o := range g.Outputs {
		names[i] = o.Name
	}
	return c.outputsAnswer(names, outs)
}

// passed answers with the parts of an observation as they are.
func (c *predictCmd) passed(rows jsontext.Value) ([]byte, error) {
	var parts ordered
	if err := json.Unmarshal(rows, &parts); err != nil {
		return nil, fmt.Errorf("input: transform: %w", err)
	}
	var outs []values
	names := slices.Sorted(maps.Keys(parts))
	for _, name := range names {
		t, err := parseTensor(parts[name])
		if err != nil {
			return nil, fmt.Errorf("input: transform: %s: %w", name, err)
		}
		outs = append(outs, values{shape: t.shape, dtype: graph.Float32, data: t.data})
	}
	return c.outputsAnswer(names, outs)
}

// transformRows reads the rows of each input of the preprocessor's graph.
func transformRows(p *preprocess.Preprocessor, rows jsontext.Value) ([]*tensor, error) {
	keys := p.Keys()
	if len(keys) == 0 {
		t, err := parseTensor(rows)
		switch {
		case err != nil:
			return nil, err
		case len(t.shape) != 2:
			return nil, fmt.Errorf("expected rows of numbers, got the shape %v", t.shape)
		case p.Width() > 0 && p.Width() != t.shape[1]:
			return nil, fmt.Errorf("expected %d features a row, got %d", p.Width(), t.shape[1])
		}
		return []*tensor{t}, nil
	}
	var parts ordered
	if err := json.Unmarshal(rows, &parts); err != nil {
		return nil, fmt.Errorf("expected an object of %s with rows of each", strings.Join(keys, ", "))
	}
	given := make([]*tensor, len(keys))
	for i, key := range keys {
		if parts[key] == nil {
			return nil, fmt.Errorf("%s: expected rows of %d numbers, got nothing", key, p.KeyWidth(key))
		}
		t, err := parseTensor(parts[key])
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", key, err)
		case len(t.shape) != 2 || t.shape[1] != p.KeyWidth(key):
			return nil, fmt.Errorf("%s: expected rows of %d numbers, got the shape %v", key, p.KeyWidth(key), t.shape)
		}
		given[i] = t
		delete(parts, key)
	}
	for name := range parts {
		return nil, fmt.Errorf("%s: expected one of %s", name, strings.Join(keys, ", "))
	}
	return given, nil
}

// preprocessor decodes the preprocessor: the file that the flags name, or that
// of the artifact.
func (c *predictCmd) preprocessor() (*preprocess.Preprocessor, error) {
	path := c.Model
	switch {
	case c.Preprocessor != "":
		path = c.Preprocessor
	case c.VecNormalize != "":
		path = c.VecNormalize
	}
	dir, _, err := artifactFolder(path)
	if err != nil {
		return nil, err
	}
	if isFolder(dir) {
		return artifactPreprocessor(dir)
	}
	o, err := openPath(dir)
	if err != nil {
		return nil, err
	}
	if o.preprocessor == nil {
		// torch.save keeps statistics in the container of weights; only the
		// question tells which of the two a file is.
		if data, err := os.ReadFile(path); err == nil {
			if p, err := preprocess.Decode(data); err == nil {
				return p, nil
			}
		}
	}
	if o.preprocessor == nil {
		return nil, fmt.Errorf("%s is %s, not a preprocessor", o.name, o.what())
	}
	return o.preprocessor, nil
}

// artifactPreprocessor decodes that of an artifact.
func artifactPreprocessor(dir string) (*preprocess.Preprocessor, error) {
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	for _, role := range []artifact.Role{artifact.RolePreprocessor, artifact.RoleVecNormalize} {
		m := a.Member(role)
		if m == nil {
			continue
		}
		data, err := a.Read(role)
		if err != nil {
			return nil, err
		}
		p, err := preprocess.Decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		return p, nil
	}
	return nil, fmt.Errorf("%s has no preprocessor", dir)
}
