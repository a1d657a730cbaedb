package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// encodeShapes are operators that move elements, and those along axes.
var encodeShapes = map[graph.Op]encodeFunc{
	graph.OpReshape:   single(encodeReshape),
	graph.OpTranspose: single(encodeTranspose),
	graph.OpExpand:    single(encodeExpand),
	graph.OpConcat:    single(encodeConcat),
	graph.OpSlice:     single(encodeSlice),
	graph.OpTake:      single(encodeTake),
	graph.OpGather:    single(encodeGather),

	graph.OpSum: reduction("ReduceSum"), graph.OpMean: reduction("ReduceMean"), graph.OpProd: reduction("ReduceProd"),
	graph.OpAmax: reduction("ReduceMax"), graph.OpAmin: reduction("ReduceMin"),
	graph.OpArgmax:  single(encodeArgmax),
	graph.OpCumsum:  single(encodeCumsum),
	graph.OpCumprod: encodeCumprod,
	graph.OpArgsort: single(encodeArgsort),
}

func encodeReshape(e *encoder, n *graph.Node) string {
	shape := slices.Clone(n.Out[0].Shape)
	x := e.name(n.In[0])
	if slices.Contains(shape, 0) {
		return e.node("Reshape", []encodedAttr{{"allowzero", 1}}, x, e.dims(shape))
	}
	if at := shape.BatchAxis(); at >= 0 {
		shape[at] = -1
	}
	return e.node("Reshape", nil, x, e.ints(shape...))
}

func encodeTranspose(e *encoder, n *graph.Node) string {
	return e.node("Transpose", []encodedAttr{{"perm", n.Attrs.Ints("perm")}}, e.name(n.In[0]))
}

// encodeExpand says 1 for the batch axis where the operand has it.
func encodeExpand(e *encoder, n *graph.Node) string {
	shape := slices.Clone(n.Out[0].Shape)
	from := n.In[0].Shape
	if at := shape.BatchAxis(); at >= 0 {
		if own := at - len(shape) + len(from); own >= 0 && from[own] == shape[at] {
			shape[at] = 1
		}
	}
	return e.expand(e.name(n.In[0]), n.In[0].DType, e.dims(shape))
}

// expand stretches a value. ONNX Runtime cannot do it with bfloat16.
func (e *encoder) expand(x string, dt graph.DType, shape string) string {
	if dt == graph.BFloat16 {
		return e.as(e.expand(e.as(x, dt, graph.Float32), graph.Float32, shape), graph.Float32, dt)
	}
	return e.node("Expand", nil, x, shape)
}

func encodeConcat(e *encoder, n *graph.Node) string {
	return e.node("Concat", []encodedAttr{{"axis", n.Attrs.Int("axis")}}, e.operands(n, n.Out[0].DType)...)
}

func encodeSlice(e *encoder, n *graph.Node) string {
	axis, start, end, step := n.Attrs.Int("axis"), n.Attrs.Int("start"), n.Attrs.Int("end"), n.Attrs.Int("step")
	if n.In[0].Shape[axis] < 0 || n.In[0].Shape.Equal(n.Out[0].Shape) {
		return e.node("Identity", nil, e.name(n.In[0]))
	}
	return e.node("Slice", nil, e.name(n.In[0]), e.ints(start), e.ints(end), e.ints(axis), e.ints(step))
}

// inRange makes every index one that is there, and tells which ones were;
// valid is empty where all are.
func (e *encoder) inRange(index *graph.Value, size int) (at, valid string) {
	if c := index.Const; c != nil && size > 0 {
		inside := true
		for _, i := range c.I64 {
			inside = inside && i >= -int64(size) && i < int64(size)
		}
		if inside {
			return e.as(e.name(index), index.DType, graph.Int64), ""
		}
	}
	i := e.as(e.name(index), index.DType, graph.Int64)
	valid = e.node("And", nil,
		e.node("GreaterOrEqual", nil, i, e.number(graph.Int64, float64(-size))), e.node("Less", nil, i, e.number(graph.Int64, float64(size))))
	return e.node("Where", nil, valid, i, e.number(graph.Int64, 0)), valid
}

// missing is what an index out of range gives: NaN, or the least i64 wrapped
// to the type.
func (e *encoder) missing(dt graph.DType) string {
	switch wide(dt) {
	case graph.Float64:
		return e.number(graph.Float64, math.NaN())
	case graph.Float32:
		return e.number(graph.Float32, math.NaN())
	}
	least := int64(math.MinInt64)
	if dt != graph.Int64 && dt != graph.Bool {
		least = 0
	}
	return e.constant(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{least}})
}

