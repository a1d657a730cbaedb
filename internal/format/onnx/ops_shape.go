package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// shapeOps move elements and do not compute.
var shapeOps = map[string]lowerFunc{
	"Constant": constantValue, "ConstantOfShape": filled, "Shape": nothing,
	"Identity": identity, "Dropout": dropout,
	"Reshape": reshapeTo, "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Transpose": transposeTo, "Expand": expand,
	"Concat": concat, "Split": split, "Slice": sliceOf, "Gather": gather, "GatherND": gatherND, "OneHot": oneHot, "Tile": tile,
}

// nothing is an operator that is always computed while lowering.
func nothing(l *lowering) []torchscript.Value { l.c.Errorf("%d results", len(l.n.out)); return nil }

func identity(l *lowering) []torchscript.Value {
	return one(l.operand(0))
}

func dropout(l *lowering) []torchscript.Value {
	if l.has(2) && l.number(2) != 0 {
		l.c.Unsupported("training: export the model after eval()")
	}
	return identity(l)
}

// reshapeTo has 0 for a dimension that stays and -1 for one that is worked
// out. In a model that was made for one row, a 1 in the place of the batch
// axis is the number of rows.
func reshapeTo(l *lowering) []torchscript.Value {
	x := l.x(0)
	from := l.shape(x)
	var to []int
	var open []bool
	if a, ok := l.attr("shape"); ok {
		for _, d := range a.ints {
			to, open = append(to, int(d)), append(open, d == -1)
		}
	} else {
		to, open = l.dims(1)
	}
	at := -1
	for i := range to {
		switch {
		case open[i] && at >= 0:
			l.c.Errorf("two dimensions are to be worked out")
		case open[i]:
			at = i
		case to[i] == 0 && l.attrInt("allowzero", 0) == 0:
			if i >= len(from) {
				l.c.Errorf("dimension %d of %v is to stay", i, from)
			}
			to[i] = from[i]
		}
	}
	if b := from.BatchAxis(); l.widened && b >= 0 && b < len(to) && graph.Shape(to).Fixed() && to[b] == 1 && from[b] == graph.Batch {
		to[b] = graph.Batch
	}
	if at >= 0 {
		to[at] = 1
		d, err := graph.InferDim(from, to, at)
		if err != nil {
			l.c.Errorf("%w", err)
		}
		to[at] = d
	}
	return one(l.reshape(x, to))
}

func flatten(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axis := l.attrInt("axis", 1)
	if axis < -len(shape) || axis > len(shape) {
		l.c.Errorf("axis %d of %v", axis, shape)
	}
	if axis < 0 {
		axis += len(shape)
	}
	to := graph.Shape{1, 1}
	for i, d := range shape {
		part := &to[0]
		if i >= axis {
			part = &to[1]
		}
		*part *= d // at most one is negative
	}
	return one(l.reshape(x, to))
}

func squeeze(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axes, given := l.intsOf("axes", 1)
	drop := make([]bool, len(shape))
	for _, a := range axes {
		a = l.axisOf(a, len(shape))
		if shape[a] != 1 {
			l.c.Errorf("dimension %d of %v is not 1", a, shape)
		}
		drop[a] = true
	}
	to := graph.Shape{}
	for i, d := range shape {
		if !drop[i] && (given || d != 1) {
			to = append(to, d)
		}
	}
	return one(l.reshape(x, to))
}

func unsqueeze(l *lowering) []torchscript.Value {
	x := l.x(0)
	axes, _ := l.intsOf("axes", 1)
	shape := slices.Clone(l.shape(x))
	rank := len(shape) + len(axes)
	if rank > graph.MaxRank {
		l.c.Errorf("%d dimensions", rank)
	}
	sorted := make([]int, len(axes))
	for i, a := range axes {
		sorted[i] = l.axisOf(a, rank)
	}
	slices.Sort(sorted)
	for i, a := range sorted {
		if a > len(shape) || i > 0 && a == sorted[i-1] {
			l.c.Errorf("axes %v", axes)
		}
		shape = slices.Insert(shape, a, 1)
	}
	return one(l.reshape(x, shape))
}

