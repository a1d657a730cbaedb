package onnx

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// recurrentOps are recurrent layers. They are torch's with the gates in
// another order and the directions in a dimension of their own.
var recurrentOps = map[string]lowerFunc{
	"LSTM": recurrent("lstm", []int{0, 2, 3, 1}),
	"GRU":  recurrent("gru", []int{1, 0, 2}),
	"RNN":  recurrent("rnn_tanh", []int{0}),
}

// recurrent lowers a layer whose gates torch has in the given order of those
// of ONNX.
func recurrent(name string, gates []int) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		if !l.plainRecurrent(name) {
			return l.unroll(name, len(gates))
		}
		x := l.x(0)
		shape := l.shape(x)
		hidden := l.attrInt("hidden_size", 0)
		directions := 1
		if l.attrText("direction", "forward") == "bidirectional" {
			directions = 2
		}
		if len(shape) != 3 || hidden < 1 || hidden > graph.MaxRowElements {
			l.c.Errorf("X is of shape %v with hidden_size %d", shape, hidden)
		}
		var params []torchscript.Value
		for d := range directions {
			params = append(params, l.gates(1, d, hidden, 0, gates), l.gates(2, d, hidden, 0, gates))
			if l.has(3) {
				params = append(params, l.gates(3, d, hidden, 0, gates), l.gates(3, d, hidden, 1, gates))
			}
		}
		given := l.initial(x, 5, directions, hidden)
		if name == "lstm" {
			given = []torchscript.Value{given, l.initial(x, 6, directions, hidden)}
		}
		result, ok := l.call(name, x, given, params, l.has(3), int64(1), 0.0, false, directions == 2, false).([]torchscript.Value)
		if !ok || len(result) < 2 {
			l.c.Errorf("no results")
		}
		seq, batch := shape[0], shape[1]
		y := l.permute(l.reshape(result[0], graph.Shape{seq, batch, directions, hidden}), []int{0, 2, 1, 3})
		return append([]torchscript.Value{y}, result[1:]...)
	}
}

// gates are the rows of one direction of a parameter in torch's order. A bias
// has two halves.
func (l *lowering) gates(k, direction, hidden, half int, order []int) torchscript.Value {
	t := l.constant(k)
	rows := len(order) * hidden
	width := 1
	switch {
	case t.F32 == nil && t.F64 == nil, len(t.Shape) < 2 || t.Shape[0] <= direction:
		l.c.Errorf("operand %d is %v%v", k+1, t.DType, t.Shape)
	case k == 3 && (len(t.Shape) != 2 || t.Shape[1] != 2*rows), k != 3 && (len(t.Shape) != 3 || t.Shape[1] != rows):
		l.c.Errorf("operand %d is of shape %v for %d gates of %d", k+1, t.Shape, len(order), hidden)
	case k != 3:
		width = t.Shape[2]
	}
	what := fmt.Sprintf("gates %d %d %d %v", k, direction, half, order)
	return l.derive(t, what, func() *graph.Tensor { return reorder(t, k, direction, hidden, half, width, order) })
}

// reorder copies the rows of a parameter in another order of the gates.
func reorder(t *graph.Tensor, k, direction, hidden, half, width int, order []int) *graph.Tensor {
	rows := len(order) * hidden
	out := &graph.Tensor{DType: t.DType, Shape: graph.Shape{rows, width}}
	if k == 3 {
		out.Shape = graph.Shape{rows}
	}
	base := direction * t.Len() / t.Shape[0]
	base += half * rows
	for _, g := range order {
		from := base + g*hidden*width
		if t.F32 != nil {
			out.F32 = append(out.F32, t.F32[from:from+hidden*width]...)
		} else {
			out.F64 = append(out.F64, t.F64[from:from+hidden*width]...)
		}
	}
	return out
}

// initial is the state at the beginning, zeros where it is absent.
func (l *lowering) initial(x torchscript.Value, k, directions, hidden int) torchscript.Value {
	if l.has(k) {
		return l.x(k)
	}
	zero := &graph.Tensor{DType: l.dtype(x), Shape: graph.Shape{}}
	if zero.DType == graph.Float64 {
		zero.F64 = []float64{0}
	} else {
		zero.F32 = []float32{0}
	}
	return l.op(graph.OpExpand, graph.Attrs{"shape": []int{directions, l.shape(x)[1], hidden}}, l.c.Parameter("", zero))
}
