package torchexport_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchexport"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// steps is the cases.json of a program that keeps state, or whose control flow
// depends on data: what torch answered step after step.
type steps struct {
	Files map[string]string `json:"files"`
	Steps []struct {
		Inputs  map[string][][]float64 `json:"inputs"`
		Outputs map[string]any         `json:"outputs"`
	} `json:"steps"`
}

func decodeProgram(t *testing.T, path string) *torchexport.Program {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := torch.OpenZip(data, torch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := torchexport.Decode(z)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSteps runs programs of one row with their state carried.
func TestSteps(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/programs/*/*/cases.json")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d programs, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c steps
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		for _, form := range slices.Sorted(maps.Keys(c.Files)) {
			path := filepath.Join(filepath.Dir(file), c.Files[form])
			t.Run(strings.TrimPrefix(path, "../../../testdata/programs/"), func(t *testing.T) {
				p := decodeProgram(t, path)
				if _, err := p.Lower(torchexport.Options{}); !errors.Is(err, graph.ErrMixesRows) {
					t.Errorf("for any number of rows: %v, want an error that rows are mixed", err)
				}
				g, err := p.Lower(torchexport.Options{Rows: 1})
				if err != nil {
					t.Fatal(err)
				}
				if p.Recurrent() != (len(g.States) > 0) {
					t.Errorf("recurrent: %v, with %d states", p.Recurrent(), len(g.States))
				}
				c.check(t, g)
			})
		}
	}
}

func (c *steps) check(t *testing.T, g *graph.Graph) {
	t.Helper()
	in := make([]*graph.Tensor, len(g.Inputs))
	for _, s := range g.States {
		in[s.Input] = s.Initial
	}
	for i, step := range c.Steps {
		row := step.Inputs["obs"][0]
		x := make([]float32, len(row))
		for j, f := range row {
			x[j] = float32(f)
		}
		in[0] = graph.Float32s(x, 1, len(x))
		outs, err := graph.Evaluate(g, 1, in, graph.Noise{})
		if err != nil {
			t.Fatal(err)
		}
		for k, o := range g.Outputs {
			want, ok := step.Outputs[o.Name]
			if !ok {
				continue // the state
			}
			for j, w := range flatNumbers(want) {
				if got := outs[k].At(j); got-w > 1e-5 || w-got > 1e-5 {
					t.Fatalf("step %d: %s[%d] is %v, torch has %v", i, o.Name, j, got, w)
				}
			}
		}
		for _, s := range g.States {
			in[s.Input] = outs[s.Output]
		}
	}
}

func flatNumbers(v any) []float64 {
	list, ok := v.([]any)
	if !ok {
		return []float64{v.(float64)}
	}
	var out []float64
	for _, e := range list {
		out = append(out, flatNumbers(e)...)
	}
	return out
}

// TestStatesAreTheBuffersThatChange leaves a buffer that is only read alone.
func TestStatesAreTheBuffersThatChange(t *testing.T) {
	p := decodeProgram(t, "../../../testdata/programs/2.15.0/views/model.pt2")
	g, err := p.Lower(torchexport.Options{Rows: 1})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range g.States {
		names = append(names, g.Inputs[s.Input].Name+" "+g.Outputs[s.Output].Name)
	}
	if want := []string{"memory memory_out", "count count_out"}; !slices.Equal(names, want) {
		t.Errorf("states are %v, want %v", names, want)
	}
	if _, err := p.Lower(torchexport.Options{}); err == nil || !strings.Contains(err.Error(), "unsupported: state that is kept in buffers between runs (memory, count)") {
		t.Errorf("for any number of rows: %v", err)
	}
}
