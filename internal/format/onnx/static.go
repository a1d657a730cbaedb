package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// maxStatic bounds a list of numbers that is computed while lowering.
const maxStatic = 1024

// num is an integer that is known while lowering: n, or n times the number of
// rows.
type num struct {
	n    int64
	rows bool
}

// static is a list of integers or booleans, or one of them.
type static struct {
	nums   []num
	scalar bool
	dtype  graph.DType
}

func (s *static) shape() graph.Shape {
	if s.scalar {
		return graph.Shape{}
	}
	return graph.Shape{len(s.nums)}
}

// staticOf is a value as a list of numbers, nil where it is none.
func staticOf(v value) *static {
	if v.s != nil {
		return v.s
	}
	t := v.c
	if t == nil || t.DType.IsFloat() || len(t.Shape) > 1 || t.Len() > maxStatic {
		return nil
	}
	s := &static{scalar: len(t.Shape) == 0, dtype: t.DType}
	for _, x := range t.I64 {
		s.nums = append(s.nums, num{n: x})
	}
	return s
}

// fold computes a node whose operands are all known; false where it is not
// one of the operators of shapes.
func (l *lowering) fold() (*static, bool) {
	if len(l.n.out) != 1 {
		return nil, false
	}
	if l.n.op == "Shape" {
		return l.foldShape(), true
	}
	in := make([]*static, len(l.in))
	for i, v := range l.in {
		if in[i] = staticOf(v); in[i] == nil {
			return nil, false
		}
	}
	if len(in) == 0 {
		return nil, false
	}
	s := l.foldStatic(in)
	return s, s != nil && len(s.nums) <= maxStatic
}

// foldCast makes floats of known integers, as of a length that a Range takes;
// nil where it is another node.
func (l *lowering) foldCast() *graph.Tensor {
	if l.n.domain != "" || l.n.op != "Cast" || len(l.n.out) != 1 || dtypes[int64(l.attrInt("to", 0))] != graph.Float32 || !l.has(0) {
		return nil
	}
	s := l.in[0].s
	if s == nil || s.dtype == graph.Bool {
		return nil
	}
	f := make([]float32, len(s.nums))
	for i, n := range s.nums {
		if n.rows {
			return nil
		}
		f[i] = float32(n.n)
	}
	return graph.Float32s(f, s.shape()...)
}

func (l *lowering) foldShape() *static {
	var shape graph.Shape
	switch v := l.operand(0); {
	case v.c != nil:
		shape = v.c.Shape
	case v.s != nil:
		shape = v.s.shape()
	default:
		shape = l.shape(l.x(0))
	}
	start, end := l.attrInt("start", 0), l.attrInt("end", math.MaxInt)
	start, end = clip(start, len(shape)), clip(end, len(shape))
	s := &static{dtype: graph.Int64}
	for _, d := range shape[start:max(start, end)] {
		s.nums = append(s.nums, dimNum(d))
	}
	return s
}

// clip brings an index as Python has it into 0 to n.
func clip(i, n int) int {
	if i < 0 {
		i += n
	}
	return min(max(i, 0), n)
}

func dimNum(d int) num {
	if d < 0 {
		return num{int64(-d), true}
	}
	return num{int64(d), false}
}

func (l *lowering) foldStatic(in []*static) *static {
	first := in[0]
	switch l.n.op {
	case "Identity":
		return first
	case "Cast":
		dt, ok := dtypes[int64(l.attrInt("to", 0))]
		if !ok || dt.IsFloat() || dt == graph.Bool || first.dtype == graph.Bool {
			return nil
		}
		return &static{nums: first.nums, scalar: first.scalar, dtype: dt}
	case "Unsqueeze":
		if axes, _ := l.intsOf("axes", 1); !first.scalar || len(axes) != 1 {
			return nil
		}
		return &static{nums: first.nums, dtype: first.dtype}
	case "Squeeze":
		if first.scalar || len(first.nums) != 1 {
			return nil
		}
		return &static{nums: first.nums, scalar: true, dtype: first.dtype}
	case "Reshape":
		if len(in) != 2 || len(in[1].nums) > 1 || in[1].scalar {
			return nil
		}
		return &static{nums: first.nums, scalar: len(in[1].nums) == 0, dtype: first.dtype}
	case "Concat":
		s := &static{dtype: first.dtype}
		for _, x := range in {
			if x.scalar || len(s.nums)+len(x.nums) > maxStatic {
				return nil
			}
			s.nums = append(s.nums, x.nums...)
		}
		return s
	case "Gather":
		return l.foldGather(in)
	case "Slice":
		return l.foldSlice(in)
	case "Add", "Sub", "Mul", "Div", "Min", "Max", "Equal":
		return l.foldPairs(in)
	case "Where":
		return l.foldWhere(in)
	case "ReduceProd":
		p := num{n: 1}
		for _, x := range first.nums {
			var ok bool
			if p, ok = product(p, x); !ok {
				return nil
			}
		}
		return &static{nums: []num{p}, scalar: l.attrInt("keepdims", 1) == 0, dtype: first.dtype}
	case "ConstantOfShape":
		return l.foldFilled(first)
	}
	return nil
}

func (l *lowering) foldGather(in []*static) *static {
	if len(in) != 2 || in[0].scalar {
		return nil
	}
	s := &static{scalar: in[1].scalar, dtype: in[0].dtype}
	for _, i := range in[1].nums {
		at := i.n
		if at < 0 {
			at += int64(len(in[0].nums))
		}
		if i.rows || at < 0 || at >= int64(len(in[0].nums)) {
			return nil
		}
		s.nums = append(s.nums, in[0].nums[at])
	}
	return s
}

