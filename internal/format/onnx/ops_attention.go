package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// attentionOps are attention and what turns its operands.
var attentionOps = map[string]lowerFunc{"Attention": attention, "RotaryEmbedding": rotaryEmbedding, "Einsum": einsum}

func einsum(l *lowering) []torchscript.Value {
	in := make([]torchscript.Value, len(l.in))
	for i := range in {
		in[i] = l.x(i)
	}
	return one(l.call("einsum", l.attrText("equation", ""), in))
}

// heads splits the last dimension of a value of three dimensions into heads,
// [batch, heads, steps, size].
func (l *lowering) heads(x torchscript.Value, attr string) torchscript.Value {
	s := l.shape(x)
	if len(s) == 4 {
		return x
	}
	n := l.attrInt(attr, 0)
	if len(s) != 3 || n < 1 || s[2]%n != 0 {
		l.c.Errorf("%s %d of %v", attr, n, s)
	}
	return l.permute(l.reshape(x, graph.Shape{s[0], s[1], n, s[2] / n}), []int{0, 2, 1, 3})
}

// attention is softmax(Q·Kᵀ·scale + bias)·V, a row that may look at nothing
// being 0.
func attention(l *lowering) []torchscript.Value {
	if l.attrInt("left_window_size", -1) >= 0 || l.attrInt("right_window_size", -1) >= 0 {
		l.c.Unsupported("a window of attention")
	}
	flat := len(l.shape(l.x(0))) == 3
	q, k, v := l.heads(l.x(0), "q_num_heads"), l.heads(l.x(1), "kv_num_heads"), l.heads(l.x(2), "kv_num_heads")
	past := 0
	if l.has(4) && l.has(5) {
		past = l.shape(l.x(4))[2]
		k = l.op(graph.OpConcat, graph.Attrs{"axis": 2}, l.x(4), k)
		v = l.op(graph.OpConcat, graph.Attrs{"axis": 2}, l.x(5), v)
	}
	out := []torchscript.Value{nil, k, v, nil}
	qs, ks := l.shape(q), l.shape(k)
	if len(qs) != 4 || len(ks) != 4 || qs[1] < 1 || ks[1] < 1 || qs[1]%ks[1] != 0 {
		l.c.Errorf("queries of %v and keys of %v", qs, ks)
	}
	k, v = l.repeatHeads(k, qs[1]), l.repeatHeads(v, qs[1])
	dt := l.dtype(q)
	scale := math.Sqrt(l.attrFloat("scale", 1/math.Sqrt(float64(qs[3]))))
	scores := l.op(graph.OpMatMul, nil, l.op(graph.OpMul, nil, q, scale), l.permute(l.op(graph.OpMul, nil, k, scale), []int{0, 1, 3, 2}))
	mode := l.attrInt("qk_matmul_output_mode", 0)
	if mode == 0 {
		out[3] = scores
	}
	if c := l.attrFloat("softcap", 0); c > 0 {
		scores = l.op(graph.OpMul, nil, l.op(graph.OpTanh, nil, l.op(graph.OpDiv, nil, scores, c)), c)
	}
	if mode == 1 {
		out[3] = scores
	}
	bias := l.attentionBias(dt, qs[2], ks[2], past)
	if bias != nil {
		scores = l.op(graph.OpAdd, nil, scores, bias)
	}
	if mode == 2 {
		out[3] = scores
	}
	if to := l.attrInt("softmax_precision", 0); to != 0 {
		scores = l.as(scores, l.namedType(to))
	}
	weights := l.op(graph.OpSoftmax, graph.Attrs{"axis": 3}, scores)
	if bias != nil {
		top := l.op(graph.OpAmax, graph.Attrs{"axes": []int{len(l.shape(bias)) - 1}, "keepdim": true}, bias)
		weights = l.op(graph.OpWhere, nil, l.op(graph.OpEq, nil, top, math.Inf(-1)), l.c.Parameter("", constantOf(l.dtype(weights), 0)), weights)
	}
	weights = l.as(weights, dt)
	if mode == 3 {
		out[3] = weights
	}
	y := l.op(graph.OpMatMul, nil, weights, v)
	if s := l.shape(y); flat {
		y = l.reshape(l.permute(y, []int{0, 2, 1, 3}), graph.Shape{s[0], s[2], s[1] * s[3]})
	}
	out[0] = y
	return out
}

// repeatHeads gives each query head the keys or values of its group.
func (l *lowering) repeatHeads(x torchscript.Value, heads int) torchscript.Value {
	s := l.shape(x)
	if s[1] == heads {
		return x
	}
	each := heads / s[1]
	x = l.reshape(x, graph.Shape{s[0], s[1], 1, s[2], s[3]})
	x = l.op(graph.OpExpand, graph.Attrs{"shape": []int{s[0], s[1], each, s[2], s[3]}}, x)
	return l.reshape(x, graph.Shape{s[0], heads, s[2], s[3]})
}

