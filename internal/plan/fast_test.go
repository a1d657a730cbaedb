package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// Fast plans compute the same policy: alone within the error that any order of
// the sums has, and in batches to the bit what strict plans do. Where there are
// chains, a row alone does have other bits, or the option would be for nothing.
func TestFastPlans(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 1))
	g := mlp(t, r, graph.OpTanh, 24, 32, 16, 5)
	if err := graph.Optimize(g); err != nil {
		t.Fatal(err)
	}
	const rows = 40
	_, in := inputsFor(r, g, rows)
	run := func(o plan.Options, alone bool) []float32 {
		p, err := plan.Compile(g, o)
		if err != nil {
			t.Fatal(err)
		}
		out, runner := make([]float32, rows*5), p.NewRunner()
		step := rows
		if alone {
			step = 1
		}
		for i := 0; i < rows; i += step {
			if err := runner.Run(step, [][]float32{in[0][i*24:]}, [][]float32{out[i*5:]}, plan.Noise{}); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	strict, fast, alone := run(plan.Options{}, true), run(plan.Options{Fast: true}, false), run(plan.Options{Fast: true}, true)
	differ := 0
	for i, want := range strict {
		if fast[i] != want {
			t.Fatalf("number %d of a batch: fast %v, strict %v", i, fast[i], want)
		}
		if !near(alone[i], float64(want), 1e-5) {
			t.Fatalf("number %d alone: fast %v, strict %v", i, alone[i], want)
		}
		if alone[i] != want {
			differ++
		}
	}
	if kernel.Best().Chains() && differ == 0 {
		t.Error("fast plans give the bits of strict ones")
	}
}
