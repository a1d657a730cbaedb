package main

import (
	"math"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

func TestDiffer(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	f := func(a, b []float64, failed int, most float64) {
		t.Helper()
		d := differ(a, b, 0.1, 0.01)
		if d.Failed != failed || d.Max != most {
			t.Errorf("%v and %v: %d beyond the tolerance, at most %v, want %d and %v", a, b, d.Failed, d.Max, failed, most)
		}
	}
	f([]float64{1, 2}, []float64{1, 2}, 0, 0)
	f([]float64{1, 2.125}, []float64{1, 2.25}, 1, 0.125)
	f([]float64{100.5}, []float64{100}, 0, 0.5)
	f([]float64{nan, inf, -inf}, []float64{nan, inf, -inf}, 0, 0)
	f([]float64{nan}, []float64{1}, 1, math.MaxFloat64)
	f([]float64{1}, []float64{nan}, 1, math.MaxFloat64)
	f([]float64{inf}, []float64{1}, 1, math.MaxFloat64)
	f([]float64{1}, []float64{inf}, 1, math.MaxFloat64)
	f([]float64{inf}, []float64{-inf}, 1, math.MaxFloat64)
}

// TestToleranceIsOfTheFiniteNumbers has numbers that are no magnitude beside
// those that are.
func TestToleranceIsOfTheFiniteNumbers(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	f := func(got, want []float64, beyond int) {
		t.Helper()
		if o := compareOutput("out", got, want, tolerance{1e-5, 1e-5}); o.Beyond != beyond {
			t.Errorf("%v and %v: %d beyond the tolerance, want %d", got, want, o.Beyond, beyond)
		}
	}
	f([]float64{nan, 1.000001, inf}, []float64{nan, 1, inf}, 0)
	f([]float64{nan, 1.1, inf}, []float64{nan, 1, inf}, 1)
	f([]float64{nan, nan}, []float64{nan, 1}, 1)
	f([]float64{1, 1}, []float64{nan, 1}, 1)
	f([]float64{1, 1}, []float64{inf, 1}, 1)
}

func TestTiesAreChoicesThatAreAsGood(t *testing.T) {
	c := &policy.Contract{Actions: []policy.Action{{Discrete: true, Size: 1}}}
	f := func(q []float64, ties, beyond int) {
		t.Helper()
		want := &answer{actions: []float32{0}, names: []string{"q_values"}, outputs: []values{{shape: []int{1, 2}, dtype: graph.Float32, data: q}}}
		got := &answer{actions: []float32{1}}
		o := compareActions(c, 1, got, want, tolerance{1e-5, 1e-5})[0]
		if o.Ties != ties || o.Beyond != beyond {
			t.Errorf("%v: %d ties and %d that differ, want %d and %d", q, o.Ties, o.Beyond, ties, beyond)
		}
	}
	f([]float64{1, 1}, 1, 0)
	f([]float64{1, 1 - 1e-6}, 1, 0)
	f([]float64{1, 0.9}, 0, 1)
}

// TestLogProbOfASquashedGaussian leaves out what is made of rounding, and no
// other row.
func TestLogProbOfASquashedGaussian(t *testing.T) {
	f := func(mean, got, want float64, beyond, excused int) {
		t.Helper()
		names := []string{"mean", "std", "log_prob"}
		of := func(logProb float64) []values {
			v := func(x float64, shape ...int) values {
				return values{shape: shape, dtype: graph.Float32, data: []float64{x}}
			}
			return []values{v(mean, 1, 1), v(0.5, 1, 1), v(logProb, 1)}
		}
		o := compareOutputs(names, names, of(got), of(want), tolerance{1e-5, 1e-5}, false)[2]
		if o.Beyond != beyond || o.Excused != excused {
			t.Errorf("mean %v: %d differ and %d are left out, want %d and %d", mean, o.Beyond, o.Excused, beyond, excused)
		}
	}
	f(0.5, -1, -1, 0, 0)
	f(0.5, -1.1, -1, 1, 0)
	f(9, 12.1, 12, 0, 1)
	f(9, math.Inf(1), 12, 1, 0)
}
