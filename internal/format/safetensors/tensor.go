package safetensors

import (
	"encoding/binary"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// dtypes are the types of the format that a graph has.
var dtypes = map[string]graph.DType{
	"F64": graph.Float64, "F32": graph.Float32, "F16": graph.Float16, "BF16": graph.BFloat16,
	"I64": graph.Int64, "I32": graph.Int32, "I16": graph.Int16, "I8": graph.Int8, "U8": graph.Uint8, "BOOL": graph.Bool,
}

// fill reads n elements, little-endian, into a tensor. The bytes are just
// those of n elements.
func fill(t *graph.Tensor, b []byte, n int) {
	le := binary.LittleEndian
	switch t.DType {
	case graph.Float64:
		t.F64 = make([]float64, n)
		for i := range t.F64 {
			t.F64[i] = math.Float64frombits(le.Uint64(b[8*i:]))
		}
	case graph.Float32:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		}
	case graph.Float16:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = float16(le.Uint16(b[2*i:]))
		}
	case graph.BFloat16:
		t.F32 = make([]float32, n)
		for i := range t.F32 {
			t.F32[i] = math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
		}
	default:
		t.I64 = make([]int64, n)
		for i := range t.I64 {
			t.I64[i] = integer(t.DType, b, i)
		}
	}
}

func integer(dt graph.DType, b []byte, i int) int64 {
	le := binary.LittleEndian
	switch dt {
	case graph.Int64:
		return int64(le.Uint64(b[8*i:]))
	case graph.Int32:
		return int64(int32(le.Uint32(b[4*i:])))
	case graph.Int16:
		return int64(int16(le.Uint16(b[2*i:])))
	case graph.Int8:
		return int64(int8(b[i]))
	case graph.Bool:
		if b[i] != 0 {
			return 1
		}
		return 0
	}
	return int64(b[i])
}

// float16 widens an IEEE 754 half, which is exact.
func float16(h uint16) float32 {
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
