package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// softmaxONNX writes a model that gives the softmax of what a mask leaves, NaN
// where it hides all, as the attention of torch does.
func softmaxONNX(t *testing.T) string {
	t.Helper()
	g := graph.New("")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 4})
	pad := g.Input("pad", graph.Bool, graph.Shape{graph.Batch, 4})
	kept := added(t, g, graph.OpWhere, nil, pad, g.Constant("", graph.Float32s([]float32{float32(math.Inf(-1))}, 1)), x)
	g.Output("out", added(t, g, graph.OpSoftmax, graph.Attrs{"axis": 1}, kept))
	return written(t, g)
}

func added(t *testing.T, g *graph.Graph, op graph.Op, attrs graph.Attrs, in ...*graph.Value) *graph.Value {
	t.Helper()
	v, err := g.Add(op, attrs, in...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func written(t *testing.T, g *graph.Graph) string {
	t.Helper()
	data, err := onnx.Encode(g, onnx.EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return fileOf(t, "model.onnx", string(data))
}

func fileOf(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestMaskedAttentionIsConvertedAndVerified draws masks that leave something.
func TestMaskedAttentionIsConvertedAndVerified(t *testing.T) {
	model := softmaxONNX(t)
	var out bytes.Buffer
	verify := func(c verifyCmd) string {
		t.Helper()
		out.Reset()
		c.Path, c.Rows, c.Seed = model, 64, 1
		if err := c.Run(stdio{out: &out}); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	if got := verify(verifyCmd{}); !strings.Contains(got, "256 values") || strings.Contains(got, "left out") {
		t.Errorf("verify says %s", got)
	}
	rows := fileOf(t, "rows.json", `[{"x":[1,2,3,4],"pad":[false,true,false,true]}]`)
	if got := verify(verifyCmd{Observations: rows}); !strings.Contains(got, "1 observations") {
		t.Errorf("verify of given rows says %s", got)
	}
	wrong := fileOf(t, "rows.json", `[{"x":[1,2,3,true],"pad":[0,1,0,1]}]`)
	if err := (&verifyCmd{Path: model, Rows: 1, Observations: wrong}).Run(stdio{out: &out}); err == nil || !strings.Contains(err.Error(), "x: expected 4 numbers") {
		t.Errorf("true in the place of a number: %v", err)
	}
	c := convertCmd{In: model, Out: filepath.Join(t.TempDir(), "out.onnx"), Vectors: 8, Seed: 1}
	if err := c.Run(stdio{out: &out}); err != nil {
		t.Error(err)
	}
	c.Out = filepath.Join(t.TempDir(), "artifact")
	if err := c.Run(stdio{out: &out}); err != nil {
		t.Error(err)
	}
}

// TestVerifyTakesTheRowsThatAreGiven has a network that no drawn observation
// suits.
func TestVerifyTakesTheRowsThatAreGiven(t *testing.T) {
	g := graph.New("")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})
	far := added(t, g, graph.OpSub, nil, x, g.Constant("", graph.Float32s([]float32{1000}, 1)))
	g.Output("out", added(t, g, graph.OpSqrt, nil, far))
	c := verifyCmd{Path: written(t, g), Rows: 8, Seed: 1, Observations: fileOf(t, "rows.json", "[[1001,1004]]")}
	var out bytes.Buffer
	if err := c.Run(stdio{out: &out}); err != nil || !strings.Contains(out.String(), "1 observations") {
		t.Errorf("%v, %s", err, out.String())
	}
	c.Observations = fileOf(t, "rows.json", "[[1,4]]")
	if err := c.Run(stdio{out: &out}); err == nil || strings.Contains(err.Error(), "drawn") {
		t.Errorf("a row without a usable action: %v", err)
	}
	to := convertCmd{In: c.Path, Out: filepath.Join(t.TempDir(), "out.onnx")}
	if err := to.Run(stdio{out: &out}); err == nil || !strings.Contains(err.Error(), "drawn") {
		t.Errorf("convert of a network without a usable action: %v", err)
	}
}
