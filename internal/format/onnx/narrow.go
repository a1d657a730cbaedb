package onnx

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// foldNarrow makes a matrix in float32 of constants that the file holds in
// fewer bits, and notes in which: a Cast of bfloat16, and a DequantizeLinear of
// int8 whose zero points are all 0. It is nil where it is another node, or one
// that says more than that.
func (l *lowering) foldNarrow() *graph.Tensor {
	if l.n.domain != "" || len(l.n.out) != 1 || !l.has(0) {
		return nil
	}
	x := l.in[0].c
	if x == nil || len(x.Shape) != 2 {
		return nil
	}
	switch l.n.op {
	case "Cast":
		if x.DType == graph.BFloat16 && dtypes[int64(l.attrInt("to", 0))] == graph.Float32 {
			return l.once(x, "widened", func() *graph.Tensor { return graph.WidenedBFloat16(x) })
		}
	case "DequantizeLinear":
		return l.foldDequantized(x)
	}
	return nil
}

func (l *lowering) foldDequantized(x *graph.Tensor) *graph.Tensor {
	if !l.has(1) || l.in[1].c == nil || l.in[1].c.DType != graph.Float32 || l.attrInt("block_size", 0) != 0 || l.attrInt("output_dtype", 0) != 0 {
		return nil
	}
	scale := l.in[1].c
	axis := l.attrInt("axis", 1)
	if axis < 0 {
		axis += 2
	}
	if axis < 0 || axis > 1 || len(scale.Shape) > 1 || scale.Len() != 1 && scale.Len() != x.Shape[axis] {
		return nil
	}
	if l.has(2) {
		zero := l.in[2].c
		if zero == nil || zero.DType != x.DType || slices.ContainsFunc(zero.I64, func(z int64) bool { return z != 0 }) || !zero.Shape.Equal(scale.Shape) {
			return nil
		}
	}
	// A matrix is made once: with other scales it is made of operators, whose
	// growth is bounded.
	with := derivation{x, fmt.Sprintf("dequantized %d", axis)}
	if have, ok := l.derived[derivation{x, "scale"}]; ok && (have != scale || l.derived[with] == nil) {
		return nil
	}
	l.derived[derivation{x, "scale"}] = scale
	return l.once(x, with.what, func() *graph.Tensor {
		t, _ := graph.Dequantized(x, scale.F32, axis)
		return t
	})
}

// once returns the constant that f makes of an initializer, nil where it makes
// none.
func (l *lowering) once(from *graph.Tensor, what string, f func() *graph.Tensor) *graph.Tensor {
	key := derivation{from, what}
	t, ok := l.derived[key]
	if !ok {
		t = f()
		l.derived[key] = t
	}
	return t
}

// narrowConstant writes a matrix in the bits that it is held in, and the node
// that widens it, and names the result.
func (e *encoder) narrowConstant(prefix string, t *graph.Tensor) string {
	if name, ok := e.widened[t]; ok {
		return name
	}
	n := t.AsNarrow()
	held, known := e.shared.constants[t]
	scale := held + "_scale"
	if !known {
		held = prefix
		if held == "" || e.shared.taken[held] || e.shared.taken[held+"_scale"] {
			held = e.fresh("c")
		}
		scale = held + "_scale"
		e.shared.taken[held], e.shared.taken[scale] = true, true
		e.shared.constants[t] = held
		narrow := &graph.Tensor{DType: n.DType, Shape: t.Shape}
		if n.DType == graph.BFloat16 {
			narrow.F32 = t.F32
		} else {
			narrow.I64 = make([]int64, len(n.Int8))
			for i, q := range n.Int8 {
				narrow.I64[i] = int64(q)
			}
			e.shared.tensors = append(e.shared.tensors, NamedTensor{scale, graph.Float32s(n.Scale, len(n.Scale))})
		}
		e.shared.tensors = append(e.shared.tensors, NamedTensor{held, narrow})
	}
	var name string
	if n.DType == graph.BFloat16 {
		name = e.node("Cast", []encodedAttr{{"to", int(dtypeNumbers[graph.Float32])}}, held)
	} else {
		name = e.node("DequantizeLinear", []encodedAttr{{"axis", n.Axis}}, held, scale)
	}
	if e.widened == nil {
		e.widened = map[*graph.Tensor]string{}
	}
	e.widened[t] = name
	return name
}
