package onnx

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// nodeCase is a model of one operator with the answers of ONNX's own test data.
type nodeCase struct {
	Name    string
	Ops     []string
	Model   string // base64
	In, Out []nodeArray
}

// nodeArray is a tensor.
type nodeArray struct{ *graph.Tensor }

// UnmarshalJSON reads [type, shape, elements], in which NaN and infinities are
// text.
func (a *nodeArray) UnmarshalJSON(data []byte) error {
	var name string
	var elements []any
	a.Tensor = &graph.Tensor{Shape: graph.Shape{}}
	if err := json.Unmarshal(data, &[]any{&name, &a.Shape, &elements}); err != nil {
		return err
	}
	a.DType = map[string]graph.DType{
		"float32": graph.Float32, "float64": graph.Float64, "float16": graph.Float16, "int64": graph.Int64, "int32": graph.Int32,
		"int16": graph.Int16, "int8": graph.Int8, "uint8": graph.Uint8, "bool": graph.Bool,
	}[name]
	for _, e := range elements {
		x, ok := e.(float64)
		if !ok {
			x = map[any]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[e]
		}
		switch {
		case a.DType == graph.Float64:
			a.F64 = append(a.F64, x)
		case a.DType.IsFloat():
			a.F32 = append(a.F32, float32(x))
		case x >= math.MaxInt64:
			a.I64 = append(a.I64, math.MaxInt64)
		default:
			a.I64 = append(a.I64, int64(x))
		}
	}
	return nil
}

