package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// convShapes are geometries of convolutions, with and without what makes them
// difficult; Out is filled in by the tests.
var convShapes = []ConvShape{
	{Groups: 1, Channels: 3, Outputs: 16, In: [3]int{1, 12, 12}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}},
	{Groups: 1, Channels: 2, Outputs: 40, In: [3]int{1, 13, 14}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}}, // several blocks, a pair of panels and one
	{Groups: 1, Channels: 4, Outputs: 32, In: [3]int{1, 20, 24}, Kernel: [3]int{1, 8, 8}, Stride: [3]int{1, 4, 4}},
	{Groups: 1, Channels: 2, Outputs: 17, In: [3]int{1, 7, 9}, Kernel: [3]int{1, 3, 2}, Stride: [3]int{1, 2, 1}, Padding: [3]int{0, 1, 2}},
	{Groups: 1, Channels: 5, Outputs: 9, In: [3]int{1, 1, 31}, Kernel: [3]int{1, 1, 5}, Stride: [3]int{1, 1, 3}, Padding: [3]int{0, 0, 2}, Dilation: [3]int{1, 1, 2}},
	{Groups: 2, Channels: 4, Outputs: 20, In: [3]int{4, 5, 6}, Kernel: [3]int{2, 3, 2}, Stride: [3]int{1, 2, 1}, Padding: [3]int{1, 0, 1}, Dilation: [3]int{1, 1, 2}},
	{Groups: 1, Channels: 8, Outputs: 8, In: [3]int{1, 1, 2}, Kernel: [3]int{1, 1, 1}, Stride: [3]int{1, 1, 1}}, // fewer positions than a tile
	{Groups: 6, Channels: 6, Outputs: 6, In: [3]int{1, 9, 11}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}, Padding: [3]int{0, 1, 1}},
	{Groups: 3, Channels: 6, Outputs: 12, In: [3]int{1, 10, 9}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 2, 3}, Padding: [3]int{0, 2, 1}},
	{Groups: 1, Channels: 2, Outputs: 3, In: [3]int{3, 6, 7}, Kernel: [3]int{2, 2, 3}, Stride: [3]int{2, 1, 2}, Padding: [3]int{1, 1, 1}, Dilation: [3]int{1, 2, 1}},
	{Groups: 1, Channels: 1, Outputs: 1, In: [3]int{1, 1, 1}, Kernel: [3]int{1, 1, 1}, Stride: [3]int{1, 1, 1}},
	{Groups: 1, Channels: 3, Outputs: 20, In: [3]int{1, 4, 5}, Kernel: [3]int{1, 2, 3}, Stride: [3]int{1, 3, 3}}, // taps that some phases lack
	{Groups: 1, Channels: 3, Outputs: 2, In: [3]int{1, 4, 5}, Kernel: [3]int{1, 1, 1}, Stride: [3]int{1, 2, 3}},  // phases without any
}

// exactFloats are numbers whose products and sums are exact, so that all
// orders of a sum and all roundings of its terms give the same bits.
func exactFloats(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.IntN(17)-8) / 4
	}
	return x
}

func volume(d [3]int) int { return d[0] * d[1] * d[2] }

// The packed form gives what the plain loops give, in all geometries, and
// touches nothing beside its result.
func TestConvolve(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	forEachImpl(t, func(t *testing.T, k Impl) {
		for i, s := range convShapes {
			for _, transposed := range []bool{false, true} {
				for d := range 3 {
					s.Dilation[d] = max(1, s.Dilation[d])
					if transposed {
						s.Out[d] = (s.In[d]-1)*s.Stride[d] - 2*s.Padding[d] + s.Dilation[d]*(s.Kernel[d]-1) + 1 + i%2*(s.Stride[d]-1)
					} else {
						s.Out[d] = (s.In[d]+2*s.Padding[d]-s.Dilation[d]*(s.Kernel[d]-1)-1)/s.Stride[d] + 1
					}
				}
				if slices.Min(s.Out[:]) < 1 {
					continue
				}
				t.Run(fmt.Sprintf("%d/%v", i, transposed), func(t *testing.T) { checkConvolve(t, r, k, s, transposed) })
			}
		}
	})
}

