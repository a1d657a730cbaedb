package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// vectorFuncs are the functions that have a vector form, with the greatest
// distance from the correctly rounded result that it may have. relu, clamp and
// arithmetic are exact. The others are one exponential of about 1 ulp and one
// or two more roundings; the results near the denormals, where the last place
// is coarse and the rounding is done twice, are within the same bound.
var vectorFuncs = []struct {
	u   Unary
	ulp uint32
}{
	{Unary{}, 0},
	{Unary{Op: Relu}, 0},
	{Unary{Op: Clamp, A: -1, B: 0.75}, 0},
	{Unary{Op: Clamp, A: float32(math.Inf(-1)), B: 0}, 0},
	{Unary{Op: Clamp, A: 2, B: 1}, 0},
	{Unary{Op: Tanh}, 2},
	{Unary{Op: Exp}, 2},
	{Unary{Op: Sigmoid}, 2},
	{Unary{Op: Silu}, 2},
	{Unary{Op: Elu, A: 1, B: 1, C: 1}, 2},
	{Unary{Op: Elu, A: 1.0507, B: 1.75809, C: 1}, 3},
	{Unary{Op: Elu, A: 1, B: -0.3, C: 1}, 3},

	// What amd64 alone has in vectors.
	{Unary{Op: Sqrt}, 0},
	{Unary{Op: Rsqrt}, 1},
	{Unary{Op: Reciprocal}, 0},
	{Unary{Op: Abs}, 0},
	{Unary{Op: Neg}, 0},
	{Unary{Op: Round}, 0},
	{Unary{Op: Floor}, 0},
	{Unary{Op: Ceil}, 0},
	{Unary{Op: Trunc}, 0},
	{Unary{Op: LeakyRelu, A: 0.2}, 0},
	{Unary{Op: LeakyRelu, A: -1.5}, 0},
	{Unary{Op: Softsign}, 1},
	{Unary{Op: Erf}, 4},
	{Unary{Op: Log}, 3},
	{Unary{Op: Softplus, A: 1, B: 20}, 4},
	{Unary{Op: Softplus, A: -2, B: 5}, 4},
	{Unary{Op: LogSigmoid}, 4},
	{Unary{Op: Mish}, 4},
	{Unary{Op: Gelu}, 8},
	{Unary{Op: GeluTanh}, 8},
	{Unary{Op: Log1p}, 3},
	{Unary{Op: Atan}, 3},
	{Unary{Op: Sin}, 2},
	{Unary{Op: Cos}, 2},
	{Unary{Op: Tan}, 4},
	{Unary{Op: Hardsigmoid}, 2},
	{Unary{Op: Hardswish}, 2},
}

// nearUnary compares with the Go twin. A sigmoid below the least normal number
// is 0 in the vector form, as it is in torch, because its exponential is
// infinite; so are silu and mish there. A gelu is x times a sum of 1 and
// something near -1 where x is below zero: as in torch, the rounding is that of
// the 1.
func nearUnary(u Unary, x, got, want float32, ulp uint32) bool {
	if (u.Op == Gelu || u.Op == GeluTanh) && x < 0 && math.Abs(float64(got)-float64(want)) <= 1e-7*math.Abs(float64(x)) {
		return true
	}
	if (u.Op == Sigmoid || u.Op == Silu || u.Op == Mish) && x < -88 && math.Abs(float64(got)-float64(want)) < 1e-36 {
		return true
	}
	return ulps(got, want) <= ulp
}

func checkUnary(t *testing.T, k Impl, u Unary, x []float32, ulp uint32) {
	t.Helper()
	y := make([]float32, len(x))
	k.Apply(u, y, x)
	want := make([]float32, len(x))
	unaryGeneric(u, want, x)
	for i := range x {
		if !nearUnary(u, x[i], y[i], want[i], ulp) {
			t.Fatalf("%v(%v), element %d of %d: got %v, want %v, %d ulp apart", u, x[i], i, len(x), y[i], want[i], ulps(y[i], want[i]))
		}
	}
}

// All lengths, offsets from a cache line, guards, and the result in place.
func TestUnaryLengths(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(1, 2))
		for n := range 1001 {
			for _, f := range vectorFuncs {
				x, y := newGuarded(n, n%16), newGuarded(n, n/16%16)
				random(r, x.s)
				want, before := make([]float32, n), slices.Clone(x.s)
				unaryGeneric(f.u, want, x.s)
				k.Apply(f.u, y.s, x.s)
				k.Apply(f.u, x.s, x.s)
				x.check(t)
				y.check(t)
				for i, v := range y.s {
					if math.Float32bits(v) != math.Float32bits(x.s[i]) {
						t.Fatalf("%v, element %d of %d: %v, in place %v", f.u, i, n, v, x.s[i])
					}
					if !nearUnary(f.u, before[i], v, want[i], f.ulp) {
						t.Fatalf("%v, element %d of %d: got %v, want %v", f.u, i, n, v, want[i])
					}
				}
			}
		}
	})
}

