package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// wideMLP is a policy of 40 features with a layer of 256 by 256; its action is
// the greatest of the last layer where it chooses.
func wideMLP(t *testing.T, scale float64, width int, chooses bool) string {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	g := graph.New("")
	constant := func(shape ...int) *graph.Value {
		x := make([]float32, graph.Shape(shape).RowElements())
		for i := range x {
			x[i] = float32(r.NormFloat64() * scale)
		}
		return g.Constant("", graph.Float32s(x, shape...))
	}
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 40})
	x = added(t, g, graph.OpRelu, nil, added(t, g, graph.OpLinear, nil, x, constant(width, 40), constant(width)))
	x = added(t, g, graph.OpRelu, nil, added(t, g, graph.OpLinear, nil, x, constant(width, width), constant(width)))
	x = added(t, g, graph.OpLinear, nil, x, constant(5, width), constant(5))
	if chooses {
		x = added(t, g, graph.OpArgmax, graph.Attrs{"axis": 1, "keepdim": false}, x)
	}
	g.Output("action", x)
	return written(t, g)
}

func converted(t *testing.T, c convertCmd) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c.Seed, c.Vectors = 1, 8
	if c.Samples == 0 {
		c.Samples = 64
	}
	if c.Tolerance == 0 {
		c.Tolerance = 0.02
	}
	err := c.Run(stdio{out: &out})
	return out.String(), err
}

func wants(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not said:\n%s", w, text)
		}
	}
}

