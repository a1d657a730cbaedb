package graph_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// demo is a small policy: normalise, one hidden layer, squash, sample.
const demo = `graph "demo"
%0 = input "obs" f32[B,2]
%1 = const "mean" f32[2] {1,-1}
%2 = sub(%0,%1) f32[B,2]
%3 = const "hidden.weight" f32[3,2] {0.5,-1,2,0.25,1,1}
%4 = const "hidden.bias" f32[3] {0,0.1,-0.1}
%5 = linear(%2,%3,%4) f32[B,3]
%6 = tanh(%5) f32[B,3]
%7 = const "out.weight" f32[1,3] {1,-2,3}
%8 = linear(%6,%7) f32[B,1]
%9 = normal(%8) stream=0 f32[B,1]
%10 = const "" f32[] {0.5}
%11 = mul(%9,%10) f32[B,1]
%12 = add(%8,%11) f32[B,1]
%13 = clamp(%12) min=-1 max=1 f32[B,1]
output "action" %13
output "mean" %8
`

// Each case breaks a graph that verified.
func TestVerifyRefuses(t *testing.T) {
	f := func(name string, breakIt func(g *graph.Graph), kind error, words string) {
		t.Helper()
		g := parse(t, demo)
		if err := g.Verify(); err != nil {
			t.Fatal(err)
		}
		breakIt(g)
		err := g.Verify()
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %v with %q", name, err, kind, words)
		}
	}
	f("order", func(g *graph.Graph) { g.Nodes[0], g.Nodes[1] = g.Nodes[1], g.Nodes[0] }, graph.ErrInvalid, "used before it is defined")
	f("twice", func(g *graph.Graph) { g.Nodes = append(g.Nodes, g.Nodes[0]) }, graph.ErrInvalid, "defined twice")
	f("same id", func(g *graph.Graph) { g.Nodes[0].Out[0].ID = g.Inputs[0].ID }, graph.ErrInvalid, "defined twice")
	f("result type", func(g *graph.Graph) { g.Nodes[0].Out[0].DType = graph.Float64 }, graph.ErrInvalid, "its spec says f32[B,2]")
	f("result shape", func(g *graph.Graph) { g.Nodes[1].Out[0].Shape = graph.Shape{-1, 4} }, graph.ErrInvalid, "result 0")
	f("result count", func(g *graph.Graph) { g.Nodes[0].Out = nil }, graph.ErrInvalid, "0 results")
	f("result of another", func(g *graph.Graph) { g.Nodes[0].Out[0].Def = g.Nodes[1] }, graph.ErrInvalid, "not defined by its node")
	f("operands", func(g *graph.Graph) { g.Nodes[1].In = g.Nodes[1].In[:1] }, graph.ErrOperands, "linear")
	f("nil operand", func(g *graph.Graph) { g.Nodes[1].In[0] = nil }, graph.ErrInvalid, "no value")
	f("nil node", func(g *graph.Graph) { g.Nodes[1] = nil }, graph.ErrInvalid, "no node")
	f("operator", func(g *graph.Graph) { g.Nodes[2].Op = "tangent" }, graph.ErrUnsupportedOp, "tan")
	f("attribute", func(g *graph.Graph) { g.Nodes[2].Attrs = graph.Attrs{"x": 1} }, graph.ErrAttribute, "tanh")
	f("no attribute", func(g *graph.Graph) { g.Nodes[4].Attrs = nil }, graph.ErrAttribute, "stream is missing")
	f("stream", func(g *graph.Graph) {
		if _, err := g.AddNode(graph.OpNormal, graph.Attrs{"stream": 0}, g.Outputs[0].Value); err != nil {
			t.Fatal(err)
		}
	}, graph.ErrInvalid, "stream 0 is there twice")
	f("input name", func(g *graph.Graph) { g.Inputs[0].Name = "" }, graph.ErrInvalid, "input's name")
	f("input twice", func(g *graph.Graph) { g.Input("obs", graph.Float32, graph.Shape{1}) }, graph.ErrInvalid, `"obs"`)
	f("input shape", func(g *graph.Graph) { g.Inputs[0].Shape = graph.Shape{-1, -1} }, graph.ErrMixesRows, "obs")
	f("input type", func(g *graph.Graph) { g.Inputs[0].DType = graph.Invalid }, graph.ErrInvalid, "obs")
	f("nil input", func(g *graph.Graph) { g.Inputs[0] = nil }, graph.ErrInvalid, "no value")
	f("output name", func(g *graph.Graph) { g.Outputs[1].Name = "action" }, graph.ErrInvalid, `"action"`)
	f("output value", func(g *graph.Graph) { g.Outputs[1].Value = &graph.Value{ID: 99} }, graph.ErrInvalid, "used before")
	f("nil output", func(g *graph.Graph) { g.Outputs[1].Value = nil }, graph.ErrInvalid, `output "mean"`)
	f("constant length", func(g *graph.Graph) { g.Nodes[0].In[1].Const.F32 = []float32{1} }, graph.ErrInvalid, "has 1 elements, its shape has 2")
	f("constant slice", func(g *graph.Graph) { g.Nodes[0].In[1].Const.I64 = []int64{} }, graph.ErrInvalid, "wrong slice")
	f("constant shape", func(g *graph.Graph) { g.Nodes[0].In[1].Shape = graph.Shape{1, 2} }, graph.ErrInvalid, "its data f32[2]")
	f("constant with a maker", func(g *graph.Graph) { g.Nodes[0].In[1].Def = g.Nodes[1] }, graph.ErrInvalid, "made by a node")
	f("too many inputs", func(g *graph.Graph) { g.Inputs = make([]*graph.Value, graph.MaxPorts+1) }, graph.ErrLimit, "inputs")
}

