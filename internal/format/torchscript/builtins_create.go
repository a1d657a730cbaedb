package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// createBuiltins make constants.
var createBuiltins = map[string]builtin{
	"zeros":         {"size dtype", func(c *call) value { return c.full(c.dims(0), int64(0), c.dtype(1, graph.Float32)) }},
	"ones":          {"size dtype", func(c *call) value { return c.full(c.dims(0), int64(1), c.dtype(1, graph.Float32)) }},
	"empty":         {"size dtype", func(c *call) value { return c.full(c.dims(0), int64(0), c.dtype(1, graph.Float32)) }},
	"full":          {"size v dtype", func(c *call) value { return c.full(c.dims(0), c.fillValue(1), c.dtype(2, c.typeOfNumber(1))) }},
	"new_empty":     {"x size dtype", func(c *call) value { return c.full(c.dims(1), int64(0), c.dtype(2, c.value(0).DType)) }},
	"logspace":      {"start end steps base dtype", logspace},
	"hann_window":   {"n periodic dtype", hannWindow},
	"triu_indices":  {"rows cols offset dtype", func(c *call) value { return triangleIndices(c, func(row, col, k int) bool { return col-row >= k }) }},
	"tril_indices":  {"rows cols offset dtype", func(c *call) value { return triangleIndices(c, func(row, col, k int) bool { return col-row <= k }) }},
	"zeros_like":    {"x dtype", func(c *call) value { return c.fullLike(int64(0)) }},
	"ones_like":     {"x dtype", func(c *call) value { return c.fullLike(int64(1)) }},
	"empty_like":    {"x dtype", func(c *call) value { return c.fullLike(int64(0)) }},
	"full_like":     {"x v dtype", func(c *call) value { v := c.fillValue(1); c.args = []value{c.args[0], c.args[2]}; return c.fullLike(v) }},
	"new_zeros":     {"x size dtype", func(c *call) value { return c.full(c.dims(1), int64(0), c.dtype(2, c.value(0).DType)) }},
	"new_ones":      {"x size dtype", func(c *call) value { return c.full(c.dims(1), int64(1), c.dtype(2, c.value(0).DType)) }},
	"new_full":      {"x size v dtype", func(c *call) value { return c.full(c.dims(1), c.fillValue(2), c.dtype(3, c.value(0).DType)) }},
	"tensor":        {"data dtype", makeTensor},
	"as_tensor":     {"data dtype", makeTensor},
	"scalar_tensor": {"data dtype", makeTensor},
	"arange":        {"start end step dtype", arange},
	"linspace":      {"start end steps dtype", linspace},
	"eye":           {"n m dtype", eye},
	"triu":          {"x diagonal", func(c *call) value { return triangle(c, func(row, col, k int) bool { return col-row >= k }) }},
	"tril":          {"x diagonal", func(c *call) value { return triangle(c, func(row, col, k int) bool { return col-row <= k }) }},
}

func (c *call) fillValue(i int) value {
	v := c.args[i]
	if t, ok := v.(*tensor); ok {
		v = c.in.numberIn(t)
	}
	if _, data := v.(*scalar); data {
		return v
	}
	if _, ok := toFloat(v); !ok {
		c.wrong(i, "a number")
	}
	return v
}

// typeOfNumber is the element type that torch gives a number.
func (c *call) typeOfNumber(i int) graph.DType {
	switch v := c.fillValue(i).(type) {
	case bool:
		return graph.Bool
	case int64:
		return graph.Int64
	case *scalar:
		if !v.v.DType.IsFloat() {
			return v.v.DType
		}
	}
	return graph.Float32
}

