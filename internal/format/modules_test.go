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
	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
)

// ownClasses are those of the program that made the modules: a file has no
// forward of theirs.
var ownClasses = []string{"Driver", "TwoInputs", "Dueling", "Normed", "Program", "Distances"}

// TestModules opens everything that five versions of PyTorch wrote of one
// module: the program of torch.export, the pickled module, and the weights
// with the architecture of a card, which all give the recorded answers.
func TestModules(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/modules/*/*/cases.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		c := readCase(t, path)
		var extra struct {
			Class        string
			Architecture *string
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &extra); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(c.dir)) + "/" + filepath.Base(c.dir)
		if c.Files["pt2"] != "" {
			t.Run(name+"/pt2", func(t *testing.T) { checkNetwork(t, c, "pt2", "torch.export", nil) })
		}
		if c.Files["pickle"] != "" {
			t.Run(name+"/pickle", func(t *testing.T) {
				if !slices.Contains(ownClasses, extra.Class) {
					checkNetwork(t, c, "pickle", "torch module", nil)
					return
				}
				_, err := c.decodeFile(t, "pickle")
				if !errors.Is(err, format.ErrUnsupported) || !strings.Contains(err.Error(), extra.Class) || !strings.Contains(err.Error(), "architecture:") {
					t.Errorf("%v", err)
				}
			})
		}
		for _, form := range []string{"pickle_legacy", "pickle_entry"} {
			if c.Files[form] != "" {
				t.Run(name+"/"+form, func(t *testing.T) { checkNetwork(t, c, form, "torch module", nil) })
			}
		}
		for form, kind := range map[string]string{"state": "torch weights", "safetensors": "safetensors"} {
			if c.Files[form] == "" || extra.Architecture == nil {
				continue
			}
			t.Run(name+"/"+form, func(t *testing.T) {
				s, err := architecture.ParseText(*extra.Architecture)
				if err != nil {
					t.Fatal(err)
				}
				checkNetwork(t, c, form, kind, s)
			})
		}
	}
}

// checkNetwork opens a file, with an architecture where it holds weights only,
// and compares what it describes and computes.
func checkNetwork(t *testing.T, c *corpusCase, form, kind string, s *architecture.Spec) {
	t.Helper()
	n, err := c.decodeFile(t, form)
	if err != nil {
		t.Fatal(err)
	}
	if d := n.Describe(); d.WeightsOnly != (s != nil) || d.Format != kind || d.Parameters == 0 {
		t.Errorf("described as %+v", d)
	}
	if s != nil {
		if n, err = format.WithArchitecture(n, s); err != nil {
			t.Fatal(err)
		}
	}
	d := n.Describe()
	if d.WeightsOnly || d.Format != kind || len(d.Inputs) != len(c.Batches[0].Inputs) || len(d.Methods) != 1 {
		t.Errorf("described as %+v", d)
	}
	g, err := n.Lower(format.LowerOptions{Deterministic: true, InputShapes: c.shapesFor(t, d)})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range c.Batches {
		inputs := map[string]tensorData{}
		for name, v := range b.Inputs {
			inputs[name] = c.data(t, v)
		}
		if err := compareBatch(g, inputs, b.Outputs, c.Atol); err != nil {
			t.Errorf("batch %d: %v", i, err)
		}
	}
	if _, err := n.Lower(format.LowerOptions{Method: "act"}); err == nil {
		t.Error("a method act, which the file does not have")
	}
}

// shapesFor are the shapes of images under the names that the file has for
// its inputs.
func (c *corpusCase) shapesFor(t *testing.T, d format.Description) map[string][]int {
	shapes := c.shapes(t)
	if len(shapes) == 1 && len(d.Inputs) == 1 {
		for _, s := range shapes {
			return map[string][]int{d.Inputs[0].Name: s}
		}
	}
	return shapes
}

// TestArchitectureOfOtherFiles is refused: a file that holds its computation
// takes none.
func TestArchitectureOfOtherFiles(t *testing.T) {
	data, err := os.ReadFile("../../testdata/modules/2.15.0/seq_mlp/module.pth")
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode("module.pth", data)
	if err != nil {
		t.Fatal(err)
	}
	s, err := architecture.ParseText("[{linear: 0}]")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := format.WithArchitecture(n, s); err == nil || !strings.Contains(err.Error(), "torch module") {
		t.Errorf("%v", err)
	}
}

// TestSuggestedArchitecture is read back and used as it is printed.
func TestSuggestedArchitecture(t *testing.T) {
	data, err := os.ReadFile("../../testdata/modules/2.15.0/driver/state_dict.pth")
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode("state_dict.pth", data)
	if err != nil {
		t.Fatal(err)
	}
	d := n.Describe()
	if d.Architecture != "[{normalize: , mean: mean, var: var, eps: 1e-05, clip: 5.0}, {linear: body.0}, relu, {linear: head}]" || len(d.Notes) == 0 {
		t.Fatalf("architecture %s", d.Architecture)
	}
	s, err := architecture.ParseText(d.Architecture)
	if err != nil {
		t.Fatal(err)
	}
	if n, err = format.WithArchitecture(n, s); err != nil {
		t.Fatal(err)
	}
	d = n.Describe()
	if len(d.Inputs) != 1 || d.Inputs[0].Name != "obs" || len(d.Inputs[0].Shape) != 2 || d.Inputs[0].Shape[1] != 5 {
		t.Errorf("inputs are %+v", d.Inputs)
	}
	if len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "value.weight") {
		t.Errorf("notes are %q", d.Notes)
	}
}
