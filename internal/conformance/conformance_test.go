package conformance_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/conformance"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// roots are the folders with cases: those of the tree, and the large corpus
// where there is one.
func roots(t *testing.T) []string {
	t.Helper()
	all := []string{"../../testdata", "../format/onnx/testdata", "../format/sb3/testdata"}
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 75 cases of the large corpus were not run")
		return all
	}
	for _, folder := range []string{"torch", "rsl_rl", "sb3_real", "sb3_gen", "sklearn"} {
		all = append(all, filepath.Join(root, folder))
	}
	return all
}

// refused are files that hold no computation of their own, or one that this
// release does not take; the tests of their formats hold the reasons.
func refused(name string, err error) bool {
	return errors.Is(err, errors.ErrUnsupported) && slices.ContainsFunc([]string{
		"/pickle", "rppo_bidirectional/", "ppo_custom_extractor_byvalue/",
	}, func(part string) bool { return strings.Contains(name, part) })
}

// rounded are cases that show half precision, which the plan does not have: it
// computes in float32 throughout.
func rounded(name, engine string) bool {
	return strings.HasSuffix(name, "/to_half") && strings.HasPrefix(engine, "plan")
}

// TestConformance runs every case on every engine.
func TestConformance(t *testing.T) {
	cases, unread, err := conformance.Load(roots(t)...)
	if err != nil || len(cases) == 0 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, name := range unread {
		t.Logf("%s is of a kind that other tests read", name)
	}
	left := 0
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			g, err := c.Graph()
			switch {
			case conformance.NoMethod(err):
				return
			case err != nil && refused(c.Name, err):
				left++
				return
			case err != nil:
				t.Fatal(err)
			}
			for _, e := range engines {
				if rounded(c.Name, e.name) {
					continue
				}
				if why, ok := c.Without[e.name]; ok {
					if why == "" {
						t.Errorf("left out of %s without a reason", e.name)
					}
					continue
				}
				if err := check(&c, g, e); err != nil {
					t.Errorf("%s: %v", e.name, err)
				}
			}
		})
	}
	t.Logf("%d cases on %d engines; %d files are refused, as the tests of their formats hold", len(cases), len(engines), left)
}

// check runs a case on one engine and compares all answers.
func check(c *conformance.Case, g *graph.Graph, e engine) error {
	run, err := e.compile(g)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	state := make([][]float64, len(g.States))
	for i := range c.Runs {
		if err := step(c, g, run, i, state); err != nil {
			return fmt.Errorf("run %d: %w", i, err)
		}
	}
	return nil
}

// step makes one run of a case: all rows at once, or each by itself where the
// graph is of one row. state is what the graph carries, updated.
func step(c *conformance.Case, g *graph.Graph, run compute, i int, state [][]float64) error {
	r := &c.Runs[i]
	in, err := inputs(c, g, i, state)
	if err != nil {
		return err
	}
	var out [][]float64
	if g.Batched() || r.Rows == 1 || len(in[0]) == g.Inputs[0].Shape.RowElements() {
		if out, err = run(r.Rows, in, r.Noise); err != nil {
			return err
		}
	} else {
		out = make([][]float64, len(g.Outputs))
		for row := range r.Rows {
			one := make([][]float64, len(in))
			for k, x := range in {
				n := len(x) / r.Rows
				one[k] = x[row*n : (row+1)*n]
			}
			noise := r.Noise
			noise.Row += uint64(row)
			y, err := run(1, one, noise)
			if err != nil {
				return fmt.Errorf("row %d: %w", row, err)
			}
			for k := range out {
				out[k] = append(out[k], y[k]...)
			}
		}
	}
	for k, s := range g.States {
		state[k] = out[s.Output]
	}
	return compare(c, g, r, out)
}

// inputs are those that were recorded, and what the graph carries.
func inputs(c *conformance.Case, g *graph.Graph, i int, state [][]float64) ([][]float64, error) {
	r := &c.Runs[i]
	in := make([][]float64, len(g.Inputs))
	carried := map[int]int{}
	for k, s := range g.States {
		carried[s.Input] = k
	}
	own := len(g.Inputs) - len(g.States)
	for k, v := range g.Inputs {
		x, ok := r.Inputs[v.Name]
		if s, is := carried[k]; is && !ok {
			x, ok = state[s], true
			if x == nil || !c.Sequence || r.Reset {
				x = begin(&g.States[s], v, r.Rows, c.Sequence && i > 0 && r.Reset, g.Batched())
			}
		}
		if !ok && own == 1 && len(r.Inputs) == 1 {
			x, ok = r.Inputs[slices.Collect(maps.Keys(r.Inputs))[0]], true
		}
		if obs, flat := r.Inputs["obs"]; !ok && flat {
			x, ok = goal(g, v, obs, r.Rows), true
		}
		if !ok {
			return nil, fmt.Errorf("the graph has an input %q that was not recorded", v.Name)
		}
		in[k] = x
	}
	return in, nil
}

