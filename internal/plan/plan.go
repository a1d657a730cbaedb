// Package plan turns a graph into steps for this CPU and runs them. What
// enters is a verified graph; what leaves is a Plan, which never changes and
// may be shared, and Runners, each of which owns the memory of one run at a
// time.
//
// A plan computes in float32 throughout: parameters of other types are
// converted when it is compiled, and integers and booleans are exact small
// numbers. Linear layers are packed and take their activation with them,
// reshapes and casts that change nothing cost nothing, and the buffers of
// values that are not needed at the same time share memory.
//
// A row gives the same bits in whatever batch it travels. The package knows
// nothing of files and protocols; it imports packages graph and kernel alone.
package plan

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// Options of Compile. The zero Options are those of production.
type Options struct {
	// Generic compiles for the Go twins of the kernels, against which the
	// fast ones are tested.
	Generic bool
	// Fast lets a row alone have sums in another order than a row of a batch,
	// where that is faster: its bits then depend on the company, within the
	// error that any order of the sums has.
	Fast bool
	// Kernels names the instruction set, as kernel.Impl prints it; empty is
	// the fastest that this CPU has.
	Kernels string
	// Convolutions is the form of all that can have it: ConvolutionsDirect,
	// ConvolutionsWinograd2 or ConvolutionsWinograd4, as a plan prints them;
	// empty is for each what is faster.
	Convolutions string
	// Memory is where the constants of the plan and the memory of its runners
	// lie; nil is the heap.
	Memory Memory
}

// Forms of convolutions.
const (
	ConvolutionsDirect    = "direct"
	ConvolutionsWinograd2 = "winograd2"
	ConvolutionsWinograd4 = "winograd4"
)

// Noise keys the random draws of a run.
type Noise = graph.Noise

var (
	// ErrUnsupported is a graph that cannot be computed in float32.
	ErrUnsupported = errors.New("unsupported")
	// ErrArguments is a call of Run with slices that do not fit the plan.
	ErrArguments = errors.New("wrong arguments")
)

const (
	// chunkRows is the most rows that go through all steps together. What is
	// between two layers then stays in the near caches, and the arena stays
	// small; it is the block of a matrix product as well.
	chunkRows = 96
	// chunkFloats is the size of the arena beyond which fewer rows go together,
	// and minChunkRows how few at most: a Nature CNN takes 171 µs a row in
	// chunks of 8 and 190 in chunks of 96.
	chunkFloats  = 192 << 10
	minChunkRows = 4
)

// Plan is a compiled graph.
type Plan struct {
	impl    kernel.Impl
	slots   []slot
	steps   []step
	inputs  []port
	outputs []port

	// chunked tells that rows are independent in memory as well: each value
	// lies row after row.
	chunked bool
	// batched tells that inputs have a batch axis; without one a run is one
	// row, to which all draws belong.
	batched bool
	// draws tells that there are steps that need the key of the run.
	draws bool
	// subs is the number of steps that run plans of their own.
	subs int
	// rowFloats and fixedFloats are the sizes of the arena.
	rowFloats, fixedFloats int
	// scratch is the room of the step that needs most beside its operands.
	scratch int
	// memory is nil for the heap.
	memory Memory
}

// port is an input or output of the plan.
type port struct {
	name string
	slot int
	size dim
}

// Compile makes a plan of a graph, which must verify and must not change
// afterwards. The error wraps ErrUnsupported or ErrLimit, or is one of package
// graph.
func Compile(g *graph.Graph, o Options) (*Plan, error) {
	if err := g.Verify(); err != nil {
		return nil, err
	}
	p, err := compile(g, o)
	if err != nil {
		return nil, err
	}
	if err := p.checkBudget(); err != nil {
		return nil, err
	}
	if o.Memory != nil {
		p.move(o.Memory)
	}
	return p, nil
}

// compile makes a plan of a graph or one inside it.
func compile(g *graph.Graph, o Options) (*Plan, error) {
	c := newCompiler(g, o)
	if !o.Generic {
		c.plan.impl = kernel.Best()
	}
	if o.Kernels != "" {
		var ok bool
		if c.plan.impl, ok = kernel.ByName(o.Kernels); !ok {
			return nil, fmt.Errorf("plan: %w: this CPU has no kernels named %q", ErrUnsupported, o.Kernels)
		}
	}
	switch o.Convolutions {
	case "", ConvolutionsDirect, ConvolutionsWinograd2, ConvolutionsWinograd4:
	default:
		return nil, fmt.Errorf("plan: %w: no form of convolutions is named %q", ErrUnsupported, o.Convolutions)
	}
	if err := c.lower(); err != nil {
		return nil, err
	}
	c.plan.assign()
	c.plan.chains(o.Fast)
	return c.plan, nil
}

// InputWidth returns the number of floats that a row of input i takes; of an
// input without a batch axis, those of the whole.
func (p *Plan) InputWidth(i int) int { return p.inputs[i].size.n }

// OutputWidth returns the number of floats that a row of output i takes; of an
// output without a batch axis, those of the whole.
func (p *Plan) OutputWidth(i int) int { return p.outputs[i].size.n }

// ConstantBytes returns the memory that packed weights and other constants
// take.
func (p *Plan) ConstantBytes() int {
	n := 0
	for i := range p.slots {
		n += 4 * len(p.slots[i].data)
	}
	seen, narrow := map[*kernel.Matrix]bool{}, map[*kernel.Narrow]bool{}
	for i := range p.steps {
		if m := p.steps[i].matrix; m != nil && !seen[m] {
			seen[m] = true
			n += m.Bytes()
		}
		if m := p.steps[i].narrow; m != nil && !narrow[m] {
			narrow[m] = true
			n += m.Bytes()
		}
		if m := p.steps[i].packed; m != nil {
			n += m.Bytes()
		}
		if c := p.steps[i].control; c != nil {
			for _, sub := range c.plans {
				n += sub.ConstantBytes()
			}
		}
	}
	return n
}

// ArenaBytes returns the memory that a Runner takes for runs of up to the
// given number of rows.
func (p *Plan) ArenaBytes(rows int) int {
	if p.chunked {
		rows = min(rows, p.chunk())
	}
	return 4 * (p.allFixed() + rows*p.rowFloats)
}

// allFixed is the size of the arena that does not grow with the rows, with
// that of the plans inside.
func (p *Plan) allFixed() int {
	n := p.fixedFloats + p.scratch
	for i := range p.steps {
		if c := p.steps[i].control; c != nil {
			n += c.floats()
		}
	}
	return n
}
