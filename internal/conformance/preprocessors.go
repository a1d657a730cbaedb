package conformance

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// preprocessorFile is the cases.json beside the files of one preprocessor.
type preprocessorFile struct {
	Source string            `json:"source"`
	Files  map[string]string `json:"files"`
	Input  any               `json:"input"`
	Expect any               `json:"expect"`
	// Rounded is the answer to the input rounded to float32, as observations
	// are.
	Rounded any `json:"expect_float32_input"`
	// Of an observation of parts there is a tensor for each key.
	InputByKey  map[string]any `json:"input_by_key"`
	ExpectByKey map[string]any `json:"expect_by_key"`
	Keys        []string       `json:"keys"` // that the preprocessor changes
}

func preprocessorCases(dir string, data []byte) ([]Case, error) {
	var f preprocessorFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f.InputByKey != nil && len(f.Keys) == 0 {
		return []Case{}, nil // changes nothing
	}
	run, width, err := f.run(dir)
	if err != nil {
		return nil, err
	}
	producer, _, _ := strings.Cut(strings.Replace(f.Source, " numpy", ", NumPy", 1), ", ")
	all := []Case{}
	for _, form := range slices.Sorted(maps.Keys(f.Files)) {
		all = append(all, Case{
			Name: label(dir, form), Source: Source{"preprocessor", producer}, Atol: 1e-5, Rtol: 1e-5,
			Runs: []Run{run},
			Graph: func() (*graph.Graph, error) {
				b, err := os.ReadFile(filepath.Join(dir, f.Files[form]))
				if err != nil {
					return nil, err
				}
				p, err := preprocess.Decode(b)
				if err != nil {
					return nil, err
				}
				return p.Graph(width)
			},
		})
	}
	return all, nil
}

// run reads the recorded rows, and how wide they are.
func (f *preprocessorFile) run(dir string) (run Run, width int, err error) {
	if f.Rounded == nil {
		f.Rounded = f.Expect
	}
	in, out := map[string]any{"x": f.Input}, map[string]any{"out": f.Rounded}
	if f.InputByKey != nil {
		in, out = f.InputByKey, f.ExpectByKey
	}
	if run.Inputs, err = flat(dir, in); err != nil {
		return run, 0, err
	}
	if run.Outputs, err = flat(dir, out); err != nil {
		return run, 0, err
	}
	for name, v := range in {
		run.Rows = len(v.([]any))
		width = len(run.Inputs[name]) / run.Rows
		if f.InputByKey != nil && !slices.Contains(f.Keys, name) {
			delete(run.Outputs, name) // goes through as it is
		}
	}
	return run, width, nil
}
