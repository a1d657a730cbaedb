//go:build ort && cgo

package main

import (
	"strconv"

	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
)

// family is one model of a family of operators. The names group the table.
type family struct {
	group, name string
	build       func(m *onnxmodel.Model) []string // returns the results that are outputs
	integers    bool                              // the outputs are
}

func mlp(activation string, widths ...int) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		x := m.Input("x", onnxmodel.Float, 1, widths[0])
		for i, w := range widths[1:] {
			x = m.Dense(x, strconv.Itoa(i), widths[i], w)
			if i < len(widths)-2 {
				x = m.Node(activation, nil, x)
			}
		}
		return []string{x}
	}
}

func natureCNN(m *onnxmodel.Model) []string {
	x := m.Input("x", onnxmodel.Float, 1, 4, 84, 84)
	x = m.Node("Relu", nil, m.Conv(x, "0", 4, 32, 8, 4, 0, 1))
	x = m.Node("Relu", nil, m.Conv(x, "1", 32, 64, 4, 2, 0, 1))
	x = m.Node("Relu", nil, m.Conv(x, "2", 64, 64, 3, 1, 0, 1))
	x = m.Node("Flatten", nil, x)
	x = m.Node("Relu", nil, m.Dense(x, "3", 3136, 512))
	return []string{m.Dense(x, "4", 512, 6)}
}

func smallCNN(m *onnxmodel.Model) []string {
	x := m.Input("x", onnxmodel.Float, 1, 3, 64, 64)
	x = m.Node("Relu", nil, m.Conv(x, "0", 3, 16, 3, 2, 1, 1))
	x = m.Node("Relu", nil, m.Conv(x, "1", 16, 32, 3, 2, 1, 1))
	x = m.Node("MaxPool", onnxmodel.Attrs{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}}, x)
	x = m.Node("Flatten", nil, x)
	x = m.Node("Relu", nil, m.Dense(x, "2", 2048, 64))
	return []string{m.Dense(x, "3", 64, 3)}
}

func residual(m *onnxmodel.Model) []string {
	in := m.Input("x", onnxmodel.Float, 1, 32, 16, 16)
	x := m.Node("Relu", nil, m.Conv(in, "0", 32, 32, 3, 1, 1, 1))
	x = m.Conv(x, "1", 32, 32, 3, 1, 1, 1)
	return []string{m.Node("Relu", nil, m.Node("Add", nil, x, in))}
}

func oneConv(in, out, size, kernel, stride, pad, groups int) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		return []string{m.Conv(m.Input("x", onnxmodel.Float, 1, in, size, size), "0", in, out, kernel, stride, pad, groups)}
	}
}

func conv1d(m *onnxmodel.Model) []string {
	x := m.Input("x", onnxmodel.Float, 1, 32, 100)
	return []string{m.Node("Conv", onnxmodel.Attrs{"kernel_shape": []int{5}, "pads": []int{2, 2}}, x, m.Weights("w", 64, 32, 5), m.Weights("b", 64))}
}

func convTranspose(m *onnxmodel.Model) []string {
	x := m.Input("x", onnxmodel.Float, 1, 32, 8, 8)
	return []string{m.Node("ConvTranspose", onnxmodel.Attrs{"kernel_shape": []int{4, 4}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}},
		x, m.Weights("w", 32, 16, 4, 4), m.Weights("b", 16))}
}

func pool(op string) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		x := m.Input("x", onnxmodel.Float, 1, 32, 32, 32)
		return []string{m.Node(op, onnxmodel.Attrs{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}}, x)}
	}
}

// recurrent is a layer over steps steps, as torch exports it: the batch in the
// middle.
func recurrent(op string, gates, in, hidden, steps int) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		x := m.Node("Transpose", onnxmodel.Attrs{"perm": []int{1, 0, 2}}, m.Input("x", onnxmodel.Float, 1, steps, in))
		a := onnxmodel.Attrs{"hidden_size": hidden}
		if op == "GRU" {
			a["linear_before_reset"] = 1
		}
		y := m.Node(op, a, x, m.Weights("w", 1, gates*hidden, in), m.Weights("r", 1, gates*hidden, hidden), m.Weights("b", 1, 2*gates*hidden))
		y = m.Node("Squeeze", nil, y, m.Integers("direction", 1))
		return []string{m.Node("Transpose", onnxmodel.Attrs{"perm": []int{1, 0, 2}}, y)}
	}
}

