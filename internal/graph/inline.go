package graph

import (
	"fmt"
	"slices"
)

// Inline copies the nodes of sub to the end of dst, with args in place of
// sub's inputs in their order, and returns the values of sub's outputs in
// their order. Constants are shared, not copied. Streams of random draws that
// dst has already are numbered anew, so that no two nodes draw the same.
// States are not copied: which inputs and outputs of dst they are is for the
// caller to say.
//
// Each argument must have the type and shape of its input; otherwise, and
// where dst would pass a limit, the error is a *ShapeError or wraps
// ErrOperands, ErrDType or ErrLimit. After an error dst may have some of the
// nodes, none of which is used.
func Inline(dst, sub *Graph, args []*Value) ([]*Value, error) {
	if len(args) != len(sub.Inputs) {
		return nil, fmt.Errorf("graph: inline %q: %w: got %d arguments, it has %d inputs", sub.Name, ErrOperands, len(args), len(sub.Inputs))
	}
	values := make(map[*Value]*Value, len(sub.Inputs)+len(sub.Nodes))
	for i, in := range sub.Inputs {
		a := args[i]
		if a == nil || a.DType != in.DType {
			return nil, fmt.Errorf("graph: inline %q: input %q: %w: expected %v, got %v", sub.Name, in.Name, ErrDType, in.DType, dtypeOf(a))
		}
		if !a.Shape.Equal(in.Shape) {
			return nil, &ShapeError{Op: "inline", DTypes: []DType{a.DType}, Shapes: []Shape{a.Shape},
				Reason: fmt.Sprintf("input %q of %q must be %v", in.Name, sub.Name, in.Shape)}
		}
		values[in] = a
	}
	taken := map[int]bool{}
	dst.Walk(func(n *Node) bool {
		if n.Op.draws() {
			taken[n.Attrs.Int("stream")] = true
		}
		return true
	})
	c := inliner{dst: dst, values: values, taken: taken}
	return c.graph(sub)
}

// Clone returns a copy of the graph that shares the constants' tensors and
// nothing else, so that one of the two can be optimized. The graph must
// verify; the error is that of Inline.
func (g *Graph) Clone() (*Graph, error) {
	c := New(g.Name)
	args := make([]*Value, len(g.Inputs))
	for i, in := range g.Inputs {
		args[i] = c.Input(in.Name, in.DType, in.Shape)
	}
	outs, err := Inline(c, g, args)
	if err != nil {
		return nil, err
	}
	for i, o := range g.Outputs {
		c.Output(o.Name, outs[i])
	}
	c.States = slices.Clone(g.States)
	return c, nil
}

func dtypeOf(v *Value) DType {
	if v == nil {
		return Invalid
	}
	return v.DType
}

type inliner struct {
	dst    *Graph
	values map[*Value]*Value // of sub -> of dst
	taken  map[int]bool      // streams of dst
	depth  int               // of dst inside other graphs
}

// graph copies the nodes of sub and returns what its outputs are in dst.
func (c *inliner) graph(sub *Graph) ([]*Value, error) {
	for _, n := range sub.Nodes {
		if err := c.node(n); err != nil {
			return nil, fmt.Errorf("graph: inline %q: %w", sub.Name, err)
		}
	}
	outs := make([]*Value, len(sub.Outputs))
	for i, o := range sub.Outputs {
		v, err := c.value(o.Value)
		if err != nil {
			return nil, fmt.Errorf("graph: inline %q: output %q: %w", sub.Name, o.Name, err)
		}
		outs[i] = v
	}
	return outs, nil
}

// inner copies a graph of an attribute. Its streams are numbered together with
// those of dst.
func (c *inliner) inner(sub *Graph, depth int) (*Graph, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("graph: inline %q: %w: more than %d graphs inside each other", sub.Name, ErrLimit, MaxDepth)
	}
	in := inliner{dst: New(sub.Name), values: map[*Value]*Value{}, taken: c.taken, depth: depth}
	for _, v := range sub.Inputs {
		in.values[v] = in.dst.Input(v.Name, v.DType, v.Shape)
	}
	outs, err := in.graph(sub)
	if err != nil {
		return nil, err
	}
	for i, o := range sub.Outputs {
		in.dst.Output(o.Name, outs[i])
	}
	return in.dst, nil
}

// value returns what stands in dst for a value of sub.
func (c *inliner) value(v *Value) (*Value, error) {
	if w, ok := c.values[v]; ok {
		return w, nil
	}
	if v == nil || v.Const == nil {
		return nil, fmt.Errorf("%w: a value is used before it is defined", ErrInvalid)
	}
	w := c.dst.Constant(v.Name, v.Const)
	c.values[v] = w
	return w, nil
}

func (c *inliner) node(n *Node) error {
	in := make([]*Value, len(n.In))
	for i, v := range n.In {
		w, err := c.value(v)
		if err != nil {
			return err
		}
		in[i] = w
	}
	attrs := n.Attrs.clone()
	for name, v := range attrs {
		if sub, ok := v.(*Graph); ok {
			inner, err := c.inner(sub, c.depth+1)
			if err != nil {
				return err
			}
			attrs[name] = inner
		}
	}
	if n.Op.draws() {
		s := attrs.Int("stream")
		for c.taken[s] {
			s++
		}
		c.taken[s] = true
		attrs["stream"] = s
	}
	copied, err := c.dst.AddNode(n.Op, attrs, in...)
	if err != nil {
		return err
	}
	for i, v := range n.Out {
		c.values[v] = copied.Out[i]
		copied.Out[i].Name = v.Name
	}
	return nil
}
