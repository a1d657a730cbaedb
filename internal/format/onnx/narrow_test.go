package onnx

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// narrowGraph is two dense layers, one of which is worth it, and one that is
// applied to a sequence.
func narrowGraph(t *testing.T, to graph.DType) *graph.Graph {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	random := func(shape ...int) *graph.Tensor {
		x := make([]float32, graph.Shape(shape).RowElements())
		for i := range x {
			x[i] = float32(r.NormFloat64() / 10)
		}
		return graph.Float32s(x, shape...)
	}
	g := graph.New("narrow")
	add := func(op graph.Op, attrs graph.Attrs, in ...*graph.Value) *graph.Value {
		v, err := g.Add(op, attrs, in...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 3, 100})
	w := g.Constant("w", random(100, 100))
	y := add(graph.OpTanh, nil, add(graph.OpLinear, nil, x, w, g.Constant("b", random(100)))) // MatMul
	y = add(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, 300}}, y)
	y = add(graph.OpRelu, nil, add(graph.OpLinear, nil, y, g.Constant("v", random(90, 300)), g.Constant("c", random(90)))) // Gemm
	y = add(graph.OpLinear, nil, y, g.Constant("u", random(3, 90)))
	g.Output("y", y)
	if to != graph.Float32 {
		layers, elements, err := graph.NarrowWeights(g, to)
		if err != nil || layers != 2 || elements != 37000 {
			t.Fatalf("%d layers of %d weights: %v", layers, elements, err)
		}
	}
	return g
}

