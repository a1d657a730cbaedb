package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// linearOps are products of matrices.
var linearOps = map[string]lowerFunc{
	"Gemm":   gemm,
	"MatMul": matMul,
}

// gemm is alpha·A'·B' + beta·C.
func gemm(l *lowering) []torchscript.Value {
	a := l.x(0)
	if len(l.shape(a)) != 2 {
		l.c.Errorf("A is of shape %v, two dimensions were expected", l.shape(a))
	}
	if l.attrInt("transA", 0) != 0 {
		a = l.permute(a, []int{1, 0})
	}
	alpha, beta := l.attrFloat("alpha", 1), l.attrFloat("beta", 1)
	if alpha != 1 {
		a = l.op(graph.OpMul, nil, a, alpha)
	}
	w := l.weight(l.operand(1), l.attrInt("transB", 0) != 0)
	var y torchscript.Value
	if b := l.bias(w, beta); b != nil {
		return one(l.op(graph.OpLinear, nil, a, w, b))
	}
	if len(l.shape(w)) != 2 {
		l.c.Errorf("B is of shape %v, two dimensions were expected", l.shape(w))
	}
	if l.shape(w).Fixed() {
		y = l.op(graph.OpLinear, nil, a, w)
	} else {
		y = l.op(graph.OpMatMul, nil, a, l.permute(w, []int{1, 0}))
	}
	if c := l.maybe(2); c != nil && beta != 0 {
		if beta != 1 {
			c = l.op(graph.OpMul, nil, c, beta)
		}
		y = l.op(graph.OpAdd, nil, y, c)
	}
	return one(y)
}

// weight is a matrix as a linear layer has it, [outputs, inputs]. One that is
// given so already has transposed set.
func (l *lowering) weight(v value, transposed bool) torchscript.Value {
	switch {
	case transposed:
		return l.tensorOf(v)
	case v.c != nil && len(v.c.Shape) == 2:
		return l.transposed(v.c)
	}
	w := l.tensorOf(v)
	if len(l.shape(w)) != 2 {
		l.c.Errorf("a weight of shape %v, two dimensions were expected", l.shape(w))
	}
	return l.permute(w, []int{1, 0})
}

// bias is operand C where it is a constant vector of the outputs.
func (l *lowering) bias(w torchscript.Value, beta float64) torchscript.Value {
	if !l.has(2) || l.in[2].c == nil || beta != 1 || !l.shape(w).Fixed() || len(l.shape(w)) != 2 {
		return nil
	}
	c, outs := l.in[2].c, l.shape(w)[0]
	if len(c.Shape) == 1 && c.Shape[0] == outs {
		return l.tensorOf(l.in[2])
	}
	if len(c.Shape) == 2 && c.Shape[0] == 1 && c.Shape[1] == outs {
		return l.derive(c, "flat", func() *graph.Tensor {
			flat := *c
			flat.Shape = graph.Shape{outs}
			return &flat
		})
	}
	return nil
}

func (l *lowering) transposed(t *graph.Tensor) torchscript.Value {
	return l.derive(t, "transposed", func() *graph.Tensor { return transpose(t) })
}

// transpose is a matrix of constants the other way round.
func transpose(t *graph.Tensor) *graph.Tensor {
	if t.Narrow != nil {
		return graph.Transposed(t)
	}
	rows, cols := t.Shape[0], t.Shape[1]
	out := &graph.Tensor{DType: t.DType, Shape: graph.Shape{cols, rows}}
	switch {
	case t.F32 != nil:
		out.F32 = transposed(t.F32, rows, cols)
	case t.F64 != nil:
		out.F64 = transposed(t.F64, rows, cols)
	default:
		out.I64 = transposed(t.I64, rows, cols)
	}
	return out
}

func transposed[T any](x []T, rows, cols int) []T {
	y := make([]T, len(x))
	for r := range rows {
		for c := range cols {
			y[c*rows+r] = x[r*cols+c]
		}
	}
	return y
}

func matMul(l *lowering) []torchscript.Value {
	x := l.x(0)
	if b := l.operand(1).c; b != nil && len(b.Shape) == 2 && len(l.shape(x)) >= 2 && b.DType.IsFloat() {
		return one(l.op(graph.OpLinear, nil, x, l.transposed(b)))
	}
	return one(l.call("matmul", x, l.x(1)))
}
