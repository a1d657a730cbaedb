package plan

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// moves lowers the operators that move elements.
func (c *compiler) moves(n *graph.Node) error {
	v := n.Out[0]
	if n.Op == graph.OpConcat {
		return c.concat(n)
	}
	a, err := c.operand(n.In[0])
	if err != nil {
		return err
	}
	x := n.In[0].Shape
	switch n.Op {
	case graph.OpTranspose:
		c.of[v] = c.permute(a, x, n.Attrs.Ints("perm"))
	case graph.OpExpand:
		c.of[v] = c.stretch(a, x, v.Shape)
	case graph.OpSlice:
		axis := n.Attrs.Int("axis")
		src := stridesOf(x)
		if x[axis] < 0 { // a batch axis is taken whole
			c.of[v] = a
			return nil
		}
		// A stride over rows is not known here, so the offset is taken along
		// the axis at run time where it depends on them.
		if first := src[axis].mul(dim{n: n.Attrs.Int("start")}); first.batch {
			c.of[v] = c.sliceAcrossRows(a, n)
		} else {
			src[axis] = src[axis].mul(dim{n: n.Attrs.Int("step")})
			c.of[v] = c.move(a, v.Shape, src, first.n, "slice")
		}
	}
	return nil
}

// sliceAcrossRows lowers a slice of an axis that lies outside the batch axis:
// what is taken is brought to the inside, sliced and brought back.
func (c *compiler) sliceAcrossRows(a int, n *graph.Node) int {
	x, axis := n.In[0].Shape, n.Attrs.Int("axis")
	perm := make([]int, 0, len(x)) // the axis goes last
	for i := range x {
		if i != axis {
			perm = append(perm, i)
		}
	}
	perm = append(perm, axis)
	a = c.permute(a, x, perm)
	moved := permuted(x, perm)
	src := stridesOf(moved)
	last := len(moved) - 1
	start := n.Attrs.Int("start")
	src[last] = dim{n: n.Attrs.Int("step")}
	moved = slices.Clone(moved)
	moved[last] = n.Out[0].Shape[axis]
	a = c.move(a, moved, src, start, "slice")
	back := make([]int, len(perm))
	for i, p := range perm {
		back[p] = i
	}
	return c.permute(a, moved, back)
}

// concat lowers to one move an operand.
func (c *compiler) concat(n *graph.Node) error {
	v := n.Out[0]
	axis := n.Attrs.Int("axis")
	out := c.temp(v.Shape)
	dst := stridesOf(v.Shape)
	if v.Shape[axis] < 0 && len(n.In) > 1 {
		c.plan.chunked = false // the rows of one operand follow all of another
	}
	var off dim
	for _, x := range n.In {
		a, err := c.operand(x)
		if err != nil {
			return err
		}
		c.step(step{op: stepMove, a: a, out: out, axes: axesOf(x.Shape, dst, stridesOf(x.Shape)), dstOff: off, note: "concat"})
		part := dst[axis].mul(toDim(x.Shape[axis]))
		off = dim{off.n + part.n, off.batch || part.batch}
	}
	c.of[v] = out
	return nil
}

// permute returns a slot with the dimensions of a in another order.
func (c *compiler) permute(a int, s graph.Shape, perm []int) int {
	st := stridesOf(s)
	src := make([]dim, len(perm))
	for i, p := range perm {
		src[i] = st[p]
	}
	to := permuted(s, perm)
	c.checkChunked(to)
	return c.move(a, to, src, 0, "transpose")
}

func permuted(s graph.Shape, perm []int) graph.Shape {
	to := make(graph.Shape, len(perm))
	for i, p := range perm {
		to[i] = s[p]
	}
	return to
}

// stretch returns a slot with a broadcast to a shape.
func (c *compiler) stretch(a int, s, to graph.Shape) int {
	return c.move(a, to, stretched(s, to), 0, "expand")
}

// move returns a slot of the given shape whose elements are those of a from
// off along the strides: a itself where nothing moves.
func (c *compiler) move(a int, shape graph.Shape, src []dim, off int, note string) int {
	axes := axesOf(shape, stridesOf(shape), src)
	size := sizeOf(shape)
	if off == 0 && size == c.plan.slots[a].size {
		one := dim{n: 1}
		if len(axes) == 0 || len(axes) == 1 && axes[0].src == one && axes[0].dst == one {
			return a
		}
	}
	out := c.temp(shape)
	c.step(step{op: stepMove, a: a, out: out, axes: axes, srcOff: off, note: note})
	return out
}

// axesOf drops the dimensions of 1 and joins those that are one line in both.
func axesOf(shape graph.Shape, dst, src []dim) []axis {
	var axes []axis
	for i, d := range shape {
		if d == 1 {
			continue
		}
		next := axis{toDim(d), dst[i], src[i]}
		if k := len(axes) - 1; k >= 0 && axes[k].dst == next.dst.mul(next.n) && axes[k].src == next.src.mul(next.n) &&
			(next.src.n != 0 || axes[k].src.n == 0) {
			axes[k] = axis{axes[k].n.mul(next.n), next.dst, next.src}
			continue
		}
		axes = append(axes, next)
	}
	return axes
}