func checkConvolve(t *testing.T, r *rand.Rand, k Impl, s ConvShape, transposed bool) {
	const rows = 2
	x := exactFloats(r, rows*s.Channels*volume(s.In))
	w := exactFloats(r, s.Channels/s.Groups*s.Outputs*volume(s.Kernel))
	for _, b := range [][]float32{nil, exactFloats(r, s.Outputs)} {
		want := make([]float32, rows*s.Outputs*volume(s.Out))
		if transposed {
			ConvTranspose(want, x, w, b, rows, &s)
		} else {
			Conv(want, x, w, b, rows, &s)
		}
		c := PackConv(w, b, &s, transposed)
		for _, act := range []UnaryOp{Identity, Relu, Neg} {
			y, scratch := newGuarded(len(want), 3), newGuarded(c.Scratch(), 0)
			k.Convolve(y.s, x, rows, c, Unary{Op: act}, scratch.s)
			y.check(t)
			scratch.check(t)
			after := make([]float32, len(want))
			unaryGeneric(Unary{Op: act}, after, want)
			for i, got := range y.s {
				if got != after[i] {
					t.Fatalf("%+v, %s, %v, element %d: got %v, want %v", s, c.Form(), Unary{Op: act}, i, got, after[i])
				}
			}
		}
		if c.Bytes() < 4*len(w) {
			t.Errorf("%d bytes of %d weights", c.Bytes(), len(w))
		}
	}
}

// The kernels add the terms in the order of their twins, each product and sum
// rounded once.
func TestConvKernels(t *testing.T) {
	k := Best()
	if !k.vector {
		t.Log("no vector kernels to compare")
		return
	}
	r := rand.New(rand.NewPCG(6, 6))
	for _, terms := range []int{0, 1, 2, 9, 100} {
		x := random(r, make([]float32, 400))
		table := make([]int32, terms)
		for i := range table {
			table[i] = int32(r.IntN(200))
		}
		at := [tilePixels]int{0, 7, 3, 199, 50, 50}
		w, b := random(r, make([]float32, terms*panelWidth)), random(r, make([]float32, panelWidth))
		y := newGuarded(tilePixels*panelWidth, 5)
		convTileVector(y.s, x, &at, table, w, b, false, make([]float32, gatherFloats*terms))
		y.check(t)
		for i, from := range at {
			for j := range panelWidth {
				sum := b[j]
				for q, d := range table {
					sum = fma32(x[from+int(d)], w[q*panelWidth+j], sum)
				}
				if got := y.s[i*panelWidth+j]; got != sum {
					t.Fatalf("tile of %d terms, position %d, output %d: got %v, want %v", terms, i, j, got, sum)
				}
			}
		}
		p := newGuarded(2*planeStep, 1)
		convPlaneVector(p.s, x, table, w[:terms], 0.5, false)
		p.check(t)
		for i, got := range p.s {
			sum := float32(0.5)
			for q, d := range table {
				sum = fma32(x[i+int(d)], w[q], sum)
			}
			if got != sum {
				t.Fatalf("plane of %d terms, position %d: got %v, want %v", terms, i, got, sum)
			}
		}
	}
}

// The tile of two panels gives what two tiles of one give, for every number of
// positions.
func TestConvTilePair(t *testing.T) {
	if !hasWide {
		t.Log("no wide kernels to compare")
		return
	}
	r := rand.New(rand.NewPCG(7, 7))
	for _, terms := range []int{0, 1, 3, 50} {
		for n := 1; n <= widePixels; n++ {
			x, table, at := random(r, pageEnd(t, 250)), make([]int32, terms), make([]int32, n)
			for i := range table {
				table[i] = int32(r.IntN(150))
			}
			for i := range at {
				at[i] = int32(r.IntN(101))
			}
			w, b := random(r, pageEnd(t, 2*terms*panelWidth)), random(r, pageEnd(t, 2*panelWidth))
			if terms > 0 {
				x[at[0]+table[0]] = nan32
			}
			y := newGuarded(n*2*panelWidth, n)
			convTileWide(y.s, x, at, table, w, b, terms*panelWidth, n%2 == 0)
			y.check(t)
			var tile [tilePixels]int
			one := make([]float32, tilePixels*panelWidth)
			for i, from := range at {
				tile[0] = int(from)
				for panel := range 2 {
					convTileVector(one, x, &tile, table, w[panel*terms*panelWidth:], b[panel*panelWidth:], n%2 == 0, nil)
					for j, want := range one[:panelWidth] {
						if got := y.s[(2*i+panel)*panelWidth+j]; ulps(got, want) > 0 {
							t.Fatalf("%d terms, position %d of %d, output %d: got %v, want %v", terms, i, n, panel*panelWidth+j, got, want)
						}
					}
				}
			}
		}
	}
}

// A block is turned whole, against pages that fault.
func TestSpread(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	forEachImpl(t, func(t *testing.T, k Impl) {
		for n := 1; n <= blockPixels; n++ {
			for outs := 1; outs <= 2*panelWidth; outs++ {
				ld := (outs + panelWidth - 1) / panelWidth * panelWidth
				plane := n + outs%3
				tile, to := random(r, pageEnd(t, n*ld)), make([]int32, n)
				for i := range to {
					to[i] = int32(i)
				}
				y, want := pageEnd(t, outs*plane), make([]float32, outs*plane)
				k.spread(y, plane, tile, ld, to, outs)
				spreadGeneric(want, plane, tile, ld, n, outs)
				if !slices.Equal(y, want) {
					t.Fatalf("%d positions, %d outputs: got %v, want %v", n, outs, y, want)
				}
			}
		}
	})
}