// The position of a number does not change its result.
func TestUnaryDoesNotDependOnPosition(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, f := range vectorFuncs {
			for _, v := range specials {
				one := []float32{v}
				k.Apply(f.u, one, one)
				many := make([]float32, 45)
				for i := range many {
					many[i] = v
				}
				k.Apply(f.u, many, many)
				for i, w := range many {
					if math.Float32bits(w) != math.Float32bits(one[0]) {
						t.Fatalf("%v(%v) is %v alone and %v at %d of 45", f.u, v, one[0], w, i)
					}
				}
			}
		}
	})
}

func TestUnarySpecials(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, f := range vectorFuncs {
			checkUnary(t, k, f.u, specials, f.ulp)
		}
	})
}

// Every exponent with many mantissas, both signs.
func TestUnaryRange(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		var x []float32
		for bits := uint32(0); bits < 0x7f800000; bits += 1<<23/400 + 1 {
			x = append(x, math.Float32frombits(bits), math.Float32frombits(bits|1<<31))
		}
		for v := float32(-110); v < 110; v += 0.00371 {
			x = append(x, v)
		}
		for _, f := range vectorFuncs {
			checkUnary(t, k, f.u, x, f.ulp)
		}
	})
}

// No function makes a number of NaN but those that ask about it.
func TestUnaryKeepsNaN(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for op := range unaryOps {
			if op == Not || op == Truth || op == Sign {
				continue
			}
			x := []float32{1, float32(math.NaN()), 1, 1, 1, 1, 1, 1, 1, float32(math.NaN())}
			y := make([]float32, len(x))
			k.Apply(Unary{Op: op, A: 1, B: 1, C: 1}, y, x)
			for i := range x {
				if isNaN(x[i]) != isNaN(y[i]) {
					t.Errorf("%v(%v) is %v", Unary{Op: op}, x[i], y[i])
				}
			}
		}
	})
}

// The numbers lie against a page that faults.
func TestVectorsStayInside(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for n := 1; n < 70; n++ {
			x, y, z := pageEnd(t, n), pageEnd(t, n), pageEnd(t, n)
			for _, f := range vectorFuncs {
				k.Apply(f.u, y, x)
			}
			for op := range binaryOps {
				k.Binary(op, z, x, y)
			}
		}
	})
}

func TestBinary(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(3, 4))
		for n := range 1001 {
			for op := Add; op <= Div; op++ {
				a, b, y := newGuarded(n, n%16), newGuarded(n, n/7%16), newGuarded(n, n/3%16)
				random(r, a.s)
				random(r, b.s)
				if n > 50 {
					copy(a.s[10:], specials)
					copy(b.s[5:], specials)
				}
				want := make([]float32, n)
				Impl{}.Binary(op, want, a.s, b.s)
				k.Binary(op, y.s, a.s, b.s)
				k.Binary(op, a.s, a.s, b.s)
				for i := range want {
					if ulps(y.s[i], want[i]) > 0 || ulps(a.s[i], want[i]) > 0 {
						t.Fatalf("%v, element %d of %d: got %v, in place %v, want %v", op, i, n, y.s[i], a.s[i], want[i])
					}
				}
				y.check(t)
				a.check(t)
				b.check(t)
			}
		}
	})
}

func TestBinaryOnB(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		a, b := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9}, []float32{9, 8, 7, 6, 5, 4, 3, 2, 1}
		k.Binary(Sub, b, a, b)
		for i, v := range b {
			if want := a[i] - (9 - float32(i)); v != want {
				t.Errorf("element %d: got %v, want %v", i, v, want)
			}
		}
	})
}

func FuzzUnary(f *testing.F) {
	for _, v := range specials {
		f.Add(math.Float32bits(v), uint8(3))
	}
	f.Fuzz(func(t *testing.T, bits uint32, n uint8) {
		x := make([]float32, 1+int(n)%50)
		for i := range x {
			x[i] = math.Float32frombits(bits + uint32(i))
		}
		for _, k := range Impls() {
			for _, v := range vectorFuncs {
				checkUnary(t, k, v.u, x, v.ulp)
			}
		}
	})
}

func BenchmarkUnary(b *testing.B) {
	for _, f := range vectorFuncs {
		b.Run(f.u.String(), func(b *testing.B) {
			x, y := aligned(1024), aligned(1024)
			random(rand.New(rand.NewPCG(1, 1)), x)
			b.SetBytes(4096)
			for b.Loop() {
				Best().Apply(f.u, y, x)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/element")
		})
	}
}
