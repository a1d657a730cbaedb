package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// narrowLayer is a layer with narrow weights beside what they are in float32:
// of int8 without the scale.
type narrowLayer struct {
	layer
	scale []float32 // nil of bf16
	n     *Narrow
}

func newBF16(r *rand.Rand, out, in int) narrowLayer {
	l := newLayer(r, out, in)
	halves := make([]uint16, len(l.w))
	for i, w := range l.w {
		halves[i] = uint16(math.Float32bits(w) >> 16)
		l.w[i] = math.Float32frombits(uint32(halves[i]) << 16)
	}
	return narrowLayer{l, nil, PackBF16(halves, l.b, out, in)}
}

func newInt8(r *rand.Rand, out, in int) narrowLayer {
	l := newLayer(r, out, in)
	q := make([]int8, len(l.w))
	for i := range q {
		q[i] = int8(r.IntN(256) - 128)
		l.w[i] = float32(q[i])
	}
	scale := random(r, make([]float32, out))
	for i := range scale {
		scale[i] = scale[i]*scale[i]/64 + 1e-4
	}
	return narrowLayer{l, scale, PackInt8(q, scale, l.b, out, in)}
}

// exact is what the documentation of LinearNarrow promises, term by term.
func (l narrowLayer) exact(o int, x []float32) float32 {
	s := l.b[o]
	if l.scale != nil {
		s = 0
	}
	for k, v := range x {
		s = fma32(v, l.w[o*l.in+k], s)
	}
	if l.scale != nil {
		s = fma32(s, l.scale[o], l.b[o])
	}
	return s
}

// near is the sum in float64, and how far a float32 one in any order may be.
func (l narrowLayer) near(o int, x []float32) (want, bound float64) {
	each := 1.0
	if l.scale != nil {
		each = float64(l.scale[o])
	}
	want, sum := float64(l.b[o]), math.Abs(float64(l.b[o]))
	for k, v := range x {
		term := float64(v) * float64(l.w[o*l.in+k]) * each
		want, sum = want+term, sum+math.Abs(term)
	}
	return want, float64(l.in+4) * 0x1p-24 * sum
}

func checkNarrowLayer(t *testing.T, k Impl, l narrowLayer, rows, padY, padX, offset int, relu bool) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(l.out), uint64(l.in)))
	ldx, ldy := l.in+padX, l.out+padY
	x := newGuarded((rows-1)*ldx+l.in, offset)
	for i := range rows {
		random(r, x.s[i*ldx:i*ldx+l.in])
	}
	y := newGuarded((rows-1)*ldy+l.out, offset/2)
	act := Unary{}
	if relu {
		act.Op = Relu
	}
	scratch := newGuarded(l.n.Scratch(), 0)
	k.LinearNarrow(y.s, ldy, x.s, ldx, rows, l.n, act, scratch.s)
	y.check(t)
	x.check(t)
	scratch.check(t)
	one := make([]float32, l.out)
	for i := range rows {
		row := x.s[i*ldx : i*ldx+l.in]
		k.LinearNarrow(one, l.out, row, l.in, 1, l.n, act, scratch.s)
		for o := range l.out {
			got := y.s[i*ldy+o]
			if got != one[o] {
				t.Fatalf("%s %dx%d: row %d of %d, output %d: %v, alone %v", l.n.Form(), l.out, l.in, i, rows, o, got, one[o])
			}
			if k.vector {
				if want := l.exact(o, row); got != want && (!relu || got != max(want, 0)) {
					t.Fatalf("%s %dx%d: row %d of %d, output %d: got %v, want %v to the bit", l.n.Form(), l.out, l.in, i, rows, o, got, want)
				}
			}
			want, bound := l.near(o, row)
			if relu {
				want = max(want, 0)
			}
			if d := math.Abs(float64(got) - want); !(d <= bound) {
				t.Fatalf("%s %dx%d: row %d of %d, output %d: got %v, want %v", l.n.Form(), l.out, l.in, i, rows, o, got, want)
			}
		}
		for o := l.out; o < ldy && i < rows-1; o++ {
			if math.Float32bits(y.s[i*ldy+o]) != guardBits {
				t.Fatalf("%dx%d: row %d: padding %d was overwritten", l.out, l.in, i, o)
			}
		}
	}
}

func forEachNarrow(t *testing.T, f func(t *testing.T, k Impl, layerOf func(*rand.Rand, int, int) narrowLayer)) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, layerOf := range []func(*rand.Rand, int, int) narrowLayer{newBF16, newInt8} {
			f(t, k, layerOf)
		}
	})
}

// Every number of outputs to 1.5 panels and more, so every last panel and
// every partial store, with few inputs, below and above the rows from which
// weights are widened first.
func TestNarrowOutputs(t *testing.T) {
	forEachNarrow(t, func(t *testing.T, k Impl, layerOf func(*rand.Rand, int, int) narrowLayer) {
		r := rand.New(rand.NewPCG(1, 2))
		for out := 1; out <= 150; out++ {
			l := layerOf(r, out, 1+out%7)
			for _, rows := range []int{1, 3, 4, 5, 13} {
				checkNarrowLayer(t, k, l, rows, out%3, out%2, out%16, out%2 == 0)
			}
		}
	})
}

