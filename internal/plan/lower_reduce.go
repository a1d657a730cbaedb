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
	case graph.OpArgmax:
		s.op = stepArgmax
	}
	c.step(s)
	c.of[v] = s.out
	return nil
}

// softmax lowers a softmax or its logarithm along any axis.
func (c *compiler) softmax(n *graph.Node) error {
	x, v := n.In[0], n.Out[0]
	a, err := c.operand(x)
	if err != nil {
		return err
	}
	axis := n.Attrs.Int("axis")
	last := len(x.Shape) - 1
	perm := make([]int, len(x.Shape))
	for i := range perm {
		perm[i] = i
	}
	perm[axis], perm[last] = last, axis // its own inverse
	moved := permuted(x.Shape, perm)
	s := step{op: stepSoftmax, a: c.permute(a, x.Shape, perm), out: c.temp(moved), n: x.Shape[axis], flag: n.Op == graph.OpLogSoftmax, note: string(n.Op)}
	c.step(s)
	c.of[v] = c.permute(s.out, moved, perm)
	return nil
}
