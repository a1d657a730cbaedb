package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// statisticsBuiltins are further reductions, and those that go on from element
// to element.
var statisticsBuiltins = map[string]builtin{
	"var_mean":      {"x dim correction keepdim unbiased", func(c *call) value { return withMean(c, variance(c)) }},
	"std_mean":      {"x dim correction keepdim unbiased", func(c *call) value { return withMean(c, rootOf(c, variance(c))) }},
	"cummax":        {"x dim", func(c *call) value { return running(c, graph.OpGe) }},
	"cummin":        {"x dim", func(c *call) value { return running(c, graph.OpLe) }},
	"logcumsumexp":  {"x dim", logCumSumExp},
	"count_nonzero": {"x dim", countNonzero},
	"nansum":        {"x dim keepdim dtype", func(c *call) value { return newTensor(nanSum(c)) }},
	"nanmean":       {"x dim keepdim dtype", nanMean},
	"nanmedian":     {"x dim keepdim", nanMedian},
	"diff":          {"x n dim prepend append", diff},
	"quantile":      {"x q dim keepdim interpolation", quantile},
	"trapezoid":     {"y x dx dim", trapezoid},
	"trapz":         {"y x dx dim", trapezoid},
	"isin":          {"x y assume_unique invert", isIn},
	"mode":          {"x dim keepdim", mode},
	"bincount": {"x weights minlength", func(c *call) value {
		c.in.unsupported("torch.bincount: how many bins it has, the data decides")
		return nil
	}},
	"unique": {"x", func(c *call) value {
		c.in.unsupported("torch.unique: how many elements it has, the data decides")
		return nil
	}},
}

// maxRunning bounds a dimension that is gone through element by element.
const maxRunning = 256

// withMean is a result beside the mean along the same dimensions. The
// function before has put the dimensions in order.
func withMean(c *call, v value) value {
	x := c.value(0)
	return &tuple{elems: []value{v, newTensor(c.in.reduce(graph.OpMean, x, c.axes(1, x), c.bool(3, false)))}}
}

// steps are the elements of a dimension, each with the dimension of 1.
func (c *call) steps(x *graph.Value, axis int) []*graph.Value {
	n := c.fixedDim(x, axis)
	if n < 1 || n > maxRunning {
		c.in.unsupported("torch.%s of %d elements", c.name, n)
	}
	out := make([]*graph.Value, n)
	for i := range out {
		out[i] = c.in.slice(x, axis, i, i+1, 1)
	}
	return out
}

func (in *interp) joinSteps(vs []*graph.Value, axis int) *tensor {
	if len(vs) == 1 {
		return newTensor(vs[0])
	}
	return newTensor(in.add(graph.OpConcat, graph.Attrs{"axis": axis}, vs...))
}

// running is the extreme element up to each one, the last of equal ones, and
// where it stands. NaN stays.
func running(c *call, op graph.Op) value {
	in := c.in
	x := c.value(0)
	if len(x.Shape) == 0 {
		return &tuple{elems: []value{newTensor(x), newTensor(in.number(int64(0), x))}}
	}
	axis := in.axisOf(x, c.int(1, 0))
	vs := c.steps(x, axis)
	at := make([]*graph.Value, len(vs))
	at[0] = in.expandTo(in.number(int64(0), nil), vs[0].Shape)
	for i := 1; i < len(vs); i++ {
		better := in.add(op, nil, vs[i], vs[i-1])
		if x.DType.IsFloat() {
			better = in.add(graph.OpOr, nil, better, in.add(graph.OpNe, nil, vs[i], vs[i]))
		}
		vs[i] = in.add(graph.OpWhere, nil, better, vs[i], vs[i-1])
		at[i] = in.add(graph.OpWhere, nil, better, in.number(int64(i), nil), at[i-1])
	}
	return &tuple{elems: []value{in.joinSteps(vs, axis), in.joinSteps(at, axis)}}
}

func logCumSumExp(c *call) value {
	x := c.value(0)
	axis := c.in.axisOf(x, c.int(1, 0))
	vs := c.steps(x, axis)
	for i := 1; i < len(vs); i++ {
		vs[i] = logAddExp(c.in, vs[i-1], vs[i])
	}
	return c.in.joinSteps(vs, axis)
}