func (l *lowering) foldSlice(in []*static) *static {
	if len(in) < 3 || in[0].scalar || len(in) > 4 && len(in[4].nums) == 1 && in[4].nums[0].n != 1 {
		return nil
	}
	if len(in[1].nums) != 1 || len(in[2].nums) != 1 || in[1].nums[0].rows || in[2].nums[0].rows {
		return nil
	}
	n := len(in[0].nums)
	start, end := clip(int(in[1].nums[0].n), n), clip(int(in[2].nums[0].n), n)
	return &static{nums: slices.Clone(in[0].nums[start:max(start, end)]), dtype: in[0].dtype}
}

func product(a, b num) (num, bool) {
	switch {
	case a.rows && b.rows, a.n != 0 && (a.n*b.n)/a.n != b.n:
		return num{}, false
	}
	return num{a.n * b.n, a.rows || b.rows}, true
}

// foldPairs computes elementwise arithmetic of two lists.
func (l *lowering) foldPairs(in []*static) *static {
	if len(in) != 2 {
		return nil
	}
	a, b := in[0], in[1]
	n := max(len(a.nums), len(b.nums))
	if len(a.nums) != n && len(a.nums) != 1 || len(b.nums) != n && len(b.nums) != 1 {
		return nil
	}
	s := &static{scalar: a.scalar && b.scalar, dtype: a.dtype}
	if l.n.op == "Equal" {
		s.dtype = graph.Bool
	}
	for i := range n {
		x, y := a.nums[i%len(a.nums)], b.nums[i%len(b.nums)]
		r, ok := l.pair(x, y)
		if !ok {
			return nil
		}
		s.nums = append(s.nums, r)
	}
	return s
}

func (l *lowering) pair(x, y num) (num, bool) {
	same := x.rows == y.rows
	switch l.n.op {
	case "Add":
		return num{x.n + y.n, x.rows}, same
	case "Sub":
		if same && x.n == y.n {
			return num{}, true
		}
		return num{x.n - y.n, x.rows}, same
	case "Mul":
		return product(x, y)
	case "Div":
		if y.n == 0 || !x.rows && y.rows || x.rows && x.n%y.n != 0 {
			return num{}, false
		}
		return num{x.n / y.n, x.rows && !y.rows}, true
	case "Min":
		return num{min(x.n, y.n), x.rows}, same
	case "Max":
		return num{max(x.n, y.n), x.rows}, same
	}
	// A number of rows is never -1 or 0; what it is beside that is not known.
	if !same && x.n > 0 && y.n > 0 {
		return num{}, false
	}
	if same && x.n == y.n {
		return num{n: 1}, true
	}
	return num{}, true
}

func (l *lowering) foldWhere(in []*static) *static {
	if len(in) != 3 {
		return nil
	}
	n := max(len(in[0].nums), len(in[1].nums), len(in[2].nums))
	s := &static{scalar: in[0].scalar && in[1].scalar && in[2].scalar, dtype: in[1].dtype}
	for i := range n {
		for _, x := range in {
			if len(x.nums) != n && len(x.nums) != 1 {
				return nil
			}
		}
		from := in[2]
		if in[0].nums[i%len(in[0].nums)].n != 0 {
			from = in[1]
		}
		s.nums = append(s.nums, from.nums[i%len(from.nums)])
	}
	return s
}

// foldFilled is a short list of equal integers.
func (l *lowering) foldFilled(shape *static) *static {
	a, ok := l.attr("value")
	if !ok || a.t == nil || a.t.DType != graph.Int64 || a.t.Len() != 1 || len(shape.nums) > 1 {
		return nil
	}
	n := int64(1)
	if len(shape.nums) == 1 {
		if n = shape.nums[0].n; shape.nums[0].rows || n < 0 || n > maxStatic {
			return nil
		}
	}
	s := &static{scalar: len(shape.nums) == 0, dtype: graph.Int64}
	for range n {
		s.nums = append(s.nums, num{n: a.t.I64[0]})
	}
	return s
}

// dims is operand k as dimensions, the number of rows as graph.Batch. A -1 of
// the file is told apart by open.
func (l *lowering) dims(k int) (dims []int, open []bool) {
	s := staticOf(l.operand(k))
	if s == nil || s.dtype == graph.Bool {
		l.c.Unsupported("a shape that depends on data")
	}
	for _, n := range s.nums {
		if n.n > graph.MaxRowElements || n.n < -1 {
			l.c.Errorf("a dimension of %d", n.n)
		}
		d := int(n.n)
		open = append(open, n.n == -1 && !n.rows)
		if n.rows {
			d = -d
		}
		dims = append(dims, d)
	}
	return dims, open
}

func constantValue(l *lowering) []torchscript.Value {
	for name, a := range l.n.attrs {
		switch name {
		case "value":
			if a.t != nil {
				return one(a.t)
			}
		case "value_float":
			return one(graph.Float32s([]float32{float32(a.f)}))
		case "value_int":
			return one(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{a.i}})
		case "value_ints":
			return one(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(a.ints)}, I64: append([]int64{}, a.ints...)})
		case "value_floats":
			f := make([]float32, len(a.floats))
			for i, x := range a.floats {
				f[i] = float32(x)
			}
			return one(graph.Float32s(f, len(f)))
		}
	}
	l.c.Unsupported("a constant of another kind than numbers")
	return nil
}
