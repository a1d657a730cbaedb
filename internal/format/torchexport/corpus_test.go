package torchexport_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchexport"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// recording is a cases.json: what torch answered.
type recording struct {
	Files   map[string]string `json:"files"`
	Atol    float64           `json:"atol"`
	Batches []struct {
		Inputs  map[string]any `json:"inputs"`
		Outputs map[string]any `json:"outputs"`
	} `json:"batches"`

	dir string
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

func open(t testing.TB, path string) *torch.Zip {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := torch.OpenZip(data, torch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return z
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

// check decodes and lowers a program and compares the recorded answers.
func (r *recording) check(t *testing.T) error {
	t.Helper()
	p, err := torchexport.Decode(open(t, filepath.Join(r.dir, r.Files["pt2"])))
	if err != nil {
		return err
	}
	g, err := p.Lower(torchexport.Options{})
	if err != nil {
		return err
	}
	for i, b := range r.Batches {
		inputs := b.Inputs
		for _, v := range b.Inputs {
			if m, ok := v.(map[string]any); ok && m["npy"] == nil { // a dict of inputs
				inputs = m
			}
		}
		var args []*graph.Tensor
		rows := 0
		for _, in := range g.Inputs {
			v, ok := inputs[in.Name]
			for _, only := range inputs {
				if !ok && len(inputs) == 1 { // a module of torch has its own name for it
					v = only
				}
			}
			shape, data := r.flat(t, v)
			rows = shape[in.Shape.BatchAxis()]
			x := &graph.Tensor{DType: in.DType, Shape: shape}
			switch {
			case in.DType == graph.Float64:
				x.F64 = data
			case in.DType.IsFloat():
				for _, f := range data {
					x.F32 = append(x.F32, float32(f))
				}
			default:
				for _, f := range data {
					x.I64 = append(x.I64, int64(f))
				}
			}
			args = append(args, x)
		}
		outs, err := graph.Evaluate(g, rows, args, graph.Noise{})
		if err != nil {
			return err
		}
		if len(outs) != len(b.Outputs) {
			return fmt.Errorf("%d outputs, %d were recorded", len(outs), len(b.Outputs))
		}
		for k, o := range g.Outputs {
			v, ok := b.Outputs[o.Name]
			if !ok {
				return fmt.Errorf("no output %q was recorded", o.Name)
			}
			_, want := r.flat(t, v)
			if outs[k].Len() != len(want) {
				return fmt.Errorf("output %s: %d elements, want %d", o.Name, outs[k].Len(), len(want))
			}
			for n, w := range want {
				if got := outs[k].At(n); got != w && !(math.Abs(got-w) <= r.Atol+1e-5*math.Abs(w)) {
					return fmt.Errorf("batch %d: output %s: element %d is %v, want %v", i, o.Name, n, got, w)
				}
			}
		}
	}
	return nil
}

// TestPrograms holds the programs that two versions of PyTorch exported
// against their answers.
func TestPrograms(t *testing.T) {
	paths, err := filepath.Glob("../../../testdata/modules/*/*/cases.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		r := read(t, path)
		if r.Files["pt2"] == "" {
			continue
		}
		t.Run(filepath.Base(filepath.Dir(r.dir))+"/"+filepath.Base(r.dir), func(t *testing.T) {
			if !torchexport.Is(open(t, filepath.Join(r.dir, "model.pt2"))) || torchexport.Is(open(t, filepath.Join(r.dir, "state_dict.pth"))) {
				t.Error("Is tells no program from other archives")
			}
			if err := r.check(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCorpus holds the programs of the large corpus against their answers.
func TestCorpus(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 22 programs were not run")
		return
	}
	paths, err := filepath.Glob(filepath.Join(root, "torch", "*", "cases.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		r := read(t, path)
		if r.Files["pt2"] == "" {
			continue
		}
		t.Run(filepath.Base(r.dir), func(t *testing.T) {
			if err := r.check(t); err != nil {
				t.Error(err)
			}
		})
	}
}
