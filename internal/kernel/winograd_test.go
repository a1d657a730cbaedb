package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// winogradShapes are geometries with whole and ragged tiles, with fewer
// positions and channels than the kernels take at once, and with padding.
var winogradShapes = []ConvShape{
	{Channels: 8, Outputs: 8, In: [3]int{1, 6, 6}},
	{Channels: 1, Outputs: 1, In: [3]int{1, 3, 3}},
	{Channels: 3, Outputs: 17, In: [3]int{1, 7, 5}, Padding: [3]int{0, 1, 1}},
	{Channels: 16, Outputs: 32, In: [3]int{1, 9, 10}, Padding: [3]int{0, 0, 2}},
	{Channels: 64, Outputs: 64, In: [3]int{1, 9, 9}},
	{Channels: 9, Outputs: 40, In: [3]int{1, 30, 4}, Padding: [3]int{0, 2, 0}},
	{Channels: 16, Outputs: 16, In: [3]int{1, 26, 26}, Padding: [3]int{0, 1, 1}}, // several lines at a time
}

func winogradShape(s ConvShape) ConvShape {
	s.Groups, s.Kernel, s.Stride, s.Dilation = 1, [3]int{1, 3, 3}, [3]int{1, 1, 1}, [3]int{1, 1, 1}
	s.Out = [3]int{1, s.In[1] + 2*s.Padding[1] - 2, s.In[2] + 2*s.Padding[2] - 2}
	return s
}

func forEachWinograd(t *testing.T, f func(t *testing.T, k Impl, s ConvShape, m int)) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, m := range []int{2, 4} {
			for _, s := range winogradShapes {
				t.Run(fmt.Sprintf("%d/%dx%dx%v", m, s.Outputs, s.Channels, s.In), func(t *testing.T) { f(t, k, winogradShape(s), m) })
			}
		}
	})
}

// Winograd's form gives what the plain loops give, exactly where it makes no
// difference how numbers are rounded, and touches nothing beside its result.
func TestWinograd(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 1))
	forEachWinograd(t, func(t *testing.T, k Impl, s ConvShape, m int) {
		const rows = 3
		x, w, b := exactFloats(r, rows*s.Channels*volume(s.In)), exactFloats(r, s.Channels*s.Outputs*9), exactFloats(r, s.Outputs)
		for _, b := range [][]float32{nil, b} {
			want := make([]float32, rows*s.Outputs*volume(s.Out))
			Conv(want, x, w, b, rows, &s)
			c := PackWinograd(w, b, &s, m)
			for _, act := range []UnaryOp{Identity, Relu, Neg} {
				y, scratch := newGuarded(len(want), 3), newGuarded(c.Scratch(), 0)
				k.Convolve(y.s, x, rows, c, Unary{Op: act}, scratch.s)
				y.check(t)
				scratch.check(t)
				after := make([]float32, len(want))
				unaryGeneric(Unary{Op: act}, after, want)
				tolerance := 0.
				if m == 4 { // the transformed weights are not exact
					tolerance = 1e-4 * math.Sqrt(float64(s.Channels))
				}
				for i, got := range y.s {
					if !(math.Abs(float64(got)-float64(after[i])) <= tolerance) {
						t.Fatalf("%v, element %d: got %v, want %v", Unary{Op: act}, i, got, after[i])
					}
				}
			}
		}
	})
}

// A row has the same bits in every batch and wherever in it.
func TestWinogradSameBits(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 2))
	forEachWinograd(t, func(t *testing.T, k Impl, s ConvShape, m int) {
		const rows = 9
		in, out := s.Channels*volume(s.In), s.Outputs*volume(s.Out)
		x, w := random(r, make([]float32, rows*in)), random(r, make([]float32, s.Channels*s.Outputs*9))
		c := PackWinograd(w, nil, &s, m)
		all, some, scratch := make([]float32, rows*out), make([]float32, rows*out), Aligned(c.Scratch())
		k.Convolve(all, x, rows, c, Unary{}, scratch)
		for _, n := range []int{1, 2, 5} {
			for from := 0; from+n <= rows; from += n {
				k.Convolve(some, x[from*in:], n, c, Unary{}, scratch)
				for i, v := range some[:n*out] {
					if math.Float32bits(v) != math.Float32bits(all[from*out+i]) {
						t.Fatalf("row %d of %d: element %d: %v, among %d rows %v", from, n, i, v, rows, all[from*out+i])
					}
				}
			}
		}
	})
}

