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
	return checkAll(t, m, map[string]any{"obs": input}, map[string]any{"out": output})
}

// checkAll is check for any number of inputs and outputs. A only input may have
// another name.
func checkAll(t *testing.T, m *torchmodule.Module, inputs, outputs map[string]any) error {
	t.Helper()
	o := torchmodule.Options{InputShapes: map[string][]int{}}
	shapes, numbers, rows := map[string][]int{}, map[string][]float64{}, 0
	for _, name := range m.InputNames() {
		v, ok := inputs[name]
		if !ok && len(inputs) == 1 {
			for _, v = range inputs {
			}
		}
		shape, data := flat(t, v)
		shapes[name], numbers[name], rows = shape, data, shape[0]
		if len(shape) > 2 || strings.HasSuffix(m.Layers()[0], "Embedding [7,4]") || strings.HasSuffix(m.Class, "EmbeddingBag") {
			o.InputShapes[name] = append([]int{graph.Batch}, shape[1:]...)
		}
	}
	g, err := m.Lower(o)
	if err != nil {
		return err
	}
	var args []*graph.Tensor
	for _, v := range g.Inputs {
		in := &graph.Tensor{DType: v.DType, Shape: shapes[v.Name]}
		for _, f := range numbers[v.Name] {
			switch {
			case v.DType == graph.Float64:
				in.F64 = append(in.F64, f)
			case v.DType.IsFloat():
				in.F32 = append(in.F32, float32(f))
			default:
				in.I64 = append(in.I64, int64(f))
			}
		}
		args = append(args, in)
	}
	outs, err := graph.Evaluate(g, rows, args, graph.Noise{})
	if err != nil {
		return err
	}
	if len(outs) != len(outputs) {
		return fmt.Errorf("%d outputs, %d were recorded", len(outs), len(outputs))
	}
	for k, out := range g.Outputs {
		recorded, ok := outputs[out.Name]
		_, want := flat(t, recorded)
		if !ok || outs[k].Len() != len(want) {
			return fmt.Errorf("output %s has %d elements, want %d", out.Name, outs[k].Len(), len(want))
		}
		for i, w := range want {
			if got := outs[k].At(i); !(math.Abs(got-w) <= 1e-5+1e-5*math.Abs(w)) {
				return fmt.Errorf("element %d of %s is %v, want %v", i, out.Name, got, w)
			}
		}
	}
	return nil
}

// ownClasses are those of the program that made the modules.
var ownClasses = []string{"Driver", "TwoInputs", "Dueling", "Normed", "Program", "Distances"}

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
			if slices.Contains(ownClasses, r.Class) {
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
				if err := checkAll(t, m, b.Inputs, b.Outputs); err != nil {
					t.Errorf("batch %d: %v", i, err)
				}
			}
		})
	}
}

// TestOtherContainers holds modules in the container before the zip, and those
// that are an entry of a checkpoint, against their answers.
func TestOtherContainers(t *testing.T) {
	paths, err := filepath.Glob("../../../testdata/modules/*/*/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, path := range paths {
		r := read(t, path)
		if r.Files["pickle_legacy"] == "" {
			continue
		}
		t.Run(filepath.Base(filepath.Dir(r.dir))+"/"+filepath.Base(r.dir), func(t *testing.T) {
			tried++
			data, err := os.ReadFile(filepath.Join(r.dir, r.Files["pickle_legacy"]))
			if err != nil {
				t.Fatal(err)
			}
			if !torchmodule.IsLegacy(data) {
				t.Error("IsLegacy says no")
			}
			legacy, err := torchmodule.DecodeLegacy(data)
			if err != nil {
				t.Fatal(err)
			}
			z := open(t, filepath.Join(r.dir, r.Files["pickle_entry"]))
			if torchmodule.Is(z) || !torchmodule.InDict(z) {
				t.Error("a checkpoint with a module is taken for the module")
			}
			entry, err := torchmodule.Decode(z)
			if err != nil {
				t.Fatal(err)
			}
			if entry.Key == "" || legacy.Key != "" {
				t.Errorf("keys %q and %q", entry.Key, legacy.Key)
			}
			for _, m := range []*torchmodule.Module{legacy, entry} {
				for i, b := range r.Batches {
					if err := checkAll(t, m, b.Inputs, b.Outputs); err != nil {
						t.Errorf("batch %d: %v", i, err)
					}
				}
			}
		})
	}
	if tried < 5 {
		t.Errorf("%d cases", tried)
	}
}

// TestSeveralModules refuses a dict in which two modules could be meant, and
// one that has none.
func TestSeveralModules(t *testing.T) {
	f := func(v raw, want ...string) {
		t.Helper()
		_, err := decodeModule(t, v)
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("%v", err)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want %q", err, w)
			}
		}
	}
	f(raw(literal([]any{"actor", linearOf(2, 3), "critic", linearOf(1, 3)})), `"actor"`, `"critic"`)
	f(raw(literal([]any{"epoch", 3})), "without a module")
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
