package graph

import "math"

// mergeClamps joins bounds that follow each other: clamp, relu, and minimum
// or maximum with a constant that is one number. What only bounds at 0 from
// below becomes a relu, and what does not bound goes. It is exact.
func mergeClamps(g *Graph) (bool, error) {
	return rewrite(g, func(r *rewriter, n *Node) (*Value, error) {
		x, lo, hi, ok := bounds(n)
		if !ok {
			return nil, nil
		}
		if math.IsInf(lo, -1) && math.IsInf(hi, 1) {
			return x, nil
		}
		merged := n.Op == OpMinimum || n.Op == OpMaximum || n.Op == OpClamp && lo == 0 && math.IsInf(hi, 1)
		for x.Def != nil {
			from, l, h, ok := bounds(x.Def)
			if !ok {
				break
			}
			// Both functions rise, so what they do to the ends tells all.
			lo, hi = clampTo(l, lo, hi), clampTo(h, lo, hi)
			x, merged = from, true
		}
		if !merged {
			return nil, nil
		}
		if lo == 0 && math.IsInf(hi, 1) {
			return r.add(OpRelu, nil, x)
		}
		attrs := Attrs{}
		if !math.IsInf(lo, -1) {
			attrs["min"] = lo
		}
		if !math.IsInf(hi, 1) {
			attrs["max"] = hi
		}
		return r.add(OpClamp, attrs, x)
	})
}

func clampTo(x, lo, hi float64) float64 { return min(max(x, lo), hi) }

// bounds reads a node as a clamp of one floating point operand. Bounds are
// as the node applies them, rounded to the type in which it computes.
func bounds(n *Node) (x *Value, lo, hi float64, ok bool) {
	x, lo, hi = n.In[0], math.Inf(-1), math.Inf(1)
	if !n.Out[0].DType.IsFloat() {
		return nil, 0, 0, false
	}
	switch n.Op {
	case OpRelu:
		return x, 0, hi, true
	case OpClamp:
		lo, hi = n.Attrs.ClampBounds()
		return x, lo, max(lo, hi), lo <= hi
	case OpMinimum, OpMaximum:
	default:
		return nil, 0, 0, false
	}
	c := n.In[1]
	if c.Const == nil {
		x, c = c, x
	}
	if c.Const == nil || x.Const != nil || c.Const.Len() == 0 || x.DType != n.Out[0].DType || !x.Shape.Equal(n.Out[0].Shape) {
		return nil, 0, 0, false
	}
	b := roundTo(x.DType, c.Const.At(0))
	for i := range c.Const.Len() {
		if roundTo(x.DType, c.Const.At(i)) != b { // also where it is NaN
			return nil, 0, 0, false
		}
	}
	if n.Op == OpMinimum {
		return x, lo, b, true
	}
	return x, b, hi, true
}
