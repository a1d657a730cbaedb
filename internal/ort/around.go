//go:build ort && cgo

package ort

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// around is the program of a graph with a model that the library runs as it
// is. What comes before and behind it are programs of their own, of the plan
// where it can: models of two operator sets cannot be made one.
type around struct {
	before, after policy.Program
	session       *Session
	model         *graph.Model
	order         []int // of the session's inputs in the model's
	inputs        int   // of the graph
}

// compileAround splits a graph at its one model.
func (e *Engine) compileAround(g *graph.Graph, n *graph.Node) (policy.Program, error) {
	for _, other := range g.Nodes {
		if other != n && other.Op == graph.OpModel {
			return nil, fmt.Errorf("%w: two models in one graph", ErrModel)
		}
	}
	p := &around{model: n.Attrs["model"].(*graph.Model), inputs: len(g.Inputs)}
	var err error
	if p.session, err = e.Load(p.model.Data); err != nil {
		return nil, err
	}
	if err := p.match(); err != nil {
		return nil, err
	}
	// What the model takes, of what the graph takes.
	part, err := newPart(g, g.Inputs, n.In, p.model.Inputs)
	if err != nil {
		return nil, err
	}
	if p.before, err = e.compilePart(part); err != nil {
		return nil, err
	}
	// What the graph gives, of what the model gives and of what the graph takes.
	outputs, ports := make([]*graph.Value, len(g.Outputs)), make([]graph.Port, len(g.Outputs))
	for i, o := range g.Outputs {
		outputs[i], ports[i] = o.Value, graph.Port{Name: o.Name}
	}
	if part, err = newPart(g, slices.Concat(n.Out, g.Inputs), outputs, ports); err != nil {
		return nil, err
	}
	if p.after, err = e.compilePart(part); err != nil {
		return nil, err
	}
	// What a runner may refuse is known from here on.
	_, err = p.session.NewRunner(p.shapes())
	return p, err
}

// compilePart prefers the plan, which has no library to cross into.
func (e *Engine) compilePart(g *graph.Graph) (policy.Program, error) {
	if p, err := policy.Plan.Compile(g); err == nil {
		return p, nil
	}
	return e.compile(g)
}

// match holds the ports that the file told against those of the session.
func (p *around) match() error {
	for _, in := range p.session.inputs {
		i := slices.IndexFunc(p.model.Inputs, func(m graph.Port) bool { return m.Name == in.Name && m.DType == in.DType })
		if i < 0 {
			return fmt.Errorf("%w: it takes %s, which the file does not list so", ErrModel, in.Name)
		}
		p.order = append(p.order, i)
	}
	if len(p.order) != len(p.model.Inputs) || len(p.session.outputs) != len(p.model.Outputs) {
		return fmt.Errorf("%w: it has %d inputs and %d outputs, the file lists %d and %d", ErrModel,
			len(p.order), len(p.session.outputs), len(p.model.Inputs), len(p.model.Outputs))
	}
	for i, out := range p.session.outputs {
		if m := p.model.Outputs[i]; m.Name != out.Name || m.DType != out.DType {
			return fmt.Errorf("%w: output %d is %s %v, in the file %s %v", ErrModel, i, out.Name, out.DType, m.Name, m.DType)
		}
	}
	return nil
}

func (p *around) shapes() (in, out []graph.Shape) {
	for _, i := range p.order {
		in = append(in, p.model.Inputs[i].Shape)
	}
	for _, o := range p.model.Outputs {
		out = append(out, o.Shape)
	}
	return in, out
}

// NewRunner implements policy.Program.
func (p *around) NewRunner() policy.ProgramRunner {
	model, err := p.session.NewRunner(p.shapes())
	if err != nil {
		panic("ort: a second runner of a program: " + err.Error())
	}
	return &aroundRunner{
		program: p, before: p.before.NewRunner(), model: model, after: p.after.NewRunner(),
		taken: make([][]float32, len(p.model.Inputs)), ordered: make([][]float32, len(p.model.Inputs)),
		given: make([][]float32, len(p.model.Outputs)+p.inputs),
	}
}

// aroundRunner owns the memory between the parts.
type aroundRunner struct {
	program       *around
	before, after policy.ProgramRunner
	model         *Runner
	taken         [][]float32 // by the model, in its order
	ordered       [][]float32 // the same in the session's order
	given         [][]float32 // by the model, and the inputs of the graph behind it
}

// Run implements policy.ProgramRunner.
func (r *aroundRunner) Run(rows int, in, out [][]float32, noise graph.Noise) error {
	p := r.program
	if len(in) != p.inputs {
		return fmt.Errorf("ort: %w: %d inputs of %d", ErrArguments, len(in), p.inputs)
	}
	if rows == 0 {
		return nil
	}
	for i, port := range p.model.Inputs {
		r.taken[i] = sized(r.taken[i], shape(port.Shape).elements(rows))
	}
	for i, port := range p.model.Outputs {
		r.given[i] = sized(r.given[i], shape(port.Shape).elements(rows))
	}
	if err := r.before.Run(rows, in, r.taken, noise); err != nil {
		return err
	}
	for k, i := range p.order {
		r.ordered[k] = r.taken[i]
	}
	outputs := len(p.model.Outputs)
	if err := r.model.Run(rows, r.ordered, r.given[:outputs]); err != nil {
		return err
	}
	copy(r.given[outputs:], in)
	err := r.after.Run(rows, r.given, out, noise)
	clear(r.given[outputs:])
	return err
}

func sized(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}

// part copies what some values of a graph need into a graph of its own.
type part struct {
	g  *graph.Graph
	of map[*graph.Value]*graph.Value
}

// newPart makes a graph from inputs, values of g that become inputs, to
// outputs under the names of the ports.
func newPart(g *graph.Graph, inputs, outputs []*graph.Value, ports []graph.Port) (*graph.Graph, error) {
	p := &part{graph.New(g.Name), map[*graph.Value]*graph.Value{}}
	for i, v := range inputs {
		p.of[v] = p.g.Input(fmt.Sprintf("in%d", i), v.DType, v.Shape)
	}
	for i, v := range outputs {
		y, err := p.value(v)
		if err != nil {
			return nil, err
		}
		p.g.Output(fmt.Sprintf("out%d_%s", i, ports[i].Name), y)
	}
	return p.g, p.g.Verify()
}

// value copies a value and, before it, what it is made of. A graph is no
// deeper than the policies that were lowered into it.
func (p *part) value(v *graph.Value) (*graph.Value, error) {
	if w := p.of[v]; w != nil {
		return w, nil
	}
	if v.Const != nil {
		p.of[v] = p.g.Constant(v.Name, v.Const)
		return p.of[v], nil
	}
	if v.Def == nil || v.Def.Op == graph.OpModel {
		return nil, fmt.Errorf("%w: the model is needed before itself", ErrModel)
	}
	in := make([]*graph.Value, len(v.Def.In))
	for i, w := range v.Def.In {
		var err error
		if in[i], err = p.value(w); err != nil {
			return nil, err
		}
	}
	n, err := p.g.AddNode(v.Def.Op, v.Def.Attrs, in...)
	if err != nil {
		return nil, err
	}
	for i, w := range v.Def.Out {
		p.of[w] = n.Out[i]
	}
	return p.of[v], nil
}
