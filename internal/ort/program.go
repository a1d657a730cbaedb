//go:build ort && cgo

package ort

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

var _ policy.Engine = (*Engine)(nil)

// program is a graph that was written out as ONNX. The draws of the graph are
// inputs of the model, behind those of the graph.
type program struct {
	session *Session
	in, out []graph.Shape
	draws   []draw
	fixed   bool // no batch axis
}

// draw is one random node of the graph.
type draw struct {
	stream uint32
	perRow int
	fixed  bool // the same draw for the whole run
}

// Compile implements policy.Engine: it writes the graph as ONNX and loads
// that. The passes of package graph are not run, so that the numbers are a
// check of those too; the library has passes of its own.
func (e *Engine) Compile(g *graph.Graph) (policy.Program, error) {
	for _, n := range g.Nodes {
		if n.Op == graph.OpModel {
			return e.compileAround(g, n)
		}
	}
	return e.compile(g)
}

// Whole tells that the engine runs ONNX models as they are.
func (*Engine) Whole() bool { return true }

// compile makes a program of a graph of our operators.
func (e *Engine) compile(g *graph.Graph) (*program, error) {
	model, err := onnx.Encode(g, onnx.EncodeOptions{Producer: "carla-rl", Noise: true})
	if err != nil {
		return nil, err
	}
	p := &program{session: &Session{}, fixed: !g.Batched()}
	for _, v := range g.Inputs {
		p.addInput(v.Name, v)
	}
	if err := p.addDraws(g, false); err != nil {
		return nil, err
	}
	for i, name := range onnx.OutputNames(g) {
		v := g.Outputs[i].Value
		p.session.outputs = append(p.session.outputs, Port{name, v.DType, v.Shape})
		p.out = append(p.out, v.Shape)
	}
	if err := e.open(p.session, model); err != nil {
		return nil, fmt.Errorf("graph %q: %w", g.Name, err)
	}
	// What a runner may refuse is known from here on.
	if _, err := p.session.NewRunner(p.in, p.out); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *program) addInput(name string, v *graph.Value) {
	p.session.inputs = append(p.session.inputs, Port{name, v.DType, v.Shape})
	p.in = append(p.in, v.Shape)
}

// addDraws finds the random nodes, those inside other nodes too, in the order
// in which Encode makes inputs of them. In a loop each turn has draws of its
// own, which no input holds.
func (p *program) addDraws(g *graph.Graph, loop bool) error {
	for _, n := range g.Nodes {
		for _, inner := range n.Graphs() {
			if err := p.addDraws(inner, loop || n.Op == graph.OpLoop); err != nil {
				return err
			}
		}
		if n.Op != graph.OpNormal {
			continue
		}
		if loop {
			return fmt.Errorf("unsupported: random draws in a loop, on ONNX Runtime: %w", errors.ErrUnsupported)
		}
		// Encode takes each draw in single precision.
		v := *n.Out[0]
		v.DType = graph.Float32
		stream := n.Attrs.Int("stream")
		p.addInput(onnx.NoiseName(stream), &v)
		p.draws = append(p.draws, draw{uint32(stream), v.Shape.RowElements(), v.Shape.Fixed()})
	}
	return nil
}

// NewRunner implements policy.Program.
func (p *program) NewRunner() policy.ProgramRunner {
	r, err := p.session.NewRunner(p.in, p.out)
	if err != nil {
		panic("ort: a second runner of a program: " + err.Error())
	}
	return &programRunner{program: p, runner: r, in: make([][]float32, len(p.in))}
}

// programRunner is a Runner that makes the draws.
type programRunner struct {
	program *program
	runner  *Runner
	in      [][]float32
}

// Run implements policy.ProgramRunner.
func (r *programRunner) Run(rows int, in, out [][]float32, noise graph.Noise) error {
	p := r.program
	given := len(r.in) - len(p.draws)
	if len(in) != given {
		return fmt.Errorf("ort: %w: %d inputs of %d", ErrArguments, len(in), given)
	}
	if rows == 0 && !p.fixed {
		return nil
	}
	copy(r.in, in)
	if len(p.draws) > 0 {
		if err := r.draw(rows, given, noise); err != nil {
			return err
		}
	}
	err := r.runner.Run(rows, r.in, out)
	clear(r.in)
	return err
}

// draw fills the inputs that stand for random nodes with the draws that every
// engine makes.
func (r *programRunner) draw(rows, first int, noise graph.Noise) error {
	key := noise.Key()
	for i, d := range r.program.draws {
		y, err := r.runner.Input(rows, first+i)
		if err != nil {
			return err
		}
		if d.fixed {
			// Of a graph for a fixed number of rows it belongs to the first.
			row := uint64(0)
			if r.program.fixed {
				row = noise.Row
			}
			kernel.Normal(y, key, d.stream, row)
			continue
		}
		for row := range rows {
			kernel.Normal(y[row*d.perRow:][:d.perRow], key, d.stream, noise.Row+uint64(row))
		}
	}
	return nil
}
