package graph_test

import (
	"math"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The expected numbers are those of an implementation of the layout in
// Python's own integers and libm.
func TestNormalIsTheDocumentedDraw(t *testing.T) {
	for _, c := range []struct {
		seed, step uint64
		stream     uint32
		row        uint64
		element    uint32
		want       float32
	}{
		{0, 0, 0, 0, 0, 0.827649712562561},
		{0, 0, 0, 0, 1, 2.1007139682769775},
		{0, 0, 0, 0, 2, -0.4225614368915558},
		{0, 0, 0, 0, 3, -1.4951143264770508},
		{0, 0, 0, 0, 4, -0.5520442128181458},
		{1, 2, 3, 4, 5, -1.7497215270996094},
		{9223372036854775813, 1099511627776, 7, 8589934593, 1000003, -1.2408976554870605},
		{42, 0, 0, 999, 2, 0.7217487692832947},
		{42, 1, 0, 999, 2, 0.5275185108184814},
		{42, 0, 1, 999, 2, 0.6121742725372314},
	} {
		key := graph.Noise{Seed: c.seed, Step: c.step}.Key()
		if got := graph.Normal(key, c.stream, c.row, c.element); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestNormalIsNormal(t *testing.T) {
	const n = 200000
	key := graph.Noise{Seed: 7}.Key()
	var sum, square, cube, fourth, lag float64
	var tails int
	previous := 0.0
	for i := range n {
		x := float64(graph.Normal(key, 3, uint64(i/10), uint32(i%10)))
		sum, square, cube, fourth, lag = sum+x, square+x*x, cube+x*x*x, fourth+x*x*x*x, lag+x*previous
		if math.Abs(x) > 1.959964 {
			tails++
		}
		previous = x
	}
	// Each bound is five standard errors of its statistic.
	se := 1 / math.Sqrt(n)
	for _, m := range []struct {
		name             string
		got, want, bound float64
	}{
		{"mean", sum / n, 0, 5 * se},
		{"variance", square / n, 1, 5 * se * math.Sqrt2},
		{"third moment", cube / n, 0, 5 * se * math.Sqrt(15)},
		{"fourth moment", fourth / n, 3, 5 * se * math.Sqrt(96)},
		{"correlation of neighbours", lag / n, 0, 5 * se},
		{"part beyond 1.96", float64(tails) / n, 0.05, 5 * se * math.Sqrt(0.05*0.95)},
	} {
		if math.Abs(m.got-m.want) > m.bound {
			t.Errorf("%s is %v, want %v within %v", m.name, m.got, m.want, m.bound)
		}
	}
}

// A row draws the same alone, in a batch, and under any other stream's
// company.
func TestNormalDoesNotDependOnTheBatch(t *testing.T) {
	g := parse(t, `graph "g"
%x = input "x" f32[B,3]
%n = normal(%x) stream=5
%d = cast(%x) dtype=bf16
%m = normal(%d) stream=6
output "n" %n
output "m" %m
`)
	noise := graph.Noise{Seed: 99, Step: 3}
	batch := evaluate(t, g, 4, noise, graph.Float32s(make([]float32, 12), 4, 3))
	key := noise.Key()
	for row := range 4 {
		for e := range 3 {
			if got, want := batch[0].F32[row*3+e], graph.Normal(key, 5, uint64(row), uint32(e)); got != want {
				t.Errorf("row %d element %d: got %v, want %v", row, e, got, want)
			}
			got, want := float64(batch[1].F32[row*3+e]), float64(graph.Normal(key, 6, uint64(row), uint32(e)))
			if math.Abs(got-want) > 0x1p-8*math.Abs(want) {
				t.Errorf("bf16 row %d element %d: got %v, want %v rounded", row, e, got, want)
			}
		}
	}
	alone := evaluate(t, g, 1, noise, graph.Float32s(make([]float32, 3), 1, 3))
	for e := range 3 {
		if alone[0].F32[e] != batch[0].F32[e] {
			t.Errorf("element %d: %v alone, %v in a batch", e, alone[0].F32[e], batch[0].F32[e])
		}
	}
}

func parse(t testing.TB, text string) *graph.Graph {
	t.Helper()
	g, err := graph.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func evaluate(t testing.TB, g *graph.Graph, rows int, noise graph.Noise, in ...*graph.Tensor) []*graph.Tensor {
	t.Helper()
	out, err := graph.Evaluate(g, rows, in, noise)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
