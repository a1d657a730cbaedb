package graph

import "math"

// foldNormalise puts constant sums and products before linear(x, W, b), such
// as the normalisation of observations, into W and b: linear(x·s + t, W, b)
// is linear(x, W·s, b + W·t). It needs W and b constant and nothing but
// affine steps and casts between f32 and f64 in between, so no clamp. Other
// users of the normalised value keep it.
//
// x·s + t of scale 1 may be the small difference of two large numbers, which
// float32 then has lost. So it is done only where, for each output,
// Σ|W||t| <= 16·(Σ|W| + |b|): the rounding stays below 16·2^-24 < 1e-6 of
// what an observation of scale 1 gives.
func foldNormalise(g *Graph) (bool, error) {
	return rewrite(g, func(r *rewriter, n *Node) (*Value, error) {
		if n.Op != OpLinear || !constantWeights(n) {
			return nil, nil
		}
		x, s, t := sourceOf(n)
		if x == nil {
			return nil, nil
		}
		w := n.In[1].Const
		outs, ins := w.Shape[0], w.Shape[1]
		weight, bias := make([]float64, outs*ins), biasOf(n)
		for o := range outs {
			for i := range ins {
				weight[o*ins+i] = w.At(o*ins+i) * s[i]
				bias[o] += w.At(o*ins+i) * t[i]
			}
		}
		return addLinear(r, n, x, weight, bias)
	})
}

// maxNormaliseSteps is how far sourceOf walks: a scaler, a clip range and an
// unscaling are ten steps.
const maxNormaliseSteps = 64

// sourceOf walks back from the operand of a linear over affine steps and
// casts, and returns the farthest value of the linear's type from which the
// weights can take over, with the function s, t from it to the operand. It
// returns nil where there is none.
func sourceOf(lin *Node) (x *Value, s, t []float64) {
	ins := lin.In[1].Shape[1]
	f := affine{shape: Shape{ins}, s: make([]float64, ins), t: make([]float64, ins), carried: make([]float64, ins)}
	for i := range f.s {
		f.s[i] = 1
	}
	at := lin.In[0]
	for range maxNormaliseSteps {
		if at.Def == nil {
			break
		}
		from, g, ok := link(at.Def)
		if at.Def.Op == OpCast {
			from, g = at.Def.In[0], identity()
			ok = single(from.DType) && single(at.DType)
		}
		if !ok || len(g.shape) > 1 {
			break
		}
		f, at = g.then(f), from
		if !f.sound() {
			break
		}
		if at.DType == lin.Out[0].DType && foldable(lin, f) && !shifts(at) {
			x, s, t = at, f.s, f.t
		}
	}
	return x, s, t
}

// shifts reports whether a value is a sum with a constant. A product that
// follows it is not folded without it: the weights would then be those of the
// raw observation, and the next round would take that for one of scale 1.
func shifts(x *Value) bool {
	if x.Def == nil {
		return false
	}
	_, f, ok := link(x.Def)
	return ok && !all(f.t, 0)
}

// foldable is the criterion of foldNormalise.
func foldable(lin *Node, f affine) bool {
	w, bias := lin.In[1].Const, biasOf(lin)
	outs, ins := w.Shape[0], w.Shape[1]
	for o := range outs {
		scale, shift := math.Abs(bias[o]), 0.0
		for i := range ins {
			a := math.Abs(w.At(o*ins + i))
			scale += a
			shift += a * math.Abs(f.t[i])
		}
		if !(shift <= maxCarried*scale) {
			return false
		}
	}
	return true
}
