package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// bareNetwork runs the network of a model file on its own inputs, one step of
// an episode after another.
type bareNetwork struct {
	network       format.Network
	description   format.Description
	engine        policy.Engine
	deterministic bool
	narrow        bool // the engine computes float64 in float32

	key      string // of the shapes and types that the graph was lowered for
	*episode        // has no graph before the first step
}

func newBareNetwork(n format.Network, engine policy.Engine, deterministic bool, seed uint64) *bareNetwork {
	return &bareNetwork{network: n, description: n.Describe(), engine: engine, deterministic: deterministic, narrow: engine != policy.Reference,
		episode: &episode{noise: graph.Noise{Seed: seed}}}
}

// step runs the network once. A state that is not given is what the step
// before left, or that of the beginning of an episode. It returns the outputs
// of the network: a state that it keeps in itself is not one of them.
func (b *bareNetwork) step(given map[string]*tensor) ([]string, []values, error) {
	b.nameSingle(given)
	if err := b.lower(given); err != nil {
		return nil, nil, err
	}
	in, err := b.gather(given)
	if err != nil {
		return nil, nil, err
	}
	outs, err := b.run(in)
	if err != nil {
		return nil, nil, err
	}
	kept := map[int]bool{}
	for _, s := range b.graph.States {
		kept[s.Output] = !b.declares(b.graph.Inputs[s.Input].Name)
	}
	var names []string
	var shown []values
	for i, o := range b.graph.Outputs {
		if !kept[i] {
			names, shown = append(names, o.Name), append(shown, outs[i])
		}
	}
	return names, shown, nil
}

// nameSingle gives the name of the network's input to what was given under
// another, where only one can be meant: a trace often has lost the name.
func (b *bareNetwork) nameSingle(given map[string]*tensor) {
	d := &b.description
	if len(d.Inputs) == 0 || len(d.Inputs) > 1 && !d.Recurrent || given[d.Inputs[0].Name] != nil {
		return
	}
	var unknown []string
	for name := range given {
		if !b.declares(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 1 {
		given[d.Inputs[0].Name] = given[unknown[0]]
		delete(given, unknown[0])
	}
}

// declares tells whether the model file has an input of the name. One that the
// graph has beyond them is a state that the network keeps in itself.
func (b *bareNetwork) declares(name string) bool {
	return slices.ContainsFunc(b.description.Inputs, func(in format.InputDescription) bool { return in.Name == name })
}

// gather puts what was given into the order of the graph's inputs, with nil
// for states that were not.
func (b *bareNetwork) gather(given map[string]*tensor) ([]*tensor, error) {
	in := make([]*tensor, len(b.graph.Inputs))
	for i, v := range b.graph.Inputs {
		in[i] = given[v.Name]
		if in[i] == nil && !slices.ContainsFunc(b.graph.States, func(s graph.State) bool { return s.Input == i }) {
			return nil, fmt.Errorf("input %s: expected %v, got nothing (the network takes %s)", v.Name, v.Shape, inputNames(b.graph))
		}
		if in[i] != nil && v.DType.IsFloat() && (v.DType != graph.Float64 || b.narrow) {
			if err := in[i].withinFloat32(); err != nil {
				return nil, fmt.Errorf("input %s: %w", v.Name, err)
			}
		}
	}
	for name := range given {
		if !slices.ContainsFunc(b.graph.Inputs, func(v *graph.Value) bool { return v.Name == name }) {
			return nil, fmt.Errorf("input %s: the network takes %s", name, inputNames(b.graph))
		}
	}
	return in, nil
}

// lower makes the graph for the shapes of what was given, and its program. The
// batch axis is the first of each input, or that which is as long as the first
// axis of the first input. A network whose rows cannot be told apart is lowered
// for the given number of them. The type of an input that the file does not
// tell is that in which it was written.
func (b *bareNetwork) lower(given map[string]*tensor) error {
	key := b.shapesKey(given)
	if b.graph != nil && key == b.key {
		return nil
	}
	g, err := b.graphFor(given)
	if err != nil {
		return err
	}
	p, err := newProgram(b.engine, g)
	if err != nil {
		return err
	}
	// The same network on other shapes goes on with its state.
	b.key, b.graph, b.program = key, g, p
	return nil
}

func (b *bareNetwork) shapesKey(given map[string]*tensor) string {
	var k strings.Builder
	for _, in := range b.description.Inputs {
		if t := given[in.Name]; t != nil {
			fmt.Fprintf(&k, "%s%v%v", in.Name, t.shape, t.dtype())
		}
	}
	return k.String()
}

// graphFor lowers the network. An input of unknown type whose bits the code
// turns over is taken for booleans: given other numbers than 0 and 1, it was
// one of integers.
func (b *bareNetwork) graphFor(given map[string]*tensor) (*graph.Graph, error) {
	types := map[string]graph.DType{}
	for name, t := range given {
		if dt := t.dtype(); dt != graph.Invalid {
			types[name] = dt
		}
	}
	g, err := b.graphOf(given, types)
	var wrong *notOfType
	for errors.As(err, &wrong) && wrong.dtype == graph.Bool && types[wrong.input] == graph.Invalid {
		types[wrong.input] = graph.Int64
		again, againErr := b.graphOf(given, types)
		if againErr == nil {
			return again, nil
		}
		if !errors.As(againErr, new(*notOfType)) {
			break // As integers it does not run: the message is that of booleans.
		}
		err = againErr
	}
	return g, err
}

func (b *bareNetwork) graphOf(given map[string]*tensor, types map[string]graph.DType) (*graph.Graph, error) {
	rows := 1
	for _, in := range b.description.Inputs {
		if t := given[in.Name]; t != nil && len(t.shape) > 0 {
			rows = t.shape[0]
			break
		}
	}
	batched, fixed := map[string][]int{}, map[string][]int{}
	for name, t := range given {
		fixed[name] = t.shape
		if axis := slices.Index(t.shape, rows); axis >= 0 {
			batched[name] = slices.Clone(t.shape)
			batched[name][axis] = graph.Batch
		}
	}
	o := format.LowerOptions{Deterministic: b.deterministic, InputShapes: batched, InputTypes: types}
	g, err := b.network.Lower(o)
	if err == nil {
		if err = fits(g, given); err == nil {
			return g, nil
		}
	}
	o.InputShapes = fixed
	for _, n := range slices.Compact([]int{rows, 1}) {
		if n == 0 {
			continue
		}
		o.Rows = n
		own, ownErr := b.network.Lower(o)
		if ownErr == nil && fits(own, given) == nil {
			return own, nil
		}
		if errors.Is(err, graph.ErrMixesRows) && ownErr != nil {
			err = ownErr // What keeps this network from running is not its rows.
		}
	}
	return nil, err
}

// fits tells whether what was given has the shapes of the graph's inputs.
func fits(g *graph.Graph, given map[string]*tensor) error {
	for _, v := range g.Inputs {
		t := given[v.Name]
		if t == nil {
			continue
		}
		if _, err := rowsOf(&graph.Graph{Inputs: []*graph.Value{v}}, []*tensor{t}); err != nil {
			return err
		}
	}
	return nil
}

func inputNames(g *graph.Graph) string {
	names := make([]string, len(g.Inputs))
	for i, v := range g.Inputs {
		names[i] = v.Name + v.Shape.String()
	}
	return strings.Join(names, ", ")
}
