package plan

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// take lowers a choice of whole parts along an axis.
func (c *compiler) take(n *graph.Node) error {
	x, v := n.In[0], n.Out[0]
	a, b, err := c.both(n)
	if err != nil {
		return err
	}
	axis := n.Attrs.Int("axis")
	c.of[v] = c.temp(v.Shape)
	c.step(step{
		op: stepTake, a: a, b: b, out: c.of[v], note: "take",
		count: sizeOf(x.Shape[:axis]), n: x.Shape[axis], cols: sizeOf(x.Shape[axis+1:]), div: missing(v.DType),
	})
	return nil
}

// gather lowers a choice of elements along an axis, which is brought to the
// inside.
func (c *compiler) gather(n *graph.Node) error {
	x, index, v := n.In[0], n.In[1], n.Out[0]
	a, b, err := c.both(n)
	if err != nil {
		return err
	}
	axis := n.Attrs.Int("axis")
	perm := toLast(len(x.Shape), axis)
	moved := permuted(v.Shape, perm)
	a, b = c.permute(a, x.Shape, perm), c.permute(b, index.Shape, perm)
	out := c.temp(moved)
	c.step(step{op: stepGather, a: a, b: b, out: out, n: x.Shape[axis], m: toDim(index.Shape[axis]), div: missing(v.DType), note: "gather"})
	c.of[v] = c.permute(out, moved, perm)
	return nil
}

func (c *compiler) both(n *graph.Node) (a, b int, err error) {
	if a, err = c.operand(n.In[0]); err == nil {
		b, err = c.operand(n.In[1])
	}
	return a, b, err
}

// missing is what stands for an element that is not there: NaN, or the least
// i64 wrapped to the integer's type.
func missing(dt graph.DType) float64 {
	switch {
	case dt.IsFloat():
		return math.NaN()
	case dt == graph.Int64:
		return math.MinInt64
	case dt == graph.Bool:
		return 1
	default:
		return 0
	}
}
