//go:build ort && cgo

package ort_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

const determinant = "../../cmd/carla-rl/testdata/determinant.onnx"

// A model with an operator that is not ours runs between operators that are.
func TestModelAsItIs(t *testing.T) {
	data, err := os.ReadFile(determinant)
	if err != nil {
		t.Fatal(err)
	}
	n, err := format.Decode("determinant.onnx", data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Lower(format.LowerOptions{}); !errors.Is(err, format.ErrUnsupported) {
		t.Fatalf("the operator is known: %v", err)
	}
	network, err := n.Lower(format.LowerOptions{Whole: true})
	if err != nil {
		t.Fatal(err)
	}
	in := network.Inputs[0]
	g := graph.New("around")
	x := g.Input("obs", graph.Float32, in.Shape)
	twice, err := g.Add(graph.OpAdd, nil, x, x)
	if err != nil {
		t.Fatal(err)
	}
	outs, err := graph.Inline(g, network, []*graph.Value{twice})
	if err != nil {
		t.Fatal(err)
	}
	one, err := g.Add(graph.OpAdd, nil, outs[0], g.Constant("one", graph.Float32s([]float32{1}, 1)))
	if err != nil {
		t.Fatal(err)
	}
	g.Output("action", one)
	g.Output("seen", x)
	if err := g.Verify(); err != nil {
		t.Fatal(err)
	}
	run := compile(t, openEngine(t), g)
	for _, rows := range []int{1, 3} {
		// Matrices of 2 by 2: the determinant of twice [[1,2],[3,k]] is 4k-24.
		var obs, want []float32
		for k := range rows {
			obs = append(obs, 1, 2, 3, float32(k))
			want = append(want, float32(4*k-24)+1+1) // The model adds 1, and so does the graph.
		}
		got, seen := make([]float32, rows), make([]float32, len(obs))
		if err := run.Run(rows, [][]float32{obs}, [][]float32{got, seen}, graph.Noise{}); err != nil {
			t.Fatal(err)
		}
		same(t, got, want, 1e-5)
		same(t, seen, obs, 0)
	}
	if _, err := graph.Evaluate(g, 1, []*graph.Tensor{graph.Float32s(make([]float32, 4), 1, 2, 2)}, graph.Noise{}); !errors.Is(err, graph.ErrUnsupportedOp) {
		t.Errorf("the evaluator: %v", err)
	}
}

// A policy of such a model opens on the engine that runs it, and says so.
func TestPolicyOfModelAsItIs(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(determinant)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/model.onnx", data, 0o644); err != nil {
		t.Fatal(err)
	}
	open := func(e policy.Engine) (*policy.Policy, error) {
		a, err := artifact.OpenPath(dir, artifact.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return policy.Open(a, policy.Options{Engine: e})
	}
	if _, err := open(policy.Plan); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "Det") {
		t.Errorf("on the plan: %v", err)
	}
	for _, e := range []policy.Engine{openEngine(t), policy.Auto(policy.Plan, openEngine(t))} {
		p, err := open(e)
		if err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		if e.Name() == "auto" && !slices.ContainsFunc(p.Notes(), func(s string) bool { return strings.Contains(s, "Det") }) {
			t.Errorf("the notes do not say what the plan lacks: %q", p.Notes())
		}
		c := policy.Call{Rows: 2, In: [][]float32{{1, 2, 3, 4, 2, 0, 0, 2}}, Actions: make([]float32, 2), Deterministic: true}
		p.Prepare(1)
		if err := p.Runner(0).Act(&c); err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		same(t, c.Actions, []float32{-1, 5}, 1e-6)
	}
}
