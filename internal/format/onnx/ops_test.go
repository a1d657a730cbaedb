package onnx_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// answer is what ONNX's reference evaluator made of x.
type answer struct {
	X       array   `json:"x"`
	Outputs []array `json:"outputs"`
}

// array is a shape and the elements.
type array struct {
	Shape []int
	Data  []float64
}

// UnmarshalJSON reads [shape, elements].
func (a *array) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&a.Shape, &a.Data})
}

// TestOperators holds the lowering of each operator against the answers of
// ONNX's reference evaluator.
func TestOperators(t *testing.T) {
	data, err := os.ReadFile("testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string]answer
	if err := json.Unmarshal(data, &answers); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("testdata/*.onnx")
	if err != nil || len(paths) != len(answers) {
		t.Fatalf("%d files for %d answers: %v", len(paths), len(answers), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".onnx")
		t.Run(name, func(t *testing.T) {
			want := answers[name]
			m, err := decode(path)
			if err != nil {
				t.Fatal(err)
			}
			g, err := m.Lower(onnx.Options{})
			if err != nil {
				t.Fatal(err)
			}
			outs, err := graph.Evaluate(g, want.X.Shape[0], []*graph.Tensor{tensor(g.Inputs[0].DType, want.X.Shape, want.X.Data)}, graph.Noise{})
			if err != nil {
				t.Fatal(err)
			}
			for k, got := range outs {
				w := want.Outputs[k]
				if !got.Shape.Equal(w.Shape) {
					t.Errorf("output %s is %v, want %v", m.Outputs[k], got.Shape, w.Shape)
					continue
				}
				for i, x := range w.Data {
					if d := math.Abs(got.At(i) - x); !(d <= 1e-5+1e-5*math.Abs(x)) {
						t.Errorf("output %s: element %d is %v, want %v", m.Outputs[k], i, got.At(i), x)
						break
					}
				}
			}
		})
	}
}
