package kernel

import (
	"math"
	"testing"
)

// accurate are the functions that activations are made of, in float64.
var accurate = map[UnaryOp]func(v float64) float64{
	Tanh:    math.Tanh,
	Exp:     math.Exp,
	Sigmoid: func(v float64) float64 { return 1 / (1 + math.Exp(-v)) },
	Silu:    func(v float64) float64 { return v / (1 + math.Exp(-v)) },
	Elu: func(v float64) float64 {
		if v > 0 {
			return v
		}
		return math.Expm1(v)
	},
}

// tanh, exp, sigmoid, silu and elu are within two units of the last place of
// the rounded result, over all finite numbers: each 1021st, which is prime to
// the powers of two, so that every exponent has thousands of mantissas.
// Where a sigmoid or silu is less than the least
// normal number, the vector forms may give zero, as torch does.
func TestActivationsAreAccurate(t *testing.T) {
	const least = 0x1p-126
	forEachImpl(t, func(t *testing.T, k Impl) {
		x, y := make([]float32, 0, 4096), make([]float32, 4096)
		for op, f := range accurate {
			check := func() {
				k.Apply(Unary{Op: op, A: 1, B: 1, C: 1}, y[:len(x)], x)
				for i, v := range x {
					want := f(float64(v))
					if d := ulps(y[i], float32(want)); d > 2 && !(op != Exp && v < -87 && math.Abs(float64(y[i])-want) < 89*least) {
						t.Fatalf("%v(%v) is %v, want %v: %d ulp apart", Unary{Op: op}, v, y[i], want, d)
					}
				}
				x = x[:0]
			}
			for bits := uint64(0); bits < 1<<32; bits += 1021 {
				if v := math.Float32frombits(uint32(bits)); !isNaN(v) {
					if x = append(x, v); len(x) == cap(x) {
						check()
					}
				}
			}
			check()
		}
	})
}
