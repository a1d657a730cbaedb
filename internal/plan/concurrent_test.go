package plan_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// Runners of one plan run side by side and give the same.
func TestRunnersShareAPlan(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	p, err := plan.Compile(mlp(t, r, graph.OpTanh, 5, 64, 64, 3), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const rows = 130
	in := [][]float32{randomTensor(r, 1, rows, 5).F32}
	want := make([]float32, rows*3)
	if err := p.NewRunner().Run(rows, in, [][]float32{want}, plan.Noise{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			run := p.NewRunner()
			out := make([]float32, rows*3)
			for range 50 {
				if err := run.Run(rows, in, [][]float32{out}, plan.Noise{}); err != nil {
					t.Error(err)
					return
				}
				if !slices.Equal(out, want) {
					t.Error("a runner gave another result beside others")
					return
				}
			}
		})
	}
	wg.Wait()
}