// The input, the result and the scratch lie against pages that fault.
func TestConvolveStaysInside(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, s := range convShapes {
			for d := range 3 {
				s.Dilation[d] = max(1, s.Dilation[d])
				s.Out[d] = (s.In[d]+2*s.Padding[d]-s.Dilation[d]*(s.Kernel[d]-1)-1)/s.Stride[d] + 1
			}
			if slices.Min(s.Out[:]) < 1 {
				continue
			}
			c := PackConv(random(r, make([]float32, s.Channels/s.Groups*s.Outputs*volume(s.Kernel))), nil, &s, false)
			x, y := random(r, pageEnd(t, s.Channels*volume(s.In))), pageEnd(t, s.Outputs*volume(s.Out))
			k.Convolve(y, x, 1, c, Unary{Op: Relu}, pageEnd(t, c.Scratch()))
		}
	})
}

func TestConvTwins(t *testing.T) {
	x, table, at := []float32{1, 2, 3, 4, 5, 6, 7, 8}, []int32{0, 2}, [tilePixels]int{0, 1, 2, 3, 4, 5}
	w, b := make([]float32, 2*panelWidth), make([]float32, panelWidth)
	w[0], w[panelWidth], b[0], b[1] = 1, -2, 0.5, -7
	y := make([]float32, tilePixels*panelWidth)
	convTileGeneric(y, x, &at, table, w, b, false)
	if y[0] != 0.5+1-2*3 || y[1] != -7 || y[5*panelWidth] != 0.5+6-2*8 {
		t.Errorf("got %v", y)
	}
	convTileGeneric(y, x, &at, table, w, b, true)
	if y[0] != 0 {
		t.Errorf("relu: got %v", y[0])
	}
	z := make([]float32, 6)
	convPlaneGeneric(z, x, table, []float32{1, -2}, 0.5, false)
	if z[0] != -4.5 || z[5] != -9.5 {
		t.Errorf("got %v", z)
	}
	convPlaneGeneric(z, x, table, []float32{1, -2}, 0.5, true)
	if z[0] != 0 {
		t.Errorf("relu: got %v", z)
	}
}

func BenchmarkConvolve(b *testing.B) {
	for _, s := range []ConvShape{
		{Groups: 1, Channels: 4, Outputs: 32, In: [3]int{1, 84, 84}, Out: [3]int{1, 20, 20}, Kernel: [3]int{1, 8, 8}, Stride: [3]int{1, 4, 4}, Dilation: [3]int{1, 1, 1}},
		{Groups: 1, Channels: 32, Outputs: 64, In: [3]int{1, 20, 20}, Out: [3]int{1, 9, 9}, Kernel: [3]int{1, 4, 4}, Stride: [3]int{1, 2, 2}, Dilation: [3]int{1, 1, 1}},
		{Groups: 1, Channels: 64, Outputs: 64, In: [3]int{1, 9, 9}, Out: [3]int{1, 7, 7}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}, Dilation: [3]int{1, 1, 1}},
		{Groups: 32, Channels: 32, Outputs: 32, In: [3]int{1, 20, 20}, Out: [3]int{1, 20, 20}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}, Padding: [3]int{0, 1, 1}, Dilation: [3]int{1, 1, 1}},
	} {
		b.Run(fmt.Sprintf("%dx%v", s.Outputs, s.Kernel), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			c := PackConv(random(r, make([]float32, s.Channels/s.Groups*s.Outputs*volume(s.Kernel))), nil, &s, false)
			x, y := random(r, make([]float32, s.Channels*volume(s.In))), make([]float32, s.Outputs*volume(s.Out))
			scratch := Aligned(c.Scratch())
			b.ReportAllocs()
			for b.Loop() {
				Best().Convolve(y, x, 1, c, Unary{Op: Relu}, scratch)
			}
			macs := float64(len(y)) * float64(s.Channels/s.Groups*volume(s.Kernel))
			b.ReportMetric(macs*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "MAC/ns")
		})
	}
}

func TestPackable(t *testing.T) {
	s := ConvShape{Groups: 1, Channels: 1, Outputs: 1, In: [3]int{1, 2, 2}, Kernel: [3]int{1, 2, 2}, Out: [3]int{1, 5000, 5000}, Stride: [3]int{1, 4998, 4998}}
	if s.Packable(true) || !s.Packable(false) {
		t.Error("a gradient of long strides is packed")
	}
	s.Stride, s.Out = [3]int{1 << 16, 1 << 16, 8}, [3]int{1, 1, 9}
	if !s.Packable(true) {
		t.Error("a gradient of eight grids is not packed")
	}
}
