package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestInspectNamesTheFileOfAFolder has a model in a folder that takes more
// memory than a row may.
func TestInspectNamesTheFileOfAFolder(t *testing.T) {
	g := graph.New("")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 1})
	wide := added(t, g, graph.OpExpand, graph.Attrs{"shape": []int{graph.Batch, 1 << 25}}, x)
	g.Output("out", added(t, g, graph.OpCumsum, graph.Attrs{"axis": 1}, wide))
	data, err := os.ReadFile(written(t, g))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	model := filepath.Join(dir, "model.onnx")
	if err := os.WriteFile(model, data, 0o600); err != nil {
		t.Fatal(err)
	}
	err = (&inspectCmd{Path: dir}).Run(stdio{out: &bytes.Buffer{}})
	if err == nil || !strings.HasPrefix(err.Error(), model+": ") || !strings.Contains(err.Error(), "limit exceeded") {
		t.Errorf("inspect of a folder says %v", err)
	}
}
