package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// answerCases reads an answers.json: ONNX files of one input each, and what
// the reference evaluator of ONNX made of x. A tensor is [shape, elements].
func answerCases(name string) ([]Case, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var answers map[string]struct {
		X       []any   `json:"x"`
		Outputs [][]any `json:"outputs"`
	}
	if err := json.Unmarshal(data, &answers); err != nil {
		return nil, err
	}
	dir := filepath.Dir(name)
	all := []Case{}
	for _, model := range slices.Sorted(maps.Keys(answers)) {
		a := answers[model]
		shape, err := read(dir, a.X[0])
		if err != nil {
			return nil, err
		}
		x, err := read(dir, a.X[1])
		if err != nil {
			return nil, err
		}
		run := Run{Rows: int(shape.flat[0]), Inputs: map[string][]float64{"x": x.flat}, Outputs: map[string][]float64{}}
		for i, o := range a.Outputs {
			y, err := read(dir, o[1])
			if err != nil {
				return nil, err
			}
			run.Outputs[fmt.Sprintf("out%03d", i)] = y.flat
		}
		all = append(all, Case{
			Name: label(dir, model), Source: Source{Format: "onnx"}, Runs: []Run{run}, Atol: 1e-5, Rtol: 1e-5,
			Graph: func() (*graph.Graph, error) {
				n, err := decode(filepath.Join(dir, model+".onnx"))
				if err != nil {
					return nil, err
				}
				return n.Lower(format.LowerOptions{})
			},
		})
	}
	return all, nil
}