func TestVerifyWantsCanonicalAttributes(t *testing.T) {
	g := graph.New("g")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})
	n, err := g.AddNode(graph.OpSum, graph.Attrs{"axes": []int{-1}}, x)
	if err != nil {
		t.Fatal(err)
	}
	n.Attrs["axes"] = []int{-1}
	if err := g.Verify(); !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), "canonical") {
		t.Errorf("got %v", err)
	}
}

func TestTensorCheck(t *testing.T) {
	good := func(x *graph.Tensor) {
		t.Helper()
		if err := x.Check(); err != nil {
			t.Errorf("%v%v: %v", x.DType, x.Shape, err)
		}
	}
	for dt := graph.Float32; dt <= graph.Bool; dt++ {
		good(tensor(dt, 2, 3))
		good(tensor(dt))
		good(tensor(dt, 0, 3))
	}
	good(&graph.Tensor{DType: graph.BFloat16, Shape: graph.Shape{3}, F32: []float32{0.10009765625, float32(math.NaN()), float32(math.Inf(1))}})
	good(&graph.Tensor{DType: graph.Float16, Shape: graph.Shape{2}, F32: []float32{65504, 0x1p-24}})
	good(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{0}})

	bad := func(x *graph.Tensor, kind error) {
		t.Helper()
		if err := x.Check(); !errors.Is(err, kind) {
			t.Errorf("%+v: got %v, want %v", x, err, kind)
		}
	}
	bad(nil, graph.ErrInvalid)
	bad(&graph.Tensor{}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{-1}, F32: []float32{1}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{1}, F64: []float64{1}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.BFloat16, Shape: graph.Shape{1}, F32: []float32{0.1}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.Float16, Shape: graph.Shape{1}, F32: []float32{65536}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.Float16, Shape: graph.Shape{1}, F32: []float32{0x1.8p-24}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.BFloat16, Shape: graph.Shape{1}, F32: []float32{0x1.8p-133}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.Uint8, Shape: graph.Shape{1}, I64: []int64{256}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.Bool, Shape: graph.Shape{1}, I64: []int64{2}}, graph.ErrInvalid)
	bad(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{1 << 20, 1 << 20}}, graph.ErrLimit)
	bad(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{math.MaxInt}}, graph.ErrLimit)
	bad(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{math.MinInt}}, graph.ErrLimit)
	bad(&graph.Tensor{DType: graph.Float32, Shape: make(graph.Shape, 9)}, graph.ErrLimit)
}