// transformer is one encoder layer: attention of four heads and two dense
// layers, with layer norm behind each.
func transformer(length, width, hidden int) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		const heads = 4
		x := m.Input("x", onnxmodel.Float, 1, length, width)
		product := func(x, key string, in, out int) string {
			return m.Node("Add", nil, m.Node("MatMul", nil, x, m.Weights(key+".w", in, out)), m.Weights(key+".b", out))
		}
		split := func(key string, perm []int) string {
			y := m.Node("Reshape", nil, product(x, key, width, width), m.Integers(key+".shape", 0, int64(length), heads, int64(width/heads)))
			return m.Node("Transpose", onnxmodel.Attrs{"perm": perm}, y)
		}
		q, k, v := split("q", []int{0, 2, 1, 3}), split("k", []int{0, 2, 3, 1}), split("v", []int{0, 2, 1, 3})
		score := m.Node("Mul", nil, m.Node("MatMul", nil, q, k), m.Constant("scale", 0.25))
		y := m.Node("MatMul", nil, m.Node("Softmax", onnxmodel.Attrs{"axis": -1}, score), v)
		y = m.Node("Reshape", nil, m.Node("Transpose", onnxmodel.Attrs{"perm": []int{0, 2, 1, 3}}, y), m.Integers("joined", 0, int64(length), int64(width)))
		norm := func(x, key string) string {
			return m.Node("LayerNormalization", nil, x, m.Weights(key+".g", width), m.Weights(key+".b", width))
		}
		x1 := norm(m.Node("Add", nil, x, product(y, "o", width, width)), "n1")
		y = product(m.Node("Gelu", nil, product(x1, "f1", width, hidden)), "f2", hidden, width)
		return []string{norm(m.Node("Add", nil, x1, y), "n2")}
	}
}

// over applies one operator to an input of the given shape, and to constants.
func over(op string, a onnxmodel.Attrs, dims []int, more ...func(m *onnxmodel.Model) string) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		in := []string{m.Input("x", onnxmodel.Float, dims...)}
		for _, f := range more {
			in = append(in, f(m))
		}
		return []string{m.Node(op, a, in...)}
	}
}

func weights(key string, dims ...int) func(m *onnxmodel.Model) string {
	return func(m *onnxmodel.Model) string { return m.Weights(key, dims...) }
}

func axis(v ...int64) func(m *onnxmodel.Model) string {
	return func(m *onnxmodel.Model) string { return m.Integers("axis", v...) }
}

// two applies one operator to two inputs.
func two(op string, a, b []int) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		return []string{m.Node(op, nil, m.Input("x", onnxmodel.Float, a...), m.Input("y", onnxmodel.Float, b...))}
	}
}

func shapes(m *onnxmodel.Model) []string {
	x, y := m.Input("x", onnxmodel.Float, 1, 64, 64), m.Input("y", onnxmodel.Float, 1, 8, 64)
	x = m.Node("Transpose", onnxmodel.Attrs{"perm": []int{0, 2, 1}}, x)
	x = m.Node("Slice", nil, x, m.Integers("from", 3), m.Integers("to", 20), m.Integers("dim", 1))
	return []string{m.Node("Transpose", onnxmodel.Attrs{"perm": []int{0, 2, 1}}, m.Node("Concat", onnxmodel.Attrs{"axis": 1}, x, y))}
}

func embedding(m *onnxmodel.Model) []string {
	return []string{m.Node("Gather", nil, m.Weights("table", 100, 64), m.Input("ids", onnxmodel.Int64s, 1, 16))}
}

func gatherElements(m *onnxmodel.Model) []string {
	return []string{m.Node("GatherElements", onnxmodel.Attrs{"axis": 1}, m.Input("x", onnxmodel.Float, 1, 64), m.Input("ids", onnxmodel.Int64s, 1, 8))}
}

func topK(m *onnxmodel.Model) []string {
	return m.Nodes("TopK", onnxmodel.Attrs{"axis": 1}, 2, m.Input("x", onnxmodel.Float, 1, 256), m.Integers("k", 8))[:1]
}

func where(m *onnxmodel.Model) []string {
	x, y := m.Input("x", onnxmodel.Float, 1, 4096), m.Input("y", onnxmodel.Float, 1, 4096)
	return []string{m.Node("Where", nil, m.Node("Greater", nil, x, y), x, m.Node("Neg", nil, y))}
}

