package torchmodule

import (
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// recurrent is an LSTM, GRU or RNN over a sequence that begins with a state of
// zeros: the output of each step, then the last hidden state, and the last
// cell state of an LSTM.
func recurrent(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	layerCount, ok := integer("num_layers")(l, m).(int64)
	if !ok || layerCount < 1 || layerCount > maxLayers {
		l.c.Errorf("num_layers is %v", layerCount)
	}
	bias, batchFirst, both := l.truth(m, "bias"), l.truth(m, "batch_first"), l.truth(m, "bidirectional")
	hidden, projected := l.count(m, "hidden_size", 1), l.count(m, "proj_size", 0)
	suffixes := []string{""}
	if both {
		suffixes = append(suffixes, "_reverse")
	}
	var params []torchscript.Value
	for i := range layerCount {
		for _, suffix := range suffixes {
			at := "_l" + strconv.FormatInt(i, 10) + suffix
			params = append(params, l.needed(m, "weight_ih"+at), l.needed(m, "weight_hh"+at))
			if bias {
				params = append(params, l.needed(m, "bias_ih"+at), l.needed(m, "bias_hh"+at))
			}
			if projected > 0 {
				params = append(params, l.needed(m, "weight_hr"+at))
			}
		}
	}
	name := m.recurrentName(l)
	state := func(width int64) torchscript.Value {
		return l.zeroState(x, int(layerCount)*len(suffixes), int(width), batchFirst, m.tensors.Get("weight_ih_l0"))
	}
	out := hidden
	if projected > 0 {
		out = projected
	}
	first := state(out)
	if name == "lstm" {
		first = []torchscript.Value{first, state(hidden)}
	}
	return l.fn(name, x, first, params, bias, layerCount, 0.0, false, both, batchFirst)
}

// maxLayers bounds the layers of a recurrent module.
const maxLayers = 256

// recurrentName is the function of torch for the class.
func (m *Module) recurrentName(l *lowering) string {
	switch m.shortClass() {
	case "LSTM":
		return "lstm"
	case "GRU":
		return "gru"
	}
	switch kind := l.value(m, "nonlinearity"); kind {
	case "tanh":
		return "rnn_tanh"
	case "relu":
		return "rnn_relu"
	default:
		l.c.Unsupported("the nonlinearity %.40v", kind)
	}
	return ""
}

// zeroState is a state of zeros for the rows of x: [layers, B, width]. Where
// the shape of x is not known yet, the call that takes it says so.
func (l *lowering) zeroState(x torchscript.Value, layers, width int, batchFirst bool, like *graph.Tensor) torchscript.Value {
	shape, ok := l.c.Shape(x)
	rows := 1
	if ok {
		if len(shape) != 3 {
			l.c.Errorf("a sequence of %v, three dimensions were wanted", shape)
		}
		rows = shape[1]
		if batchFirst {
			rows = shape[0]
		}
	}
	return l.zeros(like, layers, rows, width)
}

// zeros is a tensor of zeros of the type of another.
func (l *lowering) zeros(like *graph.Tensor, shape ...int) torchscript.Value {
	zero := &graph.Tensor{DType: like.DType, Shape: graph.Shape{1}}
	if like.DType == graph.Float64 {
		zero.F64 = []float64{0}
	} else {
		zero.F32 = []float32{0}
	}
	return l.c.Op(graph.OpExpand, graph.Attrs{"shape": shape}, l.c.Parameter("", zero))
}

// cell is one step from a state of zeros: the next hidden state, and the next
// cell state of an LSTM.
func cell(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	w := l.needed(m, "weight_ih")
	rows := graph.Batch
	if shape, ok := l.c.Shape(x); ok {
		if len(shape) != 2 {
			l.c.Errorf("an input of %v, two dimensions were wanted", shape)
		}
		rows = shape[0]
	}
	state := l.zeros(m.tensors.Get("weight_ih"), rows, int(l.count(m, "hidden_size", 1)))
	args := []torchscript.Value{w, l.needed(m, "weight_hh"), l.tensor(m, "bias_ih"), l.tensor(m, "bias_hh")}
	switch m.shortClass() {
	case "LSTMCell":
		return l.fn("lstm_cell", append([]torchscript.Value{x, []torchscript.Value{state, state}}, args...)...)
	case "GRUCell":
		return l.fn("gru_cell", append([]torchscript.Value{x, state}, args...)...)
	}
	return l.fn(m.recurrentName(l)+"_cell", append([]torchscript.Value{x, state}, args...)...)
}

// truth reads an attribute that is a boolean.
func (l *lowering) truth(m *Module, name string) bool {
	b, _ := flag(name)(l, m).(bool)
	return b
}

// count reads an integer attribute; zero where an older torch has none of the
// name and the least is zero.
func (l *lowering) count(m *Module, name string, least int64) int64 {
	v, ok := m.state.Get(name)
	if !ok && least == 0 {
		return 0
	}
	n, isInt := pickle.Int(v)
	if !isInt || n < least || n > graph.MaxRowElements {
		l.c.Errorf("%s is %.40v", name, v)
	}
	return n
}
