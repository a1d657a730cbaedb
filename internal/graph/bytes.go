package graph

import (
	"encoding/binary"
	"math"
)

// Fill makes the tensor's n elements from their little-endian bytes, one after
// another. There are bytes for all of them.
func (t *Tensor) Fill(b []byte, n int) {
	le := binary.LittleEndian
	switch t.DType {
	case Float64:
		t.F64 = make([]float64, n)
		for i := range t.F64 {
			t.F64[i] = math.Float64frombits(le.Uint64(b[8*i:]))
		}
	case Float32:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		}
	case Float16, BFloat16:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = WidenHalf(t.DType, le.Uint16(b[2*i:]))
		}
	default:
		t.I64 = make([]int64, n)
		for i := range t.I64 {
			t.I64[i] = IntegerAt(t.DType, le, b, i)
		}
	}
}

// WidenHalf returns the number that 16 bits are as a Float16 (IEEE 754
// binary16) or a BFloat16, which is exact. A NaN keeps its sign and payload.
func WidenHalf(d DType, h uint16) float32 {
	if d == BFloat16 {
		return math.Float32frombits(uint32(h) << 16)
	}
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	case 0: // zero or denormal: frac * 2^-24
		f := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// IntegerAt returns element i of the bytes of an integer type or Bool, of
// which every byte but 0 is true.
func IntegerAt(d DType, order binary.ByteOrder, b []byte, i int) int64 {
	switch d {
	case Int64:
		return int64(order.Uint64(b[8*i:]))
	case Int32:
		return int64(int32(order.Uint32(b[4*i:])))
	case Int16:
		return int64(int16(order.Uint16(b[2*i:])))
	case Int8:
		return int64(int8(b[i]))
	case Bool:
		if b[i] != 0 {
			return 1
		}
		return 0
	}
	return int64(b[i])
}
