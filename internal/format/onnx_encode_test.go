package format_test

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestEncodedONNX writes every network of the corpus that can be lowered as an
// ONNX model, reads it back and holds both to the same numbers.
func TestEncodedONNX(t *testing.T) {
	roots := []string{"../../testdata/torch", "../../testdata/torch_ops", "../../testdata/modules", "sb3/testdata", "onnx/testdata"}
	if root := os.Getenv("CARLA_RL_CORPUS"); root == "" {
		t.Log("CARLA_RL_CORPUS is not set: its networks were not written as ONNX")
	} else {
		for _, dir := range []string{"torch", "rsl_rl", "sb3_gen", "sb3_real"} {
			roots = append(roots, filepath.Join(root, dir))
		}
	}
	for _, root := range roots {
		t.Run(filepath.Base(root), func(t *testing.T) {
			compared := 0
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				switch filepath.Ext(path) {
				case ".pt", ".pt2", ".pth", ".onnx", ".zip":
				default:
					return nil
				}
				for _, g := range lowered(path) {
					if err := encodes(g); err != nil {
						t.Errorf("%s: %v", path, err)
					}
					compared++
				}
				return nil
			})
			if err != nil || compared == 0 {
				t.Errorf("%d networks: %v", compared, err)
			}
		})
	}
}

// lowered are the graphs of a file, none where it needs more than the file.
func lowered(path string) []*graph.Graph {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	n, err := format.DecodeBeside(path, data, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(filepath.Dir(path), name)) })
	if err != nil {
		return nil
	}
	var graphs []*graph.Graph
	for _, m := range n.Describe().Methods {
		for _, det := range []bool{true, false} {
			g, err := n.Lower(format.LowerOptions{Method: m, Deterministic: det})
			if err != nil {
				g, err = n.Lower(format.LowerOptions{Method: m, Deterministic: det, Rows: 1})
			}
			if err == nil {
				graphs = append(graphs, g)
			}
		}
	}
	return graphs
}

// encodes writes a graph, reads it and compares what both compute of the same
// inputs and draws.
func encodes(g *graph.Graph) error {
	data, err := onnx.Encode(g, onnx.EncodeOptions{Producer: "test", Noise: true})
	if err != nil {
		return err
	}
	m, err := onnx.Decode(data, nil)
	if err != nil {
		return err
	}
	rows := 2
	if !g.Batched() {
		rows = 1
	}
	back, err := m.Lower(onnx.Options{})
	if err != nil {
		return err
	}
	args := make([]*graph.Tensor, len(g.Inputs))
	byName := map[string]*graph.Tensor{}
	for i, in := range g.Inputs {
		args[i] = sample(in, rows, i)
		byName[in.Name] = args[i]
	}
	if len(back.States) != len(g.States) {
		return fmt.Errorf("%d states of %d", len(back.States), len(g.States))
	}
	noise := graph.Noise{Seed: 5, Step: 9}
	want, err := graph.Evaluate(g, rows, args, noise)
	if err != nil {
		return err
	}
	var backArgs []*graph.Tensor // states are the last of them
	for _, in := range back.Inputs {
		x, ok := byName[in.Name]
		if !ok {
			var stream int
			if _, err := fmt.Sscanf(in.Name, "noise_%d", &stream); err != nil {
				return fmt.Errorf("a new input %s", in.Name)
			}
			x = draws(in, rows, stream, noise)
		}
		backArgs = append(backArgs, x)
	}
	got, err := graph.Evaluate(back, rows, backArgs, graph.Noise{})
	if err != nil {
		return err
	}
	names := onnx.OutputNames(g)
	for k, o := range back.Outputs {
		i := slices.Index(names, o.Name)
		if i < 0 {
			return fmt.Errorf("a new output %s", o.Name)
		}
		if err := agree(got[k], want[i]); err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
	}
	return nil
}

// sample is an operand that differs between inputs and elements.
func sample(in *graph.Value, rows, k int) *graph.Tensor {
	t := &graph.Tensor{DType: in.DType, Shape: in.Shape.For(rows)}
	for i := range t.Shape.RowElements() {
		x := math.Sin(float64(i*7+k*13)*0.61 + 0.3)
		switch {
		case in.DType == graph.Float64:
			t.F64 = append(t.F64, x)
		case in.DType.IsFloat():
			t.F32 = append(t.F32, float32(math.Round(x*64)/64)) // exact in half precision
		default:
			t.I64 = append(t.I64, int64(i+k)%2)
		}
	}
	return t
}

func draws(in *graph.Value, rows, stream int, noise graph.Noise) *graph.Tensor {
	t := graph.Float32s(nil, in.Shape.For(rows)...)
	n := t.Shape.RowElements()
	each := n
	if !in.Shape.Fixed() {
		each = n / rows
	}
	for i := range n {
		t.F32 = append(t.F32, graph.Normal(noise.Key(), uint32(stream), uint64(i/each), uint32(i%each)))
	}
	return t
}

// agree allows the roundings of an operator that is written as several.
func agree(got, want *graph.Tensor) error {
	if got.DType != want.DType || !got.Shape.Equal(want.Shape) {
		return fmt.Errorf("%v%v, want %v%v", got.DType, got.Shape, want.DType, want.Shape)
	}
	atol := 1e-6
	if b := want.DType.Bytes(); b < 4 {
		atol = 2e-2
	}
	for i := range want.Len() {
		g, w := got.At(i), want.At(i)
		if g == w || math.IsNaN(g) && math.IsNaN(w) || math.Abs(g-w) <= atol+1e-5*math.Abs(w) {
			continue
		}
		return fmt.Errorf("element %d is %v, want %v", i, g, w)
	}
	return nil
}
