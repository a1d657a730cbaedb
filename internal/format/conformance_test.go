package format_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// scriptForms are the forms of a case that are TorchScript archives.
var scriptForms = []string{"trace", "script", "frozen"}

// fixedRows are the cases of the large corpus that lower only for a fixed
// number of rows, with what the refusal of any number of them says.
var fixedRows = map[string]string{
	"torch/control_flow":       "rows of the batch would be mixed",
	"torch/rsl_rl_lstm_export": "state that is kept in the module between calls (cell_state, hidden_state)",
	"rsl_rl/gru2_gaussian":     "state that is kept in the module between calls (hidden_state)",
}

// TestConformance holds the files that five versions of PyTorch wrote against
// their answers: traced, scripted and frozen, and the weights alone.
func TestConformance(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/torch/*/*/cases.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		c := readCase(t, path)
		name := filepath.Base(filepath.Dir(c.dir)) + "/" + filepath.Base(c.dir)
		for _, form := range scriptForms {
			if c.Files[form] == "" {
				continue
			}
			t.Run(name+"/"+form, func(t *testing.T) {
				if err := c.check(t, form, ""); err != nil {
					t.Error(err)
				}
			})
			if c.Batches[0].ActOutputs == nil || form == "trace" {
				continue
			}
			t.Run(name+"/"+form+"/act", func(t *testing.T) {
				if err := c.check(t, form, "act"); err != nil {
					t.Error(err)
				}
			})
		}
		for _, form := range []string{"state", "state_legacy"} {
			if c.Files[form] != "" {
				t.Run(name+"/"+form, func(t *testing.T) { c.checkWeights(t, form) })
			}
		}
	}
}

// checkWeights compares the tensors of a file of weights with those of the
// trace: the same names, types and shapes. It refuses to be lowered.
func (c *corpusCase) checkWeights(t *testing.T, form string) {
	t.Helper()
	weights, err := c.decodeFile(t, form)
	if err != nil {
		t.Fatal(err)
	}
	d := weights.Describe()
	if !d.WeightsOnly || d.Parameters == 0 {
		t.Errorf("WeightsOnly is %v with %d parameters", d.WeightsOnly, d.Parameters)
	}
	script, err := c.decodeFile(t, "script")
	if err != nil {
		t.Fatal(err)
	}
	type shape struct {
		name  string
		dtype string
		dims  []int
	}
	list := func(ts []format.TensorDescription) (out []shape) {
		for _, x := range ts {
			out = append(out, shape{x.Name, x.DType.String(), x.Shape})
		}
		slices.SortFunc(out, func(a, b shape) int { return strings.Compare(a.name, b.name) })
		return out
	}
	got, want := list(d.Tensors), list(script.Describe().Tensors)
	if !slices.EqualFunc(got, want, func(a, b shape) bool {
		return a.name == b.name && a.dtype == b.dtype && slices.Equal(a.dims, b.dims)
	}) {
		t.Errorf("tensors are %v, the scripted module has %v", got, want)
	}
	if _, err := weights.Lower(format.LowerOptions{}); !errors.Is(err, format.ErrUnsupported) || !strings.Contains(err.Error(), "architecture:") {
		t.Errorf("Lower: %v", err)
	}
}

// corpusRoot returns the folder of the large corpus, or notes that it is not
// there.
func corpusRoot(t *testing.T, cases string) string {
	t.Helper()
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %s were not run", cases)
	}
	return root
}

// TestCorpus holds the TorchScript files of the large corpus against their
// answers: of a sequence of steps where the module keeps state.
func TestCorpus(t *testing.T) {
	root := corpusRoot(t, "49 files of 27 cases")
	if root == "" {
		return
	}
	var paths []string
	for _, folder := range []string{"torch", "rsl_rl"} {
		found, err := filepath.Glob(filepath.Join(root, folder, "*", "cases.json"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no corpus in %s: %v", folder, err)
		}
		paths = append(paths, found...)
	}
	for _, path := range paths {
		c := readCase(t, path)
		for _, form := range scriptForms {
			if c.Files[form] == "" {
				continue
			}
			t.Run(c.Name+"/"+form, func(t *testing.T) {
				says, fixed := fixedRows[c.Name]
				if fixed {
					if err := c.checkRows(t, form, ""); err != nil {
						t.Error(err)
					}
				}
				err := c.check(t, form, "")
				switch {
				case !fixed && err != nil:
					t.Error(err)
				case fixed && (!errors.Is(err, format.ErrUnsupported) || !errors.Is(err, graph.ErrMixesRows) || !strings.Contains(err.Error(), says)):
					t.Errorf("expected a refusal of many rows for %q, got %v", says, err)
				}
			})
		}
	}
}

// TestAncestor holds the networks of the ancestor's artifacts against its own
// answers.
func TestAncestor(t *testing.T) {
	names := []string{
		"example", "minimal_pre", "no_preprocessor_12sensors", "scripted", "scripted_act_method", "std_clip_nosteer", "std_unfitted",
	}
	root := corpusRoot(t, "7 artifacts of the ancestor")
	if root == "" {
		return
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(root, "ancestor", name, "cases.json"))
			if err != nil {
				t.Fatal(err)
			}
			var rec struct {
				Features  any `json:"features"`
				RawOutput any `json:"raw_output"`
			}
			if err := json.Unmarshal(data, &rec); err != nil {
				t.Fatal(err)
			}
			c := &corpusCase{
				Name: name, dir: filepath.Join(root, "ancestor", name, "v0.1.0"),
				Files: map[string]string{"model": "model.pt"}, Atol: 1e-5,
				Batches: []corpusBatch{{
					Inputs:     map[string]any{"x": rec.Features},
					Outputs:    map[string]any{"out": rec.RawOutput},
					ActOutputs: map[string]any{"out": rec.RawOutput},
				}},
			}
			if err := c.check(t, "model", ""); err != nil {
				t.Error(err)
			}
			n, err := c.decodeFile(t, "model")
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(n.Describe().Methods, "act") {
				if err := c.check(t, "model", "act"); err != nil {
					t.Errorf("act: %v", err)
				}
			}
		})
	}
}
