package architecture_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// zeros makes tensors of "name shape" pairs.
func zeros(pairs ...any) torch.StateDict {
	var d torch.StateDict
	for i := 0; i < len(pairs); i += 2 {
		shape := graph.Shape(pairs[i+1].([]int))
		d = append(d, torch.NamedTensor{Name: pairs[i].(string), Tensor: &graph.Tensor{
			DType: graph.Float32, Shape: shape, F32: make([]float32, shape.RowElements()),
		}})
	}
	return d
}

func mlp() torch.StateDict {
	return zeros(
		"actor.0.weight", []int{8, 5}, "actor.0.bias", []int{8},
		"actor.2.weight", []int{3, 8}, "actor.2.bias", []int{3},
		"critic.0.weight", []int{8, 5}, "critic.0.bias", []int{8},
		"critic.2.weight", []int{8, 8}, "critic.2.bias", []int{8},
		"critic.4.weight", []int{1, 8}, "critic.4.bias", []int{1},
	)
}

// TestStringReadsBack prints specs and reads them again.
func TestStringReadsBack(t *testing.T) {
	for _, text := range []string{
		"[{linear: network.0}, relu, {linear: network.2}, tanh]",
		`[{linear: 0}, {elu: , alpha: 0.5}, {linear: ""}, {linear: 1.net}, {linear: true}]`,
		"{inputs: {image: [3, 64, 64], state: }, layers: [{conv: cnn.0, stride: [2], from: image}, {flatten: , as: features}, " +
			"{concat: [features, state], axis: 1}, {linear: head, as: out}], outputs: {action: out}}",
		"{inputs: {x: {shape: [4], dtype: u8}}, layers: [{mul: 0.5}, {add: [x, y.bias]}, {sub: 2}, {max_pool: , kernel: [2, 2], ceil: true}]}",
		`[{linear: "a b: {c}", padding: same}, {linear: "null"}]`,
	} {
		s, err := architecture.ParseText(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := s.String(); got != text {
			t.Errorf("%s\nreads back as\n%s", text, got)
		}
		again, err := architecture.ParseText(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestParseRefuses says what is wrong and where.
func TestParseRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := architecture.ParseText(text)
		if !errors.Is(err, architecture.ErrSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	f("relu", "a list of layers was wanted")
	f("[]", "layers are a list of 0")
	f("", "there is nothing")
	f("{layers: [relu], neurons: 3}", `unknown key "neurons"`)
	f("{inputs: [a]}", "there are no layers")
	f("[relu, linaer]", `layer 2: unsupported: "linaer" is no operator; there are`)
	f("[lstm]", "lstm has parameters: write {lstm: prefix}")
	f("[linear]", "linear has parameters: write {linear: prefix}")
	f("[{linear: {key: a}}]", "the prefix of its parameters was wanted")
	f("[{linear: a, linear: b}]", "is there twice")
	f("[{relu: 3}]", "attributes were wanted")
	f("[{relu: , slope: x}]", "layer 1: relu: slope: there is no such attribute")
	f("[{}]", "an empty mapping")
	f("[{elu: {alpha: much}}]", "a number was wanted")
	f("[{conv: a, stride: 1.5}]", "an integer was wanted")
	f("[{conv: a, stride: [1,1,1,1,1,1,1,1,1]}]", "at most 8 integers")
	f("[{concat: [a, [b]]}]", "operand")
	f("{inputs: [a, a], layers: [relu]}", "there twice")
	f("{inputs: {a: [0]}, layers: [relu]}", "a dimension of 0")
	f("{inputs: {a: {dtype: f80}}, layers: [relu]}", "dtype")
	f("{inputs: {a: {size: 3}}, layers: [relu]}", `unknown key "size"`)
	f("{outputs: [a, a], layers: [relu]}", "there twice")
	f("[["+strings.Repeat("relu,", 5000)+"relu]]", "a list, a mapping was wanted")
	f("["+strings.Repeat("relu,", 5000)+"relu]", "a list of 1 to 4096")
}

// TestLowerRefuses names the layer, the key and the shapes.
func TestLowerRefuses(t *testing.T) {
	f := func(text string, d torch.StateDict, want ...string) {
		t.Helper()
		s, err := architecture.ParseText(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Lower(d, architecture.Options{})
		if err == nil {
			t.Errorf("%s: no error", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", text, err, w)
			}
		}
	}
	f("[{linear: actor.0}, {linear: actor.4}]", mlp(), "layer 2 {linear: actor.4}", `no tensor "actor.4.weight"`, "actor.2.weight [3,8]")
	f("[{linear: policy.0}]", mlp(), `no tensor "policy.0.weight"`, "actor.0.weight [8,5]", "4 more")
	f("[{linear: actor.0}, relu, {linear: critic.0}]", mlp(), "layer 3 {linear: critic.0}", "the value before is [B,8]", "critic.0.weight [8,5] takes 5 features")
	f("[{conv: actor.0}]", mlp(), "actor.0.weight is [8,5]", "kernel")
	f("[{linear: c}]", zeros("c.weight", []int{4, 3, 2, 2}), "c.weight is [4,3,2,2]", "[outputs,inputs]")
	f("[{linear: actor.0, groups: 2}]", mlp(), `linear has no attribute "groups"`)
	f("[{linear: actor.0}, {relu: , alpha: 2}]", mlp(), "layer 2", `"alpha"`)
	f("[{linear: actor.0}, {add: nobody}]", mlp(), `"nobody" is neither a value`)
	f("[{linear: actor.0, from: nobody}]", mlp(), `there is no value "nobody"`, "obs")
	f("[{linear: actor.0, as: obs}]", mlp(), `the name "obs" is there twice`)
	f("{layers: [{linear: actor.0}], outputs: [q]}", mlp(), `there is no value "q"`)
	f("{inputs: [a, b], layers: [{linear: actor.0}]}", mlp(), "say from which one")
	f("[{layer_norm: n}]", zeros("n.bias", []int{4}), `no tensor "n.weight"`)
	f("[{linear: actor.0}, {layer_norm: n}]", append(mlp(), zeros("n.weight", []int{4})...), "[B,8]", "n.weight is [4]")
	f("[{linear: actor.0}, {batch_norm: n}]", append(mlp(), zeros("n.running_mean", []int{4}, "n.running_var", []int{4})...), "n.running_mean is [4]")
	f("[{linear: actor.0}, {group_norm: n}]", mlp(), "groups is missing")
	f("[{linear: actor.0}, {max_pool: {kernel: 2}}]", mlp(), "[B,8]", "spatial")
	f("[{conv: c, padding: same}]", zeros("c.weight", []int{2, 1, 2, 2}), "shape of input")
	f("[{normalize: {mean: actor.0.bias}}]", mlp(), "either var or std")
	f("{inputs: {x: [1, 8, 8]}, layers: [{conv: c}, {linear: actor.0}]}", append(mlp(), zeros("c.weight", []int{2, 1, 2, 2})...), "is a flatten missing?")
	f("{inputs: {x: [3, 8, 8]}, layers: [{conv: c}]}", zeros("c.weight", []int{2, 1, 2, 2}), "c.weight [2,1,2,2] takes 1 channels")
}

// TestUnsupported matches errors.ErrUnsupported where the network is sound.
func TestUnsupported(t *testing.T) {
	s, err := architecture.ParseText("{inputs: {x: [1, 8, 8]}, layers: [{conv: c, padding: same}]}")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Lower(zeros("c.weight", []int{2, 1, 2, 2}), architecture.Options{})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "unsupported:") {
		t.Errorf("%v", err)
	}
}

// TestInputShapes takes the shape of an input from the options.
func TestInputShapes(t *testing.T) {
	s, err := architecture.ParseText("[{conv: c, stride: 2}, relu, flatten]")
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.Lower(zeros("c.weight", []int{2, 1, 3, 3}), architecture.Options{InputShapes: map[string][]int{"obs": {graph.Batch, 1, 9, 9}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Outputs[0].Value.Shape.String(); got != "[B,32]" || g.Outputs[0].Name != "out" || g.Inputs[0].Name != "obs" {
		t.Errorf("output %s %s", g.Outputs[0].Name, got)
	}
}

// TestSuggest makes specs that read back and lower.
func TestSuggest(t *testing.T) {
	f := func(d torch.StateDict, shape []int, want string, notes int) {
		t.Helper()
		s, got := architecture.Suggest(d)
		if s == nil {
			t.Fatalf("nothing, want %s", want)
		}
		if s.String() != want || len(got) != notes {
			t.Errorf("%s with %d notes\nwant %s with %d", s, len(got), want, notes)
		}
		again, err := architecture.ParseText(s.String())
		if err != nil {
			t.Fatal(err)
		}
		o := architecture.Options{}
		if shape != nil {
			o.InputShapes = map[string][]int{"obs": shape}
		}
		if _, err := again.Lower(d, o); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	f(mlp(), nil, "[{linear: actor.0}, relu, {linear: actor.2}]", 2)
	f(zeros("0.weight", []int{4, 3}, "2.weight", []int{2, 4}), nil, `[{linear: 0}, relu, {linear: 2}]`, 1)
	f(zeros("fc1.weight", []int{4, 3}, "fc1.bias", []int{4}, "mu.weight", []int{2, 4}, "log_std", []int{2}), nil, "[{linear: fc1}, relu, {linear: mu}]", 1)
	f(zeros(
		"pi.0.weight", []int{4, 3}, "pi.1.weight", []int{4}, "pi.1.bias", []int{4}, "pi.3.weight", []int{4, 4},
		"vf.0.weight", []int{4, 3}, "vf.1.weight", []int{4}, "vf.1.bias", []int{4}, "vf.3.weight", []int{4, 4},
		"action_net.weight", []int{2, 4}, "value_net.weight", []int{1, 4},
	), nil, "[{linear: pi.0}, {layer_norm: pi.1}, relu, {linear: pi.3}, relu, {linear: action_net}]", 2)
	f(zeros(
		"cnn.0.weight", []int{4, 1, 3, 3}, "cnn.1.weight", []int{4}, "cnn.1.bias", []int{4}, "cnn.1.running_mean", []int{4}, "cnn.1.running_var", []int{4},
		"cnn.3.weight", []int{4, 2, 3, 3}, "linear.0.weight", []int{6, 16}, "q.weight", []int{2, 6},
	), []int{graph.Batch, 1, 6, 6},
		"[{conv: cnn.0}, {batch_norm: cnn.1}, relu, {conv: cnn.3, groups: 2}, relu, flatten, {linear: linear.0}, relu, {linear: q}]", 2)
	f(zeros("trunk.0.weight", []int{4, 3}, "trunk.2.weight", []int{4, 4}, "critic_linear.weight", []int{1, 4}, "heads.actor.weight", []int{2, 4}), nil,
		"[{linear: trunk.0}, relu, {linear: trunk.2}, relu, {linear: heads.actor}]", 2)
	// Recurrent layers, which may stand after what they feed; a critic's is not taken.
	f(zeros("actor.0.weight", []int{8, 6}, "actor.2.weight", []int{2, 8}, "critic.0.weight", []int{8, 6}, "critic.2.weight", []int{1, 8},
		"memory_a.rnn.weight_ih_l0", []int{24, 5}, "memory_a.rnn.weight_hh_l0", []int{24, 6},
		"memory_c.rnn.weight_ih_l0", []int{24, 5}, "memory_c.rnn.weight_hh_l0", []int{24, 6},
	), nil, "[{lstm: memory_a.rnn}, {linear: actor.0}, relu, {linear: actor.2}]", 2)
	f(zeros("enc.weight", []int{8, 4}, "gru.weight_ih_l0", []int{18, 8}, "gru.weight_hh_l0", []int{18, 6}, "head.weight", []int{2, 6}), nil,
		"[{linear: enc}, relu, {gru: gru}, {linear: head}]", 1)
	// Statistics of the width of the first layer.
	f(zeros("actor.0.weight", []int{8, 5}, "actor.2.weight", []int{2, 8}, "critic_obs_normalizer._mean", []int{1, 5}, "critic_obs_normalizer._std", []int{1, 5},
		"obs_normalizer._mean", []int{1, 5}, "obs_normalizer._var", []int{1, 5}, "obs_normalizer._std", []int{1, 5}), nil,
		"[{normalize: , mean: obs_normalizer._mean, std: obs_normalizer._std, eps: 0.01}, {linear: actor.0}, relu, {linear: actor.2}]", 2)
	f(zeros("norm.running_mean", []int{5}, "norm.running_var", []int{5}, "mu.weight", []int{2, 5}), nil,
		"[{normalize: , mean: norm.running_mean, var: norm.running_var, eps: 1e-05, clip: 5.0}, {linear: mu}]", 2)
	f(zeros("a.weight", []int{5, 5}, "bn.weight", []int{5}, "bn.bias", []int{5}, "bn.running_mean", []int{5}, "bn.running_var", []int{5}, "mu.weight", []int{2, 5}), nil,
		"[{linear: a}, {batch_norm: bn}, relu, {linear: mu}]", 1)
	// Transposed convolutions, by their bias or by their place.
	f(zeros("d.0.weight", []int{4, 6, 3, 3}, "d.0.bias", []int{6}, "d.2.weight", []int{6, 3, 3, 3}), []int{graph.Batch, 4, 5, 5},
		"[{conv_transpose: d.0}, relu, {conv: d.2, groups: 2}]", 2)
	f(zeros("d.0.weight", []int{4, 3, 3, 3}, "d.0.bias", []int{4}, "d.2.weight", []int{4, 7, 3, 3}), []int{graph.Batch, 3, 5, 5},
		"[{conv: d.0}, relu, {conv_transpose: d.2}]", 2)
	if s, _ := architecture.Suggest(zeros("log_std", []int{3})); s != nil {
		t.Errorf("a spec of no layers: %s", s)
	}
}

// TestTwoOperands runs the elementwise operators of two operands, and those
// that order or count along an axis.
func TestTwoOperands(t *testing.T) {
	f := func(layer string, want ...float32) {
		t.Helper()
		s, err := architecture.ParseText("{inputs: {x: [2], y: [2]}, layers: [" + layer + "]}")
		if err != nil {
			t.Fatal(err)
		}
		g, err := s.Lower(nil, architecture.Options{})
		if err != nil {
			t.Errorf("%s: %v", layer, err)
			return
		}
		in := func(v ...float32) *graph.Tensor {
			return &graph.Tensor{DType: graph.Float32, Shape: graph.Shape{1, 2}, F32: v}
		}
		out, err := graph.Evaluate(g, 1, []*graph.Tensor{in(-7, 5), in(2, 3)}, graph.Noise{})
		if err != nil {
			t.Errorf("%s: %v", layer, err)
			return
		}
		for i, w := range want {
			if got := out[0].At(i); math.Abs(got-float64(w)) > 1e-6 {
				t.Errorf("%s: value %d is %v, want %v", layer, i, got, w)
			}
		}
	}
	f("{atan2: [x, y]}", -1.2924967, 1.0303768)
	f("{fmod: [x, y]}", -1, 2)
	f("{remainder: [x, y]}", 1, 2)
	f("{floor_div: [x, y]}", -4, 1)
	f("{floor_div: 2, from: x}", -4, 2)
	f("{maximum: [x, y]}", 2, 5)
	f("{pow: [x, y]}", 49, 125)
	f("{argsort: , axis: -1, descending: true, from: x}", 1, 0)
	f("{cumsum: , axis: 1, from: x}", -7, -2)
	f("{prod: , axes: 1, from: x}", -35)
	for _, op := range []string{"take", "gather", "model", "if", "loop", "normal"} {
		if _, err := architecture.ParseText("[" + op + "]"); !errors.Is(err, architecture.ErrSpec) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// TestUnused lists the tensors that a spec leaves out.
func TestUnused(t *testing.T) {
	s, err := architecture.ParseText("[{linear: actor.0}, relu, {linear: actor.2}, {mul: scale}]")
	if err != nil {
		t.Fatal(err)
	}
	d := append(mlp(), zeros("scale", []int{3})...)
	if got := strings.Join(s.Unused(d), " "); got != "critic.0.weight critic.0.bias critic.2.weight critic.2.bias critic.4.weight critic.4.bias" {
		t.Errorf("unused are %s", got)
	}
}

// FuzzParse asserts that any text is refused with ErrSpec, or gives a spec
// that reads back and whose graph verifies.
func FuzzParse(f *testing.F) {
	for _, text := range corpusSpecs {
		f.Add(text)
	}
	f.Add("[{linear: actor.0}, relu, {linear: actor.2}, softmax]")
	d := mlp()
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 || strings.Contains(text, "*") {
			return // aliases are refused before this package
		}
		s, err := architecture.ParseText(text)
		if err != nil {
			if !errors.Is(err, architecture.ErrSpec) {
				t.Fatal(err)
			}
			return
		}
		again, err := architecture.ParseText(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%s reads back as %v: %v", s, again, err)
		}
		if g, err := s.Lower(d, architecture.Options{}); err == nil {
			if err := g.Verify(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestAttention averages over the steps where all queries are zero, and tells
// what is missing.
func TestAttention(t *testing.T) {
	weights := torch.StateDict{
		{Name: "a.in_proj_weight", Tensor: graph.Float32s([]float32{0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1}, 6, 2)},
		{Name: "a.out_proj.weight", Tensor: graph.Float32s([]float32{1, 0, 0, 1}, 2, 2)},
	}
	lower := func(layer string, shape string) (*graph.Graph, error) {
		s, err := architecture.ParseText("{inputs: {obs: " + shape + "}, layers: [" + layer + "]}")
		if err != nil {
			t.Fatal(err)
		}
		return s.Lower(weights, architecture.Options{})
	}
	g, err := lower("{attention: a, heads: 1}", "[2, 2]")
	if err != nil {
		t.Fatal(err)
	}
	out, err := graph.Evaluate(g, 1, []*graph.Tensor{graph.Float32s([]float32{1, 2, 3, 5}, 1, 2, 2)}, graph.Noise{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{2, 3.5, 2, 3.5}; !slices.Equal(out[0].F32, want) {
		t.Errorf("%v, want %v", out[0].F32, want)
	}
	f := func(layer, shape, want string) {
		t.Helper()
		if _, err := lower(layer, shape); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", layer, err, want)
		}
	}
	f("{attention: a}", "[2, 2]", "heads is missing")
	f("{attention: a, heads: 1}", "[2]", "[B,steps,width] was wanted")
	f("{attention: a, heads: 1}", "[2, 3]", "a.in_proj_weight is [6,2]")
	f("{attention: a, heads: 3}", "[2, 2]", "3 heads")
	f("{transformer_encoder: a, heads: 1, activation: tanh}", "[2, 2]", "relu or gelu")
}
