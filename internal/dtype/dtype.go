// Package dtype knows the element types of arrays that come as bytes: their
// names, sizes and values.
//
// What enters are little-endian bytes that anybody may have sent; what leaves
// are numbers. The package knows no encoding, and none of our other packages.
package dtype

import (
	"encoding/binary"
	"math"
	"strings"
)

// Type is an element type.
type Type struct {
	Name      string  // as numpy calls it
	Bytes     int     // of one value
	Integer   bool    // neither a fraction nor a boolean
	Low, High float64 // of integers
	// Value is that of the Bytes bytes that b begins with; NaN where they are
	// none of the type.
	Value func(b []byte) float64
}

var le = binary.LittleEndian

// The types.
var (
	Uint8   = &Type{"uint8", 1, true, 0, math.MaxUint8, func(b []byte) float64 { return float64(b[0]) }}
	Float32 = &Type{"float32", 4, false, 0, 0, func(b []byte) float64 { return float64(math.Float32frombits(le.Uint32(b))) }}
	Float64 = &Type{"float64", 8, false, 0, 0, func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) }}
	Float16 = &Type{"float16", 2, false, 0, 0, func(b []byte) float64 { return half(le.Uint16(b)) }}
	Bool    = &Type{"bool", 1, false, 0, 0, boolean}
	Int8    = &Type{"int8", 1, true, math.MinInt8, math.MaxInt8, func(b []byte) float64 { return float64(int8(b[0])) }}
	Int16   = &Type{"int16", 2, true, math.MinInt16, math.MaxInt16, func(b []byte) float64 { return float64(int16(le.Uint16(b))) }}
	Int32   = &Type{"int32", 4, true, math.MinInt32, math.MaxInt32, func(b []byte) float64 { return float64(int32(le.Uint32(b))) }}
	Int64   = &Type{"int64", 8, true, math.MinInt64, math.MaxInt64, func(b []byte) float64 { return float64(int64(le.Uint64(b))) }}
	Uint16  = &Type{"uint16", 2, true, 0, math.MaxUint16, func(b []byte) float64 { return float64(le.Uint16(b)) }}
	Uint32  = &Type{"uint32", 4, true, 0, math.MaxUint32, func(b []byte) float64 { return float64(le.Uint32(b)) }}
	Uint64  = &Type{"uint64", 8, true, 0, math.MaxUint64, func(b []byte) float64 { return float64(le.Uint64(b)) }}
)

var all = [...]*Type{Uint8, Float32, Float64, Float16, Bool, Int8, Int16, Int32, Int64, Uint16, Uint32, Uint64}

// Of returns the type of a name, nil where there is none.
func Of[S ~string | ~[]byte](name S) *Type {
	for _, t := range all {
		if t.Name == string(name) {
			return t
		}
	}
	return nil
}

// Names returns the names of all types.
func Names() []string {
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = t.Name
	}
	return names
}

var words = strings.Join(Names(), ", ")

// Words lists the names in a text.
func Words() string { return words }

func boolean(b []byte) float64 {
	if b[0] > 1 {
		return math.NaN()
	}
	return float64(b[0])
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
