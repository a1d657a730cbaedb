package onnx_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// recording is a cases.json: what the trainer's own framework answered.
type recording struct {
	Files   map[string]string `json:"files"`
	Atol    float64           `json:"atol"`
	Batches []exchange        `json:"batches"`
	Steps   []exchange        `json:"steps"`
	Resets  []int             `json:"reset_before_steps"`

	dir string
}

type exchange struct {
	Inputs  map[string]any `json:"inputs"`
	Outputs map[string]any `json:"outputs"`
}

func read(t *testing.T, path string) *recording {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{dir: filepath.Dir(path), Atol: 1e-5}
	if err := json.Unmarshal(data, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// decode reads a file and what lies beside it.
func decode(path string) (*onnx.Model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return onnx.Decode(data, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(filepath.Dir(path), name)) })
}

// flat reads nested lists, in which NaN and infinities are strings, or the
// array beside cases.json that an object names.
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
	header, body := string(b[10:10+n]), b[10+n:]
	_, dims, _ := strings.Cut(header, "'shape': (")
	dims, _, _ = strings.Cut(dims, ")")
	count := 1
	for _, d := range strings.FieldsFunc(dims, func(r rune) bool { return r == ',' || r == ' ' }) {
		k, err := strconv.Atoi(d)
		if err != nil {
			t.Fatal(err)
		}
		shape = append(shape, k)
		count *= k
	}
	for i := range count {
		if strings.Contains(header, "'|u1'") {
			data = append(data, float64(body[i]))
			continue
		}
		bits := uint32(body[4*i]) | uint32(body[4*i+1])<<8 | uint32(body[4*i+2])<<16 | uint32(body[4*i+3])<<24
		data = append(data, float64(math.Float32frombits(bits)))
	}
	return shape, data
}

// tensor is data as an input of the graph takes it.
func tensor(dt graph.DType, shape []int, data []float64) *graph.Tensor {
	x := &graph.Tensor{DType: dt, Shape: shape}
	switch {
	case dt == graph.Float64:
		x.F64 = data
	case dt.IsFloat():
		for _, f := range data {
			x.F32 = append(x.F32, float32(f))
		}
	default:
		for _, f := range data {
			x.I64 = append(x.I64, int64(f))
		}
	}
	return x
}

// check decodes and lowers a model and compares the recorded answers: those of
// batches, or of a sequence whose state goes from output to input.
func (r *recording) check(t *testing.T, file string) error {
	t.Helper()
	m, err := decode(filepath.Join(r.dir, file))
	if err != nil {
		return err
	}
	g, err := m.Lower(onnx.Options{})
	if err != nil {
		return err
	}
	for _, in := range g.Inputs {
		if len(r.Steps) > 0 && in.Shape.Fixed() { // made for one row
			return fmt.Errorf("input %s is %v, any number of rows was expected", in.Name, in.Shape)
		}
	}
	compared := 0
	exchanges := r.Batches
	if len(r.Steps) > 0 {
		exchanges = r.Steps
	}
	var state []*graph.Tensor
	for i, e := range exchanges {
		if slices.Contains(r.Resets, i) {
			state = nil
		}
		var args []*graph.Tensor
		rows := 0
		for k, in := range g.Inputs {
			v, ok := e.Inputs[in.Name]
			if !ok && k == 0 { // an exporter has its own name for the only one
				for _, v = range e.Inputs {
					ok = true
				}
			}
			if !ok { // state
				if state == nil {
					shape := in.Shape.For(rows)
					args = append(args, tensor(in.DType, shape, make([]float64, shape.RowElements())))
				} else {
					args = append(args, state[k-1])
				}
				continue
			}
			shape, data := r.flat(t, v)
			rows = shape[0]
			args = append(args, tensor(in.DType, shape, data))
		}
		outs, err := graph.Evaluate(g, rows, args, graph.Noise{})
		if err != nil {
			return err
		}
		state = outs[1:]
		for k, got := range outs {
			v, ok := e.Outputs[g.Outputs[k].Name]
			if !ok {
				v, ok = e.Outputs["out"+strconv.Itoa(k)]
			}
			if !ok && k == 0 {
				v, ok = e.Outputs["out"]
			}
			if !ok && len(r.Steps) > 0 && k > 0 {
				continue
			}
			if !ok {
				return fmt.Errorf("no output %q was recorded", g.Outputs[k].Name)
			}
			_, want := r.flat(t, v)
			if got.Len() != len(want) {
				return fmt.Errorf("output %d: %d elements, want %d", k, got.Len(), len(want))
			}
			for n, w := range want {
				if g := got.At(n); g != w && !(math.Abs(g-w) <= r.Atol+1e-5*math.Abs(w)) {
					return fmt.Errorf("exchange %d: output %d: element %d is %v, want %v", i, k, n, g, w)
				}
				compared++
			}
		}
	}
	if compared == 0 {
		return errors.New("nothing was compared")
	}
	return nil
}

// missing are the models of the corpus that are refused, with the reason.
var missing = map[string]string{}

// TestCorpus holds the models of the corpus against their answers.
func TestCorpus(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 26 models were not run")
		return
	}
	paths, err := filepath.Glob(filepath.Join(root, "*", "*", "cases.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		r := read(t, path)
		for kind, file := range r.Files {
			if !strings.HasPrefix(kind, "onnx") {
				continue
			}
			name := filepath.Base(filepath.Dir(r.dir)) + "/" + filepath.Base(r.dir) + "/" + file
			t.Run(name, func(t *testing.T) {
				err := r.check(t, file)
				want, refused := missing[name]
				switch {
				case !refused && err != nil:
					t.Error(err)
				case refused && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want)):
					t.Errorf("%v, want a refusal for %q", err, want)
				}
			})
		}
	}
}