// families are the models, the commonest first.
func families() []family {
	all := []family{
		{group: "dense", name: "driving MLP 5-64-64-3, relu", build: mlp("Relu", 5, 64, 64, 3)},
		{group: "dense", name: "MLP 17-256-256-6, tanh", build: mlp("Tanh", 17, 256, 256, 6)},
		{group: "dense", name: "MLP 48-512-256-128-12, elu", build: mlp("Elu", 48, 512, 256, 128, 12)},
		{group: "convolution", name: "Nature CNN 4x84x84", build: natureCNN},
		{group: "convolution", name: "small CNN 3x64x64", build: smallCNN},
		{group: "convolution", name: "residual block 32x16x16", build: residual},
		{group: "convolution", name: "1x1, 64x16x16", build: oneConv(64, 64, 16, 1, 1, 0, 1)},
		{group: "convolution", name: "depthwise 3x3, 64x16x16", build: oneConv(64, 64, 16, 3, 1, 1, 64)},
		{group: "convolution", name: "groups of 8, 3x3, 32x16x16", build: oneConv(32, 32, 16, 3, 1, 1, 4)},
		{group: "convolution", name: "1d, 32x100", build: conv1d},
		{group: "transposed convolution", name: "4x4 stride 2, 32x8x8", build: convTranspose},
		{group: "pooling", name: "max 2x2, 32x32x32", build: pool("MaxPool")},
		{group: "pooling", name: "average 2x2, 32x32x32", build: pool("AveragePool")},
		{group: "pooling", name: "global average, 64x16x16", build: over("GlobalAveragePool", nil, []int{1, 64, 16, 16})},
		{group: "recurrent", name: "LSTM 64-256, a step", build: recurrent("LSTM", 4, 64, 256, 1)},
		{group: "recurrent", name: "LSTM 64-256, 16 steps", build: recurrent("LSTM", 4, 64, 256, 16)},
		{group: "recurrent", name: "GRU 64-256, a step", build: recurrent("GRU", 3, 64, 256, 1)},
		{group: "recurrent", name: "GRU 64-128, 16 steps", build: recurrent("GRU", 3, 64, 128, 16)},
		{group: "recurrent", name: "RNN 64-128, 16 steps", build: recurrent("RNN", 1, 64, 128, 16)},
		{group: "attention", name: "transformer layer 16x64", build: transformer(16, 64, 128)},
		{group: "attention", name: "transformer layer 32x128", build: transformer(32, 128, 256)},
		{group: "matrix product", name: "of two inputs, 4x32x32", build: two("MatMul", []int{1, 4, 32, 32}, []int{1, 4, 32, 32})},
		{group: "normalisation", name: "layer norm 256", build: over("LayerNormalization", nil, []int{1, 256}, weights("g", 256), weights("b", 256))},
		{group: "normalisation", name: "layer norm 16x64", build: over("LayerNormalization", nil, []int{1, 16, 64}, weights("g", 64), weights("b", 64))},
		{group: "normalisation", name: "batch norm 32x16x16", build: func(m *onnxmodel.Model) []string {
			return []string{m.Node("BatchNormalization", nil, m.Input("x", onnxmodel.Float, 1, 32, 16, 16), m.Weights("s", 32), m.Weights("b", 32), m.Weights("m", 32),
				m.Node("Abs", nil, m.Weights("v", 32)))}
		}},
		{group: "normalisation", name: "instance norm 32x16x16", build: over("InstanceNormalization", nil, []int{1, 32, 16, 16}, weights("g", 32), weights("b", 32))},
		{group: "softmax", name: "1000", build: over("Softmax", onnxmodel.Attrs{"axis": -1}, []int{1, 1000})},
		{group: "softmax", name: "8x16x16", build: over("Softmax", onnxmodel.Attrs{"axis": -1}, []int{1, 8, 16, 16})},
		{group: "softmax", name: "log, 1000", build: over("LogSoftmax", onnxmodel.Attrs{"axis": -1}, []int{1, 1000})},
		{group: "reduction", name: "mean over the last of 64x64", build: over("ReduceMean", onnxmodel.Attrs{"keepdims": 0}, []int{1, 64, 64}, axis(2))},
		{group: "reduction", name: "sum over the middle of 64x64", build: over("ReduceSum", onnxmodel.Attrs{"keepdims": 0}, []int{1, 64, 64}, axis(1))},
		{group: "reduction", name: "max over the last of 64x64", build: over("ReduceMax", onnxmodel.Attrs{"keepdims": 0}, []int{1, 64, 64}, axis(2))},
		{group: "reduction", name: "norm over the last of 64x64", build: over("ReduceL2", onnxmodel.Attrs{"keepdims": 0}, []int{1, 64, 64}, axis(2))},
		{group: "reduction", name: "argmax of 64x64", build: over("ArgMax", onnxmodel.Attrs{"axis": 2, "keepdims": 0}, []int{1, 64, 64}), integers: true},
		{group: "reduction", name: "running sum of 1024", build: over("CumSum", nil, []int{1, 1024}, axis(1))},
		{group: "choice", name: "embedding of 16, 100x64", build: embedding},
		{group: "choice", name: "8 elements of 64", build: gatherElements},
		{group: "choice", name: "best 8 of 256", build: topK},
		{group: "choice", name: "where of 4096", build: where},
		{group: "shape", name: "transpose, slice, concat 64x64", build: shapes},
		{group: "elementwise, two", name: "add 4096", build: two("Add", []int{1, 4096}, []int{1, 4096})},
		{group: "elementwise, two", name: "mul, a column for each row of 64x64", build: two("Mul", []int{1, 64, 64}, []int{1, 64, 1})},
		{group: "elementwise, two", name: "div 4096", build: two("Div", []int{1, 4096}, []int{1, 4096})},
		{group: "elementwise, two", name: "max 4096", build: two("Max", []int{1, 4096}, []int{1, 4096})},
		{group: "elementwise, two", name: "pow 4096", build: two("Pow", []int{1, 4096}, []int{1, 4096})},
	}
	for _, op := range []string{
		"Relu", "Tanh", "Sigmoid", "Elu", "Selu", "LeakyRelu", "Softplus", "Mish", "Gelu", "HardSwish", "Softsign",
		"Exp", "Log", "Sqrt", "Abs", "Erf", "Sin", "Cos", "Floor", "Round", "Atan",
	} {
		all = append(all, family{group: "elementwise, one", name: op + " 4096", build: over(op, nil, []int{1, 4096})})
	}
	return all
}
