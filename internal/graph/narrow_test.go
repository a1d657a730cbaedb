package graph_test

import (
	"errors"
	"math"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// dense is a layer with the given weights in its first elements, of a size
// that is worth it.
func dense(t *testing.T, weights ...float32) (*graph.Graph, *graph.Node) {
	t.Helper()
	const outs, ins = 64, 128
	w := make([]float32, outs*ins)
	copy(w, weights)
	g := graph.New("")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, ins})
	y, err := g.Add(graph.OpLinear, nil, x, g.Constant("w", graph.Float32s(w, outs, ins)))
	if err != nil {
		t.Fatal(err)
	}
	g.Output("y", y)
	return g, g.Nodes[0]
}

// To bf16 is to the nearest, half to even: eight bits of the mantissa stay.
func TestNarrowWeightsToBFloat16(t *testing.T) {
	g, n := dense(t, 1, -1.00390625, 1.01171875, 3.1415927, 1e-40, 0)
	if layers, elements, err := graph.NarrowWeights(g, graph.BFloat16); err != nil || layers != 1 || elements != 8192 {
		t.Fatalf("%d layers, %d weights: %v", layers, elements, err)
	}
	w := n.In[1].Const
	for i, want := range []float32{1, -1, 1.015625, 3.140625, 9.1835e-41, 0} {
		if got := w.F32[i]; math.Abs(float64(got-want)) > 1e-42 {
			t.Errorf("weight %d is %v, want %v", i, got, want)
		}
	}
	for i, v := range w.F32 {
		if math.Float32bits(v)<<16 != 0 {
			t.Fatalf("weight %d has more bits than bf16: %v", i, v)
		}
	}
	if w.HeldBytes() != 2*8192 {
		t.Errorf("%d bytes are held", w.HeldBytes())
	}
}

// To int8 is by the largest of each output, whose own error is none.
func TestNarrowWeightsToInt8(t *testing.T) {
	g, n := dense(t, 12.7, -0.05, 0.051, 6.32)
	if _, _, err := graph.NarrowWeights(g, graph.Int8); err != nil {
		t.Fatal(err)
	}
	narrow := n.In[1].Const.AsNarrow()
	if narrow == nil || narrow.Axis != 0 || len(narrow.Scale) != 64 {
		t.Fatalf("got %+v", narrow)
	}
	for i, want := range []int8{127, 0, 1, 63} {
		if narrow.Int8[i] != want {
			t.Errorf("weight %d is %d, want %d", i, narrow.Int8[i], want)
		}
	}
	if s := narrow.Scale[0]; math.Abs(float64(s)-0.1) > 1e-6 || narrow.Scale[1] != 1 {
		t.Errorf("scales %v of the first output, %v of one of zeros", s, narrow.Scale[1])
	}
	for i, q := range narrow.Int8 {
		if got, want := n.In[1].Const.F32[i], float32(q)*narrow.Scale[i/128]; got != want {
			t.Fatalf("weight %d is %v, int8 says %v", i, got, want)
		}
	}
}

func TestNarrowWeightsRefused(t *testing.T) {
	for _, to := range []graph.DType{graph.BFloat16, graph.Int8} {
		for _, w := range []float32{float32(math.NaN()), float32(math.Inf(-1)), math.MaxFloat32} {
			g, n := dense(t, 1, w)
			if _, _, err := graph.NarrowWeights(g, to); !errors.Is(err, graph.ErrDType) {
				t.Errorf("%v to %v: %v", w, to, err)
			}
			if n.In[1].Const.Narrow != nil {
				t.Errorf("%v to %v: the weight was changed", w, to)
			}
		}
	}
	g, _ := dense(t, 1)
	if _, _, err := graph.NarrowWeights(g, graph.Float16); !errors.Is(err, graph.ErrDType) {
		t.Errorf("to f16: %v", err)
	}
}

// A pass that changes a weight leaves no note of what it was.
func TestNarrowIsLostWithItsElements(t *testing.T) {
	g, n := dense(t, 1, 2, 3)
	if _, _, err := graph.NarrowWeights(g, graph.BFloat16); err != nil {
		t.Fatal(err)
	}
	factor, err := g.Add(graph.OpMul, nil, n.Out[0], g.Constant("f", graph.Float32s([]float32{1.1}, 1)))
	if err != nil {
		t.Fatal(err)
	}
	g.Outputs[0].Value = factor
	if err := graph.Optimize(g); err != nil {
		t.Fatal(err)
	}
	for _, n := range g.Nodes {
		if n.Op == graph.OpLinear && n.In[1].Const.F32[0] != 1 && n.In[1].Const.AsNarrow() != nil {
			t.Errorf("the weight is %v and narrow", n.In[1].Const.F32[:3])
		}
	}
}