// goal takes one part of recorded rows of an observation and its goal. The
// goal that was achieved is not in the rows, and of no matter.
func goal(g *graph.Graph, v *graph.Value, obs []float64, rows int) []float64 {
	width, n := len(obs)/rows, v.Shape.RowElements()
	from := 0
	if v.Name == "desired_goal" {
		from = width - n
	}
	var out []float64
	for row := range rows {
		out = append(out, obs[row*width+from:][:n]...)
	}
	return out
}

// begin is what enters the first run of an episode.
func begin(s *graph.State, v *graph.Value, rows int, later, batched bool) []float64 {
	if !batched {
		rows = max(rows, 1)
	}
	from := s.Initial
	if later && s.Reset != nil {
		from = s.Reset
	}
	out := make([]float64, v.Shape.RowElements()*rows)
	if v.Shape.Fixed() && batched {
		out = out[:v.Shape.RowElements()]
	}
	if from != nil {
		for i := range out {
			out[i] = from.At(i % from.Len())
		}
	}
	return out
}

// compare holds what was recorded. Where no output has its name, they are in
// the order of the names.
func compare(c *conformance.Case, g *graph.Graph, r *conformance.Run, out [][]float64) error {
	names := make([]string, len(g.Outputs))
	known := 0
	for k, o := range g.Outputs {
		names[k] = o.Name
		if _, ok := r.Outputs[o.Name]; ok {
			known++
		}
	}
	if known == 0 && len(r.Outputs) <= len(names) {
		copy(names, slices.Sorted(maps.Keys(r.Outputs)))
		known = len(r.Outputs)
	}
	if known < len(r.Outputs) {
		return fmt.Errorf("recorded are the outputs %v, the graph has %v", slices.Sorted(maps.Keys(r.Outputs)), names)
	}
	for k, name := range names {
		want, ok := r.Outputs[name]
		if !ok {
			continue
		}
		if len(want) != len(out[k]) {
			return fmt.Errorf("output %s has %d elements, %d were recorded", name, len(out[k]), len(want))
		}
		for i, w := range want {
			got := out[k][i]
			if got == w || math.IsNaN(got) && math.IsNaN(w) {
				continue
			}
			if math.IsInf(w, 0) || !(math.Abs(got-w) <= c.Atol+c.Rtol*math.Abs(w)) {
				return fmt.Errorf("element %d of output %s is %v, recorded is %v", i, name, got, w)
			}
		}
	}
	return nil
}

// TestEveryOperatorHasCases fails when an operator of the graph has no case of
// its own.
func TestEveryOperatorHasCases(t *testing.T) {
	cases, _, err := conformance.Load("../../testdata/conformance")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[graph.Op]int{}
	for _, c := range cases {
		g, err := c.Graph()
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		g.Walk(func(n *graph.Node) bool {
			if strings.HasPrefix(c.Name, "operator/"+string(n.Op)+"/") {
				seen[n.Op]++
			}
			return true
		})
	}
	for _, op := range graph.Ops() {
		if seen[op] == 0 {
			t.Errorf("no case has the operator %s in testdata/conformance/%s.json", op, op)
		}
	}
}

// TestSources holds that cases tell what they show.
func TestSources(t *testing.T) {
	cases, _, err := conformance.Load("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	all := conformance.Sources(cases)
	for _, want := range []conformance.Source{
		{Format: "torchscript", Producer: "PyTorch 1.13.1"},
		{Format: "torch.export", Producer: "PyTorch 2.15.0"},
		{Format: "preprocessor", Producer: "scikit-learn 1.9.1"},
		{Format: "graph", Producer: "PyTorch 2.15.0"},
	} {
		if !slices.Contains(all, want) {
			t.Errorf("%v is not among %v", want, all)
		}
	}
}
