package architecture

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestRecognizeAtoms refuses tensors of atoms and heads of shapes that no
// distributional critic has, though all names are there.
func TestRecognizeAtoms(t *testing.T) {
	f := func(want bool, atoms, head graph.Shape) {
		t.Helper()
		for _, pixels := range []bool{false, true} {
			shapes := map[string]graph.Shape{"atoms": atoms, "network.0.weight": {9, 4}, "network.2.weight": {8, 9}, "network.4.weight": head}
			if pixels {
				shapes = map[string]graph.Shape{
					"atoms": atoms, "network.0.weight": {32, 4, 8, 8}, "network.2.weight": {64, 32, 4, 4}, "network.4.weight": {64, 64, 3, 3},
					"network.7.weight": {8, 3136}, "network.9.weight": head,
				}
			} else {
				for _, i := range []string{"0", "2", "4"} {
					shapes["network."+i+".bias"] = graph.Shape{1}
				}
			}
			var all torch.StateDict
			for name, s := range shapes {
				all = append(all, torch.NamedTensor{Name: "model_weights." + name, Tensor: &graph.Tensor{DType: graph.Float32, Shape: s}})
			}
			if got := Recognize(all) != nil; got != want {
				t.Errorf("atoms %v, head %v, pixels %v: recognized %v", atoms, head, pixels, got)
			}
		}
	}
	f(true, graph.Shape{5}, graph.Shape{10, 8})
	f(false, graph.Shape{0}, graph.Shape{10, 8})
	f(false, graph.Shape{}, graph.Shape{10, 8})
	f(false, graph.Shape{3}, graph.Shape{10, 8})
	f(false, graph.Shape{11}, graph.Shape{10, 8})
	f(false, graph.Shape{5}, graph.Shape{})
}
