package plan

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// narrow packs weights that a file holds in 16 or 8 bits as they are; nil where
// they are wide, or where narrow ones would not be faster. The plan then holds
// no float32 copy of them: few rows have them widened in registers, many by
// pairs of panels into the scratch of the run.
//
// For one row it is the bytes of the weights that take the time. Layers that
// stay in the first cache level win nothing, nor do those whose sums are dot
// products.
func (c *compiler) narrow(w, b *graph.Value) (*kernel.Narrow, error) {
	n := w.Const.AsNarrow()
	out, in := w.Shape[0], w.Shape[1]
	if n == nil || out*in < graph.NarrowLeast || !kernel.InPanels(out) {
		return nil, nil
	}
	key := matrixKey{weight: w.Const}
	if b != nil {
		key.bias = b.Const
	}
	if m := c.narrows[key]; m != nil {
		return m, nil
	}
	var bias []float32
	if b != nil {
		var err error
		if bias, err = floats(b); err != nil {
			return nil, err
		}
	}
	var m *kernel.Narrow
	if n.DType == graph.Int8 {
		scale, ok := w.Const.RowScales()
		if !ok {
			return nil, nil
		}
		m = kernel.PackInt8(n.Int8, scale, bias, out, in)
	} else {
		halves := make([]uint16, len(w.Const.F32))
		for i, x := range w.Const.F32 {
			halves[i] = uint16(math.Float32bits(x) >> 16)
		}
		m = kernel.PackBF16(halves, bias, out, in)
	}
	c.narrows[key] = m
	return m, nil
}

// narrowed adds the product of a dense layer with narrow weights and the
// activation behind it.
func (c *compiler) narrowed(n *graph.Node, m *kernel.Narrow, fuse bool) (int, error) {
	v := n.Out[0]
	a, err := c.operand(n.In[0])
	if err != nil {
		return 0, err
	}
	s := step{op: stepNarrow, narrow: m, a: a, count: sizeOf(v.Shape[:len(v.Shape)-1]), note: "linear"}
	if fuse {
		s.unary, v = c.fused(v)
	}
	s.out = c.temp(v.Shape)
	c.plan.scratch = max(c.plan.scratch, m.Scratch())
	c.step(s)
	c.of[v] = s.out
	return s.out, nil
}
