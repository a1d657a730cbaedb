package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// benchmarkMLP runs a whole policy, preprocessing and clip included.
func benchmarkMLP(b *testing.B, act graph.Op, o plan.Options, widths ...int) {
	for _, rows := range []int{1, 32, 1000} {
		b.Run(fmt.Sprintf("batch=%d", rows), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			g := mlp(b, r, act, widths...)
			if err := graph.Optimize(g); err != nil {
				b.Fatal(err)
			}
			p, err := plan.Compile(g, o)
			if err != nil {
				b.Fatal(err)
			}
			in := [][]float32{randomTensor(r, 1, rows, widths[0]).F32}
			out := [][]float32{make([]float32, rows*widths[len(widths)-1])}
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
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
}

// The policy of the guide: five features, two layers of 64, three actions.
func BenchmarkDrivingMLP(b *testing.B) {
	benchmarkMLP(b, graph.OpRelu, plan.Options{}, 5, 64, 64, 3)
}

func BenchmarkDrivingMLPTanh(b *testing.B) {
	benchmarkMLP(b, graph.OpTanh, plan.Options{}, 5, 64, 64, 3)
}

func BenchmarkDrivingMLPGeneric(b *testing.B) {
	benchmarkMLP(b, graph.OpRelu, plan.Options{Generic: true}, 5, 64, 64, 3)
}

// Two layers of 256, whose weights do not stay in the first cache level.
func Benchmark256(b *testing.B) {
	benchmarkMLP(b, graph.OpRelu, plan.Options{}, 17, 256, 256, 6)
}
