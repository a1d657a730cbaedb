package architecture_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/format/safetensors"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// recording is a cases.json: what the framework answered.
type recording struct {
	Architecture *string           `json:"architecture"`
	Files        map[string]string `json:"files"`
	Atol         float64           `json:"atol"`
	Batches      []struct {
		Inputs  map[string]any `json:"inputs"`
		Outputs map[string]any `json:"outputs"`
	} `json:"batches"`

	dir string
}

func read(t *testing.T, dir string) *recording {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{dir: dir}
	if err := json.Unmarshal(data, r); err != nil {
		t.Fatal(err)
	}
	if r.Atol == 0 {
		r.Atol = 1e-5
	}
	return r
}

// weights reads the tensors of one file.
func weights(t *testing.T, path string) torch.StateDict {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if safetensors.Is(data) {
		f, err := safetensors.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		return f.Tensors
	}
	f, err := torch.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.StateDict()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// flat reads nested lists, in which NaN and infinities are strings, or the
// array beside cases.json that a string names.
func (r *recording) flat(t *testing.T, v any) (shape []int, data []float64) {
	t.Helper()
	if m, ok := v.(map[string]any); ok {
		return readArray(t, filepath.Join(r.dir, m["npy"].(string)))
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case float64:
			data = append(data, v)
		case string:
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, f)
		}
	}
	walk(v)
	for {
		l, ok := v.([]any)
		if !ok || len(l) == 0 {
			return shape, data
		}
		shape = append(shape, len(l))
		v = l[0]
	}
}

// readArray reads a .npy of version 1: bytes or little-endian float32.
func readArray(t *testing.T, path string) (shape []int, data []float64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := int(b[8]) | int(b[9])<<8
	var descr, order string
	dims := [4]int{}
	count, err := fmt.Sscanf(string(b[10:10+n]), "{'descr': '%5s 'fortran_order': %6s 'shape': (%d, %d, %d, %d)", &descr, &order, &dims[0], &dims[1], &dims[2], &dims[3])
	if count != 6 || err != nil {
		t.Fatalf("%s: %v of %q", path, err, b[10:10+n])
	}
	body := b[10+n:]
	for i := range dims[0] * dims[1] * dims[2] * dims[3] {
		if descr == "|u1'," {
			data = append(data, float64(body[i]))
			continue
		}
		bits := uint32(body[4*i]) | uint32(body[4*i+1])<<8 | uint32(body[4*i+2])<<16 | uint32(body[4*i+3])<<24
		data = append(data, float64(math.Float32frombits(bits)))
	}
	return dims[:], data
}

func tensorOf(dt graph.DType, shape []int, data []float64) *graph.Tensor {
	out := &graph.Tensor{DType: dt, Shape: shape}
	switch {
	case dt == graph.Float64:
		out.F64 = data
	case dt.IsFloat():
		out.F32 = make([]float32, len(data))
		for i, v := range data {
			out.F32[i] = float32(v)
		}
	default:
		out.I64 = make([]int64, len(data))
		for i, v := range data {
			out.I64[i] = int64(v)
		}
	}
	return out
}

