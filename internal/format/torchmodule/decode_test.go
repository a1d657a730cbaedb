package torchmodule_test

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

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchmodule"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// recording is a cases.json: what torch answered.
type recording struct {
	Class   string            `json:"class"`
	Files   map[string]string `json:"files"`
	Batches []struct {
		Inputs  map[string]any `json:"inputs"`
		Outputs map[string]any `json:"outputs"`
	} `json:"batches"`
	Features  any `json:"features"`   // of the ancestor's
	RawOutput any `json:"raw_output"` // of the ancestor's

	dir string
}

func read(t *testing.T, path string) *recording {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{dir: filepath.Dir(path)}
	if err := json.Unmarshal(data, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T, path string) *torch.Zip {
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

func flat(t *testing.T, v any) (shape []int, data []float64) {
	t.Helper()
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

// check lowers a file and compares one recorded batch of a single input. Images
// need their shape, as a card would give it.
func check(t *testing.T, m *torchmodule.Module, input, output any) error {
	t.Helper()
	shape, data := flat(t, input)
	_, want := flat(t, output)
	o := torchmodule.Options{}
	if len(shape) > 2 {
		o.InputShapes = map[string][]int{m.InputNames()[0]: append([]int{graph.Batch}, shape[1:]...)}
	}
	g, err := m.Lower(o)
	if err != nil {
		return err
	}
	in := &graph.Tensor{DType: g.Inputs[0].DType, Shape: shape}
	if in.DType == graph.Float64 {
		in.F64 = data
	} else {
		in.F32 = make([]float32, len(data))
		for i, v := range data {
			in.F32[i] = float32(v)
		}
	}
	outs, err := graph.Evaluate(g, shape[0], []*graph.Tensor{in}, graph.Noise{})
	if err != nil {
		return err
	}
	if len(outs) != 1 || outs[0].Len() != len(want) || g.Outputs[0].Name != "out" {
		return fmt.Errorf("%d outputs with %d elements, want %d", len(outs), outs[0].Len(), len(want))
	}
	for i, w := range want {
		if got := outs[0].At(i); !(math.Abs(got-w) <= 1e-5+1e-5*math.Abs(w)) {
			return fmt.Errorf("element %d is %v, want %v", i, got, w)
		}
	}
	return nil
}

// TestModules holds the modules that five versions of PyTorch wrote against
// their answers: those of torch.nn give them, those of a user's class are
// refused by its name.
func TestModules(t *testing.T) {
	paths, err := filepath.Glob("../../../testdata/modules/*/*/cases.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		r := read(t, path)
		if r.Files["pickle"] == "" {
			continue
		}
		t.Run(filepath.Base(filepath.Dir(r.dir))+"/"+filepath.Base(r.dir), func(t *testing.T) {
			z := open(t, filepath.Join(r.dir, r.Files["pickle"]))
			if !torchmodule.Is(z) {
				t.Error("Is says no")
			}
			if torchmodule.Is(open(t, filepath.Join(r.dir, r.Files["state"]))) {
				t.Error("Is says that the state_dict is a module")
			}
			m, err := torchmodule.Decode(z)
			if r.Class != "Sequential" {
				checkRefused(t, err, "make_modules."+r.Class)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f, err := torch.DecodeZip(open(t, filepath.Join(r.dir, r.Files["state"])))
			if err != nil {
				t.Fatal(err)
			}
			want, err := f.StateDict()
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Tensors(); len(got) != len(want) {
				t.Errorf("%d tensors, the state_dict has %d", len(got), len(want))
			} else {
				for _, w := range want {
					if x := got.Get(w.Name); x == nil || x.Digest() != w.Tensor.Digest() {
						t.Errorf("%s differs from that of the state_dict", w.Name)
					}
				}
			}
			for i, b := range r.Batches {
				if err := check(t, m, b.Inputs["obs"], b.Outputs["out"]); err != nil {
					t.Errorf("batch %d: %v", i, err)
				}
			}
		})
	}
}

// checkRefused wants a refusal that names the class and both ways out.
func checkRefused(t *testing.T, err error, class string) {
	t.Helper()
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, pickle.ErrForbiddenGlobal) || !strings.HasPrefix(err.Error(), "unsupported:") {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{class, "architecture:", "torch.jit", "ONNX"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// corpus returns the folder of the large corpus.
func corpus(t *testing.T, what string) string {
	t.Helper()
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %s were not run", what)
	}
	return root
}

// TestCorpus opens the modules of the large corpus: all but one are of a
// user's class.
func TestCorpus(t *testing.T) {
	root := corpus(t, "24 modules")
	if root == "" {
		return
	}
	paths, err := filepath.Glob(filepath.Join(root, "torch", "*", "cases.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		r := read(t, path)
		if r.Files["pickle"] == "" {
			continue
		}
		t.Run(filepath.Base(r.dir), func(t *testing.T) {
			m, err := torchmodule.Decode(open(t, filepath.Join(r.dir, r.Files["pickle"])))
			if filepath.Base(r.dir) != "seq_mlp_tanh" {
				checkRefused(t, err, "corpus_modules.")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range r.Batches {
				if err := check(t, m, b.Inputs["input"], b.Outputs["out"]); err != nil {
					t.Errorf("batch %d: %v", i, err)
				}
			}
		})
	}
}

// TestAncestor holds the pickled modules of the ancestor's artifacts against
// its own answers: one of torch.nn, one of its example class.
func TestAncestor(t *testing.T) {
	root := corpus(t, "2 modules of the ancestor")
	if root == "" {
		return
	}
	f := func(name, layer string) {
		t.Helper()
		r := read(t, filepath.Join(root, "ancestor", name, "cases.json"))
		m, err := torchmodule.Decode(open(t, filepath.Join(r.dir, "v0.1.0", "model.pt")))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Layers(); !slices.Contains(got, layer) {
			t.Errorf("layers are %q", got)
		}
		if err := check(t, m, r.Features, r.RawOutput); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("nn_sequential_pickle", "0: Linear [32,5]")
	f("module_class_pickle", "network.0: Linear [64,5]")
}

// TestHostile refuses the pickles of the large corpus that call functions.
func TestHostile(t *testing.T) {
	root := corpus(t, "hostile files")
	if root == "" {
		return
	}
	_, err := torchmodule.Decode(open(t, filepath.Join(root, "hostile", "torch", "reduce_os_system.pth")))
	if !errors.Is(err, pickle.ErrForbiddenGlobal) || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
