package kernel

import (
	"math"
	"slices"
	"testing"
)

func TestMove(t *testing.T) {
	f := func(n int, src []float32, axes []Axis, want ...float32) {
		t.Helper()
		dst := make([]float32, n)
		Move(dst, src, axes)
		if !slices.Equal(dst, want) {
			t.Errorf("%v: got %v, want %v", axes, dst, want)
		}
	}
	src := []float32{1, 2, 3, 4, 5, 6}
	f(1, src, nil, 1)
	f(3, src, []Axis{{3, 1, 1}}, 1, 2, 3)
	f(3, src, []Axis{{3, 1, 2}}, 1, 3, 5)
	f(3, src, []Axis{{3, 1, 0}}, 1, 1, 1)
	f(6, src, []Axis{{3, 2, 1}, {2, 1, 3}}, 1, 4, 2, 5, 3, 6) // a transposition
	f(6, src, []Axis{{2, 3, 3}, {2, 1, 1}}, 1, 2, 0, 4, 5, 0) // rows of a wider result
	f(2, src, []Axis{{2, 1, 1}, {0, 1, 1}}, 0, 0)
	long := make([]float32, 50)
	for i := range long {
		long[i] = float32(i)
	}
	for n := 1; n < 17; n++ { // elements apart, to the last of the source
		want := make([]float32, 2*n)
		for i := range want {
			want[i] = long[i/n+i%n*3]
		}
		f(2*n, long[:3*(n-1)+2], []Axis{{2, n, 1}, {n, 1, 3}}, want...)
		f(n, long[:3*(n-1)+1], []Axis{{n, 1, 3}}, want[:n]...)
	}
}

func TestWrapInt(t *testing.T) {
	f := func(bits int, signed bool, x, want float32) {
		t.Helper()
		y := []float32{x}
		WrapInt(y, bits, signed)
		if y[0] != want {
			t.Errorf("%v in %d bits, signed %v: got %v, want %v", x, bits, signed, y[0], want)
		}
	}
	f(64, true, -2.9, -2)
	f(64, true, 2.9, 2)
	f(8, true, 200, -56)
	f(8, false, 200, 200)
	f(8, false, -1, 255)
	f(16, true, 40000, -25536)
	f(32, true, 1<<31, -(1 << 31))
	f(64, true, float32(math.NaN()), -(1 << 63))
	f(64, true, float32(math.Inf(1)), -(1 << 63))
	f(32, true, float32(math.Inf(1)), 0)
}

func TestPowInt(t *testing.T) {
	f := func(a, b, want float32) {
		t.Helper()
		y := make([]float32, 1)
		Best().Binary(PowInt, y, []float32{a}, []float32{b})
		if y[0] != want {
			t.Errorf("%v to the power of %v: got %v, want %v", a, b, y[0], want)
		}
	}
	f(3, 4, 81)
	f(-2, 3, -8)
	f(5, 0, 1)
	f(0, -1, 0)
	f(2, -1, 0)
	f(1, -7, 1)
	f(-1, -7, -1)
	f(-1, -8, 1)
}

func TestArgmaxOfNaNAndEquals(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		f := func(want float32, row ...float32) {
			t.Helper()
			y := make([]float32, 1)
			if k.Argmax(y, row, len(row)); y[0] != want {
				t.Errorf("%v: got %v, want %v", row, y[0], want)
			}
		}
		f(0, 7)
		f(1, 1, 3, 3, 2)
		f(0, -inf32, -inf32)
		f(2, 1, 9, nan32, inf32, nan32)
		f(0, nan32, 1)
		// Rows that the vector kernels take.
		f(3, 0, 1, 2, 9, 4, 9, 9, 1, 0, 3, 9)
		f(10, 0, 1, 2, 9, 4, 9, 9, 1, 0, 3, nan32, nan32, inf32)
		f(0, -inf32, -inf32, -inf32, -inf32, -inf32, -inf32, -inf32, -inf32, -inf32)
	})
}

func TestSoftmaxOfLargeNumbers(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		y := make([]float32, 4)
		k.Softmax(y, []float32{1000, 1000, -1000, -1000}, 2, false)
		if !slices.Equal(y, []float32{0.5, 0.5, 0.5, 0.5}) {
			t.Errorf("got %v", y)
		}
		k.Softmax(y, []float32{1000, 0, 0, nan32}, 2, true)
		if y[0] != 0 || y[1] != -1000 || !isNaN(y[2]) || !isNaN(y[3]) {
			t.Errorf("logarithm: got %v", y)
		}
		// Rows that the vector kernels take.
		x, z := make([]float32, 20), make([]float32, 20)
		for i := range x {
			x[i] = 1000
		}
		x[19] = inf32
		k.Softmax(z, x, 10, false)
		if z[0] != 0.1 || z[9] != 0.1 || !isNaN(z[10]) || !isNaN(z[19]) {
			t.Errorf("rows of ten: got %v", z)
		}
		k.Softmax(x, x, 10, true)
		if want := float32(-math.Log(10)); ulps(x[0], want) > 1 || !isNaN(x[19]) {
			t.Errorf("logarithm of rows of ten, in place: got %v, want %v", x, want)
		}
	})
}

// The draws have mean 0 and variance 1, and a part of a row is the start of
// the whole.
func TestNormal(t *testing.T) {
	y := make([]float32, 1<<16)
	Normal(y, [2]uint32{5, 6}, 7, 8)
	var sum, squares float64
	for _, v := range y {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(y))
	if mean, variance := sum/n, squares/n; math.Abs(mean) > 4/math.Sqrt(n) || math.Abs(variance-1) > 4*math.Sqrt(2/n) {
		t.Errorf("mean %v, variance %v", mean, variance)
	}
	for n := range 9 {
		part := make([]float32, n)
		Normal(part, [2]uint32{5, 6}, 7, 8)
		if !slices.Equal(part, y[:n]) {
			t.Errorf("%d draws: %v, want %v", n, part, y[:n])
		}
	}
	other := make([]float32, 4)
	for _, at := range []struct {
		key    [2]uint32
		stream uint32
		row    uint64
	}{{[2]uint32{5, 7}, 7, 8}, {[2]uint32{4, 6}, 7, 8}, {[2]uint32{5, 6}, 8, 8}, {[2]uint32{5, 6}, 7, 9}, {[2]uint32{5, 6}, 7, 8 + 1<<32}} {
		Normal(other, at.key, at.stream, at.row)
		if slices.Equal(other, y[:4]) {
			t.Errorf("%v draws the same", at)
		}
	}
}

func TestTilesCoverRows(t *testing.T) {
	for rows := range 200 {
		c := tile(rows)
		if c.of6 < 0 || c.of5 < 0 || c.of4 < 0 || c.rows != 6*c.of6+5*c.of5+4*c.of4 || c.rows > rows || rows-c.rows > 3 || rows > 7 && c.rows != rows {
			t.Errorf("%d rows: %+v", rows, c)
		}
	}
}

func TestNames(t *testing.T) {
	for op := range unaryOps {
		if s := (Unary{Op: op}).String(); s == "" || s == "unknown" {
			t.Errorf("function %d has no name", op)
		}
	}
	for op := range binaryOps {
		if op.String() == "" {
			t.Errorf("function %d of two numbers has no name", op)
		}
	}
	if len(unaryNames) != int(unaryOps) {
		t.Errorf("%d names for %d functions", len(unaryNames), unaryOps)
	}
	if binaryOps.String() != "unknown" || (Unary{Op: unaryOps}).String() != "unknown" {
		t.Error("what has no name must be unknown")
	}
}