func transposeTo(l *lowering) []torchscript.Value {
	x := l.x(0)
	rank := len(l.shape(x))
	perm := l.attrInts("perm")
	if _, ok := l.attr("perm"); !ok {
		for i := range rank {
			perm = append(perm, rank-1-i)
		}
	}
	return one(l.permute(x, perm))
}

func expand(l *lowering) []torchscript.Value {
	x := l.x(0)
	to, open := l.dims(1)
	if slices.Contains(open, true) {
		l.c.Errorf("a dimension of -1")
	}
	shape, ok := graph.Broadcast(l.shape(x), to)
	if !ok {
		l.c.Errorf("%v does not broadcast to %v", l.shape(x), graph.Shape(to))
	}
	return one(l.op(graph.OpExpand, graph.Attrs{"shape": []int(shape)}, x))
}

// filled is a tensor of one number.
func filled(l *lowering) []torchscript.Value {
	shape, open := l.dims(0)
	if slices.Contains(open, true) {
		l.c.Errorf("a dimension of -1")
	}
	t := graph.Float32s([]float32{0})
	if a, ok := l.attr("value"); ok && a.t != nil {
		if a.t.Len() != 1 {
			l.c.Errorf("a value of shape %v", a.t.Shape)
		}
		scalar := *a.t
		scalar.Shape = graph.Shape{}
		t = &scalar
	}
	return one(l.op(graph.OpExpand, graph.Attrs{"shape": shape}, l.c.Parameter("", t)))
}

func concat(l *lowering) []torchscript.Value {
	var parts []torchscript.Value
	for i := range l.in {
		x := l.x(i)
		if slices.Contains(l.shape(x), 0) && len(l.in) > 1 {
			continue
		}
		parts = append(parts, x)
	}
	if len(parts) == 0 {
		parts = append(parts, l.x(0))
	}
	axis := l.axisOf(l.attrInt("axis", 1), len(l.shape(parts[0])))
	return one(l.op(graph.OpConcat, graph.Attrs{"axis": axis}, parts...))
}

func split(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", 0), len(shape))
	n := shape[axis]
	if n < 0 {
		l.c.Unsupported("a split of the rows of a batch")
	}
	sizes, given := l.intsOf("split", 1)
	if !given {
		count := max(len(l.n.out), 1)
		each := (n + count - 1) / count
		for i := range count {
			sizes = append(sizes, min(each, max(n-i*each, 0)))
		}
	}
	var out []torchscript.Value
	at := 0
	for _, size := range sizes {
		if size < 0 || size > n-at {
			l.c.Errorf("parts %v of a dimension of %d", sizes, n)
		}
		out = append(out, l.slice(x, axis, at, at+size, 1))
		at += size
	}
	if at != n || len(sizes) < len(l.n.out) {
		l.c.Errorf("%d parts %v of a dimension of %d", len(l.n.out), sizes, n)
	}
	return out
}

