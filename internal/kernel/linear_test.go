package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

type layer struct {
	out, in int
	w, b    []float32
	m       *Matrix
}

func newLayer(r *rand.Rand, out, in int) layer {
	w, b := random(r, make([]float32, out*in)), random(r, make([]float32, out))
	return layer{out, in, w, b, Pack(w, b, out, in)}
}

// exact is what the documentation of Linear promises, term by term.
func (l layer) exact(o int, x []float32) float32 {
	w := l.w[o*l.in : (o+1)*l.in]
	if l.out > maxDotOutputs {
		s := l.b[o]
		for k, v := range x {
			s = fma32(v, w[k], s)
		}
		return s
	}
	var s [16]float32
	for k, v := range x {
		s[k%16] = fma32(v, w[k], s[k%16])
	}
	for i := range 8 {
		s[i] += s[i+8]
	}
	return (((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))) + l.b[o]
}

// bound is the greatest error of a sum of in terms in any order, fused or not:
// (in+2)·2⁻²⁴ of the sum of the magnitudes.
func (l layer) bound(o int, x []float32) float64 {
	sum := math.Abs(float64(l.b[o]))
	for k, v := range x {
		sum += math.Abs(float64(v) * float64(l.w[o*l.in+k]))
	}
	return float64(l.in+2) * 0x1p-24 * sum
}

func (l layer) sum64(o int, x []float32) float64 {
	s := float64(l.b[o])
	for k, v := range x {
		s += float64(v) * float64(l.w[o*l.in+k])
	}
	return s
}

func checkLinear(t *testing.T, k Impl, l layer, rows, padY, padX, offset int, relu bool) {
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
	k.Linear(y.s, ldy, x.s, ldx, rows, l.m, act)
	y.check(t)
	x.check(t)
	one := make([]float32, l.out)
	for i := range rows {
		row := x.s[i*ldx : i*ldx+l.in]
		k.Linear(one, l.out, row, l.in, 1, l.m, act)
		for o := range l.out {
			got := y.s[i*ldy+o]
			if got != one[o] {
				t.Fatalf("%dx%d: row %d of %d, output %d: %v, alone %v", l.out, l.in, i, rows, o, got, one[o])
			}
			if k.vector {
				want := l.exact(o, row)
				if relu {
					want = max(want, 0)
				}
				if got != want {
					t.Fatalf("%dx%d: row %d of %d, output %d: got %v, want %v to the bit", l.out, l.in, i, rows, o, got, want)
				}
				continue
			}
			want := l.sum64(o, row)
			if relu {
				want = max(want, 0)
			}
			if d := math.Abs(float64(got) - want); !(d <= l.bound(o, row)) {
				t.Fatalf("%dx%d: row %d of %d, output %d: got %v, want %v", l.out, l.in, i, rows, o, got, want)
			}
		}
		for o := l.out; o < ldy && i < rows-1; o++ {
			if math.Float32bits(y.s[i*ldy+o]) != guardBits {
				t.Fatalf("%dx%d: row %d: padding %d was overwritten", l.out, l.in, i, o)
			}
		}
	}
}

// Every number of outputs to 1.5 wide blocks, so every split into panels and
// every partial store, with few inputs.
func TestLinearOutputs(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(1, 2))
		for out := 1; out <= 100; out++ {
			l := newLayer(r, out, 1+out%7)
			for _, rows := range []int{1, 2, 5, 13} {
				checkLinear(t, k, l, rows, out%3, out%2, out%16, out%2 == 0)
			}
		}
	})
}

// Every number of inputs to 130 in both forms.
func TestLinearInputs(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(3, 4))
		for in := 1; in <= 130; in++ {
			for _, out := range []int{1, 3, 4, 6, 12, 13, 16, 64} {
				l := newLayer(r, out, in)
				checkLinear(t, k, l, 1, 0, 0, in%16, false)
				checkLinear(t, k, l, 7, 1, 3, in%16, true)
			}
		}
	})
}

// Every number of rows to two blocks, so every mixture of tiles.
func TestLinearRows(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(5, 6))
		layers := []layer{newLayer(r, 3, 5), newLayer(r, 20, 5), newLayer(r, 16, 33)}
		for rows := 1; rows <= 2*maxBlockRows+2; rows++ {
			checkLinear(t, k, layers[rows%3], rows, rows%4, rows%3, rows%16, rows%2 == 0)
		}
	})
}

// Layers with a second copy of the weights, and layers whose product takes
// several calls.
func TestLinearLarge(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, s := range [][2]int{{64, 100}, {65, 128}, {150, 256}, {256, 256}, {130, 3136}, {6, 1000}, {300, 2000}} {
			l := newLayer(r, s[0], s[1])
			for _, rows := range []int{1, 3, 11} {
				checkLinear(t, k, l, rows, 0, 0, 0, true)
			}
		}
	})
}