// scalarTensor is one number in a type: a constant, unless the data decides.
func (in *interp) scalarTensor(v value, dt graph.DType) *graph.Value {
	if s, data := v.(*scalar); data {
		return in.cast(s.v, dt)
	}
	f, _ := toFloat(v)
	t := &graph.Tensor{DType: dt, Shape: graph.Shape{}}
	switch {
	case dt == graph.Float32:
		t.F32 = []float32{float32(f)}
	case dt == graph.Float64:
		t.F64 = []float64{f}
	case dt.IsFloat():
		return in.cast(in.constant(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{}, F32: []float32{float32(f)}}), dt)
	default:
		n, ok := toInt(v)
		if !ok {
			if n, ok = in.floatToInt(math.Trunc(f)).(int64); !ok {
				return nil
			}
		}
		if dt == graph.Bool {
			n = map[bool]int64{true: 1, false: 0}[f != 0]
		}
		t.I64 = []int64{n}
	}
	return in.constant(t)
}

// full is a constant stretched to a shape, which may have the batch axis.
func (c *call) full(dims []int, v value, dt graph.DType) value {
	for _, d := range dims {
		if d == inferDim {
			c.in.errorf("%s with a dimension of -1", c.name)
		}
	}
	shape := append(graph.Shape{}, dims...)
	return newTensor(c.in.expandTo(c.in.scalarTensor(v, dt), shape))
}

func (c *call) fullLike(v value) value {
	x := c.value(0)
	return newTensor(c.in.expandTo(c.in.scalarTensor(v, c.dtype(1, x.DType)), x.Shape))
}

// makeTensor is torch.tensor of a number or of nested lists.
func makeTensor(c *call) value {
	if t, ok := c.args[0].(*tensor); ok {
		return c.in.convert(newTensor(c.in.read(t)), c.dtype(1, c.in.read(t).DType))
	}
	if n, ok := c.args[0].(rows); ok {
		return newNumber(n)
	}
	var shape graph.Shape
	var flat []value
	c.nested(c.args[0], 0, &shape, &flat)
	dt, data := graph.Float32, false
	for i, v := range flat {
		if s, ok := v.(*scalar); ok { // of the kind of the number
			data = true
			v = map[string]value{"bool": false, "int": int64(0), "float": 0.0}[s.kind()]
		}
		switch v.(type) {
		case int64:
			if i == 0 || dt == graph.Bool {
				dt = graph.Int64
			}
		case bool:
			if i == 0 {
				dt = graph.Bool
			}
		default:
			dt = graph.Float32
		}
	}
	dt = c.dtype(1, dt)
	if data {
		parts := make([]*graph.Value, len(flat))
		for i, v := range flat {
			parts[i] = c.in.reshape(c.in.scalarTensor(v, dt), graph.Shape{1})
		}
		v := parts[0]
		if len(parts) > 1 {
			v = c.in.add(graph.OpConcat, graph.Attrs{"axis": 0}, parts...)
		}
		return newTensor(c.in.reshape(v, shape))
	}
	t := &graph.Tensor{DType: graph.Float64, Shape: append(graph.Shape{}, shape...)}
	if dt.IsFloat() {
		t.F64 = make([]float64, len(flat))
	} else {
		t.DType, t.I64 = graph.Int64, make([]int64, len(flat))
	}
	for i, v := range flat {
		f, _ := toFloat(v)
		if t.F64 != nil {
			t.F64[i] = f
		} else if n, ok := toInt(v); ok {
			t.I64[i] = n
		} else {
			t.I64[i], _ = c.in.floatToInt(math.Trunc(f)).(int64)
		}
	}
	if dt == graph.Float32 { // stored as what it is, so that it stays a constant
		t32 := &graph.Tensor{DType: dt, Shape: t.Shape, F32: make([]float32, len(flat))}
		for i := range flat {
			t32.F32[i] = float32(t.F64[i])
		}
		t = t32
	}
	return newTensor(c.in.cast(c.in.constant(t), dt))
}

