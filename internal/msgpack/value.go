package msgpack

import (
	"encoding/binary"
	"math"
)

// one returns the one little-endian number of data.
func one(dtype string, data []byte) (v float64, ok bool) {
	le := binary.LittleEndian
	switch dtype {
	case "float64":
		return math.Float64frombits(le.Uint64(data)), true
	case "float32":
		return float64(math.Float32frombits(le.Uint32(data))), true
	case "float16":
		return half(le.Uint16(data)), true
	case "int64":
		return float64(int64(le.Uint64(data))), true
	case "int32":
		return float64(int32(le.Uint32(data))), true
	case "int16":
		return float64(int16(le.Uint16(data))), true
	case "int8":
		return float64(int8(data[0])), true
	case "uint64":
		return float64(le.Uint64(data)), true
	case "uint32":
		return float64(le.Uint32(data)), true
	case "uint16":
		return float64(le.Uint16(data)), true
	case "uint8":
		return float64(data[0]), true
	case "bool":
		return float64(data[0]), data[0] <= 1
	}
	return 0, false
}

// half is the value of an IEEE 754 binary16.
func half(h uint16) float64 {
	exponent, fraction := int(h>>10&31), float64(h&1023)
	v := math.Ldexp(1+fraction/1024, exponent-15)
	switch {
	case exponent == 31 && fraction != 0:
		return math.NaN()
	case exponent == 31:
		v = math.Inf(1)
	case exponent == 0:
		v = math.Ldexp(fraction, -24)
	}
	if h>>15 != 0 {
		return -v
	}
	return v
}
