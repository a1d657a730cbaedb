package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Reductions of rows of all lengths are those of the twins; nothing beside the
// row is read, which the guards show as they are NaN.
func TestReductions(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(8, 8))
		y := make([]float32, 1)
		for n := 1; n < 300; n++ {
			x := newGuarded(n, n%16)
			random(r, x.s)
			k.Sum(y, x.s, n, 3)
			if want := float32(sumGeneric(x.s) / 3); ulps(y[0], want) > 1 {
				t.Fatalf("sum of %d: got %v, want %v", n, y[0], want)
			}
			k.Amax(y, x.s, n)
			if want := amaxGeneric(x.s); y[0] != want {
				t.Fatalf("greatest of %d: got %v, want %v", n, y[0], want)
			}
			k.Amin(y, x.s, n)
			if want := aminGeneric(x.s); y[0] != want {
				t.Fatalf("least of %d: got %v, want %v", n, y[0], want)
			}
			x.s[r.IntN(n)] = nan32
			for _, f := range []func(y, x []float32, n int){k.Amax, k.Amin, func(y, x []float32, n int) { k.Sum(y, x, n, 1) }} {
				if f(y, x.s, n); !isNaN(y[0]) {
					t.Fatalf("a NaN of %d is lost: %v", n, y[0])
				}
			}
			for i := range x.s {
				x.s[i] = float32(math.Inf(-1))
			}
			if k.Amax(y, x.s, n); y[0] != -inf32 {
				t.Fatalf("greatest of %d: got %v, want -Inf", n, y[0])
			}
		}
	})
}

// Softmax and its logarithm of rows of all lengths, in place too, are those of
// the twins to a few units in the last place.
func TestSoftmax(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(8, 9))
		for n := 1; n < 200; n++ {
			for _, logarithm := range []bool{false, true} {
				x, y := newGuarded(3*n, n%16), newGuarded(3*n, n%5)
				random(r, x.s)
				want := make([]float32, 3*n)
				for i := range 3 {
					softmaxGeneric(want[i*n:(i+1)*n], x.s[i*n:(i+1)*n], logarithm)
				}
				k.Softmax(y.s, x.s, n, logarithm)
				k.Softmax(x.s, x.s, n, logarithm)
				x.check(t)
				y.check(t)
				for i, w := range want {
					if math.Abs(float64(y.s[i]-w)) > 4e-7*max(1e-3, math.Abs(float64(w))) || y.s[i] != x.s[i] {
						t.Fatalf("rows of %d, logarithm %v, element %d: got %v, in place %v, want %v", n, logarithm, i, y.s[i], x.s[i], w)
					}
				}
			}
		}
	})
}

// What scale adds and multiplies is rounded once.
func TestScale(t *testing.T) {
	if !Best().vector {
		t.Log("no vector kernels to compare")
		return
	}
	r := rand.New(rand.NewPCG(8, 7))
	for n := range 70 {
		x, y := random(r, make([]float32, n)), newGuarded(n, n%16)
		scaleVector(y.s, x, 1.7, -0.3)
		y.check(t)
		twin := make([]float32, n)
		scaleGeneric(twin, x, 1.7, -0.3)
		for i, v := range x {
			if want := fma32(v, 1.7, -0.3); ulps(y.s[i], want) > 0 || ulps(twin[i], want) > 1 {
				t.Fatalf("%v: got %v, its twin %v, want %v", v, y.s[i], twin[i], want)
			}
		}
		expSubVector(y.s, x, 0.5)
		y.check(t)
		want := make([]float32, n)
		expSubGeneric(want, x, 0.5)
		for i, v := range y.s {
			if ulps(v, want[i]) > 2 {
				t.Fatalf("exp(%v - 0.5): got %v, want %v", x[i], v, want[i])
			}
		}
	}
}

// The lesser and the greater, of specials too, at all lengths.
func TestMinimumMaximum(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for n := range 60 {
			a, b := make([]float32, n), make([]float32, n)
			for i := range a {
				a[i], b[i] = specials[i%len(specials)], specials[(i*7+n)%len(specials)]
			}
			lo, hi := newGuarded(n, n%16), newGuarded(n, n%3)
			k.Binary(Minimum, lo.s, a, b)
			k.Binary(Maximum, hi.s, a, b)
			lo.check(t)
			hi.check(t)
			for i := range a {
				// Which zero it is, is open.
				if w := min(a[i], b[i]); lo.s[i] != w && !(isNaN(w) && isNaN(lo.s[i])) {
					t.Fatalf("minimum(%v, %v) = %v", a[i], b[i], lo.s[i])
				}
				if w := max(a[i], b[i]); hi.s[i] != w && !(isNaN(w) && isNaN(hi.s[i])) {
					t.Fatalf("maximum(%v, %v) = %v", a[i], b[i], hi.s[i])
				}
			}
		}
	})
}
