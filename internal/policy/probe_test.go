package policy

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// softmaxOver is a network that gives the softmax of what a mask leaves: NaN
// where it leaves nothing. The mask tells what is hidden, or what is kept.
func softmaxOver(t *testing.T, hides bool) *network {
	t.Helper()
	n := &network{description: format.Description{
		Inputs:  []format.InputDescription{{Name: "x", DType: graph.Float32}, {Name: "mask", DType: graph.Bool}},
		Methods: []string{"forward"},
	}}
	n.lower = func(format.LowerOptions) (*graph.Graph, error) {
		g := graph.New("")
		x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 3})
		mask := g.Input("mask", graph.Bool, graph.Shape{graph.Batch, 3})
		nothing := g.Constant("", graph.Float32s([]float32{float32(math.Inf(-1))}, 1))
		in := []*graph.Value{mask, x, nothing}
		if hides {
			in = []*graph.Value{mask, nothing, x}
		}
		kept, err := g.Add(graph.OpWhere, nil, in...)
		if err != nil {
			return nil, err
		}
		y, err := g.Add(graph.OpSoftmax, graph.Attrs{"axis": 1}, kept)
		if err != nil {
			return nil, err
		}
		g.Output("out", y)
		return g, nil
	}
	return n
}

func TestProbeDrawsMasksThatLeaveSomething(t *testing.T) {
	for _, hides := range []bool{true, false} {
		p := mustCompose(t, &sources{card: &artifact.Card{ModelName: "m"}, network: softmaxOver(t, hides)})
		if in := p.Contract().Inputs; in[0].DType != graph.Float32 || in[1].DType != graph.Bool {
			t.Errorf("the inputs are %v and %v", in[0].DType, in[1].DType)
		}
		if err := p.probe(); err != nil {
			t.Errorf("probe where true hides = %v: %v", hides, err)
		}
		if notes := strings.Join(p.Notes(), "\n"); strings.Contains(notes, "probe:") {
			t.Errorf("notes = %q", notes)
		}
	}
}

func TestDrawBools(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[float32]int{}
	for range 200 {
		for _, shape := range [][]int{{}, {1}, {2}, {3, 2}, {2, 5}} {
			n := 1
			for _, d := range shape {
				n *= d
			}
			data := make([]float32, n)
			DrawBools(data, shape, random)
			if len(shape) == 0 || shape[len(shape)-1] == 1 {
				seen[data[0]]++
				continue
			}
			for list := range slices.Chunk(data, shape[len(shape)-1]) {
				if slices.Min(list) != 0 || slices.Max(list) != 1 {
					t.Fatalf("%v of %v has a list of one value", data, shape)
				}
			}
		}
	}
	if len(seen) != 2 || seen[0] < 100 || seen[1] < 100 {
		t.Errorf("a single one was drawn %v", seen)
	}
}

func TestWholeNumbersAreDrawnFromTheirRange(t *testing.T) {
	inf := math.Inf(1)
	f := func(dt graph.DType, low, high, first, last float64) {
		t.Helper()
		a, b := WholeRange(dt, low, high)
		if a != first || b != last {
			t.Errorf("%v of %v to %v is drawn from %v to %v, want %v to %v", dt, low, high, a, b, first, last)
		}
		random := rand.New(rand.NewPCG(1, 2))
		feature := Feature{Low: low, High: high}
		for range 1000 {
			if v := float64(feature.draw(dt, random)); v < first || v > last || v != math.Trunc(v) {
				t.Fatalf("%v of %v to %v: %v was drawn", dt, low, high, v)
			}
		}
	}
	f(graph.Bool, -inf, inf, 0, 1)
	f(graph.Uint8, -inf, inf, 0, 255)
	f(graph.Int64, -inf, inf, 0, 1)
	f(graph.Int64, 0.5, 3.5, 1, 3)
	f(graph.Int32, 7, inf, 7, 8)
	f(graph.Int32, -inf, -3, -4, -3)
	f(graph.Int32, -inf, 9, 0, 9)
}