// What is narrow is written so, read so, and computes the same.
func TestNarrowRoundTrip(t *testing.T) {
	wide, err := Encode(narrowGraph(t, graph.Float32), EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for to, bytes := range map[graph.DType]int{graph.BFloat16: 2, graph.Int8: 1} {
		t.Run(to.String(), func(t *testing.T) {
			g := narrowGraph(t, to)
			data, err := Encode(g, EncodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if saved, want := len(wide)-len(data), 37000*(4-bytes); saved < want-2000 || saved > want {
				t.Errorf("%d bytes are saved, %d at most were expected", saved, want)
			}
			m, err := Decode(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			back, err := m.Lower(Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := graph.Optimize(back); err != nil {
				t.Fatal(err)
			}
			seen := 0
			for _, n := range back.Nodes {
				if n.Op != graph.OpLinear || n.In[1].Const.Len() < graph.NarrowLeast {
					continue
				}
				seen++
				if narrow := n.In[1].Const.AsNarrow(); narrow == nil || narrow.DType != to || to == graph.Int8 && narrow.Axis != 0 {
					t.Errorf("a weight %v came back as %+v", n.In[1].Shape, narrow)
				}
			}
			if seen != 2 {
				t.Errorf("%d large layers came back:\n%v", seen, back)
			}
			again, err := Encode(g, EncodeOptions{})
			if err != nil || string(again) != string(data) {
				t.Errorf("the same graph gives other bytes: %v", err)
			}
			x := graph.Float32s(make([]float32, 2*300), 2, 3, 100)
			for i := range x.F32 {
				x.F32[i] = float32(math.Sin(float64(i)))
			}
			got, want := evaluate(t, back, x), evaluate(t, g, x)
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-6 {
					t.Errorf("number %d is %v, was %v", i, got[i], want[i])
				}
			}
		})
	}
}

func evaluate(t *testing.T, g *graph.Graph, x *graph.Tensor) []float64 {
	t.Helper()
	outs, err := graph.Evaluate(g, x.Shape[0], []*graph.Tensor{x}, graph.Noise{})
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float64, outs[0].Len())
	for i := range y {
		y[i] = outs[0].At(i)
	}
	return y
}

// dequantized is x·Wᵀ with W = (q - zero)·scale as a node makes it.
type dequantized struct {
	q           *graph.Tensor
	scale, zero *graph.Tensor
	axis        int
	swapped     bool // the weight is [in,out], for MatMul
}

func (d dequantized) model() []byte {
	e := &encoder{g: graph.New("m"), shared: &encoded{tensors: []NamedTensor{{"q", d.q}, {"s", d.scale}}}}
	in := []string{"q", "s"}
	if d.zero != nil {
		e.shared.tensors = append(e.shared.tensors, NamedTensor{"z", d.zero})
		in = append(in, "z")
	}
	e.nodes = []encodedNode{{"DequantizeLinear", in, []string{"w"}, []encodedAttr{{"axis", d.axis}}}}
	ins, outs := d.q.Shape[1], d.q.Shape[0]
	if d.swapped {
		ins, outs = outs, ins
		e.nodes = append(e.nodes, encodedNode{"MatMul", []string{"x", "w"}, []string{"y"}, nil})
	} else {
		e.nodes = append(e.nodes, encodedNode{"Gemm", []string{"x", "w"}, []string{"y"}, []encodedAttr{{"transB", 1}}})
	}
	e.inputs = []encodedPort{{"x", graph.Float32, graph.Shape{graph.Batch, ins}}}
	e.outs = []encodedPort{{"y", graph.Float32, graph.Shape{graph.Batch, outs}}}
	data, err := e.model(nil)
	if err != nil {
		panic(err)
	}
	return data
}

// want is the definition of the operators.
func (d dequantized) want(x []float32) []float64 {
	rows, cols := d.q.Shape[0], d.q.Shape[1]
	weight := func(r, c int) float64 {
		at := [2]int{r, c}[d.axis&1]
		if d.scale.Len() == 1 {
			at = 0
		}
		zero := int64(0)
		if d.zero != nil {
			zero = int64(d.zero.At(at))
		}
		return float64(float32(d.q.I64[r*cols+c]-zero) * d.scale.F32[at])
	}
	var y []float64
	if d.swapped {
		for c := range cols {
			s := 0.0
			for r := range rows {
				s += float64(x[r]) * weight(r, c)
			}
			y = append(y, s)
		}
		return y
	}
	for r := range rows {
		s := 0.0
		for c := range cols {
			s += float64(x[c]) * weight(r, c)
		}
		y = append(y, s)
	}
	return y
}

// Whatever scales and zero points a file has, the numbers are those of the
// operators' definition, narrow or not, or the file is refused.
func TestDequantized(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const outs, ins = 90, 100
	q := func(shape ...int) *graph.Tensor {
		x := &graph.Tensor{DType: graph.Int8, Shape: shape, I64: make([]int64, shape[0]*shape[1])}
		for i := range x.I64 {
			x.I64[i] = int64(r.IntN(256) - 128)
		}
		return x
	}
	ints := func(n int, f func(i int) int64) *graph.Tensor {
		x := &graph.Tensor{DType: graph.Int8, Shape: graph.Shape{n}, I64: make([]int64, n)}
		for i := range x.I64 {
			x.I64[i] = f(i)
		}
		return x
	}
	scales := func(n int, f func(i int) float32) *graph.Tensor {
		x := make([]float32, n)
		for i := range x {
			x[i] = f(i)
		}
		return graph.Float32s(x, n)
	}
	usual := func(i int) float32 { return 0.01 + float32(i)/1e4 }
	odd := func(v float32) func(i int) float32 {
		return func(i int) float32 {
			if i == 7 {
				return v
			}
			return usual(i)
		}
	}
	none := func(int) int64 { return 0 }
	for name, c := range map[string]struct {
		d       dequantized
		narrow  bool
		refused string
	}{
		"by output":                   {dequantized{q(outs, ins), scales(outs, usual), nil, 0, false}, true, ""},
		"by output, zeros of 0":       {dequantized{q(outs, ins), scales(outs, usual), ints(outs, none), 0, false}, true, ""},
		"by output from the end":      {dequantized{q(outs, ins), scales(outs, usual), nil, -2, false}, true, ""},
		"one scale":                   {dequantized{q(outs, ins), graph.Float32s([]float32{0.02}), nil, 1, false}, true, ""},
		"one scale, by output":        {dequantized{q(outs, ins), graph.Float32s([]float32{0.02}), nil, 0, false}, true, ""},
		"one scale, turned":           {dequantized{q(ins, outs), graph.Float32s([]float32{0.02}), nil, 0, true}, true, ""},
		"by output, turned":           {dequantized{q(ins, outs), scales(outs, usual), nil, 1, true}, true, ""},
		"by input":                    {dequantized{q(outs, ins), scales(ins, usual), nil, 1, false}, false, ""},
		"by input, turned":            {dequantized{q(ins, outs), scales(ins, usual), nil, 0, true}, false, ""},
		"zero points":                 {dequantized{q(outs, ins), scales(outs, usual), ints(outs, func(i int) int64 { return int64(i%3 - 1) }), 0, false}, false, ""},
		"zero points of floats":       {dequantized{q(outs, ins), scales(outs, usual), scales(outs, func(i int) float32 { return float32(i % 3) }), 0, false}, false, ""},
		"a scale of 0":                {dequantized{q(outs, ins), scales(outs, odd(0)), nil, 0, false}, false, ""},
		"a negative scale":            {dequantized{q(outs, ins), scales(outs, odd(-0.02)), nil, 0, false}, false, ""},
		"a scale that is NaN":         {dequantized{q(outs, ins), scales(outs, odd(float32(math.NaN()))), nil, 0, false}, false, ""},
		"a scale that is infinite":    {dequantized{q(outs, ins), scales(outs, odd(float32(math.Inf(1)))), nil, 0, false}, false, ""},
		"a scale next to 0":           {dequantized{q(outs, ins), scales(outs, odd(1e-42)), nil, 0, false}, false, ""},
		"a scale next to the largest": {dequantized{q(outs, ins), scales(outs, odd(3e38)), nil, 0, false}, false, ""},
		"too few scales":              {dequantized{q(outs, ins), scales(outs-1, usual), nil, 0, false}, false, "a scale of [89] for [90,100]"},
		"an axis that is not there":   {dequantized{q(outs, ins), scales(outs, usual), nil, 2, false}, false, "axis"},
		"too few zero points":         {dequantized{q(outs, ins), scales(outs, usual), ints(outs-1, none), 0, false}, false, "a scale of [89] for [90,100]"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Decode(c.d.model(), nil)
			if err != nil {
				t.Fatal(err)
			}
			g, err := m.Lower(Options{})
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v, want an error that says %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := graph.Optimize(g); err != nil {
				t.Fatal(err)
			}
			narrow := false
			for _, n := range g.Nodes {
				for _, v := range n.In {
					if v.Const != nil {
						_, rows := v.Const.RowScales()
						narrow = narrow || rows
					}
				}
			}
			if narrow != c.narrow {
				t.Errorf("narrow is %v, want %v:\n%v", narrow, c.narrow, g)
			}
			x := make([]float32, g.Inputs[0].Shape[1])
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			got, want := evaluate(t, g, graph.Float32s(x, 1, len(x))), c.d.want(x)
			for i, w := range want {
				same := got[i] == w || math.IsNaN(got[i]) && math.IsNaN(w) || math.Abs(w) > math.MaxFloat32 && math.Abs(got[i]) > math.MaxFloat32
				if !same && !(math.Abs(got[i]-w) <= 1e-5*(1+math.Abs(w))) {
					t.Errorf("number %d is %v, want %v", i, got[i], w)
				}
			}
		})
	}
}

// A file that dequantizes one matrix again and again does not grow in memory
// by a matrix each.
func TestDequantizedOnce(t *testing.T) {
	const n = 200
	q := &graph.Tensor{DType: graph.Int8, Shape: graph.Shape{n, n}, I64: make([]int64, n*n)}
	scale := graph.Float32s(make([]float32, n), n)
	for i := range scale.F32 {
		scale.F32[i] = 1
	}
	e := &encoder{g: graph.New("m"), shared: &encoded{tensors: []NamedTensor{{"q", q}, {"s", scale}}}}
	last := "x"
	for i := range 50 {
		w, y := fmt.Sprint("w", i), fmt.Sprint("y", i)
		e.nodes = append(e.nodes, encodedNode{"DequantizeLinear", []string{"q", "s"}, []string{w}, []encodedAttr{{"axis", 0}}},
			encodedNode{"Gemm", []string{last, w}, []string{y}, []encodedAttr{{"transB", 1}}})
		last = y
	}
	e.inputs = []encodedPort{{"x", graph.Float32, graph.Shape{graph.Batch, n}}}
	e.outs = []encodedPort{{last, graph.Float32, graph.Shape{graph.Batch, n}}}
	data, err := e.model(nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.Lower(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s := g.Stats(); s.Parameters != n*n {
		t.Errorf("%d parameters, one matrix has %d", s.Parameters, n*n)
	}
}