// TestConvertWeights writes a file and a folder with narrow weights: the error
// is printed, the file is smaller, the card declares the tolerance, and what
// was written verifies and shows its weights.
func TestConvertWeights(t *testing.T) {
	model := wideMLP(t, 0.05, 256, false)
	before, err := os.Stat(model)
	if err != nil {
		t.Fatal(err)
	}
	const weights = 256*256 + 256*40
	for kind, c := range map[string]struct {
		dtype string
		bytes int
		line  string
	}{
		"bf16": {"bf16", 2 * weights, "weights bf16 in 2 dense layers: 75776 weights in 151552 bytes, of float32 303104"},
		"int8": {"i8", weights, "weights int8 in 2 dense layers: 75776 weights in 75776 bytes, of float32 303104"},
	} {
		t.Run(kind, func(t *testing.T) {
			file, folder := filepath.Join(t.TempDir(), "out.onnx"), filepath.Join(t.TempDir(), "out")
			text, err := converted(t, convertCmd{In: model, Out: file, Weights: kind})
			if err != nil {
				t.Fatal(err)
			}
			wants(t, text, c.line, "error   action: at most ", "against float32 on 64 drawn observations; allowed are 0.02 + 0.02·|action|")
			after, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if saved, want := int(before.Size()-after.Size()), 4*weights-c.bytes; saved > want || saved < want-4096 {
				t.Errorf("%d bytes are saved, want %d but for scales and nodes", saved, want)
			}
			if text, err = converted(t, convertCmd{In: model, Out: folder, Weights: kind}); err != nil {
				t.Fatal(err)
			}
			wants(t, text, c.line, "model.onnx", "8 golden vectors were computed")
			card, err := os.ReadFile(filepath.Join(folder, "model_card.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			wants(t, string(card), "atol: 0.02", "rtol: 0.02", "model.onnx: sha256:", "with "+kind+" weights")
			for _, path := range []string{file, folder} {
				var out bytes.Buffer
				if err := (&verifyCmd{Path: path, Rows: 16, Seed: 1}).Run(stdio{out: &out}); err != nil {
					t.Fatal(err)
				}
				wants(t, out.String(), "weights: "+c.dtype+" 75776 in ")
				out.Reset()
				if err := (&inspectCmd{Path: path}).Run(stdio{out: &out}); err != nil {
					t.Fatal(err)
				}
				wants(t, out.String(), "weights        "+c.dtype+" 75776 in ")
				out.Reset()
				if err := (&inspectCmd{Path: path, Stage: "plan"}).Run(stdio{out: &out}); err != nil {
					t.Fatal(err)
				}
				wants(t, out.String(), "256x256 "+kind)
			}
		})
	}
}

// TestConvertWeightsOfACard keeps the golden vectors of a card, which are those
// of float32, and gives them the tolerance.
func TestConvertWeightsOfACard(t *testing.T) {
	dir := t.TempDir()
	wide, narrow := filepath.Join(dir, "wide"), filepath.Join(dir, "narrow")
	if _, err := converted(t, convertCmd{In: wideMLP(t, 0.05, 256, false), Out: wide, Name: "driver"}); err != nil {
		t.Fatal(err)
	}
	text, err := converted(t, convertCmd{In: wide, Out: narrow, Weights: "bf16", Tolerance: 0.03, ModelVersion: "v0.2.0"})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, text, "against float32 on 8 golden vectors and 64 drawn observations")
	read := func(dir string) string {
		data, err := os.ReadFile(filepath.Join(dir, "model_card.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before, after := read(wide), read(narrow)
	wants(t, after, "model_name: driver", "version: v0.2.0", "atol: 0.03", "rtol: 0.03", "model_filename: model.onnx")
	kept := 0
	for line := range strings.Lines(before) {
		if strings.Contains(line, "- observation:") || strings.HasPrefix(line, "      action:") {
			wants(t, after, line)
			kept++
		}
	}
	if kept != 16 {
		t.Errorf("%d lines of golden vectors were found, want 16", kept)
	}
}

// What the weights cost too much is refused, and nothing is written.
func TestConvertWeightsRefused(t *testing.T) {
	mlp, small, choice := wideMLP(t, 0.05, 256, false), wideMLP(t, 0.05, 64, false), wideMLP(t, 0.05, 256, true)
	for name, c := range map[string]struct {
		command convertCmd
		want    string
	}{
		"tolerance":       {convertCmd{In: mlp, Weights: "int8", Tolerance: 1e-6}, "int8 weights do not do what float32 does: action differs by up to "},
		"small":           {convertCmd{In: small, Weights: "bf16"}, "no dense layer has 8192 weights or more"},
		"choices":         {convertCmd{In: choice, Weights: "int8", Tolerance: 1e-4, Samples: 1000}, "action is another choice in "},
		"rows":            {convertCmd{In: mlp, Weights: "bf16", Rows: 2}, "--weights does not go with --rows"},
		"no tolerance":    {convertCmd{In: mlp, Weights: "bf16", Tolerance: -1}, "--tolerance must be above 0"},
		"too few samples": {convertCmd{In: mlp, Weights: "bf16", Samples: -1}, "--samples must be from 1 to 100000"},
	} {
		for _, out := range []string{"out.onnx", "out"} {
			t.Run(name+"/"+out, func(t *testing.T) {
				c.command.Out = filepath.Join(t.TempDir(), out)
				if name == "rows" && out == "out" {
					return // --rows goes with a file alone, and says so
				}
				_, err := converted(t, c.command)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want an error that says %q", err, c.want)
				}
				if left, err := os.ReadDir(filepath.Dir(c.command.Out)); err != nil || len(left) > 0 {
					t.Errorf("%v is left: %v", left, err)
				}
			})
		}
	}
}

// Choices that change are written where that is allowed, without the golden
// vectors that would say otherwise.
func TestConvertWeightsChangedChoices(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	text, err := converted(t, convertCmd{In: wideMLP(t, 0.05, 256, true), Out: out, Weights: "int8", Tolerance: 1e-4, Samples: 1000, AllowChangedChoices: true})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, text, "of 1000 choices are those of float32", "allowed are 0.01 % of drawn choices")
	var verified bytes.Buffer
	if err := (&verifyCmd{Path: out, Rows: 16, Seed: 1}).Run(stdio{out: &verified}); err != nil {
		t.Fatal(err)
	}
	wants(t, verified.String(), "golden vectors: 8")
}