// check evaluates a spec on the recorded inputs. Outputs that the spec does
// not make are not compared; it must make one at least.
func (r *recording) check(t *testing.T, text string, tensors torch.StateDict) {
	t.Helper()
	s, err := architecture.ParseText(text)
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.Lower(tensors, architecture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Batches {
		var args []*graph.Tensor
		rows := 0
		inputs := b.Inputs
		for _, v := range b.Inputs {
			if m, ok := v.(map[string]any); ok && m["npy"] == nil { // a dict of inputs
				inputs = m
			}
		}
		for _, in := range g.Inputs {
			v, ok := inputs[in.Name]
			if !ok && len(g.Inputs) == 1 {
				for _, only := range inputs {
					v = only
				}
			}
			shape, data := r.flat(t, v)
			rows = shape[0]
			args = append(args, tensorOf(in.DType, shape, data))
		}
		outs, err := graph.Evaluate(g, rows, args, graph.Noise{})
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range g.Outputs {
			want, ok := b.Outputs[o.Name]
			if !ok {
				t.Fatalf("no output %q was recorded", o.Name)
			}
			_, w := r.flat(t, want)
			if outs[i].Len() != len(w) {
				t.Fatalf("output %s: %d elements, want %d", o.Name, outs[i].Len(), len(w))
			}
			for k := range w {
				if got := outs[i].At(k); !(math.Abs(got-w[k]) <= r.Atol+1e-5*math.Abs(w[k])) {
					t.Fatalf("output %s: element %d is %v, want %v", o.Name, k, got, w[k])
				}
			}
		}
	}
}

// TestModules holds the weights that five versions of PyTorch wrote, with the
// architecture of each, against their answers.
func TestModules(t *testing.T) {
	paths, err := filepath.Glob("../../../testdata/modules/*/*/cases.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		r := read(t, filepath.Dir(path))
		if r.Architecture == nil {
			continue
		}
		for _, form := range []string{"state", "safetensors"} {
			if r.Files[form] == "" {
				continue
			}
			t.Run(filepath.Base(filepath.Dir(r.dir))+"/"+filepath.Base(r.dir)+"/"+form, func(t *testing.T) {
				tensors := weights(t, filepath.Join(r.dir, r.Files[form]))
				r.check(t, *r.Architecture, tensors)
				s, err := architecture.ParseText(*r.Architecture)
				if err != nil {
					t.Fatal(err)
				}
				r.check(t, s.String(), tensors) // it reads back
			})
		}
	}
}

// corpusSpecs are the architectures of cases of the large corpus.
var corpusSpecs = map[string]string{
	"torch/carla_mlp":     "[{linear: network.0}, relu, {linear: network.2}, relu, {linear: network.4}, tanh]",
	"torch/mlp_float64":   "[{linear: network.0}, relu, {linear: network.2}, relu, {linear: network.4}, tanh]",
	"torch/mlp_bf16":      "[{linear: network.0}, relu, {linear: network.2}, relu, {linear: network.4}, tanh]",
	"torch/seq_mlp_tanh":  "[{linear: 0}, tanh, {linear: 2}, tanh, {linear: 4}]",
	"torch/layers_loop":   "[{linear: layers.0}, elu, {linear: layers.1}, elu, {linear: layers.2}, elu, {linear: out}]",
	"torch/act_method":    "[{linear: fc}, relu, {linear: mu}, tanh]",
	"torch/argmax_policy": "[{linear: q}, argmax]",
	"torch/convnet": "{inputs: {x: [3, 32, 40]}, layers: [{div: 255.0}, {conv: conv.0, stride: 2, padding: 2}, {batch_norm: conv.1}, relu, " +
		"{max_pool: {kernel: 2}}, {conv: conv.4, padding: 1, groups: 4}, elu, {avg_pool: {kernel: 2, stride: 1}}, " +
		"{conv: conv.7, dilation: 2, padding: same}, {adaptive_avg_pool: {size: [2, 3]}}, flatten, {linear: fc}]}",
	"torch/nature_cnn_uint8": "{inputs: {x: {shape: [4, 84, 84], dtype: uint8}}, layers: [{cast: {dtype: f32}}, {div: 255.0}, {conv: cnn.0, stride: 4}, relu, " +
		"{conv: cnn.2, stride: 2}, relu, {conv: cnn.4}, relu, flatten, {linear: linear}]}",
	"torch/multi_input": "{inputs: {image: [1, 7, 7], vec: [3]}, layers: [{conv: img, stride: 2, from: image}, relu, {flatten: , as: a}, {linear: vec, from: vec}, " +
		"{tanh: , as: b}, {concat: [a, b]}, {linear: out}]}",
	"torch/dict_in":              "{inputs: [state, goal], layers: [{linear: a, from: state, as: a}, {linear: b, from: goal}, {add: a}]}",
	"torch/old_weight_norm":      "[{linear: l}]",
	"torch/shared_weights":       "[{linear: a}, relu, {linear: a}, relu, {linear: t}]",
	"torch/weight_spectral_norm": "[{linear: l}, relu, {linear: sn}]",
	"torch/rsl_rl_mlp_export":    "[{normalize: {mean: normalizer._mean, std: normalizer._std, eps: 0.01}}, {linear: actor.0}, elu, {linear: actor.2}, elu, {linear: actor.4}]",
	"torch/one_hot":              "{inputs: {ids: {shape: [], dtype: int64}}, layers: [{one_hot: {classes: 7}}, {linear: o}]}",
}

// otherSpecs are the architectures of files of other libraries, with the names
// of the outputs that were recorded.
var otherSpecs = map[string]string{
	"cleanrl_ppo": "{layers: [{linear: actor.0}, tanh, {linear: actor.2}, tanh, {linear: actor.4, as: logits}, {argmax: , as: action}, " +
		"{linear: critic.0, from: obs}, tanh, {linear: critic.2}, tanh, {linear: critic.4, as: value}], outputs: [logits, action, value], inputs: [obs]}",
	"cleanrl_c51": "{layers: [{linear: network.0}, relu, {linear: network.2}, relu, {linear: network.4}, {reshape: {shape: [2, 101]}}, softmax, {mul: atoms}, " +
		"{sum: {axes: -1}, as: q}, {argmax: , as: action}], outputs: {q_values: q, action: action}}",
	"cleanrl_td3_tuple": "{layers: [{linear: 0.fc1}, relu, {linear: 0.fc2}, relu, {linear: 0.fc_mu}, tanh, {mul: 0.action_scale}, {add: 0.action_bias, as: action}], " +
		"outputs: [action]}",
	"sample_factory": "{layers: [{normalize: {mean: obs_normalizer.running_mean_std.running_mean_std.obs.running_mean, " +
		"var: obs_normalizer.running_mean_std.running_mean_std.obs.running_var, eps: 1.0e-5, clip: 5}}, " +
		"{linear: encoder.encoders.obs.mlp_head.0}, elu, {linear: encoder.encoders.obs.mlp_head.2}, {elu: , as: h}, " +
		"{linear: action_parameterization.distribution_linear, as: logits}, {linear: critic_linear, from: h, as: value}], outputs: [logits, value]}",
}

// TestOtherLibraries holds files of other libraries against their answers.
func TestOtherLibraries(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %d cases were not run", len(otherSpecs))
		return
	}
	for name, text := range otherSpecs {
		t.Run(name, func(t *testing.T) {
			r := read(t, filepath.Join(root, "other_libs", name))
			r.check(t, text, weights(t, filepath.Join(r.dir, r.Files["model"])))
		})
	}
}

// TestCorpus holds weights of the large corpus, in every form, against the
// answers of torch.
func TestCorpus(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %d cases were not run", len(corpusSpecs))
		return
	}
	for name, text := range corpusSpecs {
		r := read(t, filepath.Join(root, name))
		for _, form := range []string{"state", "state_legacy", "ckpt", "safetensors"} {
			if r.Files[form] == "" || name == "torch/shared_weights" && form == "safetensors" { // the tied name is not there
				continue
			}
			t.Run(name+"/"+form, func(t *testing.T) { r.check(t, text, weights(t, filepath.Join(r.dir, r.Files[form]))) })
		}
	}
}
