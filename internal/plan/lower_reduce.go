package plan

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// reduce lowers a reduction. The axes are brought to the inside first, so that
// the kernel sees rows.
func (c *compiler) reduce(n *graph.Node) error {
	x, v := n.In[0], n.Out[0]
	a, err := c.operand(x)
	if err != nil {
		return err
	}
	axes := n.Attrs.Ints("axes")
	if n.Op == graph.OpArgmax {
		axes = []int{n.Attrs.Int("axis")}
	}
	var perm []int
	for i := range x.Shape {
		if !slices.Contains(axes, i) {
			perm = append(perm, i)
		}
	}
	perm = append(perm, axes...)
	each := dim{n: 1}
	for _, i := range axes {
		each = each.mul(toDim(x.Shape[i]))
	}
	s := step{a: c.permute(a, x.Shape, perm), out: c.temp(v.Shape), n: each.n, div: 1, note: string(n.Op)}
	switch n.Op {
	case graph.OpSum:
		s.op = stepSum
	case graph.OpMean:
		s.op, s.div = stepSum, float64(each.n)
	case graph.OpAmax:
		s.op = stepAmax
	case graph.OpAmin:
		s.op = stepAmin
	case graph.OpProd:
		s.op = stepProd
	case graph.OpArgmax:
		s.op = stepArgmax
	}
	c.step(s)
	c.of[v] = s.out
	return nil
}

// along lowers what goes along one axis and keeps the shape. The axis is
// brought to the inside and back again.
func (c *compiler) along(n *graph.Node) error {
	x, v := n.In[0], n.Out[0]
	a, err := c.operand(x)
	if err != nil {
		return err
	}
	axis := n.Attrs.Int("axis")
	perm := toLast(len(x.Shape), axis)
	moved := permuted(x.Shape, perm)
	s := step{a: c.permute(a, x.Shape, perm), out: c.temp(moved), n: x.Shape[axis], note: string(n.Op)}
	switch n.Op {
	case graph.OpSoftmax:
		s.op = stepSoftmax
	case graph.OpLogSoftmax:
		s.op, s.flag = stepSoftmax, true
	case graph.OpCumsum:
		s.op = stepCumulate
	case graph.OpCumprod:
		s.op, s.flag = stepCumulate, true
	case graph.OpArgsort:
		s.op, s.flag, s.m.n = stepArgsort, n.Attrs.Bool("descending"), c.firsts(n)
	}
	c.step(s)
	c.of[v] = c.permute(s.out, moved, perm)
	return nil
}

// maxFirsts is the most positions of an order that are kept sorted one by one.
const maxFirsts = 32

// firsts returns how many positions of an order are used, where that is known
// and few; else 0.
func (c *compiler) firsts(n *graph.Node) int {
	v, most := n.Out[0], 0
	for _, next := range c.consumers[v] {
		if next.Op != graph.OpSlice || next.Attrs.Int("axis") != n.Attrs.Int("axis") || next.Attrs.Int("end") > maxFirsts {
			return 0
		}
		most = max(most, next.Attrs.Int("end"))
	}
	if c.isOutput[v] || most == v.Shape[n.Attrs.Int("axis")] {
		return 0
	}
	return most
}

// toLast exchanges an axis with the last one: its own inverse.
func toLast(rank, axis int) []int {
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = i
	}
	perm[axis], perm[rank-1] = rank-1, axis
	return perm
}