// The transforms of the kernels are those of the twins, to the bit where nothing
// is rounded.
func TestWinogradLines(t *testing.T) {
	if !hasVector || !hasWinograd {
		t.Log("no vector kernels to compare")
		return
	}
	r := rand.New(rand.NewPCG(21, 3))
	for f, size := range [][2]int{{4, 4}, {4, 2}, {6, 6}, {6, 4}} {
		for _, n := range []int{8, 16, 40} {
			for count := 1; count < 4; count++ {
				c := winogradCount{n, count, 3 * n, 2 * n}
				ldx, ldy := 7*n+3, 9*n+1
				x := pageEnd(t, (count-1)*c.stepX+(size[0]-1)*ldx+n)
				copy(x, exactFloats(r, len(x)))
				if count == 2 {
					x[n/2+ldx] = nan32
				}
				y := pageEnd(t, (count-1)*c.stepY+(size[1]-1)*ldy+n)
				want := make([]float32, len(y))
				Impl{vector: true}.winogradLines(winogradLine(f), y, ldy, x, ldx, c)
				Impl{}.winogradLines(winogradLine(f), want, ldy, x, ldx, c)
				for i, v := range y {
					if ulps(v, want[i]) > 0 {
						t.Fatalf("transform %d, %+v, element %d: got %v, want %v", f, c, i, v, want[i])
					}
				}
			}
		}
	}
}

// The input, the result and the scratch lie against pages that fault.
func TestWinogradStaysInside(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 4))
	forEachWinograd(t, func(t *testing.T, k Impl, s ConvShape, m int) {
		c := PackWinograd(random(r, make([]float32, s.Channels*s.Outputs*9)), nil, &s, m)
		for _, rows := range []int{1, 2} {
			x, y := random(r, pageEnd(t, rows*s.Channels*volume(s.In))), pageEnd(t, rows*s.Outputs*volume(s.Out))
			k.Convolve(y, x, rows, c, Unary{Op: Relu}, pageEnd(t, c.Scratch()))
		}
	})
}

// NaN in an input comes out wherever the plain loops have it, in the row that
// it is in and in no other, and farther away than a tile it does not come.
func TestWinogradNaN(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 5))
	forEachWinograd(t, func(t *testing.T, k Impl, s ConvShape, m int) {
		in, out := s.Channels*volume(s.In), s.Outputs*volume(s.Out)
		w := random(r, make([]float32, s.Channels*s.Outputs*9))
		c := PackWinograd(w, nil, &s, m)
		x := random(r, make([]float32, 2*in))
		y, want, scratch := make([]float32, 2*out), make([]float32, 2*out), make([]float32, c.Scratch())
		for at := 0; at < len(x); at += 1 + len(x)/23 {
			was := x[at]
			x[at] = nan32
			k.Convolve(y, x, 2, c, Unary{Op: Relu}, scratch)
			Conv(want, x, w, nil, 2, &s)
			for i, v := range y {
				if isNaN(want[i]) && !isNaN(v) {
					t.Fatalf("input %d is NaN: output %d is %v", at, i, v)
				}
				i1, i2 := at/s.In[2]%s.In[1]+s.Padding[1], at%s.In[2]+s.Padding[2]
				o1, o2 := i/s.Out[2]%s.Out[1]/m*m, i%s.Out[2]/m*m // where its tile begins
				inTile := i1 >= o1 && i1 < o1+m+2 && i2 >= o2 && i2 < o2+m+2
				if isNaN(v) && (i/out != at/in || !inTile) {
					t.Fatalf("input %d is NaN: output %d, of another tile, is too", at, i)
				}
			}
			x[at] = was
		}
	})
}

