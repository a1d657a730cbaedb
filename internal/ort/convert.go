//go:build ort && cgo

package ort

import (
	"encoding/binary"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// put writes numbers as elements of a type, little endian as every machine
// that ONNX Runtime is built for. Integers are cut toward zero.
func put(to []byte, d graph.DType, from []float32) {
	le := binary.LittleEndian
	switch d {
	case graph.Float64:
		for i, x := range from {
			le.PutUint64(to[8*i:], math.Float64bits(float64(x)))
		}
	case graph.Float16:
		for i, x := range from {
			le.PutUint16(to[2*i:], halfOf(x))
		}
	case graph.BFloat16:
		for i, x := range from {
			le.PutUint16(to[2*i:], bfloatOf(x))
		}
	case graph.Int64:
		for i, x := range from {
			le.PutUint64(to[8*i:], uint64(int64(x)))
		}
	case graph.Int32:
		for i, x := range from {
			le.PutUint32(to[4*i:], uint32(int64(x)))
		}
	case graph.Int16:
		for i, x := range from {
			le.PutUint16(to[2*i:], uint16(int64(x)))
		}
	case graph.Int8, graph.Uint8:
		for i, x := range from {
			to[i] = byte(int64(x))
		}
	case graph.Bool:
		for i, x := range from {
			to[i] = 0
			if x != 0 {
				to[i] = 1
			}
		}
	}
}

// get reads elements of a type as numbers.
func get(to []float32, d graph.DType, from []byte) {
	le := binary.LittleEndian
	switch d {
	case graph.Float64:
		for i := range to {
			to[i] = float32(math.Float64frombits(le.Uint64(from[8*i:])))
		}
	case graph.Float16:
		for i := range to {
			to[i] = halfFrom(le.Uint16(from[2*i:]))
		}
	case graph.BFloat16:
		for i := range to {
			to[i] = math.Float32frombits(uint32(le.Uint16(from[2*i:])) << 16)
		}
	case graph.Int64:
		for i := range to {
			to[i] = float32(int64(le.Uint64(from[8*i:])))
		}
	case graph.Int32:
		for i := range to {
			to[i] = float32(int32(le.Uint32(from[4*i:])))
		}
	case graph.Int16:
		for i := range to {
			to[i] = float32(int16(le.Uint16(from[2*i:])))
		}
	case graph.Int8:
		for i := range to {
			to[i] = float32(int8(from[i]))
		}
	case graph.Uint8, graph.Bool:
		for i := range to {
			to[i] = float32(from[i])
		}
	}
}

// halfOf rounds to the nearest binary16, half to even.
func halfOf(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	abs := b &^ (1 << 31)
	switch {
	case abs > 0x7f800000: // NaN
		return sign | 0x7e00
	case abs >= 0x477ff000: // rounds to more than 65504
		return sign | 0x7c00
	case abs >= 0x38800000: // normal: at least 2^-14
		return sign | uint16((abs-0x38000000+0x0fff+abs>>13&1)>>13)
	default: // Adding 0.5 leaves the multiples of 2^-24 in the low bits, rounded.
		sum := math.Float32frombits(abs) + 0.5
		return sign | uint16(math.Float32bits(sum)-math.Float32bits(0.5))
	}
}

func halfFrom(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	e, m := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch e {
	case 0:
		return math.Float32frombits(math.Float32bits(float32(m)*0x1p-24) | sign)
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	}
	return math.Float32frombits(sign | (e+112)<<23 | m<<13)
}

// bfloatOf rounds to the nearest bfloat16, half to even.
func bfloatOf(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
