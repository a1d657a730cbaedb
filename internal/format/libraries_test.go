package format_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/architecture"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// libraryCase is a file of weights in the layout of a training library.
type libraryCase struct {
	Library string            `json:"library"`
	File    string            `json:"file"`
	Files   map[string]string `json:"files"` // of the large corpus
	Batches []libraryAnswer   `json:"batches"`
	Steps   []libraryAnswer   `json:"steps"`
	Reset   []int             `json:"reset_before_steps"`
}

type libraryAnswer struct {
	Inputs  map[string][][]float64 `json:"inputs"`
	Outputs map[string]any         `json:"outputs"`
}

func readLibraryCase(t *testing.T, dir string) (*libraryCase, format.Network) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := &libraryCase{}
	if err := json.Unmarshal(text, c); err != nil {
		t.Fatal(err)
	}
	if c.File == "" {
		c.File = c.Files["model"]
	}
	data, err := os.ReadFile(filepath.Join(dir, c.File))
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode(c.File, data)
	if err != nil {
		t.Fatal(err)
	}
	return c, n
}

// answer runs a graph on one batch. What it carries goes through state, by the
// order of the graph's states.
func (a *libraryAnswer) answer(t *testing.T, g *graph.Graph, state []*graph.Tensor) (map[string]*graph.Tensor, []*graph.Tensor) {
	t.Helper()
	in := make([]*graph.Tensor, len(g.Inputs))
	rows := 0
	for _, values := range a.Inputs {
		var flat []float32
		for _, row := range values {
			for _, v := range row {
				flat = append(flat, float32(v))
			}
		}
		rows = len(values)
		in[0] = graph.Float32s(flat, g.Inputs[0].Shape.For(rows)...)
	}
	for i, s := range g.States {
		in[s.Input] = state[i]
		if state[i] == nil {
			shape := g.Inputs[s.Input].Shape.For(rows)
			in[s.Input] = graph.Float32s(make([]float32, shape.RowElements()), shape...)
		}
	}
	outs, err := graph.Evaluate(g, rows, in, graph.Noise{})
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]*graph.Tensor{}
	for i, o := range g.Outputs {
		named[o.Name] = outs[i]
	}
	next := make([]*graph.Tensor, len(g.States))
	for i, s := range g.States {
		next[i] = outs[s.Output]
	}
	return named, next
}

// compare holds what came out against the recorded answer.
func (a *libraryAnswer) compare(t *testing.T, got map[string]*graph.Tensor) {
	t.Helper()
	for name, want := range a.Outputs {
		flat := flatten(nil, want)
		if got[name] == nil || got[name].Len() != len(flat) {
			t.Errorf("%s: no such output, or not of %d values", name, len(flat))
			continue
		}
		for i, w := range flat {
			if g := got[name].At(i); !(math.Abs(g-w) <= 1e-5+1e-5*math.Abs(w)) {
				t.Errorf("%s[%d] is %v, the library gave %v", name, i, g, w)
				break
			}
		}
	}
}

func flatten(out []float64, v any) []float64 {
	if l, ok := v.([]any); ok {
		for _, e := range l {
			out = flatten(out, e)
		}
		return out
	}
	return append(out, v.(float64))
}

func (c *libraryCase) check(t *testing.T, n format.Network) {
	t.Helper()
	d := n.Describe()
	if d.WeightsOnly || c.Library != "" && d.Producer != c.Library {
		t.Errorf("WeightsOnly is %v, the producer %q; want %q", d.WeightsOnly, d.Producer, c.Library)
	}
	g, err := n.Lower(format.LowerOptions{Deterministic: true})
	if err != nil {
		t.Fatal(err)
	}
	if recurrent := len(c.Steps) > 0; recurrent != (len(g.States) > 0) || recurrent != d.Recurrent {
		t.Errorf("%d states, Recurrent is %v", len(g.States), d.Recurrent)
	}
	for i := range c.Batches {
		got, _ := c.Batches[i].answer(t, g, nil)
		c.Batches[i].compare(t, got)
	}
	state := make([]*graph.Tensor, len(g.States))
	for i := range c.Steps {
		for _, reset := range c.Reset {
			if i == reset {
				clear(state)
			}
		}
		var got map[string]*graph.Tensor
		got, state = c.Steps[i].answer(t, g, state)
		c.Steps[i].compare(t, got)
	}
}

// TestLibraries holds files in the layouts of training libraries against the
// answers of the networks that they were saved of.
func TestLibraries(t *testing.T) {
	dirs, err := filepath.Glob("../../testdata/libraries/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c, n := readLibraryCase(t, dir)
			c.check(t, n)
		})
	}
	root := corpusRoot(t, "3 files of CleanRL")
	if root == "" {
		return
	}
	for _, name := range []string{"cleanrl_ppo", "cleanrl_c51", "cleanrl_td3_tuple"} {
		t.Run("corpus/"+name, func(t *testing.T) {
			c, n := readLibraryCase(t, filepath.Join(root, "other_libs", name))
			c.check(t, n)
		})
	}
}

// TestLibraryArchitecture holds the card's architecture above the layout.
func TestLibraryArchitecture(t *testing.T) {
	_, n := readLibraryCase(t, "../../testdata/libraries/cleanrl_dqn")
	s, err := architecture.ParseText("[{linear: network.0}, tanh, {linear: network.2}]")
	if err != nil {
		t.Fatal(err)
	}
	own, err := format.WithArchitecture(n, s)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := own.Describe().Layers, []string{"{linear: network.0}", "tanh", "{linear: network.2}"}; !reflect.DeepEqual(got, want) {
		t.Errorf("layers are %q", got)
	}
}

// TestLibraryUnknown refuses files of rsl_rl 5 whose distribution leaves
// nothing in the file: what it makes of the network's outputs cannot be told.
func TestLibraryUnknown(t *testing.T) {
	root := corpusRoot(t, "2 files of rsl_rl")
	if root == "" {
		return
	}
	for _, name := range []string{"mlp_beta", "mlp_hetero"} {
		data, err := os.ReadFile(filepath.Join(root, "rsl_rl", name, "model_100.pt"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := format.Decode("model_100.pt", data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Lower(format.LowerOptions{}); err == nil || !strings.Contains(err.Error(), "weights only") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
