package graph

import (
	"math"
	"slices"
)

var reduceAttrs = []attr{
	{name: "axes", kind: kindInts},
	{name: "keepdim", kind: kindBool, def: false},
}

// Operators that put together the elements along axes, never along the batch.
var reduceSpecs = map[Op]spec{
	OpSum:  {min: 1, max: 1, attrs: reduceAttrs, infer: inferSum, eval: evalSum},
	OpMean: {min: 1, max: 1, attrs: reduceAttrs, infer: inferMean, eval: evalMean},
	OpAmax: {min: 1, max: 1, attrs: reduceAttrs, infer: inferExtreme, eval: func(c *evalCall) {
		evalExtreme(c, func(a, b float64) float64 { return max(a, b) }, func(a, b int64) int64 { return max(a, b) })
	}},
	OpAmin: {min: 1, max: 1, attrs: reduceAttrs, infer: inferExtreme, eval: func(c *evalCall) {
		evalExtreme(c, func(a, b float64) float64 { return min(a, b) }, func(a, b int64) int64 { return min(a, b) })
	}},
	OpProd: {min: 1, max: 1, attrs: reduceAttrs, infer: inferSum, eval: evalProd},
	OpCumsum: {min: 1, max: 1, infer: inferCumulative, eval: func(c *evalCall) {
		evalCumulative(c, func(a, b float64) float64 { return a + b }, func(a, b int64) int64 { return a + b })
	}, attrs: []attr{{name: "axis", kind: kindInt}}},
	OpCumprod: {min: 1, max: 1, infer: inferCumulative, eval: func(c *evalCall) {
		evalCumulative(c, func(a, b float64) float64 { return a * b }, func(a, b int64) int64 { return a * b })
	}, attrs: []attr{{name: "axis", kind: kindInt}}},
	OpArgmax: {min: 1, max: 1, infer: inferArgmax, eval: evalArgmax, attrs: []attr{
		{name: "axis", kind: kindInt},
		{name: "keepdim", kind: kindBool, def: false},
	}},
	OpSoftmax:    {min: 1, max: 1, infer: inferSoftmax, eval: func(c *evalCall) { evalSoftmax(c, false) }, attrs: []attr{{name: "axis", kind: kindInt}}},
	OpLogSoftmax: {min: 1, max: 1, infer: inferSoftmax, eval: func(c *evalCall) { evalSoftmax(c, true) }, attrs: []attr{{name: "axis", kind: kindInt}}},
}

// reduced checks the axes, stores them from 0 in rising order and returns the
// shape without them, or with 1 in their places.
func (n *Node) reduced(axes []int) (Shape, error) {
	x := n.In[0].Shape
	out := slices.Clone(x)
	for i, a := range axes {
		if a < -len(x) || a >= len(x) {
			return nil, n.fail(ErrAttribute, "axis %d of an operand of %d dimensions", a, len(x))
		}
		if a < 0 {
			a += len(x)
			axes[i] = a
		}
		if x[a] < 0 {
			return nil, n.fail(ErrMixesRows, "axis %d is the batch axis", a)
		}
		out[a] = 1
	}
	slices.Sort(axes)
	for i := 1; i < len(axes); i++ {
		if axes[i] == axes[i-1] {
			return nil, n.fail(ErrAttribute, "axis %d twice", axes[i])
		}
	}
	if n.Attrs.Bool("keepdim") {
		return out, nil
	}
	short := Shape{}
	for i, d := range out {
		if !slices.Contains(axes, i) {
			short = append(short, d)
		}
	}
	return short, nil
}

// inferSum: integers and booleans are summed in i64.
func inferSum(n *Node) ([]typ, error) {
	shape, err := n.reduced(n.Attrs.Ints("axes"))
	if err != nil {
		return nil, err
	}
	if dt := n.In[0].DType; dt.IsFloat() {
		return one(dt, shape)
	}
	return one(Int64, shape)
}

// inferCumulative: the operand's shape; integers and booleans meet in i64.
func inferCumulative(n *Node) ([]typ, error) {
	a, err := n.axis("axis", len(n.In[0].Shape))
	if err != nil {
		return nil, err
	}
	if n.In[0].Shape[a] < 0 {
		return nil, n.fail(ErrMixesRows, "axis %d is the batch axis", a)
	}
	if dt := n.In[0].DType; dt.IsFloat() {
		return one(dt, n.In[0].Shape)
	}
	return one(Int64, n.In[0].Shape)
}

func inferMean(n *Node) ([]typ, error) {
	if err := n.sameFloat(1); err != nil {
		return nil, err
	}
	return inferSum(n)
}

// inferExtreme refuses an empty axis, whose greatest element does not exist.
func inferExtreme(n *Node) ([]typ, error) {
	shape, err := n.reduced(n.Attrs.Ints("axes"))
	if err != nil {
		return nil, err
	}
	for _, a := range n.Attrs.Ints("axes") {
		if n.In[0].Shape[a] == 0 {
			return nil, n.shapeError("axis %d is empty", a)
		}
	}
	return one(n.In[0].DType, shape)
}

