package conformance

import (
	"maps"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// operationFile is the cases.json of testdata/torch_ops: one module with a
// method for each operation of PyTorch.
type operationFile struct {
	Torch   string           `json:"torch"`
	Shapes  map[string][]int `json:"shapes"`
	Batches []map[string]any `json:"batches"`
	Methods map[string]struct {
		Inputs  []string `json:"inputs"`
		Outputs []any    `json:"outputs"`
	} `json:"methods"`
}

// wholeInput is the input of integers of the operations.
const wholeInput = "at"

func operationCases(dir string, data []byte) ([]Case, error) {
	var f operationFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	all := []Case{}
	for _, form := range []string{"script", "trace"} {
		n, err := decode(filepath.Join(dir, "ops_"+form+".pt"))
		if err != nil {
			return nil, err
		}
		for _, method := range slices.Sorted(maps.Keys(f.Methods)) {
			m := f.Methods[method]
			shapes := map[string][]int{}
			for _, in := range m.Inputs {
				shapes[in] = append([]int{graph.Batch}, f.Shapes[in]...)
			}
			types := map[string]graph.DType{}
			c := Case{
				Name: label(dir, form, method), Source: Source{"torchscript", "PyTorch " + f.Torch}, Atol: 1e-5, Rtol: 1e-5,
				Graph: func() (*graph.Graph, error) {
					o := format.LowerOptions{Method: method, InputShapes: shapes, InputTypes: types}
					g, err := n.Lower(o)
					if err != nil {
						o.Rows = 1
						if one, again := n.Lower(o); again == nil {
							return one, nil
						}
					}
					return g, err
				},
			}
			for i, batch := range f.Batches {
				run := Run{Inputs: map[string][]float64{}}
				for _, in := range m.Inputs {
					d, err := read(dir, batch[in])
					if err != nil {
						return nil, err
					}
					run.Rows, run.Inputs[in] = d.shape[0], d.flat
					if in == wholeInput {
						types[in] = graph.Int64 // which not every file tells
					}
				}
				want, err := read(dir, m.Outputs[i])
				if err != nil {
					return nil, err
				}
				run.Outputs = map[string][]float64{"out": want.flat}
				c.Runs = append(c.Runs, run)
			}
			all = append(all, c)
		}
	}
	return all, nil
}
