package main

import (
	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
)

// network is one of the named cases.
type network struct {
	key, name string
	build     func(m *onnxmodel.Model) []string // returns the results that are outputs
	weights   int                               // parameters that a run reads
	macs      int                               // multiply-adds of a row
	batches   []int
	limits    map[int]limit // by batch
	torch     bool          // the torch process knows it
}

// limit is what a case is held to. A zero is no limit.
type limit struct {
	ratio  float64 // most time, in times of ONNX Runtime's
	ns     float64 // most time
	read   float64 // least share of the bandwidth that its weights' size has
	arithm float64 // least share of the peak of multiply-adds
}

// dense counts a perceptron.
func dense(widths ...int) (weights, macs int) {
	for i, w := range widths[1:] {
		macs += widths[i] * w
		weights += (widths[i] + 1) * w
	}
	return weights, macs
}

// perceptron is a stack of dense layers with an activation between them.
func perceptron(activation string, widths ...int) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		return []string{layers(m, m.Input("x", onnxmodel.Float, 1, widths[0]), activation, widths...)}
	}
}

func layers(m *onnxmodel.Model, x, activation string, widths ...int) string {
	for i, w := range widths[1:] {
		x = m.Dense(x, string(rune('a'+i)), widths[i], w)
		if i < len(widths)-2 {
			x = m.Node(activation, nil, x)
		}
	}
	return x
}

// driving is the policy of the deployment guide with its preprocessor, a
// scaler: what comes in are the sensors' own numbers.
func driving(m *onnxmodel.Model) []string {
	x := m.Input("x", onnxmodel.Float, 1, 5)
	x = m.Node("Sub", nil, x, m.Floats("mean", 22, 0.02, 0.4, 0.45, 0.5))
	x = m.Node("Div", nil, x, m.Floats("std", 9, 0.3, 0.25, 0.2, 0.3))
	return []string{layers(m, x, "Relu", 5, 64, 64, 3)}
}

// step is one step of an LSTM whose state goes in and comes out, as a service
// asks it.
func step(in, hidden int) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		x := m.Input("x", onnxmodel.Float, 1, onnxmodel.Batch, in)
		h := m.Input("h", onnxmodel.Float, 1, onnxmodel.Batch, hidden)
		c := m.Input("c", onnxmodel.Float, 1, onnxmodel.Batch, hidden)
		w, r, b := m.Weights("w", 1, 4*hidden, in), m.Weights("r", 1, 4*hidden, hidden), m.Weights("b", 1, 8*hidden)
		out := m.Nodes("LSTM", onnxmodel.Attrs{"hidden_size": hidden}, 3, x, w, r, b, "", h, c)
		return []string{out[0], out[1], out[2]}
	}
}

// filter is one convolution of the Nature network.
type filter struct{ in, out, size, kernel, stride int }

var nature = []filter{{4, 32, 84, 8, 4}, {32, 64, 20, 4, 2}, {64, 64, 9, 3, 1}}

// count returns the parameters and the multiply-adds of a convolution.
func (f filter) count() (weights, macs int) {
	side := (f.size-f.kernel)/f.stride + 1
	one := f.in * f.out * f.kernel * f.kernel
	return one + f.out, one * side * side
}

// convolutions are those of the Nature network, from the first on; head adds
// its two dense layers.
func convolutions(filters []filter, head bool) func(m *onnxmodel.Model) []string {
	return func(m *onnxmodel.Model) []string {
		first := filters[0]
		x := m.Input("x", onnxmodel.Float, 1, first.in, first.size, first.size)
		for i, f := range filters {
			x = m.Node("Relu", nil, m.Conv(x, string(rune('a'+i)), f.in, f.out, f.kernel, f.stride, 0, 1))
		}
		if head {
			x = m.Node("Flatten", nil, x)
			x = m.Node("Relu", nil, m.Dense(x, "hidden", 3136, 512))
			x = m.Dense(x, "action", 512, 6)
		}
		return []string{x}
	}
}

// networks are the cases in the order of the table.
func networks() []network {
	perceptronCase := func(key, name string, build func(m *onnxmodel.Model) []string, widths ...int) network {
		w, n := dense(widths...)
		return network{key: key, name: name, build: build, weights: w, macs: n, batches: []int{1, 32, 1000}, torch: true}
	}
	mlp := perceptronCase("driving", "driving MLP 5-64-64-3, scaler in front", driving, 5, 64, 64, 3)
	mlp.weights += 2 * 5
	mlp.limits = map[int]limit{1: {ratio: 0.06, ns: 180}, 32: {ratio: 0.55}, 1000: {ratio: 0.75}}

	wide := perceptronCase("mlp256", "MLP 17-256-256-6, relu", perceptron("Relu", 17, 256, 256, 6), 17, 256, 256, 6)
	wide.limits = map[int]limit{1: {ratio: 0.5, read: 0.9}, 32: {ratio: 1}, 1000: {ratio: 1, arithm: 0.9}}

	tanh := perceptronCase("mlp256tanh", "MLP 17-256-256-6, tanh", perceptron("Tanh", 17, 256, 256, 6), 17, 256, 256, 6)

	lstm := network{
		key: "lstm256", name: "LSTM 64-256, a step", build: step(64, 256),
		weights: 4*256*(64+256) + 8*256, macs: 4 * 256 * (64 + 256), batches: []int{1}, torch: true,
		limits: map[int]limit{1: {ratio: 0.5, read: 0.9}},
	}
	all := []network{mlp, wide, tanh, lstm}

	cnn := network{key: "nature", name: "Nature CNN 4x84x84", build: convolutions(nature, true), batches: []int{1, 32, 1000}, torch: true,
		limits: map[int]limit{1: {ratio: 0.9}, 32: {ratio: 1}}}
	front := network{key: "natureconvs", name: "its convolutions alone", build: convolutions(nature, false), batches: []int{1, 32},
		limits: map[int]limit{1: {arithm: 0.9}, 32: {arithm: 0.9}}}
	var single []network
	for i, f := range nature {
		w, n := f.count()
		front.weights += w
		front.macs += n
		single = append(single, network{
			key: "natureconv" + string(rune('1'+i)), name: "its convolution " + string(rune('1'+i)), build: convolutions(nature[i:i+1], false),
			weights: w, macs: n, batches: []int{1, 32},
		})
	}
	w, n := dense(3136, 512, 6)
	cnn.weights, cnn.macs = front.weights+w, front.macs+n
	return append(append(all, cnn, front), single...)
}

// file returns the ONNX file of a network. Its weights are drawn by its name.
func (n *network) file() []byte {
	m := onnxmodel.New(n.key)
	for _, out := range n.build(m) {
		m.Output(out, onnxmodel.Float)
	}
	return m.Bytes()
}