func readNodes(t *testing.T, path string) []nodeCase {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var cases []nodeCase
	if err := json.NewDecoder(z).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// bindings are ways to tell which inputs are data and which are constants of
// the model: test data has axes and shapes as inputs, which no policy has.
var bindings = []struct {
	name string
	data func(i int, x *graph.Tensor) bool
}{
	{"all numbers", func(i int, x *graph.Tensor) bool { return i == 0 || x.DType.IsFloat() && len(x.Shape) > 0 }},
	{"all", func(int, *graph.Tensor) bool { return true }},
	{"the first", func(i int, _ *graph.Tensor) bool { return i == 0 }},
	{"the second", func(i int, _ *graph.Tensor) bool { return i == 1 }},
	{"none", func(int, *graph.Tensor) bool { return false }},
}

// run lowers the model with some inputs as constants and evaluates it.
func (c *nodeCase) run(data func(i int, x *graph.Tensor) bool) ([]*graph.Tensor, error) {
	raw, err := base64.StdEncoding.DecodeString(c.Model)
	if err != nil {
		return nil, err
	}
	m, err := Decode(raw, nil)
	if err != nil {
		return nil, err
	}
	given := map[string]*graph.Tensor{}
	m.Inputs = nil
	for i, in := range m.body.inputs {
		if data(i, c.In[i].Tensor) {
			in.Shape = c.In[i].Shape
			m.Inputs = append(m.Inputs, in)
			given[in.Name] = c.In[i].Tensor
		} else {
			m.body.tensors = append(m.body.tensors, NamedTensor{in.Name, c.In[i].Tensor})
		}
	}
	m.body.inputs = m.Inputs
	g, err := m.Lower(Options{Rows: 1})
	if err != nil {
		return nil, err
	}
	var args []*graph.Tensor
	for _, in := range g.Inputs {
		args = append(args, given[in.Name])
	}
	results, err := graph.Evaluate(g, 1, args, graph.Noise{})
	if err != nil {
		return nil, err
	}
	var outs []*graph.Tensor // in the order of the file
	for _, name := range m.Outputs {
		k := slices.IndexFunc(g.Outputs, func(o graph.Output) bool { return o.Name == name })
		outs = append(outs, results[k])
	}
	return outs, nil
}

func (c *nodeCase) compare(outs []*graph.Tensor) error {
	for k, want := range c.Out {
		got := outs[k]
		if !got.Shape.Equal(want.Shape) {
			return fmt.Errorf("result %d is %v, want %v", k, got.Shape, want.Shape)
		}
		atol := 2e-6
		if want.DType == graph.Float16 {
			atol = 2e-3
		}
		for i := range want.Len() {
			g, w := got.At(i), want.At(i)
			if g == w || math.IsNaN(g) && math.IsNaN(w) || math.Abs(g-w) <= atol+1e-5*math.Abs(w)+atol*math.Abs(w) {
				continue
			}
			return fmt.Errorf("result %d: element %d is %v, want %v", k, i, g, w)
		}
	}
	return nil
}

// refusedOps are operators that are refused by name, in some or all of their
// forms, among those of the test data.
var refusedOps = map[string]bool{
	"SoftmaxCrossEntropyLoss": true, "NegativeLogLikelihoodLoss": true, "GridSample": true, "NonMaxSuppression": true,
	"TfIdfVectorizer": true, "DFT": true, "Col2Im": true, "DeformConv": true, "AffineGrid": true, "TensorScatter": true, "RoiAlign": true,
	"BitwiseXor": true, "BitwiseOr": true, "BitwiseAnd": true, "BitwiseNot": true, "Bernoulli": true, "STFT": true,
	"MaxUnpool": true, "HannWindow": true, "HammingWindow": true, "BlackmanWindow": true, "Det": true,
	"MelWeightMatrix": true, "ImageDecoder": true, "TreeEnsemble": true,
	"Dropout": true, "BatchNormalization": true, "Resize": true, "Attention": true, "Scan": true, "MaxPool": true, "ScatterElements": true,
	"ScatterND": true,
}

// disputed are answers of the test data that are rounded, or that ONNX Runtime
// does not give either.
var disputed = map[string]bool{
	"averagepool_2d_ceil_last_window_starts_on_pad": true, "resize_downsample_scales_cubic_align_corners": true,
	"resize_downsample_scales_linear_align_corners": true,
}

// TestNodes holds each operator against the test data that comes with ONNX and
// against the answers of ONNX Runtime in many operator sets.
func TestNodes(t *testing.T) {
	// No answers can be recorded of draws; the others are in TestOperators or in
	// test data that is too large to keep.
	seen := map[string]bool{"RandomNormal": true, "RandomNormalLike": true, "Flatten": true, "Not": true, "CenterCropPad": true, "Compress": true,
		"ReduceLogSum": true, "RotaryEmbedding": true}
	for _, path := range []string{"testdata/nodes.json.gz", "testdata/opsets.json.gz", "testdata/runtime.json.gz"} {
		cases := readNodes(t, path)
		passed := 0
		for _, c := range cases {
			if disputed[c.Name] {
				continue
			}
			err := c.check()
			refusable := errors.Is(err, errors.ErrUnsupported) && slices.ContainsFunc(c.Ops, func(op string) bool { return refusedOps[op] })
			switch {
			case err == nil:
				passed++
				for _, op := range c.Ops {
					seen[op] = true
				}
			case !refusable:
				t.Errorf("%s %s: %v", c.Name, strings.Join(c.Ops, ","), err)
			}
		}
		if passed < len(cases)*8/10 {
			t.Errorf("%s: only %d of %d models were compared", path, passed, len(cases))
		}
	}
	for _, op := range Operators() {
		if !seen[op] {
			t.Errorf("no model has the operator %s", op)
		}
	}
}

// check runs the model with as few of its inputs as constants as it allows.
func (c *nodeCase) check() error {
	var first error
	for _, b := range bindings {
		outs, err := c.run(b.data)
		if err == nil {
			err = c.compare(outs)
		}
		if err == nil {
			return nil
		}
		if first == nil || !errors.Is(err, errors.ErrUnsupported) {
			first = fmt.Errorf("%s: %w", b.name, err)
			if !errors.Is(err, errors.ErrUnsupported) {
				break
			}
		}
	}
	return first
}
