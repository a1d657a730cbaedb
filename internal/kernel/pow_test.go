package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Powers are those of package math, rounded: to a unit in the last place where
// the series meets a number halfway between two.
func TestPow(t *testing.T) {
	f := func(a, b float32) {
		t.Helper()
		y := []float32{a}
		powGeneric(y, y, []float32{b})
		if got, want := y[0], float32(math.Pow(float64(a), float64(b))); ulps(got, want) > 1 {
			t.Fatalf("%v to the power of %v: got %v, want %v", a, b, got, want)
		}
	}
	for _, a := range specials {
		for _, b := range specials {
			f(a, b)
		}
		f(a, 2)
		f(a, 3)
		f(a, -3)
	}
	r := rand.New(rand.NewPCG(4, 4))
	for range 200000 {
		f(float32(r.NormFloat64()*3), float32(r.NormFloat64()*3))
		f(float32(math.Exp(r.NormFloat64()*30)), float32(r.NormFloat64()*2))
		f(float32(1+r.NormFloat64()*1e-3), float32(r.NormFloat64()*1e4))
		f(float32(r.IntN(11)-5), float32(r.IntN(21)-10))
	}
}
