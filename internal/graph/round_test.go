package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"
)

// limits are numbers at the ends of each type, in float64 or, for i64, exact
// as integers.
var limits = map[DType][]int64{
	Bool: {0, 1}, Uint8: {0, 1, 255}, Int8: {-128, -1, 127}, Int16: {-32768, 32767, 12345},
	Int32: {math.MinInt32, math.MaxInt32, 123456789}, Int64: {math.MinInt64, math.MaxInt64, 1<<53 + 1},
}

var floatLimits = map[DType][]float64{
	Float16:  {65504, 0x1p-24, -1.0009765625, math.Inf(1)},
	BFloat16: {0x1.fep127, 0x1p-133, -1.0078125, math.Inf(-1)},
	Float32:  {math.MaxFloat32, math.SmallestNonzeroFloat32, -0x1.000002p0},
	Float64:  {math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1},
}

// A type widens to another exactly where all of these survive the way there
// and back.
func TestWidensMeansThatNothingIsLost(t *testing.T) {
	for a := Float32; a <= Bool; a++ {
		x := newTensor(a, Shape{len(limits[a]) + len(floatLimits[a])})
		for i, v := range limits[a] {
			x.setInt(i, v)
		}
		for i, v := range floatLimits[a] {
			x.set(i, v)
		}
		for b := Float32; b <= Bool; b++ {
			if a == b {
				continue
			}
			there, back := newTensor(b, x.Shape), newTensor(a, x.Shape)
			same := true
			for i := range x.Len() {
				there.copyFrom(i, x, i)
				back.copyFrom(i, there, i)
				same = same && there.At(i) == x.At(i) && (a.IsFloat() && x.At(i) == back.At(i) || !a.IsFloat() && x.I64[i] == back.I64[i])
			}
			if got := widens(a, b); got && !same {
				t.Errorf("%v does not widen to %v: %v came back as %v", a, b, x, back)
			} else if !got && same && a.category() == b.category() {
				t.Errorf("%v widens to %v", a, b)
			}
		}
	}
}

func TestRounding(t *testing.T) {
	f := func(d DType, x, want float64) {
		t.Helper()
		got := roundTo(d, x)
		if got != want || math.Signbit(got) != math.Signbit(want) {
			t.Errorf("%v as %v is %v, want %v", x, d, got, want)
		}
		if got := roundTo(d, -x); got != -want {
			t.Errorf("%v as %v is %v, want %v", -x, d, got, -want)
		}
	}
	inf := math.Inf(1)
	f(Float16, 65519, 65504)
	f(Float16, 65520, inf) // Half way to the next power rounds up to infinity.
	f(Float16, 1+0x1p-11, 1)
	f(Float16, 1+0x3p-11, 1+0x1p-9)
	f(Float16, 0x1p-25, 0)
	f(Float16, 0x1.8p-25, 0x1p-24)
	f(Float16, 0x3p-25, 0x1p-23)
	f(BFloat16, 1+0x1p-8, 1)
	f(BFloat16, 1+0x3p-8, 1+0x1p-6)
	f(BFloat16, 0x1.fep127, 0x1.fep127)
	f(BFloat16, 0x1.ffp127, inf)
	f(BFloat16, 0x1p-134, 0)
	f(Float32, 1+0x1p-24, 1)
	f(Float32, 1e300, inf)
	f(Float64, 0.1, 0.1)
	f(BFloat16, inf, inf)
	f(Float16, 0, 0)
	if !math.IsNaN(roundTo(BFloat16, math.NaN())) {
		t.Error("NaN does not stay")
	}
}

func TestTruncate(t *testing.T) {
	f := func(x float64, want int64) {
		t.Helper()
		if got := truncate(x); got != want {
			t.Errorf("%v: got %d, want %d", x, got, want)
		}
	}
	f(2.9, 2)
	f(-2.9, -2)
	f(-0x1p63, math.MinInt64)
	f(0x1p63, math.MinInt64)
	f(math.NaN(), math.MinInt64)
	f(math.Inf(1), math.MinInt64)
	f(0x1.fffffffffffffp62, 0x7ffffffffffffc00)
}

// A digest of more than one piece is that of the whole.
func TestDigestOfALongTensor(t *testing.T) {
	for _, dt := range []DType{Float32, Float64, Int64} {
		x := newTensor(dt, Shape{50, 100})
		b := []byte(dt.String() + "[50,100]")
		for i := range x.Len() {
			x.setInt(i, int64(i*i))
			switch dt {
			case Float32:
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(i*i)))
			case Float64:
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(i*i)))
			default:
				b = binary.LittleEndian.AppendUint64(b, uint64(i*i))
			}
		}
		sum := sha256.Sum256(b)
		if got, want := x.Digest(), hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%v: got %s, want %s", dt, got, want)
		}
	}
}