func countNonzero(c *call) value {
	x := c.value(0)
	on := c.in.cast(c.in.cast(x, graph.Bool), graph.Int64)
	return newTensor(c.in.reduce(graph.OpSum, on, c.axes(1, x), false))
}

// withoutNaN is x with 0 for NaN, and where there was none.
func (in *interp) withoutNaN(x *graph.Value) (v, there *graph.Value) {
	there = in.add(graph.OpEq, nil, x, x)
	return in.add(graph.OpWhere, nil, there, x, in.number(0.0, x)), there
}

func nanSum(c *call) *graph.Value {
	x := c.value(0)
	v := c.in.cast(x, c.dtype(3, x.DType))
	if v.DType.IsFloat() {
		v, _ = c.in.withoutNaN(v)
	}
	return c.in.reduce(graph.OpSum, v, c.axes(1, x), c.bool(2, false))
}

func nanMean(c *call) value {
	x := c.value(0)
	_, there := c.in.withoutNaN(x)
	n := c.in.reduce(graph.OpSum, c.in.cast(there, x.DType), c.axes(1, x), c.bool(2, false))
	return newTensor(c.in.add(graph.OpDiv, nil, nanSum(c), n))
}

// nanMedian is the lower median of what is no NaN. NaN sorts above all.
func nanMedian(c *call) value {
	in := c.in
	x, axis, keep := c.value(0), 0, false
	if c.has(1) {
		axis, keep = in.axisOf(x, c.int(1, -1)), c.bool(2, false)
	} else {
		if !x.Shape.Fixed() {
			in.mixes("torch.nanmedian over the rows of a batch")
		}
		x = in.reshape(x, graph.Shape{x.Shape.RowElements()})
	}
	c.fixedDim(x, axis)
	_, there := in.withoutNaN(x)
	n := in.reduce(graph.OpSum, in.cast(there, graph.Int64), []int{axis}, true)
	k := in.add(graph.OpFloorDiv, nil, in.add(graph.OpSub, nil, n, in.number(int64(1), n)), in.number(int64(2), n))
	k = in.add(graph.OpMaximum, nil, k, in.number(int64(0), k))
	order := in.add(graph.OpArgsort, graph.Attrs{"axis": axis}, x)
	at := in.gatherAt(order, axis, k)
	v := in.gatherAt(x, axis, at)
	if !keep {
		shape := without(v.Shape, []int{axis})
		v, at = in.reshape(v, shape), in.reshape(at, shape)
	}
	if !c.has(1) {
		return newTensor(v)
	}
	return &tuple{elems: []value{newTensor(v), newTensor(at)}}
}

