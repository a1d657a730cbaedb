package graph

import (
	"math"
	"slices"
)

// Operators that move elements and do not compute.
var shapeSpecs = map[Op]spec{
	OpReshape:   {min: 1, max: 1, infer: inferReshape, eval: evalCast, attrs: []attr{{name: "shape", kind: kindShape}}},
	OpTranspose: {min: 1, max: 1, infer: inferTranspose, eval: evalTranspose, attrs: []attr{{name: "perm", kind: kindInts}}},
	OpExpand:    {min: 1, max: 1, infer: inferExpand, eval: evalExpand, attrs: []attr{{name: "shape", kind: kindShape}}},
	OpConcat:    {min: 1, max: -1, infer: inferConcat, eval: evalConcat, attrs: []attr{{name: "axis", kind: kindInt}}},
	OpSlice: {min: 1, max: 1, infer: inferSlice, eval: evalSlice, attrs: []attr{
		{name: "axis", kind: kindInt},
		{name: "start", kind: kindInt, def: 0},
		{name: "end", kind: kindInt, def: math.MaxInt},
		{name: "step", kind: kindInt, def: 1},
	}},
}

// inferReshape: as many elements a row as before, and a batch axis where
// there was one.
func inferReshape(n *Node) ([]typ, error) {
	from, to := n.In[0].Shape, Shape(n.Attrs.Ints("shape"))
	if err := to.Check(); err != nil {
		return nil, n.fail(ErrAttribute, "%v", err)
	}
	if from.RowElements() != to.RowElements() {
		return nil, n.shapeError("%d elements a row cannot become %d of %v", from.RowElements(), to.RowElements(), to)
	}
	if from.Fixed() != to.Fixed() {
		return nil, n.shapeError("%v and %v must both have a batch axis or neither", from, to)
	}
	return one(n.In[0].DType, to)
}

// inferTranspose: perm names, for each dimension of the result, that of the
// operand.
func inferTranspose(n *Node) ([]typ, error) {
	x, perm := n.In[0].Shape, n.Attrs.Ints("perm")
	if len(perm) != len(x) {
		return nil, n.fail(ErrAttribute, "perm has %d numbers for %d dimensions", len(perm), len(x))
	}
	out := make(Shape, len(x))
	seen := make([]bool, len(x))
	for i, p := range perm {
		if p < -len(x) || p >= len(x) {
			return nil, n.fail(ErrAttribute, "perm has %d, the operand has %d dimensions", p, len(x))
		}
		if p < 0 {
			p += len(x)
			perm[i] = p
		}
		if seen[p] {
			return nil, n.fail(ErrAttribute, "perm has dimension %d twice", p)
		}
		seen[p] = true
		out[i] = x[p]
	}
	return one(n.In[0].DType, out)
}

func evalTranspose(c *evalCall) {
	x, out := c.in[0], c.out[0]
	st, moved := x.Shape.strides(), make([]int, len(x.Shape))
	for i, p := range c.n.Attrs.Ints("perm") {
		moved[i] = st[p]
	}
	eachIndex(out.Shape, func(at int, index []int) { out.copyFrom(at, x, dot(index, moved)) })
}

// inferExpand stretches dimensions of 1 and adds leading ones; a batch axis
// may be added so.
func inferExpand(n *Node) ([]typ, error) {
	x, to := n.In[0].Shape, Shape(n.Attrs.Ints("shape"))
	if err := to.Check(); err != nil {
		return nil, n.fail(ErrAttribute, "%v", err)
	}
	if got, ok := Broadcast(x, to); !ok || !got.Equal(to) {
		return nil, n.shapeError("cannot be stretched to %v", to)
	}
	return one(n.In[0].DType, to)
}

func evalExpand(c *evalCall) {
	x, out := c.in[0], c.out[0]
	st := x.Shape.broadcastStrides(out.Shape)
	eachIndex(out.Shape, func(at int, index []int) { out.copyFrom(at, x, dot(index, st)) })
}

// inferConcat joins operands that differ at most along the axis. Along the
// batch axis the multiples of it add up.
func inferConcat(n *Node) ([]typ, error) {
	first := n.In[0].Shape
	axis, err := n.axis("axis", len(first))
	if err != nil {
		return nil, err
	}
	out := slices.Clone(first)
	for _, v := range n.In[1:] {
		if len(v.Shape) != len(first) {
			return nil, n.shapeError("the operands have %d and %d dimensions", len(first), len(v.Shape))
		}
		for i, d := range v.Shape {
			switch {
			case i != axis && d != first[i]:
				return nil, n.shapeError("dimension %d is %s and %s; only the axis %d may differ", i, dimText(first[i]), dimText(d), axis)
			case i == axis && (d < 0) != (first[i] < 0):
				return nil, n.shapeError("along the axis %d some operands have the batch and some a fixed dimension", axis)
			case i == axis:
				out[i] += d
				if err := out.Check(); err != nil {
					return nil, n.fail(ErrLimit, "%v", err)
				}
			}
		}
	}
	return one(promoteAll(n.In), out)
}

func evalConcat(c *evalCall) {
	out, axis := c.out[0], c.n.Attrs.Int("axis")
	st := out.Shape.strides()
	off := 0
	for _, x := range c.in {
		eachIndex(x.Shape, func(at int, index []int) { out.copyFrom(off+dot(index, st), x, at) })
		off += x.Shape[axis] * st[axis]
	}
}

// inferSlice takes start and end as Python does: counted from the end where
// negative, and cut to the dimension. A batch axis can only be taken whole.
func inferSlice(n *Node) ([]typ, error) {
	x := n.In[0].Shape
	axis, err := n.axis("axis", len(x))
	if err != nil {
		return nil, err
	}
	start, end, step := n.Attrs.Int("start"), n.Attrs.Int("end"), n.Attrs.Int("step")
	if step < 1 {
		return nil, n.fail(ErrAttribute, "step is %d, must be 1 or more", step)
	}
	d := x[axis]
	if d < 0 {
		if start != 0 || end != math.MaxInt || step != 1 {
			return nil, n.fail(ErrMixesRows, "a part of the batch axis is taken")
		}
		return one(n.In[0].DType, x)
	}
	start, end = cut(start, d), cut(end, d)
	end = max(start, end)
	n.Attrs["start"], n.Attrs["end"] = start, end
	out := slices.Clone(x)
	out[axis] = 0
	if end > start {
		out[axis] = (end-start-1)/step + 1
	}
	return one(n.In[0].DType, out)
}

// cut brings a Python index into the range 0 to d.
func cut(i, d int) int {
	if i < 0 {
		i += d
	}
	return min(max(i, 0), d)
}

func evalSlice(c *evalCall) {
	x, out := c.in[0], c.out[0]
	axis := c.n.Attrs.Int("axis")
	st := x.Shape.strides()
	base := c.n.Attrs.Int("start") * st[axis]
	st[axis] *= c.n.Attrs.Int("step")
	eachIndex(out.Shape, func(at int, index []int) { out.copyFrom(at, x, base+dot(index, st)) })
}
