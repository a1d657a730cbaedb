package plan_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// compiled returns one run of a plan for so many rows.
func compiled(t *testing.T, g *graph.Graph, o plan.Options, rows int) func() {
	t.Helper()
	p, err := plan.Compile(g, o)
	if err != nil {
		t.Fatal(err)
	}
	_, in := inputsFor(rand.New(rand.NewPCG(4, 4)), g, rows)
	out, r := outputsFor(g, rows), p.NewRunner()
	return func() {
		if err := r.Run(rows, in, out, plan.Noise{}); err != nil {
			t.Fatal(err)
		}
	}
}

// long are the families that take 100,000 instructions and more.
var long = []string{"nature", "smallcnn", "convt", "depthwise", "conv3d", "lstm512", "gru512", "lstm64seq16", "attn16x64", "attn32x128", "tf16x64", "tf32x128", "maxpool2", "prod64x256", "expm1_1024"}

// TestHotPaths holds a run of every family of operators to no allocation, and
// to its instructions under callgrind.
func TestHotPaths(t *testing.T) {
	type run struct {
		name string
		n    int
		op   func()
	}
	var runs []run
	for _, f := range families {
		n := 4
		if slices.Contains(long, f.name) {
			n = 1
		}
		runs = append(runs, run{"plan " + f.name, n, compiled(t, buildFamily(t, f.build), plan.Options{}, 1)})
	}
	for _, k := range []struct {
		name   string
		widths []int
	}{{"driving", []int{5, 64, 64, 3}}, {"2x256", []int{17, 256, 256, 6}}} {
		g := mlp(t, rand.New(rand.NewPCG(1, 1)), graph.OpRelu, k.widths...)
		if err := graph.Optimize(g); err != nil {
			t.Fatal(err)
		}
		runs = append(runs,
			run{"plan " + k.name, 100, compiled(t, g, plan.Options{}, 1)},
			run{"plan " + k.name + " 32 rows", 1, compiled(t, g, plan.Options{}, 32)},
			run{"plan " + k.name + " generic", 1, compiled(t, g, plan.Options{Generic: true}, 1)})
	}
	for _, r := range runs {
		hot.Path(t, r.name, r.n, 0, r.op)
	}
}