// diff is the difference of neighbours, n times over.
func diff(c *call) value {
	in := c.in
	x := c.value(0)
	axis, n := in.axisOf(x, c.int(2, -1)), c.int(1, 1)
	var parts []*graph.Value
	if c.has(3) {
		parts = append(parts, c.value(3))
	}
	parts = append(parts, x)
	if c.has(4) {
		parts = append(parts, c.value(4))
	}
	if len(parts) > 1 {
		x = in.add(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
	}
	size := c.fixedDim(x, axis)
	if n < 0 || n >= size {
		in.unsupported("torch.diff of %v taken %d times", x.Shape, n)
	}
	op := graph.OpSub
	if x.DType == graph.Bool {
		op = graph.OpNe
	}
	for range n {
		x = in.add(op, nil, in.slice(x, axis, 1, size, 1), in.slice(x, axis, 0, size-1, 1))
		size--
	}
	return newTensor(x)
}

// quantile lies between two elements in their order. A row with NaN has NaN.
func quantile(c *call) value {
	in := c.in
	x, q := c.value(0), c.float(1, 0.5)
	axis, keep := 0, c.bool(3, false)
	if c.has(2) {
		axis = in.axisOf(x, c.int(2, -1))
	} else {
		if !x.Shape.Fixed() {
			in.mixes("torch.quantile over the rows of a batch")
		}
		x = in.reshape(x, graph.Shape{x.Shape.RowElements()})
	}
	n := c.fixedDim(x, axis)
	if how := c.str(4, "linear"); how != "linear" || !(q >= 0 && q <= 1) || n < 1 {
		in.unsupported("torch.quantile of %v with interpolation %q", q, how)
	}
	sorted := in.gatherAt(x, axis, in.add(graph.OpArgsort, graph.Attrs{"axis": axis}, x))
	rank := float32(q) * float32(n-1)
	low := int(math.Floor(float64(rank)))
	a := in.slice(sorted, axis, low, low+1, 1)
	b := in.slice(sorted, axis, min(low+1, n-1), min(low+1, n-1)+1, 1)
	v := in.add(graph.OpAdd, nil, a, in.with(graph.OpMul, in.add(graph.OpSub, nil, b, a), float64(rank)-float64(low)))
	last := in.slice(sorted, axis, n-1, n, 1)
	v = in.add(graph.OpWhere, nil, in.add(graph.OpNe, nil, last, last), last, v)
	if !keep {
		v = in.reshape(v, without(v.Shape, []int{axis}))
	}
	return newTensor(v)
}

// trapezoid adds up the means of neighbours, times their distance.
func trapezoid(c *call) value {
	in := c.in
	y, dx := c.value(0), 1.0
	dim := c.int(3, -1)
	var x *graph.Value
	switch v := c.args[1].(type) {
	case *tensor:
		x = in.read(v)
	case float64, int64: // of the form without x, in traces
		dx, _ = toFloat(v)
		if c.has(2) {
			dim = c.int(2, -1)
		}
	default:
		dx = c.float(2, 1)
	}
	axis := in.axisOf(y, dim)
	n := c.fixedDim(y, axis)
	sum := in.add(graph.OpAdd, nil, in.slice(y, axis, 1, n, 1), in.slice(y, axis, 0, n-1, 1))
	if x != nil {
		if len(x.Shape) != 1 || axis != len(y.Shape)-1 {
			in.unsupported("torch.trapezoid of %v at %v", y.Shape, x.Shape)
		}
		d := in.add(graph.OpSub, nil, in.slice(x, 0, 1, n, 1), in.slice(x, 0, 0, n-1, 1))
		sum, dx = in.add(graph.OpMul, nil, sum, d), 1
	}
	return newTensor(in.with(graph.OpMul, in.reduce(graph.OpSum, sum, []int{axis}, false), dx/2))
}

// isIn compares each element with all of the others.
func isIn(c *call) value {
	in := c.in
	x, y := c.value(0), c.value(1)
	if !y.Shape.Fixed() {
		in.mixes("torch.isin among the rows of a batch")
	}
	up := in.reshape(x, append(append(graph.Shape{}, x.Shape...), 1))
	same := in.add(graph.OpEq, nil, up, in.reshape(y, graph.Shape{y.Shape.RowElements()}))
	v := in.cast(in.reduce(graph.OpAmax, in.cast(same, graph.Int64), []int{len(x.Shape)}, false), graph.Bool)
	if c.bool(3, false) {
		v = in.add(graph.OpNot, nil, v)
	}
	return newTensor(v)
}

// mode is the least of the elements that there are most of.
func mode(c *call) value {
	in := c.in
	x := c.value(0)
	axis, keep := in.axisOf(x, c.int(1, -1)), c.bool(2, false)
	if n := c.fixedDim(x, axis); n > maxRunning {
		in.unsupported("torch.mode of %d elements", n)
	}
	x = in.swap(x, axis, len(x.Shape)-1)
	last := len(x.Shape) - 1
	sorted := in.gatherAt(x, last, in.add(graph.OpArgsort, graph.Attrs{"axis": last}, x))
	n := x.Shape[last]
	lead := x.Shape[:last:last]
	same := in.add(graph.OpEq, nil, in.reshape(sorted, append(lead, n, 1)), in.reshape(sorted, append(lead, 1, n)))
	count := in.reduce(graph.OpSum, in.cast(same, graph.Int64), []int{last + 1}, false)
	v := in.gatherAt(sorted, last, in.add(graph.OpArgmax, graph.Attrs{"axis": last, "keepdim": true}, count))
	v = in.swap(v, axis, last)
	if !keep {
		v = in.reshape(v, without(v.Shape, []int{axis}))
	}
	return &tuple{elems: []value{newTensor(v), uninitialized{}}}
}
