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
	"Concat": concat, "Split": split, "Slice": sliceOf, "Tile": tile, "DepthToSpace": depthToSpace, "SpaceToDepth": spaceToDepth,
}

// nothing is an operator that is always computed while lowering.
func nothing(l *lowering) []torchscript.Value { l.c.Errorf("%d results", len(l.n.out)); return nil }

func identity(l *lowering) []torchscript.Value {
	return one(l.operand(0))
}

// dropout does nothing, and its mask is that nothing was dropped.
func dropout(l *lowering) []torchscript.Value {
	if l.has(2) && l.number(2) != 0 && !(l.has(1) && l.number(1) == 0) {
		l.c.Unsupported("training: export the model after eval()")
	}
	out := []torchscript.Value{l.operand(0)}
	if len(l.n.out) > 1 && l.n.out[1] != "" {
		yes := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{}, I64: []int64{1}}
		out = append(out, l.op(graph.OpExpand, graph.Attrs{"shape": []int(l.shape(l.x(0)))}, l.c.Parameter("", yes)))
	}
	return out
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

func tile(l *lowering) []torchscript.Value {
	return one(l.call("repeat", l.x(0), list(l.ints(1))))
}

// blocks are the dimensions of an image with the size of a block.
func (l *lowering) blocks() (x torchscript.Value, shape graph.Shape, size int) {
	x, size = l.x(0), l.attrInt("blocksize", 0)
	shape = l.shape(x)
	if len(shape) != 4 || !shape[1:].Fixed() || size < 1 || size > maxWindow {
		l.c.Errorf("x of shape %v with blocks of %d", shape, size)
	}
	return x, shape, size
}

func depthToSpace(l *lowering) []torchscript.Value {
	x, s, b := l.blocks()
	c := s[1] / (b * b)
	if l.attrText("mode", "DCR") == "CRD" {
		x = l.permute(l.reshape(x, graph.Shape{s[0], c, b, b, s[2], s[3]}), []int{0, 1, 4, 2, 5, 3})
	} else {
		x = l.permute(l.reshape(x, graph.Shape{s[0], b, b, c, s[2], s[3]}), []int{0, 3, 4, 1, 5, 2})
	}
	return one(l.reshape(x, graph.Shape{s[0], c, s[2] * b, s[3] * b}))
}

func spaceToDepth(l *lowering) []torchscript.Value {
	x, s, b := l.blocks()
	x = l.reshape(x, graph.Shape{s[0], s[1], s[2] / b, b, s[3] / b, b})
	return one(l.reshape(l.permute(x, []int{0, 3, 5, 1, 2, 4}), graph.Shape{s[0], s[1] * b * b, s[2] / b, s[3] / b}))
}
