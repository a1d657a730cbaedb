package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestConvertKeepsTheRowsOfAFile converts what takes two rows at a time and
// mixes them: the ONNX file takes the same two, and predict answers the same.
func TestConvertKeepsTheRowsOfAFile(t *testing.T) {
	g := graph.New("")
	x := g.Input("x", graph.Float32, graph.Shape{2, 3})
	k := g.Input("k", graph.Int64, graph.Shape{2})
	g.Output("out", added(t, g, graph.OpSoftmax, graph.Attrs{"axis": 0}, x))
	g.Output("next", added(t, g, graph.OpAdd, nil, k, g.Constant("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{1}, I64: []int64{1}})))
	model := written(t, g)
	for _, only := range []bool{false, true} {
		to := filepath.Join(t.TempDir(), "out.onnx")
		var out bytes.Buffer
		c := convertCmd{In: model, Out: to, Seed: 1, ActionOnly: only}
		if err := c.Run(stdio{out: &out}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"input   x f32 [2,3]\n", "input   k i64 [2]\n", "output  action f32 [2,3]\n", "its rows among them"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("convert does not say %q: %s", want, out.String())
			}
		}
		if strings.Contains(out.String(), "next") == only {
			t.Errorf("with the action alone %v: %s", only, out.String())
		}
		question := map[string]any{"inputs": map[string]any{"x": [][]float64{{1, 2, 3}, {3, 2, 1}}, "k": []int{4, 5}}}
		a, err := predict(t, question, "--model", model)
		if err != nil {
			t.Fatal(err)
		}
		b, err := predict(t, question, "--model", to)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(b.outputs["action"]), fmt.Sprint(a.outputs["out"]); got != want || !strings.HasPrefix(got, "[[0.119") {
			t.Errorf("the file answers %s, the model %s", got, want)
		}
	}
}
