package format_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// opsCase is the cases.json of testdata/torch_ops: one module with a method
// for each operation.
type opsCase struct {
	Shapes  map[string][]int `json:"shapes"`
	Batches []map[string]any `json:"batches"`
	Methods map[string]struct {
		Inputs  []string `json:"inputs"`
		Outputs []any    `json:"outputs"`
	} `json:"methods"`
}

// checkOp lowers one method and compares every batch.
func (c *opsCase) checkOp(t *testing.T, n format.Network, name string) error {
	t.Helper()
	m := c.Methods[name]
	shapes := map[string][]int{}
	for _, in := range m.Inputs {
		shapes[in] = append([]int{graph.Batch}, c.Shapes[in]...)
	}
	g, err := n.Lower(format.LowerOptions{Method: name, InputShapes: shapes})
	if err != nil {
		return fmt.Errorf("lower: %w", err)
	}
	for i, batch := range c.Batches {
		inputs := map[string]tensorData{}
		for _, in := range m.Inputs {
			inputs[in] = nestedData(t, batch[in])
		}
		want := map[string]any{"out": m.Outputs[i]}
		if err := compareBatch(g, inputs, want, 1e-5); err != nil {
			return fmt.Errorf("batch %d: %w", i, err)
		}
	}
	return nil
}

// TestOperations holds every operation that the code of an archive may call
// against the answers of PyTorch, scripted and traced, for each version.
func TestOperations(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/torch_ops/*/cases.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus of operations: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var c opsCase
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		names := make([]string, 0, len(c.Methods))
		for name := range c.Methods {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, form := range []string{"script", "trace"} {
			file := filepath.Join(filepath.Dir(path), "ops_"+form+".pt")
			model, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			n, err := format.Decode(file, model)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			for _, name := range names {
				t.Run(filepath.Base(filepath.Dir(path))+"/"+form+"/"+name, func(t *testing.T) {
					if err := c.checkOp(t, n, name); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
