package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// The driving policy as it is where the preprocessing cannot be folded into
// the first layer, for example because it clips.
func BenchmarkDrivingMLPUnfolded(b *testing.B) {
	p, err := plan.Compile(mlp(b, rand.New(rand.NewPCG(1, 1)), graph.OpRelu, 5, 64, 64, 3), plan.Options{})
	if err != nil {
		b.Fatal(err)
	}
	r := p.NewRunner()
	in, out := [][]float32{{1, 2, 3, 4, 5}}, [][]float32{make([]float32, 3)}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Run(1, in, out, plan.Noise{}); err != nil {
			b.Fatal(err)
		}
	}
}
