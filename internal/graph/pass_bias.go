package graph

// fuseBias turns matmul(x, W) of a constant W of two dimensions into
// linear(x, Wᵀ), which is exact, and add(linear(x, W), b) of a constant b of
// one dimension into linear(x, W, b), in single and double precision only:
// half precision would round once less. It needs W constant; run after
// foldConstants.
func fuseBias(g *Graph) (bool, error) {
	return rewrite(g, func(r *rewriter, n *Node) (*Value, error) {
		switch n.Op {
		case OpMatMul:
			if w := n.In[1]; w.Const != nil && len(w.Shape) == 2 {
				return r.add(OpLinear, nil, n.In[0], g.Constant(w.Name, transposed(w.Const)))
			}
		case OpAdd:
			for i := range 2 {
				if v, err := addBias(r, n, n.In[i], n.In[1-i]); v != nil || err != nil {
					return v, err
				}
			}
		}
		return nil, nil
	})
}

func addBias(r *rewriter, n *Node, y, b *Value) (*Value, error) {
	lin := r.only(y, OpLinear)
	if lin == nil || len(lin.In) != 2 || !single(y.DType) || n.Out[0].DType != y.DType || !n.Out[0].Shape.Equal(y.Shape) {
		return nil, nil
	}
	outs := lin.In[1].Shape[0]
	c, ok := asVector(b, outs, y.DType)
	if !ok {
		return nil, nil
	}
	return r.add(OpLinear, nil, lin.In[0], lin.In[1], r.g.Constant(b.Name, vector(y.DType, c)))
}

// transposed returns a copy of a tensor of two dimensions with them swapped.
func transposed(t *Tensor) *Tensor {
	rows, cols := t.Shape[0], t.Shape[1]
	out := newTensor(t.DType, Shape{cols, rows})
	for i := range rows {
		for j := range cols {
			out.copyFrom(j*rows+i, t, i*cols+j)
		}
	}
	out.Narrow = t.Narrow.transposed(rows, cols)
	return out
}

// single reports whether d is f32 or f64, the types in which passes may
// change the order of arithmetic.
func single(d DType) bool { return d == Float32 || d == Float64 }

// asVector returns the data of a constant that has one number for each of
// size features along the last dimension, or one number for all, as numbers
// of type dt.
func asVector(v *Value, size int, dt DType) ([]float64, bool) {
	if v.Const == nil {
		return nil, false
	}
	n := v.Const.Len()
	s := trimmed(v.Shape)
	if len(s) > 1 || n != 1 && n != size {
		return nil, false
	}
	out := make([]float64, size)
	for i := range out {
		out[i] = roundTo(dt, v.Const.At(i%n))
	}
	return out, true
}

// trimmed is a shape without its leading ones.
func trimmed(s Shape) Shape {
	for len(s) > 0 && s[0] == 1 {
		s = s[1:]
	}
	return s
}

// vector is a tensor of one dimension, rounded to the type.
func vector(dt DType, x []float64) *Tensor { return shaped(dt, x, Shape{len(x)}) }

func shaped(dt DType, x []float64, shape Shape) *Tensor {
	t := newTensor(dt, shape)
	for i := range x {
		t.set(i, x[i])
	}
	return t
}