// What is too large on the way comes out as NaN or is right: no activation makes
// a number of it that looks like an answer.
func TestWinogradOverflow(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 7))
	forEachWinograd(t, func(t *testing.T, k Impl, s ConvShape, m int) {
		in, out := s.Channels*volume(s.In), s.Outputs*volume(s.Out)
		w := random(r, make([]float32, s.Channels*s.Outputs*9))
		for i := range w {
			w[i] /= float32(64 * s.Channels)
		}
		c := PackWinograd(w, nil, &s, m)
		x, y, want, scratch := random(r, make([]float32, in)), make([]float32, out), make([]float32, out), make([]float32, c.Scratch())
		largest := float32(0)
		for _, v := range x {
			largest = max(largest, v, -v)
		}
		for _, top := range []float32{1e30, 1e36, 1e37, 1e38, math.MaxFloat32} {
			big := make([]float32, in)
			for i, v := range x {
				big[i] = v / largest * top
			}
			k.Convolve(y, big, 1, c, Unary{Op: Relu}, scratch)
			Conv(want, big, w, nil, 1, &s)
			for i, v := range y {
				if d := math.Abs(float64(v) - math.Max(0, float64(want[i]))); !isNaN(v) && d > 1e-5*float64(top) || isNaN(v) && top == 1e30 {
					t.Fatalf("inputs up to %v, output %d: %v, should be %v", top, i, v, want[i])
				}
			}
		}
	})
}

// winogradError is the greatest distance from the sums in float64, of one
// convolution of inputs from 0 to 1 and weights as layers begin with.
func winogradError(k Impl, c *PackedConv, s *ConvShape, x, w []float32) (worst, scale float64) {
	y := make([]float32, s.Outputs*volume(s.Out))
	k.Convolve(y, x, 1, c, Unary{}, Aligned(c.Scratch()))
	for i, got := range y {
		o, at := i/volume(s.Out), i%volume(s.Out)
		sum := 0.
		for ch := range s.Channels {
			for tap := range 9 {
				r, q := at/s.Out[2]+tap/3-s.Padding[1], at%s.Out[2]+tap%3-s.Padding[2]
				if r >= 0 && r < s.In[1] && q >= 0 && q < s.In[2] {
					sum += float64(w[(o*s.Channels+ch)*9+tap]) * float64(x[(ch*s.In[1]+r)*s.In[2]+q])
				}
			}
		}
		worst, scale = max(worst, math.Abs(float64(got)-sum)), max(scale, math.Abs(sum))
	}
	return worst, scale
}

// The error of the sums stays below what answers may differ by.
func TestWinogradError(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 6))
	for _, s := range winogradShapes {
		s := winogradShape(s)
		x, w := make([]float32, s.Channels*volume(s.In)), make([]float32, s.Channels*s.Outputs*9)
		for i := range x {
			x[i] = r.Float32()
		}
		for i := range w {
			w[i] = (2*r.Float32() - 1) * float32(math.Sqrt(3/float64(9*s.Channels)))
		}
		direct, scale := winogradError(Best(), PackConv(w, nil, &s, false), &s, x, w)
		two, _ := winogradError(Best(), PackWinograd(w, nil, &s, 2), &s, x, w)
		four, _ := winogradError(Best(), PackWinograd(w, nil, &s, 4), &s, x, w)
		t.Logf("%dx%dx%v: up to %.2f; error direct %.1e, F(2,3) %.1e, F(4,3) %.1e", s.Outputs, s.Channels, s.In, scale, direct, two, four)
		if two > 2e-6 || four > 1e-5 {
			t.Errorf("%dx%dx%v: the error of F(2,3) is %v, of F(4,3) %v", s.Outputs, s.Channels, s.In, two, four)
		}
	}
}

