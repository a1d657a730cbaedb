package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// forEachImpl runs f for every implementation of this CPU.
func forEachImpl(t *testing.T, f func(t *testing.T, k Impl)) {
	for _, k := range Impls() {
		t.Run(k.String(), func(t *testing.T) { f(t, k) })
	}
}

const guardBits = 0x7fc0dead // a NaN that no kernel makes

// guarded is a slice with guard values on both sides, which begins at any
// offset from a cache line.
type guarded struct{ all, s []float32 }

func newGuarded(n, offset int) guarded {
	const side = 64
	all := aligned(side + offset + n + side)
	for i := range all {
		all[i] = math.Float32frombits(guardBits)
	}
	return guarded{all, all[side+offset : side+offset+n : side+offset+n]}
}

func (g guarded) check(t *testing.T) {
	t.Helper()
	first := (len(g.all) - len(g.s)) - 64
	for i, v := range g.all {
		if (i < first || i >= first+len(g.s)) && math.Float32bits(v) != guardBits {
			t.Fatalf("guard value at %d was overwritten with %v (slice is [%d,%d))", i, v, first, first+len(g.s))
		}
	}
}

func random(r *rand.Rand, s []float32) []float32 {
	for i := range s {
		s[i] = float32(r.NormFloat64())
	}
	return s
}

// specials are the values at which kernels go wrong.
var specials = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, -0.5,
	float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
	math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1e-40, -1e-40,
	math.MaxFloat32, -math.MaxFloat32, 1.1754944e-38, -1.1754944e-38,
	88.72, 88.73, 89, 104, -87.3, -87.4, -103.9, -104, -105, 9.01, 9.02, -9.01, 20, -20, 1e10, -1e10,
	0.34657, 0.34658, -0.34657, -0.34658, 1e-5, -1e-5,
}

// ulps is the distance of two numbers in units of the last place; of two NaNs
// it is 0, of a NaN and a number the greatest.
func ulps(a, b float32) uint32 {
	if isNaN(a) || isNaN(b) {
		if isNaN(a) && isNaN(b) {
			return 0
		}
		return math.MaxUint32
	}
	order := func(f float32) int64 {
		i := int64(int32(math.Float32bits(f)))
		if i < 0 {
			i = math.MinInt32 - i
		}
		return i
	}
	d := order(a) - order(b)
	return uint32(max(d, -d))
}

// fma32 is a·b + c with one rounding. The product is exact in float64; the sum
// is rounded to odd there, so that the rounding to float32 is the only one.
func fma32(a, b, c float32) float32 {
	p, d := float64(a)*float64(b), float64(c)
	s := p + d
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return float32(s)
	}
	v := s - p
	e := (p - (s - v)) + (d - v)
	if bits := math.Float64bits(s); e != 0 && bits&1 == 0 {
		if (e > 0) == (s > 0) {
			bits++
		} else {
			bits--
		}
		s = math.Float64frombits(bits)
	}
	return float32(s)
}
