package dtype_test

import (
	"math"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
)

func TestValue(t *testing.T) {
	f := func(name string, b []byte, want float64) {
		t.Helper()
		e := dtype.Of(name)
		if e == nil {
			t.Fatalf("there is no %s", name)
		}
		if got := e.Value(b); e.Bytes != len(b) || got != want && (got == got || want == want) {
			t.Errorf("%s of %x: %v, want %v", name, b, got, want)
		}
	}
	f("uint8", []byte{255}, 255)
	f("int8", []byte{255}, -1)
	f("uint16", []byte{1, 2}, 513)
	f("int16", []byte{0, 128}, math.MinInt16)
	f("uint32", []byte{0, 0, 0, 128}, 1<<31)
	f("int32", []byte{0, 0, 0, 128}, math.MinInt32)
	f("uint64", []byte{0, 0, 0, 0, 0, 0, 0, 128}, 1<<63)
	f("int64", []byte{255, 255, 255, 255, 255, 255, 255, 255}, -1)
	f("float32", []byte{0, 0, 0xc0, 0x3f}, 1.5)
	f("float64", []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x3f}, 1.5)
	f("bool", []byte{0}, 0)
	f("bool", []byte{1}, 1)
	f("bool", []byte{2}, math.NaN())
}

func TestHalf(t *testing.T) {
	for h, want := range map[uint16]float64{0: 0, 1: math.Ldexp(1, -24), 0x3ff: 1023 * math.Ldexp(1, -24), 0x400: math.Ldexp(1, -14), 0x3c00: 1, 0xc000: -2, 0x3555: 0.333251953125, 0x7bff: 65504, 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1)} {
		if got := dtype.Float16.Value([]byte{byte(h), byte(h >> 8)}); got != want {
			t.Errorf("%04x: %v, want %v", h, got, want)
		}
	}
	if v := dtype.Float16.Value([]byte{0x00, 0x7e}); !math.IsNaN(v) {
		t.Errorf("7e00 is %v", v)
	}
}

func TestNames(t *testing.T) {
	for _, name := range dtype.Names() {
		if e := dtype.Of([]byte(name)); e == nil || e.Name != name {
			t.Errorf("%s is %v", name, e)
		}
	}
	if dtype.Of("float128") != nil {
		t.Error("float128 is a type")
	}
}