// checked is y where the index was valid.
func (e *encoder) checked(n *graph.Node, y, valid string) string {
	if valid == "" {
		return y
	}
	dt := n.Out[0].DType
	return e.result(n, e.node("Where", nil, valid, e.as(y, dt, wide(dt)), e.missing(dt)), wide(dt))
}

func encodeTake(e *encoder, n *graph.Node) string {
	axis := n.Attrs.Int("axis")
	at, valid := e.inRange(n.In[1], n.In[0].Shape[axis])
	y := e.node("Gather", []encodedAttr{{"axis", axis}}, e.name(n.In[0]), at)
	if rest := len(n.In[0].Shape) - axis - 1; valid != "" && rest > 0 {
		axes := make([]int, rest)
		for i := range axes {
			axes[i] = len(n.In[1].Shape) + i
		}
		valid = e.node("Unsqueeze", nil, valid, e.ints(axes...))
	}
	return e.checked(n, y, valid)
}

func encodeGather(e *encoder, n *graph.Node) string {
	axis := n.Attrs.Int("axis")
	at, valid := e.inRange(n.In[1], n.In[0].Shape[axis])
	return e.checked(n, e.node("GatherElements", []encodedAttr{{"axis", axis}}, e.name(n.In[0]), at), valid)
}

// reduction computes in the type of the result.
func reduction(op string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		x := e.operand(n, 0, dt)
		axes := n.Attrs.Ints("axes")
		if len(axes) == 0 {
			return e.result(n, e.node("Identity", nil, x), dt)
		}
		keep := 0
		if n.Attrs.Bool("keepdim") {
			keep = 1
		}
		return e.result(n, e.node(op, []encodedAttr{{"keepdims", keep}}, x, e.ints(axes...)), dt)
	})
}

func encodeArgmax(e *encoder, n *graph.Node) string {
	keep := 0
	if n.Attrs.Bool("keepdim") {
		keep = 1
	}
	x := e.operand(n, 0, wide(n.In[0].DType))
	return e.node("ArgMax", []encodedAttr{{"axis", n.Attrs.Int("axis")}, {"keepdims", keep}}, x)
}

func encodeCumsum(e *encoder, n *graph.Node) string {
	dt := wide(n.Out[0].DType)
	return e.result(n, e.node("CumSum", nil, e.operand(n, 0, dt), e.number(graph.Int64, float64(n.Attrs.Int("axis")))), dt)
}

// maxCumprod bounds an axis that becomes one product an element.
const maxCumprod = 1024

// encodeCumprod multiplies one element after the other: ONNX has no such
// operator yet.
func encodeCumprod(e *encoder, n *graph.Node) error {
	dt := wide(n.Out[0].DType)
	axis := n.Attrs.Int("axis")
	size := n.In[0].Shape[axis]
	if size > maxCumprod {
		return unsupportedf("a product of %d elements, at most %d have a form in ONNX", size, maxCumprod)
	}
	x := e.operand(n, 0, dt)
	var parts []string
	for i := range size {
		part := e.node("Slice", nil, x, e.ints(i), e.ints(i+1), e.ints(axis))
		if i > 0 {
			part = e.node("Mul", nil, parts[i-1], part)
		}
		parts = append(parts, part)
	}
	y := e.node("Identity", nil, x)
	if size > 1 {
		y = e.node("Concat", []encodedAttr{{"axis", axis}}, parts...)
	}
	e.shared.names[n.Out[0]] = e.result(n, y, dt)
	return nil
}

// encodeArgsort takes all of an axis as its first k. NaN counts as infinity,
// beside which it stands in the order of the operand.
func encodeArgsort(e *encoder, n *graph.Node) string {
	dt := wide(n.In[0].DType)
	axis, largest := n.Attrs.Int("axis"), 0
	if n.Attrs.Bool("descending") {
		largest = 1
	}
	x := e.operand(n, 0, dt)
	if dt != graph.Int64 {
		x = e.node("Where", nil, e.node("IsNaN", nil, x), e.number(dt, math.Inf(1)), x)
	}
	values, at := e.fresh("v"), e.fresh("v")
	e.nodes = append(e.nodes, encodedNode{"TopK", []string{x, e.ints(n.In[0].Shape[axis])}, []string{values, at},
		[]encodedAttr{{"axis", axis}, {"largest", largest}, {"sorted", 1}}})
	return at
}
