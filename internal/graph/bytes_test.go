package graph_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// TestWidenHalf compares every half with its definition, IEEE 754 section 3.4.
func TestWidenHalf(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		exp, frac := int(h>>10&31), float64(h&1023)
		want := math.Ldexp(1024+frac, exp-25)
		switch {
		case exp == 0:
			want = math.Ldexp(frac, -24)
		case exp == 31 && frac == 0:
			want = math.Inf(1)
		case exp == 31:
			want = math.NaN()
		}
		if h>>15 == 1 {
			want = math.Copysign(want, -1)
		}
		got := float64(graph.WidenHalf(graph.Float16, h))
		if math.IsNaN(want) != math.IsNaN(got) || !math.IsNaN(want) && (got != want || math.Signbit(got) != math.Signbit(want)) {
			t.Fatalf("half %#04x = %v, want %v", h, got, want)
		}
		if got := graph.WidenHalf(graph.BFloat16, h); math.Float32bits(got) != uint32(h)<<16 {
			t.Fatalf("bfloat16 %#04x = %v", h, got)
		}
	}
}

func TestFill(t *testing.T) {
	f := func(d graph.DType, b []byte, want ...float64) {
		t.Helper()
		x := &graph.Tensor{DType: d, Shape: graph.Shape{len(want)}}
		x.Fill(b, len(want))
		got := make([]float64, x.Len())
		for i := range got {
			got[i] = x.At(i)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v of %x = %v, want %v", d, b, got, want)
		}
	}
	f(graph.Float64, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0xbf}, -1.5)
	f(graph.Float32, []byte{0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0}, 1, -2.5)
	f(graph.Float16, []byte{0, 0x3c, 1, 0}, 1, 0x1p-24)
	f(graph.BFloat16, []byte{0x80, 0x3f}, 1)
	f(graph.Int64, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -2)
	f(graph.Int32, []byte{0, 0, 0, 0x80}, math.MinInt32)
	f(graph.Int16, []byte{0xff, 0xff, 1, 0}, -1, 1)
	f(graph.Int8, []byte{0x80, 5}, -128, 5)
	f(graph.Uint8, []byte{0x80}, 128)
	f(graph.Bool, []byte{0, 1, 7}, 0, 1, 1)
	f(graph.Float32, nil)
	if got := graph.IntegerAt(graph.Int16, binary.BigEndian, []byte{9, 9, 0xff, 0xfe}, 1); got != -2 {
		t.Errorf("big-endian i16 = %d, want -2", got)
	}
}