// attentionBias is what is added to the scores: the mask, the future, and what
// lies behind the end of the keys. It is nil where there is nothing.
func (l *lowering) attentionBias(dt graph.DType, queries, keys, past int) torchscript.Value {
	var bias torchscript.Value
	none := l.c.Parameter("", constantOf(dt, math.Inf(-1)))
	zero := l.c.Parameter("", constantOf(dt, 0))
	add := func(b torchscript.Value) {
		if bias != nil {
			b = l.op(graph.OpAdd, nil, bias, b)
		}
		bias = b
	}
	if l.has(3) {
		mask := l.x(3)
		if l.dtype(mask) == graph.Bool {
			mask = l.op(graph.OpWhere, nil, mask, zero, none)
		}
		s := slices.Clone(l.shape(mask))
		if len(s) == 0 {
			l.c.Errorf("a mask of %v", s)
		}
		if last := len(s) - 1; s[last] < keys && s[last] != 1 {
			more := slices.Clone(s)
			more[last] = keys - s[last]
			mask = l.op(graph.OpConcat, graph.Attrs{"axis": last}, mask, l.op(graph.OpExpand, graph.Attrs{"shape": []int(more)}, none))
		}
		add(mask)
	}
	var lengths torchscript.Value // of the keys of each row
	if l.has(6) {
		lengths = l.x(6)
		lengths = l.reshape(lengths, append(slices.Clone(l.shape(lengths)), 1, 1, 1))
	}
	if queries < 0 || keys < 0 || queries > maxResized || keys > maxResized {
		l.c.Errorf("%w: %d queries and %d keys", torchscript.ErrLimit, queries, keys)
	}
	key := l.count(graph.Shape{keys}, 0)
	if l.attrInt("is_causal", 0) != 0 {
		frontier := l.count(graph.Shape{queries, 1}, 0)
		if lengths != nil && !l.has(4) {
			frontier = l.op(graph.OpAdd, nil, frontier, l.op(graph.OpSub, nil, lengths, int64(queries)))
		} else {
			frontier = l.op(graph.OpAdd, nil, frontier, int64(past))
		}
		add(l.op(graph.OpWhere, nil, l.op(graph.OpLe, nil, key, frontier), zero, none))
	}
	if lengths != nil {
		add(l.op(graph.OpWhere, nil, l.op(graph.OpLt, nil, key, lengths), zero, none))
	}
	return bias
}

// rotaryEmbedding turns pairs of elements by the angles of their position.
func rotaryEmbedding(l *lowering) []torchscript.Value {
	x := l.x(0)
	original := l.shape(x)
	var steps func(v torchscript.Value) torchscript.Value
	if len(original) == 4 { // [batch, heads, steps, size]
		x = l.permute(x, []int{0, 2, 1, 3})
		steps = func(v torchscript.Value) torchscript.Value { return l.permute(v, []int{0, 2, 1, 3}) }
	} else {
		n := l.attrInt("num_heads", 0)
		if len(original) != 3 || n < 1 || original[2]%n != 0 {
			l.c.Errorf("num_heads %d of %v", n, original)
		}
		x = l.reshape(x, graph.Shape{original[0], original[1], n, original[2] / n})
		steps = func(v torchscript.Value) torchscript.Value { return l.reshape(v, original) }
	}
	shape := l.shape(x)
	size := l.attrInt("rotary_embedding_dim", 0)
	if size == 0 {
		size = shape[3]
	}
	if size%2 != 0 || size > shape[3] {
		l.c.Errorf("rotary_embedding_dim %d of %v", size, shape)
	}
	angle := func(k int) torchscript.Value {
		cache := l.x(k)
		if l.has(3) {
			cache = l.op(graph.OpTake, graph.Attrs{"axis": 0}, cache, l.x(3))
		}
		s := l.shape(cache)
		return l.reshape(cache, slices.Insert(slices.Clone(s), len(s)-1, 1))
	}
	cos, sin := angle(1), angle(2)
	var a, b torchscript.Value
	interleaved := l.attrInt("interleaved", 0) != 0
	if interleaved {
		a, b = l.slice(x, 3, 0, size, 2), l.slice(x, 3, 1, size, 2)
	} else {
		a, b = l.slice(x, 3, 0, size/2, 1), l.slice(x, 3, size/2, size, 1)
	}
	mul := func(x, y torchscript.Value) torchscript.Value { return l.op(graph.OpMul, nil, x, y) }
	first := l.op(graph.OpSub, nil, mul(cos, a), mul(sin, b))
	second := l.op(graph.OpAdd, nil, mul(sin, a), mul(cos, b))
	var y torchscript.Value
	if interleaved {
		y = l.reshape(l.stack([]value{{t: first}, {t: second}}, 4), append(slices.Clone(shape[:3]), size))
	} else {
		y = l.op(graph.OpConcat, graph.Attrs{"axis": 3}, first, second)
	}
	if size < shape[3] {
		y = l.op(graph.OpConcat, graph.Attrs{"axis": 3}, y, l.slice(x, 3, size, shape[3], 1))
	}
	return one(steps(y))
}
