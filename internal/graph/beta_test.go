package graph_test

import (
	"math"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The empirical distribution of 100,000 draws is nowhere farther from the Beta
// distribution than chance allows once in a million times (Kolmogorov and
// Smirnov: 2.7/sqrt(n)), and the mean and variance are within five standard
// errors. The cumulative distributions have a closed form for these
// concentrations.
func TestBetaIsBeta(t *testing.T) {
	const n = 100_000
	for _, c := range []struct {
		a, b float64
		cdf  func(x float64) float64
	}{
		{1, 1, func(x float64) float64 { return x }},
		{0.5, 0.5, func(x float64) float64 { return 2 / math.Pi * math.Asin(math.Sqrt(x)) }}, // arcsine
		{0.1, 1, func(x float64) float64 { return math.Pow(x, 0.1) }},
		{1, 0.05, func(x float64) float64 { return 1 - math.Pow(1-x, 0.05) }},
		{2, 2, func(x float64) float64 { return x * x * (3 - 2*x) }},
		{50, 1, func(x float64) float64 { return math.Pow(x, 50) }},
		{3, 2, func(x float64) float64 { return x * x * x * (4 - 3*x) }},
	} {
		key := graph.Noise{Seed: 11}.Key()
		x := make([]float64, n)
		var sum, square float64
		for i := range x {
			x[i] = float64(graph.Beta(key, 2, uint64(i/10), uint32(i%10), c.a, c.b))
			sum, square = sum+x[i], square+x[i]*x[i]
			if !(x[i] > 0 && x[i] < 1) {
				t.Fatalf("Beta(%v, %v) drew %v", c.a, c.b, x[i])
			}
		}
		mean, variance := c.a/(c.a+c.b), c.a*c.b/((c.a+c.b)*(c.a+c.b)*(c.a+c.b+1))
		if d := math.Abs(sum/n - mean); d > 5*math.Sqrt(variance/n) {
			t.Errorf("Beta(%v, %v): the mean is off by %v", c.a, c.b, d)
		}
		// No value is farther than 1 from the mean, so that the fourth central
		// moment is at most the variance.
		if d := math.Abs(square/n - sum/n*sum/n - variance); d > 5*math.Sqrt(variance/n) {
			t.Errorf("Beta(%v, %v): the variance is off by %v", c.a, c.b, d)
		}
		slices.Sort(x)
		worst := 0.0
		for i, v := range x {
			if v < 1-0x1p-23 { // Above, float32 has no number of its own for the draw.
				worst = max(worst, math.Abs(c.cdf(v)-float64(i)/n), math.Abs(c.cdf(v)-float64(i+1)/n))
			}
		}
		if worst > 2.7/math.Sqrt(n) {
			t.Errorf("Beta(%v, %v): the distribution is off by %v", c.a, c.b, worst)
		}
	}
}

// Concentrations that are none, and some at the ends of what float32 holds.
func TestBetaOfAnyConcentrations(t *testing.T) {
	key := graph.Noise{Seed: 3}.Key()
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if y := graph.Beta(key, 0, 0, 0, bad, 1); y == y {
			t.Errorf("alpha %v draws %v, want NaN", bad, y)
		}
		if y := graph.Beta(key, 0, 0, 0, 1, bad); y == y {
			t.Errorf("beta %v draws %v, want NaN", bad, y)
		}
	}
	ends := []float64{0x1p-126, 1e-6, 0.999, 1, 1e6, math.MaxFloat32}
	for _, a := range ends {
		for _, b := range ends {
			for row := range uint64(50) {
				if y := graph.Beta(key, 1, row, 0, a, b); !(y > 0 && y < 1) {
					t.Fatalf("Beta(%v, %v) drew %v", a, b, y)
				}
			}
		}
	}
}

// A row draws the same alone and in a batch, whatever stands beside it.
func TestBetaDoesNotDependOnTheBatch(t *testing.T) {
	g := parse(t, `graph "g"
%a = input "a" f32[B,3]
%b = input "b" f32[B,3]
%y = beta(%a,%b) stream=5
output "y" %y
`)
	const rows = 9
	a := graph.Float32s(make([]float32, 3*rows), rows, 3)
	b := graph.Float32s(make([]float32, 3*rows), rows, 3)
	for i := range a.F32 {
		a.F32[i], b.F32[i] = 0.3+float32(i)/4, 2/(1+float32(i))
	}
	all, err := graph.Evaluate(g, rows, []*graph.Tensor{a, b}, graph.Noise{Seed: 1, Step: 2, Row: 40})
	if err != nil {
		t.Fatal(err)
	}
	for row := range rows {
		part := func(x *graph.Tensor) *graph.Tensor { return graph.Float32s(x.F32[3*row:][:3], 1, 3) }
		one, err := graph.Evaluate(g, 1, []*graph.Tensor{part(a), part(b)}, graph.Noise{Seed: 1, Step: 2, Row: 40 + uint64(row)})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(one[0].F32, all[0].F32[3*row:][:3]) {
			t.Errorf("row %d alone is %v, in the batch %v", row, one[0].F32, all[0].F32[3*row:][:3])
		}
	}
}
