package graph

// foldScale puts constant sums and products behind linear(x, W, b) into W
// and b: the rows of W are scaled, the bias scaled and shifted. It needs W
// and b constant and no other use of the result; run after fuseBias. The
// products are rounded once more and cancel nothing that was not there
// before; f32 and f64 only.
func foldScale(g *Graph) (bool, error) {
	return rewrite(g, func(r *rewriter, n *Node) (*Value, error) {
		y, f, ok := link(n)
		if !ok {
			return nil, nil
		}
		lin := r.only(y, OpLinear)
		if lin == nil || !constantWeights(lin) || len(f.shape) > 1 || !f.sound() {
			return nil, nil
		}
		w := lin.In[1].Const
		outs, ins := w.Shape[0], w.Shape[1]
		weight, bias := make([]float64, outs*ins), biasOf(lin)
		for o := range outs {
			s, t := f.s[o%len(f.s)], f.t[o%len(f.t)]
			for i := range ins {
				weight[o*ins+i] = w.At(o*ins+i) * s
			}
			bias[o] = bias[o]*s + t
		}
		return addLinear(r, lin, lin.In[0], weight, bias)
	})
}

func constantWeights(lin *Node) bool {
	return single(lin.Out[0].DType) && lin.In[1].Const != nil && (len(lin.In) == 2 || lin.In[2].Const != nil)
}

// biasOf returns a copy of the bias, zeros where there is none.
func biasOf(lin *Node) []float64 {
	b := make([]float64, lin.In[1].Shape[0])
	if len(lin.In) == 3 {
		for i := range b {
			b[i] = lin.In[2].Const.At(i)
		}
	}
	return b
}

// addLinear adds a linear of x like lin with other weights, unless they would
// overflow or, as a whole, lose digits in their type.
func addLinear(r *rewriter, lin *Node, x *Value, weight, bias []float64) (*Value, error) {
	if !inRange(weight) || !inRange(bias) {
		return nil, nil
	}
	dt, w := lin.Out[0].DType, lin.In[1]
	in := []*Value{x, r.g.Constant(w.Name, shaped(dt, weight, w.Shape))}
	if len(lin.In) == 3 || !all(bias, 0) {
		name := ""
		if len(lin.In) == 3 {
			name = lin.In[2].Name
		}
		in = append(in, r.g.Constant(name, vector(dt, bias)))
	}
	return r.add(OpLinear, nil, in...)
}

// inRange reports whether the largest of the numbers is 0 or well inside the
// range of float32. Small ones beside it do not count.
func inRange(x []float64) bool {
	top := 0.0
	for _, v := range x {
		top = max(top, v, -v)
	}
	return top == 0 || top >= minFactor && top <= maxFactor
}
