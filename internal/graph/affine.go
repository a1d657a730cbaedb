package graph

import (
	"math"
	"slices"
)

// affine is x·s + t with constants that broadcast to x from its last
// dimension on.
type affine struct {
	shape Shape // of s and t, without leading ones
	s, t  []float64

	// carried is, of each |t|, the part that a product was applied to after
	// it was added: what x·s is rounded against although the original had
	// cancelled it before multiplying.
	carried []float64
}

// identity is the affine function that changes nothing.
func identity() affine {
	return affine{shape: Shape{}, s: []float64{1}, t: []float64{0}, carried: []float64{0}}
}

// link reads a node as an affine function of one of its operands: a sum,
// difference, product or quotient with a constant, or a negation. The result
// must have the operand's shape and be of type f32 or f64.
func link(n *Node) (x *Value, f affine, ok bool) {
	switch n.Op {
	case OpNeg:
		return n.In[0], affine{shape: Shape{}, s: []float64{-1}, t: []float64{0}, carried: []float64{0}}, single(n.Out[0].DType)
	case OpAdd, OpSub, OpMul, OpDiv:
	default:
		return nil, affine{}, false
	}
	x, c, swapped := n.In[0], n.In[1], false
	if c.Const == nil {
		x, c, swapped = c, x, true
	}
	out := n.Out[0]
	if c.Const == nil || x.Const != nil || !single(out.DType) || x.DType != out.DType || !x.Shape.Equal(out.Shape) || swapped && n.Op == OpDiv {
		return nil, affine{}, false
	}
	f = affine{shape: trimmed(c.Shape), s: make([]float64, c.Const.Len()), t: make([]float64, c.Const.Len()), carried: make([]float64, c.Const.Len())}
	for i := range f.s {
		k := roundTo(out.DType, c.Const.At(i))
		switch {
		case n.Op == OpAdd:
			f.s[i], f.t[i] = 1, k
		case n.Op == OpSub && swapped:
			f.s[i], f.t[i] = -1, k
		case n.Op == OpSub:
			f.s[i], f.t[i] = 1, 0-k
		case n.Op == OpMul:
			f.s[i] = k
		default:
			f.s[i] = 1 / k
		}
	}
	return x, f, true
}

// then is f followed by h.
func (f affine) then(h affine) affine {
	shape, ok := Broadcast(f.shape, h.shape)
	if !ok {
		panic("graph: constants of one chain do not broadcast")
	}
	n := shape.RowElements()
	out := affine{shape: shape, s: make([]float64, n), t: make([]float64, n), carried: make([]float64, n)}
	fs, hs := f.shape.broadcastStrides(shape), h.shape.broadcastStrides(shape)
	eachIndex(shape, func(at int, index []int) {
		i, j := dot(index, fs), dot(index, hs)
		out.s[at] = f.s[i] * h.s[j]
		out.t[at] = f.t[i]*h.s[j] + h.t[j]
		carried := f.carried[i]
		if math.Abs(h.s[j]) != 1 {
			carried = max(carried, math.Abs(f.t[i]))
		}
		out.carried[at] = carried*math.Abs(h.s[j]) + h.carried[j]
	})
	return out
}

// Bounds of factors that passes make: away from overflow and from numbers
// that float32 holds with fewer digits.
const (
	minFactor = 0x1p-100
	maxFactor = 0x1p100
)

// sound reports whether all numbers are finite and factors well inside the
// range of float32.
func (f affine) sound() bool {
	for i, s := range f.s {
		a := math.Abs(s)
		if s != 0 && (a < minFactor || a > maxFactor) || math.IsNaN(s) || !(math.Abs(f.t[i]) <= maxFactor) {
			return false
		}
	}
	return true
}

// maxCarried is the greatest shift, in units of the result, that may move
// behind the product. A normalised feature is of scale 1, so x·s and the
// shift are then rounded to within 16·2^-24 < 1e-6 of that scale; (x-mean)/std
// with mean = 1000·std would keep three digits less.
const maxCarried = 16

// steady reports whether the function may be computed as one product and one
// sum in float32. Where the operand itself is bounded by 1, the rounding is
// relative to the range of the result and any shift is.
func (f affine) steady(x *Value) bool {
	return bounded(x) || slices.Max(append([]float64{0}, f.carried...)) <= maxCarried
}

// bounded reports whether a value is within -1 and 1 by the operator that
// makes it.
func bounded(x *Value) bool {
	for x.Def != nil {
		switch x.Def.Op {
		case OpTanh, OpSigmoid, OpSoftmax, OpSoftsign, OpHardsigmoid, OpSin, OpCos:
			return true
		case OpClamp:
			if lo, hi := x.Def.Attrs.ClampBounds(); lo >= -1 && hi <= 1 {
				return true
			}
			x = x.Def.In[0]
		default:
			return false
		}
	}
	return false
}

func all(x []float64, want float64) bool {
	return !slices.ContainsFunc(x, func(v float64) bool { return v != want })
}
