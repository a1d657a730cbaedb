package kernel

import (
	"math"
	"slices"
	"testing"
)

var (
	nan32 = float32(math.NaN())
	inf32 = float32(math.Inf(1))
)

func TestTake(t *testing.T) {
	f := func(index []float32, outer, size, inner int, want ...float32) {
		t.Helper()
		y := make([]float32, outer*len(index)*inner)
		Take(y, []float32{1, 2, 3, 4, 5, 6}, index, outer, size, inner, -9)
		if !slices.Equal(y, want) {
			t.Errorf("%v of %d times %d times %d: got %v, want %v", index, outer, size, inner, y, want)
		}
	}
	f([]float32{2, 0}, 1, 3, 2, 5, 6, 1, 2)
	f([]float32{-1, 0}, 2, 3, 1, 3, 1, 6, 4)
	f([]float32{3, -4, nan32, inf32, -inf32, 1e30}, 1, 3, 1, -9, -9, -9, -9, -9, -9)
	f([]float32{0}, 6, 1, 1, 1, 2, 3, 4, 5, 6)
	f([]float32{0, 1}, 1, 0, 1, -9, -9)
}

func TestGather(t *testing.T) {
	y := make([]float32, 6)
	Gather(y, []float32{1, 2, 3, 4}, []float32{1, 0, 2, -1, -2, nan32}, 2, 3, -9)
	if want := []float32{2, 1, -9, 4, 3, -9}; !slices.Equal(y, want) {
		t.Errorf("got %v, want %v", y, want)
	}
}

func TestArgsort(t *testing.T) {
	f := func(descending bool, row []float32, want ...float32) {
		t.Helper()
		y := make([]float32, len(row))
		Argsort(y, row, len(row), descending)
		if !slices.Equal(y, want) {
			t.Errorf("%v, descending %v: got %v, want %v", row, descending, y, want)
		}
	}
	f(false, []float32{3, 1, 2}, 1, 2, 0)
	f(true, []float32{3, 1, 2}, 0, 2, 1)
	f(false, []float32{1, 0, 1, 0, 1}, 1, 3, 0, 2, 4)
	f(true, []float32{1, 0, 1, 0, 1}, 0, 2, 4, 1, 3)
	f(false, []float32{nan32, inf32, -inf32, nan32, 0}, 2, 4, 1, 0, 3)
	f(true, []float32{nan32, inf32, -inf32, nan32, 0}, 0, 3, 1, 4, 2)
	// Many equal numbers, more than an insertion sort takes.
	row, want := make([]float32, 500), make([]float32, 0, 500)
	for i := range row {
		row[i] = float32(i % 3)
	}
	for k := range 3 {
		for i := k; i < len(row); i += 3 {
			want = append(want, float32(i))
		}
	}
	f(false, row, want...)
	if n := testing.AllocsPerRun(10, func() { Argsort(make([]float32, 0), row[:0], 0, false); Argsort(want, row, len(row), true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDivisions(t *testing.T) {
	f := func(op BinaryOp, a, b, want float32) {
		t.Helper()
		y := make([]float32, 1)
		Best().Binary(op, y, []float32{a}, []float32{b})
		if ulps(y[0], want) != 0 {
			t.Errorf("%v(%v, %v): got %v, want %v", op, a, b, y[0], want)
		}
	}
	for _, op := range []BinaryOp{Fmod, FmodInt} {
		f(op, 7, 3, 1)
		f(op, -7, 3, -1)
		f(op, 7, -3, 1)
	}
	for _, op := range []BinaryOp{Remainder, RemainderInt} {
		f(op, 7, 3, 1)
		f(op, -7, 3, 2)
		f(op, 7, -3, -2)
		f(op, -6, 3, 0)
	}
	for _, op := range []BinaryOp{FloorDiv, FloorDivInt} {
		f(op, 7, 3, 2)
		f(op, -7, 3, -3)
		f(op, 7, -3, -3)
		f(op, -6, 3, -2)
	}
	f(FloorDiv, 1, 0.1, 9) // 0.1 is a little above a tenth
	f(FloorDiv, 1, 0, inf32)
	f(Fmod, 1, 0, nan32)
	f(Remainder, nan32, 1, nan32)
	for _, op := range []BinaryOp{FmodInt, RemainderInt, FloorDivInt} {
		f(op, 5, 0, 0)
	}
	f(Atan2, 1, -1, 3*math.Pi/4)
}

// The gradient of a convolution is the convolution turned around: for all x
// and y the products <conv(x), y> and <x, transposed(y)> are the same.
func TestConvTransposeIsTheAdjoint(t *testing.T) {
	for _, s := range []ConvShape{
		{Groups: 1, Channels: 2, Outputs: 3, In: [3]int{1, 5, 6}, Kernel: [3]int{1, 3, 2}, Stride: [3]int{1, 2, 1}, Padding: [3]int{0, 1, 0}, Dilation: [3]int{1, 1, 2}},
		{Groups: 2, Channels: 4, Outputs: 2, In: [3]int{3, 4, 7}, Kernel: [3]int{2, 2, 3}, Stride: [3]int{1, 1, 3}, Padding: [3]int{1, 1, 1}, Dilation: [3]int{1, 2, 1}},
		{Groups: 1, Channels: 1, Outputs: 1, In: [3]int{1, 1, 1}, Kernel: [3]int{1, 1, 9}, Stride: [3]int{1, 1, 1}, Padding: [3]int{0, 0, 8}, Dilation: [3]int{1, 1, 1}},
	} {
		for i := range s.Out {
			s.Out[i] = (s.In[i]+2*s.Padding[i]-s.Dilation[i]*(s.Kernel[i]-1)-1)/s.Stride[i] + 1
		}
		const rows = 2
		size := func(channels int, d [3]int) []float32 {
			x := make([]float32, rows*channels*d[0]*d[1]*d[2])
			for i := range x {
				x[i] = float32(i%7-3) / 4 // exact in sums
			}
			return x
		}
		x, y := size(s.Channels, s.In), size(s.Outputs, s.Out)
		w := size(s.Outputs*s.Channels/s.Groups, s.Kernel)
		fx, ty := make([]float32, len(y)), make([]float32, len(x))
		Conv(fx, x, w, nil, rows, &s)
		turned := s
		turned.Channels, turned.Outputs, turned.In, turned.Out = s.Outputs, s.Channels, s.Out, s.In
		ConvTranspose(ty, y, w, nil, rows, &turned)
		var a, b float64
		for i, v := range fx {
			a += float64(v) * float64(y[i])
		}
		for i, v := range ty {
			b += float64(v) * float64(x[i])
		}
		if a != b || a == 0 {
			t.Errorf("%+v: %v and %v", s, a, b)
		}
	}
}