func TestLimitOfNodes(t *testing.T) {
	g := graph.New("g")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch})
	for range graph.MaxNodes {
		if _, err := g.Add(graph.OpRelu, nil, x); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Add(graph.OpRelu, nil, x); !errors.Is(err, graph.ErrLimit) {
		t.Errorf("got %v", err)
	}
	if err := g.Verify(); err != nil {
		t.Error(err)
	}
}

func TestLimitOfOperands(t *testing.T) {
	g := graph.New("g")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 1})
	in := make([]*graph.Value, graph.MaxOperands+1)
	for i := range in {
		in[i] = x
	}
	if _, err := g.Add(graph.OpConcat, graph.Attrs{"axis": 1}, in...); !errors.Is(err, graph.ErrOperands) {
		t.Errorf("got %v", err)
	}
	if _, err := g.Add(graph.OpConcat, graph.Attrs{"axis": 1}, in[1:]...); err != nil {
		t.Error(err)
	}
}

func TestEvaluateRefuses(t *testing.T) {
	g := parse(t, demo)
	f := func(rows int, kind error, in ...*graph.Tensor) {
		t.Helper()
		if _, err := graph.Evaluate(g, rows, in, graph.Noise{}); !errors.Is(err, kind) {
			t.Errorf("%d rows of %v: got %v, want %v", rows, in, err, kind)
		}
	}
	f(1, graph.ErrOperands)
	f(1, graph.ErrShape, tensor(graph.Float32, 2, 2))
	f(2, graph.ErrShape, tensor(graph.Float32, 2, 3))
	f(1, graph.ErrDType, tensor(graph.Float64, 1, 2))
	f(1, graph.ErrInvalid, nil)
	f(-1, graph.ErrLimit, tensor(graph.Float32, 1, 2))
	f(math.MaxInt, graph.ErrLimit, tensor(graph.Float32, 1, 2))
	wide := parse(t, `graph "wide"
%x = input "x" f32[B,1]
%y = expand(%x) shape=[B,200000000]
output "y" %y
`)
	if _, err := graph.Evaluate(wide, 2, []*graph.Tensor{tensor(graph.Float32, 2, 1)}, graph.Noise{}); !errors.Is(err, graph.ErrLimit) {
		t.Errorf("a value of 400 million elements: got %v", err)
	}
}

// Numbers of a graph small enough to compute by hand.
func TestEvaluateDemo(t *testing.T) {
	g := parse(t, demo)
	x := graph.Float32s([]float32{2, 0, 1, -1}, 2, 2)
	out := evaluate(t, g, 2, graph.Noise{Seed: 5}, x)
	for row, z := range [][2]float64{{1, 1}, {0, 0}} {
		h := [3]float64{math.Tanh(0.5*z[0] - z[1]), math.Tanh(2*z[0] + 0.25*z[1] + 0.1), math.Tanh(z[0] + z[1] - 0.1)}
		mean := h[0] - 2*h[1] + 3*h[2]
		if got := out[1].At(row); math.Abs(got-mean) > 1e-6 {
			t.Errorf("row %d: mean %v, want %v", row, got, mean)
		}
		draw := float64(graph.Normal(graph.Noise{Seed: 5}.Key(), 0, uint64(row), 0))
		if want := min(max(mean+0.5*draw, -1), 1); math.Abs(out[0].At(row)-want) > 1e-6 {
			t.Errorf("row %d: action %v, want %v", row, out[0].At(row), want)
		}
	}
	if x.F32[0] != 2 || x.F32[3] != -1 {
		t.Error("the input changed")
	}
	if none := evaluate(t, g, 0, graph.Noise{}, tensor(graph.Float32, 0, 2)); none[0].Len() != 0 {
		t.Errorf("no rows give %d elements", none[0].Len())
	}
}
