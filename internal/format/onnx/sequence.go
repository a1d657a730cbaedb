package onnx

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// sequence is a list of tensors whose length is known while lowering.
type sequence struct{ values []value }

// sequenceOps are lists of tensors, and what is in them.
var sequenceOps = map[string]lowerFunc{
	"SequenceConstruct": func(l *lowering) []torchscript.Value { return l.sequence(slices.Clone(l.in)) },
	"SequenceEmpty":     func(l *lowering) []torchscript.Value { return l.sequence(nil) },
	"SequenceLength": func(l *lowering) []torchscript.Value {
		n := int64(len(l.list(0)))
		return one(value{s: &static{nums: []num{{n: n}}, scalar: true, dtype: graph.Int64}})
	},
	"SequenceAt": func(l *lowering) []torchscript.Value {
		list := l.list(0)
		return one(list[l.position(1, len(list))])
	},
	"SequenceInsert": sequenceInsert, "SequenceErase": sequenceErase, "SplitToSequence": splitToSequence, "ConcatFromSequence": concatFromSequence,
}

func (l *lowering) sequence(vs []value) []torchscript.Value {
	if len(vs) > maxIterations {
		l.c.Errorf("%w: a sequence of %d tensors", torchscript.ErrLimit, len(vs))
	}
	return one(value{seq: &sequence{vs}})
}

// list is operand k as a sequence.
func (l *lowering) list(k int) []value {
	v := l.operand(k)
	if v.seq == nil {
		l.c.Errorf("operand %d is no sequence", k+1)
	}
	return v.seq.values
}

// position is operand k as an index into n values.
func (l *lowering) position(k, n int) int {
	at := int(l.number(k))
	if at < -n || at >= n {
		l.c.Errorf("position %d of a sequence of %d", at, n)
	}
	if at < 0 {
		at += n
	}
	return at
}

func sequenceInsert(l *lowering) []torchscript.Value {
	list := slices.Clone(l.list(0))
	at := len(list)
	if l.has(2) {
		if at = int(l.number(2)); at < 0 {
			at += len(list)
		}
	}
	if at < 0 || at > len(list) {
		l.c.Errorf("position %d of a sequence of %d", at, len(list))
	}
	return l.sequence(slices.Insert(list, at, l.operand(1)))
}

func sequenceErase(l *lowering) []torchscript.Value {
	list := slices.Clone(l.list(0))
	at := len(list) - 1
	if l.has(1) || at < 0 {
		at = l.position(1, len(list))
	}
	return l.sequence(slices.Delete(list, at, at+1))
}

func splitToSequence(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", 0), len(shape))
	n, each, keep := shape[axis], 1, true
	if n < 0 {
		l.c.Unsupported("a split of the rows of a batch")
	}
	var sizes []int
	given := false
	if l.has(1) {
		if t := l.constant(1); len(t.Shape) == 0 {
			each = int(t.At(0))
		} else {
			sizes, given = l.ints(1), true
		}
	} else {
		keep = l.attrInt("keepdims", 1) != 0
	}
	if each < 1 {
		l.c.Errorf("parts of %d", each)
	}
	for at := 0; !given && at < n; at += each {
		sizes = append(sizes, min(each, n-at))
		if len(sizes) > maxIterations {
			l.c.Errorf("%w: a sequence of more than %d tensors", torchscript.ErrLimit, maxIterations)
		}
	}
	var parts []value
	at := 0
	for _, size := range sizes {
		if size < 0 || size > n-at {
			l.c.Errorf("parts %v of a dimension of %d", sizes, n)
		}
		part := l.slice(x, axis, at, at+size, 1)
		if !keep {
			part = l.reshape(part, slices.Delete(slices.Clone(shape), axis, axis+1))
		}
		parts, at = append(parts, value{t: part}), at+size
	}
	return l.sequence(parts)
}

func concatFromSequence(l *lowering) []torchscript.Value {
	list := l.list(0)
	if len(list) == 0 {
		l.c.Unsupported("nothing to concatenate")
	}
	axis := l.attrInt("axis", 0)
	if l.attrInt("new_axis", 0) != 0 {
		return one(l.stack(list, axis))
	}
	parts := make([]torchscript.Value, len(list))
	for i, v := range list {
		parts[i] = l.tensorOf(v)
	}
	return one(l.op(graph.OpConcat, graph.Attrs{"axis": l.axisOf(axis, len(l.shape(parts[0])))}, parts...))
}