// The last input and the last output lie against a page that faults.
func TestLinearStaysInside(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(9, 10))
		for in := 1; in <= 40; in++ {
			for _, out := range []int{1, 2, 3, 7, 12, 13, 17, 31, 64, 81} {
				l := newLayer(r, out, in)
				for _, rows := range []int{1, 2, 6, 9} {
					y, x := pageEnd(t, rows*out), pageEnd(t, rows*in)
					k.Linear(y, out, random(r, x), in, rows, l.m, Unary{})
				}
			}
		}
	})
}

func TestLinearWithoutInputs(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, out := range []int{3, 20} {
			b := random(rand.New(rand.NewPCG(1, 1)), make([]float32, out))
			y := make([]float32, 2*out)
			k.Linear(y, out, nil, 0, 2, Pack(nil, b, out, 0), Unary{})
			for i, v := range y {
				if v != b[i%out] {
					t.Fatalf("output %d is %v, want the bias %v", i, v, b[i%out])
				}
			}
		}
	})
}

// NaN and the infinities in an input reach every output whose weight is not
// zero, through the activation as well.
func TestLinearSpecials(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, out := range []int{3, 12, 16, 70} {
			for _, rows := range []int{1, 6} {
				in := 21
				w := make([]float32, out*in)
				for i := range w {
					w[i] = 1
				}
				m := Pack(w, nil, out, in)
				for _, act := range []UnaryOp{Identity, Relu, Tanh, Sigmoid, Silu} {
					for at := range in {
						x := make([]float32, rows*in)
						x[at] = float32(math.NaN())
						y := make([]float32, rows*out)
						k.Linear(y, out, x, in, rows, m, Unary{Op: act})
						for o, v := range y {
							if (o < out) != isNaN(v) {
								t.Fatalf("%d outputs, %v, input %d is NaN: output %d of row %d is %v", out, Unary{Op: act}, at, o%out, o/out, v)
							}
						}
						x[at] = float32(math.Inf(1))
						k.Linear(y, out, x, in, rows, m, Unary{})
						if y[0] != x[at] || y[out-1] != x[at] {
							t.Fatalf("input %d is Inf: outputs %v", at, y)
						}
					}
				}
			}
		}
	})
}

// Activations without a place in the kernel run on the block, also where rows
// have space between them.
func TestLinearActivation(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(11, 12))
		l := newLayer(r, 19, 8)
		for _, rows := range []int{1, 5, 100} {
			for _, pad := range []int{0, 3} {
				x := random(r, make([]float32, rows*8))
				got, plain := make([]float32, rows*(19+pad)), make([]float32, rows*19)
				act := Unary{Op: Tanh}
				k.Linear(got, 19+pad, x, 8, rows, l.m, act)
				k.Linear(plain, 19, x, 8, rows, l.m, Unary{})
				k.Apply(act, plain, plain)
				for i, v := range plain {
					if g := got[i/19*(19+pad)+i%19]; g != v {
						t.Fatalf("%d rows, element %d: fused %v, apart %v", rows, i, g, v)
					}
				}
			}
		}
	})
}

func TestLinearRefusesShortSlices(t *testing.T) {
	m := Pack(make([]float32, 20), nil, 4, 5)
	f := func(y, x, ld, rows int) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("y %d, x %d, %d rows: no panic", y, x, rows)
			}
		}()
		Best().Linear(make([]float32, y), ld, make([]float32, x), 5, rows, m, Unary{})
	}
	f(3, 5, 4, 1)
	f(4, 4, 4, 1)
	f(7, 10, 4, 2)
	f(8, 9, 4, 2)
	f(8, 10, -1, 2)
}

func FuzzLinear(f *testing.F) {
	f.Add(uint64(1), uint8(3), uint8(64), uint8(1))
	f.Add(uint64(2), uint8(70), uint8(5), uint8(33))
	f.Fuzz(func(t *testing.T, seed uint64, out, in, rows uint8) {
		l := newLayer(rand.New(rand.NewPCG(seed, 0)), 1+int(out), 1+int(in))
		for _, k := range Impls() {
			checkLinear(t, k, l, 1+int(rows), int(seed%5), int(seed%3), int(seed%16), seed%2 == 0)
		}
	})
}

func BenchmarkLinear(b *testing.B) {
	for _, s := range [][3]int{{64, 5, 1}, {64, 64, 1}, {3, 64, 1}, {256, 17, 1}, {256, 256, 1}, {6, 256, 1}, {64, 64, 96}, {256, 256, 96}, {3, 64, 96}} {
		b.Run(fmt.Sprintf("%dx%d/rows=%d", s[0], s[1], s[2]), func(b *testing.B) {
			l := newLayer(rand.New(rand.NewPCG(1, 1)), s[0], s[1])
			x, y := aligned(s[1]*s[2]), aligned(s[0]*s[2])
			random(rand.New(rand.NewPCG(1, 2)), x)
			b.ReportAllocs()
			b.SetBytes(int64(l.m.Bytes()))
			k := Best()
			for b.Loop() {
				k.Linear(y, s[0], x, s[1], s[2], l.m, Unary{Op: Relu})
			}
			b.ReportMetric(float64(s[0]*s[1]*s[2])*float64(b.N)/b.Elapsed().Seconds()/1e9, "GMAC/s")
		})
	}
}
