package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// nanFrom puts NaN into one place of x after the other, runs f, and reports
// where the results are NaN and should not be, or the other way round.
func nanFrom(t *testing.T, name string, x []float32, f func() []float32, reaches func(at, out int) bool) {
	t.Helper()
	for at := range x {
		was := x[at]
		x[at] = nan32
		for o, v := range f() {
			if isNaN(v) != reaches(at, o) {
				t.Fatalf("%s: number %d of %d is NaN: result %d is %v", name, at, len(x), o, v)
			}
		}
		x[at] = was
	}
}

func everywhere(int, int) bool { return true }

// NaN in any place of an operand comes out wherever the result depends on it:
// no kernel makes a number of it. What asks a question (comparisons, the
// logical functions, sign, not) answers with a number, and 1 to any power and
// anything to the power of 0 are 1, as in IEEE 754.
func TestNaNComesOut(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 13))
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, n := range []int{1, 3, 7, 8, 9, 31, 45} {
			nanThroughElements(t, k, r, n)
			nanThroughRows(t, k, r, n)
			nanThroughProducts(t, k, r, n)
		}
		nanThroughConvolutions(t, k, r)
	})
}

func nanThroughElements(t *testing.T, k Impl, r *rand.Rand, n int) {
	same := func(at, out int) bool { return at == out }
	a, b, y := exactFloats(r, n), exactFloats(r, n), make([]float32, n)
	for i := range a {
		a[i], b[i] = a[i]+20.5, b[i]+10.25
	}
	for op := range binaryOps {
		switch op {
		case Eq, Ne, Lt, Le, Gt, Ge, And, Or, PowInt, FmodInt, RemainderInt, FloorDivInt:
			continue
		}
		f := func() []float32 { k.Binary(op, y, a, b); return y }
		nanFrom(t, fmt.Sprintf("%v, first operand", op), a, f, same)
		nanFrom(t, fmt.Sprintf("%v, second operand", op), b, f, same)
	}
	for op := range unaryOps {
		if op == Not || op == Truth || op == Sign {
			continue
		}
		x := slices.Repeat([]float32{0.5}, n)
		if op == Acosh {
			x = slices.Repeat([]float32{1.5}, n)
		}
		u := Unary{Op: op, A: 1, B: 20, C: 1}
		nanFrom(t, u.String(), x, func() []float32 { k.Apply(u, y, x); return y }, same)
	}
	column := exactFloats(r, 3)
	for _, op := range []BinaryOp{Add, Sub, Mul} {
		x, z := exactFloats(r, 3*n), make([]float32, 3*n)
		f := func() []float32 { k.Columns(op, z, x, column, n, false); return z }
		nanFrom(t, "columns", x, f, same)
		nanFrom(t, "columns, shared operand", column, f, func(at, out int) bool { return out/n == at })
	}
}

func nanThroughRows(t *testing.T, k Impl, r *rand.Rand, n int) {
	x, y, z := exactFloats(r, 2*n), make([]float32, 2), make([]float32, 2*n)
	row := func(at, out int) bool { return at/n == out }
	nanFrom(t, "sum", x, func() []float32 { k.Sum(y, x, n, 1); return y }, row)
	nanFrom(t, "prod", x, func() []float32 { Prod(y, x, n); return y }, row)
	nanFrom(t, "amax", x, func() []float32 { k.Amax(y, x, n); return y }, row)
	nanFrom(t, "amin", x, func() []float32 { k.Amin(y, x, n); return y }, row)
	after := func(at, out int) bool { return at/n == out/n && at <= out }
	for _, product := range []bool{false, true} {
		nanFrom(t, "cumulate", x, func() []float32 { Cumulate(z, x, n, product); return z }, after)
	}
	whole := func(at, out int) bool { return at/n == out/n }
	for _, logarithm := range []bool{false, true} {
		nanFrom(t, "softmax", x, func() []float32 { k.Softmax(z, x, n, logarithm); return z }, whole)
	}
	nanFrom(t, "argmax", x[:n], func() []float32 { k.Argmax(y[:1], x[:n], n); return []float32{x[int(y[0])]} }, everywhere)
}

func nanThroughProducts(t *testing.T, k Impl, r *rand.Rand, n int) {
	for _, out := range []int{1, 4, 12, 16, 30, 64, 81} {
		l := newLayer(r, out, n)
		for _, rows := range []int{1, 2, 6, 15} {
			for _, act := range []UnaryOp{Identity, Relu, Tanh, Clamp} {
				x, y := random(r, make([]float32, rows*n)), make([]float32, rows*out)
				u := Unary{Op: act, A: -1, B: 1}
				nanFrom(t, fmt.Sprintf("%dx%d, %d rows, %v", out, n, rows, u), x, func() []float32 {
					k.Linear(y, out, x, n, rows, l.m, u)
					return y
				}, func(at, o int) bool { return at/n == o/out })
			}
		}
		a, b, y := random(r, make([]float32, 3*n)), random(r, make([]float32, n*out)), make([]float32, 3*out)
		scratch := make([]float32, MatMulScratch(n))
		f := func() []float32 { k.MatMul(y, a, b, 3, n, out, scratch); return y }
		nanFrom(t, "matmul, left", a, f, func(at, o int) bool { return at/n == o/out })
		nanFrom(t, "matmul, right", b, f, func(at, o int) bool { return at%out == o%out })
	}
}

// nanThroughConvolutions asks where the plain loops have NaN.
func nanThroughConvolutions(t *testing.T, k Impl, r *rand.Rand) {
	for _, s := range convShapes {
		for d := range 3 {
			s.Dilation[d] = max(1, s.Dilation[d])
			s.Out[d] = (s.In[d]+2*s.Padding[d]-s.Dilation[d]*(s.Kernel[d]-1)-1)/s.Stride[d] + 1
		}
		if slices.Min(s.Out[:]) < 1 {
			continue
		}
		w := random(r, make([]float32, s.Channels/s.Groups*s.Outputs*volume(s.Kernel)))
		c := PackConv(w, nil, &s, false)
		x := random(r, make([]float32, s.Channels*volume(s.In)))
		y, want := make([]float32, s.Outputs*volume(s.Out)), make([]float32, s.Outputs*volume(s.Out))
		scratch := make([]float32, c.Scratch())
		for at := 0; at < len(x); at += 1 + len(x)/97 {
			was := x[at]
			x[at] = nan32
			k.Convolve(y, x, 1, c, Unary{Op: Relu}, scratch)
			Conv(want, x, w, nil, 1, &s)
			for i, v := range y {
				if isNaN(v) != isNaN(want[i]) {
					t.Fatalf("convolution %+v, input %d is NaN: output %d is %v", s, at, i, v)
				}
			}
			x[at] = was
		}
	}
}
