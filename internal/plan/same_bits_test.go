package plan_test

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// rowsOf takes n rows from the given one on out of a batch of all rows, which
// lie along the batch axis of the shape. What has no batch axis is whole.
func rowsOf(x []float32, s graph.Shape, all, from, n int) []float32 {
	a := s.BatchAxis()
	if a < 0 {
		return x
	}
	size := 1
	for _, d := range s[a+1:] {
		size *= d
	}
	if s[a] < 0 {
		size *= -s[a]
	}
	var part []float32
	for at := 0; at < len(x); at += all * size {
		part = append(part, x[at+from*size:at+(from+n)*size]...)
	}
	return part
}

// A row gives the same bits in whatever batch it travels and wherever in it,
// for every family of operators and every instruction set of this CPU. All but
// the fastest go through the smaller batches.
func TestSameBitsInEveryBatch(t *testing.T) {
	for _, k := range kernel.Impls() {
		batches := []int{1000, 1, 2, 3, 7, 32, 33}
		emulated := os.Getenv("CARLA_RL_EMULATED") != "" // a hundred times slower
		switch {
		case k == (kernel.Impl{}):
			batches = []int{7, 1, 2, 3}
		case k != kernel.Best() || emulated:
			batches = []int{33, 1, 2, 3, 7, 32}
		}
		t.Run(k.String(), func(t *testing.T) {
			for _, f := range families {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					sameBits(t, buildFamily(t, f.build), k.String(), batches)
				})
			}
		})
	}
}

// sameBits runs the first of the batches, and of its rows the first, some in
// the middle and the last in batches of the other sizes.
func sameBits(t *testing.T, g *graph.Graph, kernels string, batches []int) {
	t.Helper()
	p, err := plan.Compile(g, plan.Options{Kernels: kernels})
	if err != nil {
		t.Fatal(err)
	}
	all := batches[0]
	_, in := inputsFor(rand.New(rand.NewPCG(8, 15)), g, all)
	want, r := outputsFor(g, all), p.NewRunner()
	if err := r.Run(all, in, want, testNoise); err != nil {
		t.Fatal(err)
	}
	for _, n := range batches[1:] {
		for _, from := range []int{0, all/2 - 3, all - n} {
			if from < 0 || from+n > all {
				continue
			}
			part := make([][]float32, len(in))
			for i, v := range g.Inputs {
				part[i] = rowsOf(in[i], v.Shape, all, from, n)
			}
			noise := testNoise
			noise.Row += uint64(from)
			got := outputsFor(g, n)
			if err := r.Run(n, part, got, noise); err != nil {
				t.Fatal(err)
			}
			for o, out := range g.Outputs {
				for i, w := range rowsOf(want[o], out.Value.Shape, all, from, n) {
					if v := got[o][i]; math.Float32bits(v) != math.Float32bits(w) {
						t.Fatalf("rows %d to %d, output %d, element %d: %v, among %d rows %v\n%s", from, from+n, o, i, v, all, w, p.Steps())
					}
				}
			}
		}
	}
}
