package plan_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// narrowed is an optimized graph with narrow weights.
func narrowed(t testing.TB, g *graph.Graph, to graph.DType) *graph.Graph {
	t.Helper()
	if err := graph.Optimize(g); err != nil {
		t.Fatal(err)
	}
	if to == graph.Float32 {
		return g
	}
	if layers, _, err := graph.NarrowWeights(g, to); err != nil || layers == 0 {
		t.Fatalf("%d layers: %v", layers, err)
	}
	return g
}

// Narrow plans agree with the reference evaluator, which computes with what
// the weights are widened to, and each row is what it is alone.
func TestNarrowWeights(t *testing.T) {
	for _, to := range []graph.DType{graph.BFloat16, graph.Int8} {
		for i, widths := range [][]int{{100, 100, 90, 3}, {17, 256, 256, 6}, {5, 64, 140, 13}, {300, 33, 2}} {
			act := []graph.Op{graph.OpRelu, graph.OpTanh}[i%2]
			t.Run(fmt.Sprint(to, widths), func(t *testing.T) {
				g := narrowed(t, mlp(t, rand.New(rand.NewPCG(8, uint64(i))), act, widths...), to)
				p, err := plan.Compile(g, plan.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if want := map[graph.DType]string{graph.BFloat16: " bf16", graph.Int8: " int8"}[to]; !strings.Contains(p.Steps(), want) {
					t.Errorf("no step has weights that are%s:\n%s", want, p.Steps())
				}
				agreeOnBatches(t, g, 2e-5, 1, 3, 4, 31, 97)
			})
		}
	}
}

// The steps of a recurrent layer share their narrow weights.
func TestNarrowRecurrent(t *testing.T) {
	for _, to := range []graph.DType{graph.BFloat16, graph.Int8} {
		wide := narrowed(t, buildFamily(t, func(n *net) { n.lstm(64, 64, 4) }), graph.Float32)
		g := narrowed(t, buildFamily(t, func(n *net) { n.lstm(64, 64, 4) }), to)
		agreeOnBatches(t, g, 2e-5, 1, 5)
		p, err := plan.Compile(g, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		q, err := plan.Compile(wide, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		// On arm64 the vector kernels read float32, which narrow weights become.
		if widened := p.ConstantBytes() >= q.ConstantBytes() && runtime.GOARCH == "arm64"; p.ConstantBytes() > q.ConstantBytes()*2/3 && !widened {
			t.Errorf("%v: %d bytes of constants, in float32 %d", to, p.ConstantBytes(), q.ConstantBytes())
		}
	}
}

// Small layers and layers of few outputs stay in float32, even where a file
// holds them narrow.
func TestNarrowIsOnlyWhereItHelps(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	g := mlp(t, r, graph.OpRelu, 64, 64, 12)
	if err := graph.Optimize(g); err != nil {
		t.Fatal(err)
	}
	if layers, _, err := graph.NarrowWeights(g, graph.BFloat16); err != nil || layers != 0 {
		t.Errorf("%d layers were narrowed: %v", layers, err)
	}
	for _, n := range g.Nodes {
		if n.Op == graph.OpLinear {
			q := &graph.Tensor{DType: graph.Int8, Shape: n.In[1].Shape, I64: make([]int64, n.In[1].Const.Len())}
			for i := range q.I64 {
				q.I64[i] = int64(r.IntN(200) - 100)
			}
			w, ok := graph.Dequantized(q, []float32{0.001}, 0)
			if !ok {
				t.Fatal("the matrix is not narrow")
			}
			n.In[1] = g.Constant("q", w)
		}
	}
	agree(t, g, 1e-5)
	p, err := plan.Compile(g, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(p.Steps(), "int8") {
		t.Errorf("a small layer is narrow:\n%s", p.Steps())
	}
}

// What a run takes by the kind of weights: two layers of 256, and a layer as
// behind the convolutions of the Nature network.
func BenchmarkNarrow(b *testing.B) {
	for _, to := range []graph.DType{graph.Float32, graph.BFloat16, graph.Int8} {
		for _, widths := range [][]int{{17, 256, 256, 6}, {3136, 512, 6}} {
			for _, rows := range []int{1, 32, 1000} {
				b.Run(fmt.Sprintf("mlp=%d-%d/batch=%d/%v", widths[0], widths[1], rows, to), func(b *testing.B) {
					r := rand.New(rand.NewPCG(1, 1))
					g := narrowed(b, mlp(b, r, graph.OpRelu, widths...), to)
					benchmarkGraph(b, g, rows)
				})
			}
		}
		for _, rows := range []int{1, 32} {
			b.Run(fmt.Sprintf("lstm=64-256/batch=%d/%v", rows, to), func(b *testing.B) {
				g := narrowed(b, buildFamily(b, func(n *net) { n.lstm(64, 256, 1) }), to)
				benchmarkGraph(b, g, rows)
			})
		}
	}
}

func benchmarkGraph(b *testing.B, g *graph.Graph, rows int) {
	p, err := plan.Compile(g, plan.Options{})
	if err != nil {
		b.Fatal(err)
	}
	_, in := inputsFor(rand.New(rand.NewPCG(2, 2)), g, rows)
	out := outputsFor(g, rows)
	run := p.NewRunner()
	if err := run.Run(rows, in, out, plan.Noise{}); err != nil { // grows the arena
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := run.Run(rows, in, out, plan.Noise{}); err != nil {
			b.Fatal(err)
		}
	}
}