// nested flattens nested lists of numbers and checks that they are regular.
func (c *call) nested(v value, depth int, shape *graph.Shape, flat *[]value) {
	if t, ok := v.(*tensor); ok {
		v = c.in.numberIn(t)
	}
	l, ok := v.(*list)
	if !ok {
		_, number := toFloat(v)
		if _, data := v.(*scalar); !number && !data || depth != len(*shape) {
			c.in.errorf("%s of something that is no regular list of numbers", c.name)
		}
		c.in.listLen(len(*flat))
		c.in.cost(1)
		*flat = append(*flat, v)
		return
	}
	if depth >= graph.MaxRank {
		c.in.limit("a list nested %d deep", depth)
	}
	switch {
	case depth == len(*shape) && len(*flat) == 0:
		*shape = append(*shape, len(l.elems))
	case depth >= len(*shape) || (*shape)[depth] != len(l.elems):
		c.in.errorf("%s of something that is no regular list of numbers", c.name)
	}
	for _, e := range l.elems {
		c.nested(e, depth+1, shape, flat)
	}
}

// arange takes (end), (start, end) or (start, end, step).
func arange(c *call) value {
	start, step := 0.0, 1.0
	isInt := true
	for _, i := range []int{0, 1, 2} {
		if _, ok := c.args[i].(float64); ok {
			isInt = false
		}
		if _, ok := c.args[i].(rows); ok {
			if r, _ := c.args[0].(rows); i > 1 || !c.has(1) && r != 1 || c.has(1) && (c.args[0] != value(int64(0)) || c.args[1] != value(rows(1)) || c.has(2)) {
				c.in.mixes("torch.arange up to the number of rows")
			}
			t := newTensor(nil)
			t.rowNumbers = true
			return t
		}
	}
	end := c.float(0, 0)
	if c.has(1) {
		start, end, step = c.float(0, 0), c.float(1, 0), c.float(2, 1)
	}
	n := math.Ceil((end - start) / step)
	if step == 0 || !(n >= 0) || n > maxMadeElements {
		c.in.errorf("arange from %v to %v by %v", start, end, step)
	}
	dt := graph.Float32
	if isInt {
		dt = graph.Int64
	}
	dt = c.dtype(3, dt)
	t := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{int(n)}}
	if isInt {
		t.I64 = make([]int64, int(n))
	} else {
		t.DType, t.F64 = graph.Float64, make([]float64, int(n))
	}
	for i := range int(n) {
		if isInt {
			t.I64[i] = int64(start) + int64(i)*int64(step)
		} else {
			t.F64[i] = start + float64(i)*step
		}
	}
	return newTensor(c.in.cast(c.in.constant(t), dt))
}

func eye(c *call) value {
	n := c.int(0, 0)
	m := c.int0(1, n)
	t := &graph.Tensor{DType: graph.Float32, Shape: graph.Shape{n, m}, F32: make([]float32, c.in.area(n, m))}
	for i := range min(n, m) {
		t.F32[i*m+i] = 1
	}
	return newTensor(c.in.cast(c.in.constant(t), c.dtype(2, graph.Float32)))
}

// triangle keeps a part of the last two dimensions and zeroes the rest.
func triangle(c *call, keep func(row, col, k int) bool) value {
	x, k := c.value(0), c.int(1, 0)
	rank := len(x.Shape)
	if rank < 2 || x.Shape[rank-1] < 0 || x.Shape[rank-2] < 0 {
		c.in.errorf("%s of %v", c.name, x.Shape)
	}
	rowCount, cols := x.Shape[rank-2], x.Shape[rank-1]
	mask := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{rowCount, cols}, I64: make([]int64, c.in.area(rowCount, cols))}
	for r := range rowCount {
		for col := range cols {
			if keep(r, col, k) {
				mask.I64[r*cols+col] = 1
			}
		}
	}
	v := c.in.add(graph.OpWhere, nil, c.in.constant(mask), x, c.in.number(int64(0), x))
	return newTensor(c.in.cast(v, x.DType))
}
