package format_test

import (
	"os"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotPaths holds the way from a file to its graph.
func TestHotPaths(t *testing.T) {
	for _, k := range []struct{ name, file string }{
		{"format torchscript", "../demo/artifact/model.pt"},
		{"format sb3", "sb3/testdata/ppo_box/model.zip"},
		{"format onnx", "onnx/testdata/gemm.onnx"},
	} {
		data, err := os.ReadFile(k.file)
		if err != nil {
			t.Fatal(err)
		}
		hot.Load(t, k.name, 5, 10_000, func() {
			n, err := format.Decode(k.file, data)
			if err != nil {
				t.Fatal(err)
			}
			g, err := n.Lower(format.LowerOptions{Deterministic: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := graph.Optimize(g); err != nil {
				t.Fatal(err)
			}
		})
	}
}
