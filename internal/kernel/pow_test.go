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
		for _, k := range Impls() {
			y := []float32{a, 2, a, a, a}
			k.Binary(Pow, y, y, []float32{b, 3, b, b, b})
			if want := float32(math.Pow(float64(a), float64(b))); ulps(y[0], want) > 1 || ulps(y[0], y[4]) > 0 || y[1] != 8 {
				t.Fatalf("%v: %v to the power of %v: got %v, want %v", k, a, b, y, want)
			}
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
	for range 100000 {
		f(float32(r.NormFloat64()*3), float32(r.NormFloat64()*3))
		f(float32(math.Exp(r.NormFloat64()*30)), float32(r.NormFloat64()*2))
		f(float32(1+r.NormFloat64()*1e-3), float32(r.NormFloat64()*1e4))
		f(float32(r.IntN(11)-5), float32(r.IntN(21)-10))
	}
}