// sliceOf has starts, ends, axes and steps, in attributes before operator set
// 10.
func sliceOf(l *lowering) []torchscript.Value {
	x := l.x(0)
	starts, _ := l.intsOf("starts", 1)
	ends, _ := l.intsOf("ends", 2)
	axes, ok := l.intsOf("axes", 3)
	if !ok {
		for i := range starts {
			axes = append(axes, i)
		}
	}
	steps, ok := l.intsOf("steps", 4)
	if !ok {
		steps = slices.Repeat([]int{1}, len(starts))
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || len(steps) != len(starts) {
		l.c.Errorf("%d starts, %d ends, %d axes and %d steps", len(starts), len(ends), len(axes), len(steps))
	}
	for i := range starts {
		shape := l.shape(x)
		axis := l.axisOf(axes[i], len(shape))
		if d := shape[axis]; d < 0 && starts[i] == 0 && ends[i] >= math.MaxInt32 && steps[i] == 1 {
			continue
		}
		if steps[i] < 0 {
			x = l.backwards(x, axis, starts[i], ends[i], steps[i])
			continue
		}
		x = l.slice(x, axis, starts[i], ends[i], steps[i])
	}
	return one(x)
}

// backwards is a slice with a negative step.
func (l *lowering) backwards(x torchscript.Value, axis, start, end, step int) torchscript.Value {
	n := l.shape(x)[axis]
	if n < 0 {
		l.c.Unsupported("the rows of a batch in another order")
	}
	if start < 0 {
		start += n
	}
	if end < 0 {
		end += n
	}
	start, end = min(max(start, -1), n-1), max(end, -1)
	index := []int64{}
	for i := start; i > end && len(index) <= maxStatic; i += max(step, -n-1) {
		index = append(index, int64(i))
	}
	return l.sel(x, axis, index)
}

// sel takes elements along an axis.
func (l *lowering) sel(x torchscript.Value, axis int, index []int64) torchscript.Value {
	i := l.c.Parameter("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(index)}, I64: index})
	return l.call("index_select", x, int64(axis), i)
}

// gather takes elements along an axis by constant indices, or rows of a table
// by indices of the data.
func gather(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", 0), len(shape))
	if l.has(1) && l.in[1].t != nil {
		if axis != 0 || l.in[0].t != nil {
			l.c.Unsupported("indices that depend on data")
		}
		return one(l.call("embedding", x, l.x(1)))
	}
	at := l.constant(1)
	if at.DType.IsFloat() {
		l.c.Errorf("indices of %v", at.DType)
	}
	y := l.sel(x, axis, at.I64)
	to := append(append(append(graph.Shape{}, shape[:axis]...), at.Shape...), shape[axis+1:]...)
	return one(l.reshape(y, to))
}

// maxIndices bounds the indices of a gatherND.
const maxIndices = 1 << 14

// gatherND takes elements by constant indices into the first dimensions.
func gatherND(l *lowering) []torchscript.Value {
	x, at := l.x(0), l.constant(1)
	shape := l.shape(x)
	if l.attrInt("batch_dims", 0) != 0 || len(at.Shape) == 0 || at.DType != graph.Int64 {
		l.c.Unsupported("batch_dims, or indices of %v%v", at.DType, at.Shape)
	}
	k := at.Shape[len(at.Shape)-1]
	if k < 1 || k > len(shape) || !shape[:k].Fixed() {
		l.c.Unsupported("indices into %d dimensions of %v", k, shape)
	}
	if at.Len() > maxIndices {
		l.c.Unsupported("an index of %d numbers", at.Len())
	}
	flat := make([]int64, at.Len()/k)
	for i := range flat {
		for j := range k {
			n := at.I64[i*k+j]
			if n < 0 {
				n += int64(shape[j])
			}
			if n < 0 || n >= int64(shape[j]) {
				l.c.Errorf("index %d of a dimension of %d", n, shape[j])
			}
			flat[i] = flat[i]*int64(shape[j]) + n
		}
	}
	rest := shape[k:]
	y := l.reshape(x, append(graph.Shape{shape[:k].RowElements()}, rest...))
	y = l.sel(y, 0, flat)
	return one(l.reshape(y, append(append(graph.Shape{}, at.Shape[:len(at.Shape)-1]...), rest...)))
}

// oneHot gives each index a vector of the depth, of the numbers off and on.
func oneHot(l *lowering) []torchscript.Value {
	depth, values := l.number(1), l.constant(2)
	if axis := l.attrInt("axis", -1); axis != -1 && axis != len(l.shape(l.x(0))) {
		l.c.Unsupported("axis %d", axis)
	}
	if values.Len() != 2 {
		l.c.Errorf("%d values", values.Len())
	}
	hot := l.call("one_hot", l.as(l.x(0), graph.Int64), int64(depth))
	y := l.as(hot, values.DType)
	off, on := values.At(0), values.At(1)
	if off == 0 && on == 1 {
		return one(y)
	}
	if !values.DType.IsFloat() {
		l.c.Unsupported("integer values other than 0 and 1")
	}
	return one(l.op(graph.OpAdd, nil, l.op(graph.OpMul, nil, y, on-off), off))
}

func tile(l *lowering) []torchscript.Value {
	return one(l.call("repeat", l.x(0), list(l.ints(1))))
}
