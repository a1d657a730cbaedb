package preprocess

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// part is what is done to one named part of an observation that is a dict.
type part struct {
	name  string
	shape []int
	width int
	steps []step
}

// Keys returns the names of the parts of an observation, each of which is
// normalised on its own, in the order of the file. It is nil where rows are
// flat; a part without a key here passes.
func (p *Preprocessor) Keys() []string {
	var keys []string
	for _, part := range p.parts {
		keys = append(keys, part.name)
	}
	return keys
}

// KeyWidth returns the number of values of a part of Keys, 0 for any other
// name.
func (p *Preprocessor) KeyWidth(name string) int {
	if part := p.part(name); part != nil {
		return part.width
	}
	return 0
}

func (p *Preprocessor) part(name string) *part {
	if i := slices.IndexFunc(p.parts, func(q part) bool { return q.name == name }); i >= 0 {
		return &p.parts[i]
	}
	return nil
}

// LowerNamed adds the operations on one part of an observation to a graph. x
// is a row [B,N] of float32. A part that is not among Keys passes, whatever it
// is. A preprocessor of flat rows that changes them has no parts: that is an
// error.
func (p *Preprocessor) LowerNamed(g *graph.Graph, name string, x *graph.Value) (*graph.Value, error) {
	if len(p.steps) > 0 {
		return nil, fmt.Errorf("preprocessor %s: takes one row of the whole observation, got the part %.64q", p.kind, name)
	}
	part := p.part(name)
	if part == nil {
		return x, nil
	}
	y, err := p.on(part.steps, part.width).Lower(g, x)
	if err != nil {
		return nil, fmt.Errorf("part %.64q: %w", name, err)
	}
	return y, nil
}

// Graph returns the preprocessor alone as a graph: from "x" to "out", rows of n
// values where it takes any number of them; or, for each of Keys, from an input
// of that name to an output of that name, in their order.
func (p *Preprocessor) Graph(n int) (*graph.Graph, error) {
	g := graph.New("preprocessor")
	lower := func(in, out string, width int, lower func(x *graph.Value) (*graph.Value, error)) error {
		y, err := lower(g.Input(in, graph.Float32, graph.Shape{graph.Batch, width}))
		if err == nil {
			g.Output(out, y)
		}
		return err
	}
	if len(p.parts) == 0 {
		if p.width > 0 {
			n = p.width
		}
		if err := lower("x", "out", n, func(x *graph.Value) (*graph.Value, error) { return p.Lower(g, x) }); err != nil {
			return nil, err
		}
	}
	for _, part := range p.parts {
		if err := lower(part.name, part.name, part.width, func(x *graph.Value) (*graph.Value, error) { return p.LowerNamed(g, part.name, x) }); err != nil {
			return nil, err
		}
	}
	return g, g.Verify()
}

// on is the preprocessor of flat rows that does these steps.
func (p *Preprocessor) on(steps []step, width int) *Preprocessor {
	return &Preprocessor{kind: p.kind, width: width, steps: steps}
}

// notFlat is the error of Lower for a preprocessor of parts.
func (p *Preprocessor) notFlat() error {
	return fmt.Errorf("preprocessor %s: takes an observation of parts (%s), got a flat row", p.kind, strings.Join(p.Keys(), ", "))
}
