package plan

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// linear lowers a dense layer and, with it, the activation behind it. Weights
// that are computed are multiplied as a matrix.
func (c *compiler) linear(n *graph.Node) error {
	w := n.In[1]
	if w.Const == nil {
		return c.linearOf(n)
	}
	var bias *graph.Value
	later := len(n.In) == 3 && n.In[2].Const == nil
	if len(n.In) == 3 && !later {
		bias = n.In[2]
	}
	var out int
	narrow, err := c.narrow(w, bias)
	if err != nil {
		return err
	}
	if narrow != nil {
		out, err = c.narrowed(n, narrow, !later)
	} else {
		var m *kernel.Matrix
		if m, err = c.matrix(w, bias, false, w.Shape[0], w.Shape[1]); err != nil {
			return err
		}
		out, err = c.packed(n.In[0], n.Out[0], m, !later, "linear")
	}
	if err != nil || !later {
		return err
	}
	return c.addBias(n, out)
}

// linearOf lowers a dense layer with computed weights.
func (c *compiler) linearOf(n *graph.Node) error {
	x, w, v := n.In[0], n.In[1], n.Out[0]
	a, err := c.operand(x)
	if err != nil {
		return err
	}
	b, err := c.operand(w)
	if err != nil {
		return err
	}
	b = c.permute(b, w.Shape, []int{1, 0})
	out := c.temp(v.Shape)
	c.plan.scratch = max(c.plan.scratch, kernel.MatMulScratch(w.Shape[1]))
	c.step(step{
		op: stepMatMul, a: a, b: b, out: out, note: "linear",
		count: dim{n: 1}, m: sizeOf(x.Shape[:len(x.Shape)-1]), n: w.Shape[1], cols: toDim(w.Shape[0]),
	})
	c.of[v] = out
	if len(n.In) < 3 {
		return nil
	}
	return c.addBias(n, out)
}

func (c *compiler) addBias(n *graph.Node, product int) error {
	b, err := c.operand(n.In[2])
	if err != nil {
		return err
	}
	out := c.temp(n.Out[0].Shape)
	c.step(step{op: stepTile, binary: kernel.Add, a: product, b: b, out: out, note: "bias"})
	c.of[n.Out[0]] = out
	return nil
}

// packed adds the product of x with a packed matrix, whose result is v or, if
// fuse allows it, that of the activation behind it.
func (c *compiler) packed(x, v *graph.Value, m *kernel.Matrix, fuse bool, note string) (int, error) {
	a, err := c.operand(x)
	if err != nil {
		return 0, err
	}
	s := step{op: stepLinear, matrix: m, a: a, count: sizeOf(v.Shape[:len(v.Shape)-1]), note: note}
	if fuse {
		s.unary, v = c.fused(v)
	}
	s.out = c.temp(v.Shape)
	c.step(s)
	c.of[v] = s.out
	return s.out, nil
}

// fused takes the activation that alone uses v, if there is one, and returns
// it with its result; else the identity and v.
func (c *compiler) fused(v *graph.Value) (kernel.Unary, *graph.Value) {
	next := c.only(v)
	if next == nil {
		return kernel.Unary{}, v
	}
	u, ok := unaryOf(next)
	if !ok || !next.Out[0].DType.IsFloat() {
		return kernel.Unary{}, v
	}
	c.done[next] = true
	return u, next.Out[0]
}

// matMul lowers a product of matrices: one constant matrix on the right is a
// dense layer, one computed matrix there is one product, and several are
// multiplied each with its own.
func (c *compiler) matMul(n *graph.Node) error {
	x, y, v := n.In[0], n.In[1], n.Out[0]
	xs, ys := x.Shape, y.Shape
	k, cols := ys[len(ys)-2], ys[len(ys)-1]
	single := sizeOf(ys[:len(ys)-2]) == dim{n: 1}
	if y.Const != nil && single {
		w, err := c.matrix(y, nil, true, cols, k)
		if err != nil {
			return err
		}
		_, err = c.packed(x, v, w, true, "matmul")
		return err
	}
	a, err := c.operand(x)
	if err != nil {
		return err
	}
	b, err := c.operand(y)
	if err != nil {
		return err
	}
	c.plan.scratch = max(c.plan.scratch, kernel.MatMulScratch(k))
	lead, m := v.Shape[:len(v.Shape)-2], xs[len(xs)-2]
	s := step{op: stepMatMul, n: k, cols: toDim(cols), out: c.temp(v.Shape), note: "matmul"}
	if single {
		s.a, s.b, s.count, s.m = a, b, dim{n: 1}, sizeOf(xs[:len(xs)-1])
	} else {
		s.count, s.m = sizeOf(lead), toDim(m)
		s.a = c.stretch(a, xs, append(slices.Clip(lead), m, k))
		s.b = c.stretch(b, ys, append(slices.Clip(lead), k, cols))
	}
	c.step(s)
	c.of[v] = s.out
	return nil
}