// What is packed in tiles is what the figures at WinogradTile say.
func TestWinogradTile(t *testing.T) {
	if !hasWinograd || !hasVector {
		if m := Best().WinogradTile(&ConvShape{}); m != 0 {
			t.Errorf("tiles of %d without kernels", m)
		}
		return
	}
	for _, c := range []struct{ channels, outputs, height, width, tile int }{
		{4, 16, 20, 20, 0}, {8, 16, 20, 20, 4}, {8, 4, 20, 20, 0}, {16, 16, 10, 10, 0}, {16, 16, 20, 20, 4},
		{32, 32, 4, 4, 0}, {32, 32, 6, 6, 4}, {64, 64, 2, 2, 0}, {64, 64, 3, 3, 0}, {64, 64, 4, 4, 2}, {64, 64, 5, 5, 2}, {64, 64, 7, 7, 4},
		{64, 64, 1, 20, 0}, {128, 128, 8, 8, 4}, {16, 16, 4, 9000, 0},
	} {
		s := winogradShape(ConvShape{Channels: c.channels, Outputs: c.outputs, In: [3]int{1, c.height + 2, c.width + 2}})
		if got := Best().WinogradTile(&s); got != c.tile {
			t.Errorf("%+v: tiles of %d", c, got)
		}
		if got := (Impl{}).WinogradTile(&s); got != 0 {
			t.Errorf("%+v: tiles of %d without kernels", c, got)
		}
	}
	for _, change := range []func(*ConvShape){
		func(s *ConvShape) { s.Groups = 2 },
		func(s *ConvShape) { s.Stride[2] = 2 },
		func(s *ConvShape) { s.Dilation[1] = 2 },
		func(s *ConvShape) { s.Kernel[1] = 5 },
		func(s *ConvShape) { s.In[0] = 2 },
	} {
		s := winogradShape(ConvShape{Channels: 64, Outputs: 64, In: [3]int{1, 20, 20}})
		if change(&s); s.CanWinograd() || Best().WinogradTile(&s) != 0 {
			t.Errorf("%+v goes in tiles", s)
		}
	}
}

func BenchmarkWinograd(b *testing.B) {
	for _, s := range []ConvShape{
		{Channels: 64, Outputs: 64, In: [3]int{1, 9, 9}},
		{Channels: 32, Outputs: 32, In: [3]int{1, 11, 11}, Padding: [3]int{0, 1, 1}},
		{Channels: 32, Outputs: 32, In: [3]int{1, 21, 21}, Padding: [3]int{0, 1, 1}},
		{Channels: 16, Outputs: 32, In: [3]int{1, 42, 42}, Padding: [3]int{0, 1, 1}},
		{Channels: 16, Outputs: 16, In: [3]int{1, 42, 42}, Padding: [3]int{0, 1, 1}},
		{Channels: 16, Outputs: 32, In: [3]int{1, 16, 16}, Padding: [3]int{0, 1, 1}},
		{Channels: 8, Outputs: 16, In: [3]int{1, 20, 20}, Padding: [3]int{0, 1, 1}},
		{Channels: 3, Outputs: 16, In: [3]int{1, 32, 32}, Padding: [3]int{0, 1, 1}},
		{Channels: 4, Outputs: 16, In: [3]int{1, 84, 84}, Padding: [3]int{0, 1, 1}},
		{Channels: 64, Outputs: 64, In: [3]int{1, 4, 4}, Padding: [3]int{0, 1, 1}},
		{Channels: 128, Outputs: 128, In: [3]int{1, 8, 8}, Padding: [3]int{0, 1, 1}},
	} {
		s := winogradShape(s)
		for _, rows := range []int{1, 8} {
			for _, m := range []int{0, 2, 4} {
				b.Run(fmt.Sprintf("%dx%dx%d/%d/tile=%d", s.Channels, s.Outputs, s.Out[1], rows, m), func(b *testing.B) {
					r := rand.New(rand.NewPCG(1, 1))
					w := random(r, make([]float32, s.Channels*s.Outputs*9))
					c := PackConv(w, nil, &s, false)
					if m > 0 {
						c = PackWinograd(w, nil, &s, m)
					}
					x, y := random(r, make([]float32, rows*s.Channels*volume(s.In))), make([]float32, rows*s.Outputs*volume(s.Out))
					scratch := Aligned(c.Scratch())
					b.ReportAllocs()
					for b.Loop() {
						Best().Convolve(y, x, rows, c, Unary{Op: Relu}, scratch)
					}
				})
			}
		}
	}
}