// Inputs of every kind of length, and sums that several calls make.
func TestNarrowInputs(t *testing.T) {
	forEachNarrow(t, func(t *testing.T, k Impl, layerOf func(*rand.Rand, int, int) narrowLayer) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, in := range []int{0, 1, 2, 15, 16, 17, 64, 333, 5000} {
			l := layerOf(r, 70, in)
			for _, rows := range []int{1, 7} {
				checkNarrowLayer(t, k, l, rows, 1, 2, 3, false)
			}
		}
		checkNarrowLayer(t, k, layerOf(r, 512, 1000), 2, 0, 0, 0, true) // beyond maxGemvWeights
	})
}

// With bf16 weights the bits are those of the float32 kernels in panel form.
func TestNarrowIsLinearOfTheSameWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	l := newBF16(r, 100, 77)
	m := Pack(l.w, l.b, l.out, l.in)
	k := Best()
	for _, rows := range []int{1, 2, 9, 100} {
		x := random(r, make([]float32, rows*l.in))
		got, want := make([]float32, rows*l.out), make([]float32, rows*l.out)
		k.LinearNarrow(got, l.out, x, l.in, rows, l.n, Unary{Op: Tanh}, make([]float32, l.n.Scratch()))
		k.Linear(want, l.out, x, l.in, rows, m, Unary{Op: Tanh})
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%d rows: number %d is %v, float32 has %v", rows, i, got[i], want[i])
			}
		}
	}
}

func TestNarrowAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	k := Best()
	for _, l := range []narrowLayer{newBF16(r, 70, 33), newInt8(r, 70, 33)} {
		for _, rows := range []int{1, 10} {
			x, y, scratch := make([]float32, rows*l.in), make([]float32, rows*l.out), make([]float32, l.n.Scratch())
			if n := testing.AllocsPerRun(10, func() { k.LinearNarrow(y, l.out, x, l.in, rows, l.n, Unary{Op: Tanh}, scratch) }); n != 0 {
				t.Errorf("%s, %d rows: %v allocations", l.n.Form(), rows, n)
			}
		}
	}
}

// A NaN or an infinity of an input reaches every output, through relu too.
func TestNarrowPassesNaN(t *testing.T) {
	forEachNarrow(t, func(t *testing.T, k Impl, layerOf func(*rand.Rand, int, int) narrowLayer) {
		r := rand.New(rand.NewPCG(7, 8))
		l := layerOf(r, 35, 20)
		for _, rows := range []int{1, 6} {
			x := random(r, make([]float32, rows*l.in))
			x[(rows-1)*l.in+11] = float32(math.NaN())
			y := make([]float32, rows*l.out)
			k.LinearNarrow(y, l.out, x, l.in, rows, l.n, Unary{Op: Relu}, make([]float32, l.n.Scratch()))
			for i, v := range y {
				if got, want := math.IsNaN(float64(v)), i >= (rows-1)*l.out; got != want {
					t.Fatalf("%s, %d rows: number %d is %v", l.n.Form(), rows, i, v)
				}
			}
		}
	})
}

func FuzzNarrow(f *testing.F) {
	f.Add(uint64(1), uint8(70), uint8(33), uint8(5), uint8(1))
	f.Add(uint64(2), uint8(16), uint8(0), uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, out, in, rows, more uint8) {
		if out == 0 || rows == 0 || rows > 30 {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for _, l := range []narrowLayer{newBF16(r, int(out), int(in)), newInt8(r, int(out), int(in))} {
			for _, k := range Impls() {
				checkNarrowLayer(t, k, l, int(rows), int(more%3), int(more%5), int(more%16), more%2 == 0)
			}
		}
	})
}

// Weights that lie in the second cache level, beyond it, and those of a layer
// behind convolutions.
func BenchmarkNarrow(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range [][2]int{{64, 64}, {256, 17}, {256, 256}, {1024, 256}, {1024, 64}, {512, 3136}} {
		for _, rows := range []int{1, 32, 96} {
			x, y := random(r, make([]float32, rows*s[1])), make([]float32, rows*s[0])
			f, h, q := newLayer(r, s[0], s[1]), newBF16(r, s[0], s[1]), newInt8(r, s[0], s[1])
			k := Best()
			scratch := aligned(h.n.Scratch())
			run := func(name string, f func()) {
				b.Run(fmt.Sprintf("%dx%d/rows=%d/%s", s[0], s[1], rows, name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						f()
					}
				})
			}
			run("float32", func() { k.Linear(y, s[0], x, s[1], rows, f.m, Unary{Op: Relu}) })
			run("bf16", func() { k.LinearNarrow(y, s[0], x, s[1], rows, h.n, Unary{Op: Relu}, scratch) })
			run("int8", func() { k.LinearNarrow(y, s[0], x, s[1], rows, q.n, Unary{Op: Relu}, scratch) })
		}
	}
}
