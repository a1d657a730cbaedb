package onnx

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// maxPlaced bounds what is placed one after the other.
const maxPlaced = 256

// merge are the ways to put a number to where another is.
var merge = map[string]graph.Op{"none": "", "add": graph.OpAdd, "mul": graph.OpMul, "max": graph.OpMaximum, "min": graph.OpMinimum}

func (l *lowering) reduction() graph.Op {
	op, ok := merge[l.attrText("reduction", "none")]
	if !ok {
		l.c.Errorf("reduction %q", short(l.attrText("reduction", "")))
	}
	return op
}

// scatterElements places elements along an axis, one index after the other:
// out[..., i, ...] is compared with each index.
func scatterElements(l *lowering) []torchscript.Value {
	x, at, updates := l.x(0), l.as(l.x(1), graph.Int64), l.x(2)
	shape, to, op := l.shape(x), l.shape(at), l.reduction()
	axis := l.axisOf(l.attrInt("axis", 0), len(shape))
	if len(to) != len(shape) || to[axis] < 0 || shape[axis] < 0 || !l.shape(updates).Equal(to) {
		l.c.Unsupported("indices of %v and updates of %v into %v", to, l.shape(updates), shape)
	}
	if to[axis] > maxPlaced {
		l.c.Unsupported("%d indices along an axis, at most %d", to[axis], maxPlaced)
	}
	at = l.op(graph.OpWhere, nil, l.op(graph.OpLt, nil, at, int64(0)), l.op(graph.OpAdd, nil, at, int64(shape[axis])), at)
	for i, d := range to { // indices that stand for a part of another dimension
		if i == axis || d == shape[i] {
			continue
		}
		if d < 0 || shape[i] < 0 {
			l.c.Unsupported("indices of %v into %v", to, shape)
		}
		at, updates = l.padded(at, i, shape[i]-d, -1), l.padded(updates, i, shape[i]-d, 0)
	}
	position := l.count(shape, axis)
	for k := range to[axis] {
		here := l.op(graph.OpEq, nil, position, l.slice(at, axis, k, k+1, 1))
		y := l.slice(updates, axis, k, k+1, 1)
		if op != "" {
			y = l.op(op, nil, x, y)
		}
		x = l.op(graph.OpWhere, nil, here, y, x)
	}
	return one(x)
}

// padded adds a number at the end of an axis.
func (l *lowering) padded(x torchscript.Value, axis, count, fill int) torchscript.Value {
	shape := slices.Clone(l.shape(x))
	shape[axis] = count
	t := l.c.Parameter("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{int64(fill)}})
	more := l.op(graph.OpExpand, graph.Attrs{"shape": []int(shape)}, l.as(t, l.dtype(x)))
	return l.op(graph.OpConcat, graph.Attrs{"axis": axis}, x, more)
}

// scatterND places parts at constant indices into the first dimensions. The
// last of equal indices wins; with a reduction all of them count, in turns.
func scatterND(l *lowering) []torchscript.Value {
	x, updates, op := l.x(0), l.x(2), l.reduction()
	shape := l.shape(x)
	at := l.constant(1)
	if len(at.Shape) == 0 {
		l.c.Errorf("indices of %v", at.Shape)
	}
	k := at.Shape[len(at.Shape)-1]
	if k < 1 || k > len(shape) || !shape[:k].Fixed() || shape[:k].RowElements() > maxIndices {
		l.c.Unsupported("indices into %d dimensions of %v", k, shape)
	}
	flat := l.flatIndices(at, shape[:k])
	size, rest := shape[:k].RowElements(), shape[k:]
	x = l.reshape(x, slices.Concat(graph.Shape{size}, rest))
	updates = l.reshape(updates, slices.Concat(graph.Shape{len(flat)}, rest))
	for turn := 0; ; turn++ {
		source, left := make([]int64, size), false
		for i := range source {
			source[i] = -1
		}
		seen := map[int64]int{}
		for i, n := range flat {
			if op == "" || seen[n] == turn {
				source[n], left = int64(i), true
			}
			seen[n]++
		}
		if !left || turn >= maxPlaced {
			break
		}
		x = l.put(x, updates, source, op)
		if op == "" {
			break
		}
	}
	return one(l.reshape(x, shape))
}

// put puts the parts that source names in the places of x.
func (l *lowering) put(x, updates torchscript.Value, source []int64, op graph.Op) torchscript.Value {
	shape := l.shape(x)
	mask := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{len(source)}, I64: make([]int64, len(source))}
	for range len(shape) - 1 {
		mask.Shape = append(mask.Shape, 1)
	}
	for i, s := range source {
		if s >= 0 {
			mask.I64[i] = 1
		} else {
			source[i] = 0
		}
	}
	y := l.sel(updates, 0, source)
	if op != "" {
		y = l.op(op, nil, x, y)
	}
	return l.op(graph.OpWhere, nil, l.c.Parameter("", mask), y, x)
}
