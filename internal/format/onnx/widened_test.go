package onnx_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestWidened runs models that were made for one row on three, and row by row:
// the answers are the same.
func TestWidened(t *testing.T) {
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Log("CARLA_RL_CORPUS is not set: 3 models were not run")
		return
	}
	for _, name := range []string{"mlp_hetero", "mlp_beta", "gru2_gaussian"} {
		t.Run(name, func(t *testing.T) {
			m, err := decode(filepath.Join(root, "rsl_rl", name, "policy.onnx"))
			if err != nil {
				t.Fatal(err)
			}
			g, err := m.Lower(onnx.Options{})
			if err != nil {
				t.Fatal(err)
			}
			shapes := map[string][]int{}
			for _, in := range g.Inputs {
				shapes[in.Name] = in.Shape
			}
			if told, err := m.Lower(onnx.Options{InputShapes: shapes}); err != nil || told.String() != g.String() {
				t.Errorf("the same shapes said by the caller: %v, or another graph", err)
			}
			const rows = 3
			// Value e of row r is that of both runs, wherever its axis lies.
			value := func(r, e int) float32 { return float32(math.Sin(float64(7*r + 3*e))) }
			run := func(first, n int) []*graph.Tensor {
				var args []*graph.Tensor
				for _, in := range g.Inputs {
					shape := in.Shape.For(n)
					x := graph.Float32s(make([]float32, shape.RowElements()), shape...)
					inner := in.Shape[in.Shape.BatchAxis()+1:].RowElements()
					for i := range x.F32 {
						r, e := i/inner%n, i/inner/n*inner+i%inner
						x.F32[i] = value(first+r, e)
					}
					args = append(args, x)
				}
				outs, err := graph.Evaluate(g, n, args, graph.Noise{})
				if err != nil {
					t.Fatal(err)
				}
				return outs
			}
			together := run(0, rows)
			for r := range rows {
				for k, one := range run(r, 1) {
					shape := g.Outputs[k].Value.Shape
					inner := shape[shape.BatchAxis()+1:].RowElements()
					for i := range one.F32 {
						at := (i/inner*rows+r)*inner + i%inner
						if got, want := together[k].F32[at], one.F32[i]; got != want {
							t.Fatalf("row %d: output %d: element %d is %v, alone %v", r, k, i, got, want)
						}
					}
				}
			}
		})
	}
}
