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

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// forward runs the bare network of the model on its own inputs.
func (c *predictCmd) forward(inputs ordered) ([]byte, error) {
	names, outs, err := c.step(inputs)
	if err != nil {
		return nil, err
	}
	return append(object([]byte(`{"outputs":`), names, outs), '}'), nil
}

// sequence runs a network without state on each step and stacks the outputs.
func (c *predictCmd) sequence(steps []ordered) ([]byte, error) {
	if len(steps) == 0 {
		return nil, errors.New("input: sequence has no step")
	}
	var names []string
	var stacked []values
	for i, step := range steps {
		n, outs, err := c.step(step)
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
	return append(object([]byte(`{"outputs":`), names, stacked), '}'), nil
}

// step runs the network once.
func (c *predictCmd) step(inputs ordered) ([]string, []values, error) {
	n, err := c.network()
	if err != nil {
		return nil, nil, err
	}
	given, err := parseTensors(inputs)
	if err != nil {
		return nil, nil, err
	}
	d := n.Describe()
	if len(d.Inputs) == 1 && len(given) == 1 {
		// A single input needs no name: a trace often has lost it.
		for name, t := range given {
			delete(given, name)
			given[d.Inputs[0].Name] = t
		}
	}
	o := format.LowerOptions{Deterministic: true, InputShapes: map[string][]int{}}
	if c.Deterministic != nil {
		o.Deterministic = *c.Deterministic
	}
	for name, t := range given {
		if len(t.shape) > 0 {
			o.InputShapes[name] = append([]int{graph.Batch}, t.shape[1:]...)
		}
	}
	g, err := n.Lower(o)
	if err != nil {
		return nil, nil, err
	}
	in := make([]*tensor, len(g.Inputs))
	for i, v := range g.Inputs {
		if in[i] = given[v.Name]; in[i] == nil {
			return nil, nil, fmt.Errorf("input %s: expected %v, got nothing (the network takes %s)", v.Name, v.Shape, inputNames(g))
		}
		delete(given, v.Name)
	}
	for name := range given {
		return nil, nil, fmt.Errorf("input %s: the network takes %s", name, inputNames(g))
	}
	return c.run(g, in)
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

// run evaluates a graph on tensors that are in the order of its inputs.
func (c *predictCmd) run(g *graph.Graph, in []*tensor) ([]string, []values, error) {
	rows, err := rowsOf(g, in)
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, len(g.Outputs))
	for i, o := range g.Outputs {
		names[i] = o.Name
	}
	outs, err := evaluate(g, c.Engine, rows, in, graph.Noise{Seed: c.Seed})
	return names, outs, err
}

func inputNames(g *graph.Graph) string {
	names := make([]string, len(g.Inputs))
	for i, v := range g.Inputs {
		names[i] = v.Name + v.Shape.String()
	}
	return strings.Join(names, ", ")
}

// network decodes the model file.
func (c *predictCmd) network() (format.Network, error) {
	o, err := openPath(c.Model)
	if err != nil {
		return nil, err
	}
	if o.network == nil {
		return nil, fmt.Errorf("%s is %s, not a network", o.name, o.what())
	}
	return o.network, nil
}

// transform runs a preprocessor on rows of features.
func (c *predictCmd) transform(rows jsontext.Value) ([]byte, error) {
	t, err := parseTensor(rows)
	if err != nil {
		return nil, fmt.Errorf("input: transform: %w", err)
	}
	if len(t.shape) != 2 {
		return nil, fmt.Errorf("input: transform: expected rows of numbers, got the shape %v", t.shape)
	}
	p, err := c.preprocessor()
	if err != nil {
		return nil, err
	}
	if w := p.Width(); w > 0 && w != t.shape[1] {
		return nil, fmt.Errorf("input: transform: expected %d features a row, got %d", w, t.shape[1])
	}
	g := graph.New("preprocessor")
	y, err := p.Lower(g, g.Input("x", graph.Float32, graph.Shape{graph.Batch, t.shape[1]}))
	if err != nil {
		return nil, err
	}
	g.Output("out", y)
	if err := g.Verify(); err != nil {
		return nil, err
	}
	names, outs, err := c.run(g, []*tensor{t})
	if err != nil {
		return nil, err
	}
	return append(object([]byte(`{"outputs":`), names, outs), '}'), nil
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
	o, err := openPath(path)
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