func inferArgmax(n *Node) ([]typ, error) {
	a, err := n.axis("axis", len(n.In[0].Shape))
	if err != nil {
		return nil, err
	}
	if n.In[0].Shape[a] == 0 {
		return nil, n.shapeError("axis %d is empty", a)
	}
	shape, err := n.reduced([]int{a})
	if err != nil {
		return nil, err
	}
	return one(Int64, shape)
}

func inferSoftmax(n *Node) ([]typ, error) {
	a, err := n.axis("axis", len(n.In[0].Shape))
	if err != nil {
		return nil, err
	}
	if n.In[0].Shape[a] < 0 {
		return nil, n.fail(ErrMixesRows, "axis %d is the batch axis", a)
	}
	return inferActivation(n)
}

// eachGroup calls f for each element of the result of a reduction along axes,
// with the positions of its elements in the operand, in row-major order.
func eachGroup(shape Shape, axes []int, f func(at int, group []int)) {
	st := shape.strides()
	rest, restStrides := Shape{}, []int{}
	sub, subStrides := Shape{}, []int{}
	for i, d := range shape {
		if slices.Contains(axes, i) {
			sub, subStrides = append(sub, d), append(subStrides, st[i])
		} else {
			rest, restStrides = append(rest, d), append(restStrides, st[i])
		}
	}
	var group []int
	eachIndex(rest, func(at int, index []int) {
		base := dot(index, restStrides)
		group = group[:0]
		eachIndex(sub, func(_ int, index []int) { group = append(group, base+dot(index, subStrides)) })
		f(at, group)
	})
}

func evalSum(c *evalCall) {
	x, out := c.in[0], c.out[0]
	eachGroup(x.Shape, c.n.Attrs.Ints("axes"), func(at int, group []int) {
		var sum float64
		var ints int64
		for _, i := range group {
			if out.DType == Int64 {
				ints += x.I64[i]
			} else {
				sum += x.At(i)
			}
		}
		if out.DType == Int64 {
			out.setInt(at, ints)
		} else {
			out.set(at, sum)
		}
	})
}

func evalMean(c *evalCall) {
	x, out := c.in[0], c.out[0]
	eachGroup(x.Shape, c.n.Attrs.Ints("axes"), func(at int, group []int) {
		var sum float64
		for _, i := range group {
			sum += x.At(i)
		}
		out.set(at, sum/float64(len(group)))
	})
}

func evalProd(c *evalCall) {
	x, out := c.in[0], c.out[0]
	eachGroup(x.Shape, c.n.Attrs.Ints("axes"), func(at int, group []int) {
		product, ints := 1.0, int64(1)
		for _, i := range group {
			if out.DType == Int64 {
				ints *= x.I64[i]
			} else {
				product *= x.At(i)
			}
		}
		if out.DType == Int64 {
			out.setInt(at, ints)
		} else {
			out.set(at, product)
		}
	})
}

// evalCumulative puts each element together with all before it.
func evalCumulative(c *evalCall, f func(a, b float64) float64, i func(a, b int64) int64) {
	x, out := c.in[0], c.out[0]
	eachGroup(x.Shape, []int{c.n.Attrs.Int("axis")}, func(_ int, group []int) {
		var sum float64
		var ints int64
		for k, at := range group {
			switch {
			case out.DType == Int64 && k == 0:
				ints = x.I64[at]
			case out.DType == Int64:
				ints = i(ints, x.I64[at])
			case k == 0:
				sum = x.At(at)
			default:
				sum = f(sum, x.At(at))
			}
			if out.DType == Int64 {
				out.setInt(at, ints)
			} else {
				out.set(at, sum)
			}
		}
	})
}

func evalExtreme(c *evalCall, f func(a, b float64) float64, i func(a, b int64) int64) {
	x, out := c.in[0], c.out[0]
	eachGroup(x.Shape, c.n.Attrs.Ints("axes"), func(at int, group []int) {
		if x.DType.IsFloat() {
			best := x.At(group[0])
			for _, k := range group[1:] {
				best = f(best, x.At(k))
			}
			out.set(at, best)
			return
		}
		best := x.I64[group[0]]
		for _, k := range group[1:] {
			best = i(best, x.I64[k])
		}
		out.setInt(at, best)
	})
}

// evalArgmax gives the first of equal elements, and the first NaN where there
// is one.
func evalArgmax(c *evalCall) {
	x, out := c.in[0], c.out[0]
	eachGroup(x.Shape, []int{c.n.Attrs.Int("axis")}, func(at int, group []int) {
		best := 0
		for k, i := range group {
			if math.IsNaN(x.At(group[best])) {
				break
			}
			if v := x.At(i); v > x.At(group[best]) || math.IsNaN(v) {
				best = k
			}
		}
		out.setInt(at, int64(best))
	})
}

func evalSoftmax(c *evalCall, logarithm bool) {
	x, out := c.in[0], c.out[0]
	eachGroup(x.Shape, []int{c.n.Attrs.Int("axis")}, func(_ int, group []int) {
		top := math.Inf(-1)
		for _, i := range group {
			top = max(top, x.At(i))
		}
		var sum float64
		for _, i := range group {
			sum += math.Exp(x.At(i) - top)
		}
		for _, i := range group {
			if logarithm {
				out.set(i, x.At(i)-top-math.Log(sum))
			} else {
				out.set(i, math.Exp(x.At(i)-top)/sum)
			}
		}
	})
}
