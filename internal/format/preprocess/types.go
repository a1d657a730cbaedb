package preprocess

import (
	"math"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// wholeNumbers are the types of numpy that hold numbers, by kind and size, with
// the least and the greatest whole number up to which each has all that float64
// has, or float64 all of its own.
var wholeNumbers = map[string][2]float64{
	"f2": {-1 << 11, 1 << 11}, "f4": {-1 << 24, 1 << 24}, "f8": {-1 << 53, 1 << 53}, "f16": {-1 << 53, 1 << 53},
	"i1": {math.MinInt8, math.MaxInt8}, "i2": {math.MinInt16, math.MaxInt16}, "i4": {math.MinInt32, math.MaxInt32}, "i8": {math.MinInt64, 1<<63 - 1<<10},
	"u1": {0, math.MaxUint8}, "u2": {0, math.MaxUint16}, "u4": {0, math.MaxUint32}, "u8": {0, 1<<64 - 1<<11},
}

// typeNames are other names of those types. That of a C long, whose size is not
// the same everywhere, is the longer one.
var typeNames = map[string]string{
	"float16": "f2", "half": "f2", "e": "f2",
	"float32": "f4", "single": "f4", "f": "f4",
	"float64": "f8", "double": "f8", "d": "f8", "float": "f8", "float_": "f8",
	"longdouble": "f16", "g": "f16",
	"int8": "i1", "byte": "i1", "b": "i1",
	"int16": "i2", "short": "i2", "h": "i2",
	"int32": "i4", "intc": "i4", "i": "i4",
	"int64": "i8", "int": "i8", "int_": "i8", "intp": "i8", "long": "i8", "l": "i8", "longlong": "i8", "q": "i8",
	"uint8": "u1", "ubyte": "u1", "B": "u1",
	"uint16": "u2", "ushort": "u2", "H": "u2",
	"uint32": "u4", "uintc": "u4", "I": "u4",
	"uint64": "u8", "uint": "u8", "uintp": "u8", "ulong": "u8", "L": "u8", "ulonglong": "u8", "Q": "u8",
}

// typeOf returns what a value says of the type of numpy that it is or names, and
// kind and size of the type: "" where it is none that holds numbers.
func typeOf(v pickle.Value) (name, kind string) {
	switch t := v.(type) {
	case pickle.Global:
		name = t.String()
		if t.Module == "numpy" || t.Module == "builtins" {
			name = t.Name
		}
	case *pickle.Object:
		if t.Class == (pickle.Global{Module: "numpy", Name: "dtype"}) && len(t.Args) > 0 {
			name, _ = t.Args[0].(string)
		}
	}
	if name == "" {
		name, _ = textOf(v)
	}
	if name == "" {
		return pickle.TypeName(v), ""
	}
	kind = strings.TrimLeft(name, "<>=|")
	if k, ok := typeNames[kind]; ok {
		kind = k
	}
	if _, ok := wholeNumbers[kind]; !ok {
		return name, ""
	}
	return name, kind
}

// nearestHalf rounds to the nearest float16, of two as near to the even one.
func nearestHalf(v float64) float64 {
	const digits, least, greatest = 10, -14, 65504
	step := math.Ldexp(1, max(math.Ilogb(v), least)-digits)
	if v = math.RoundToEven(v/step) * step; math.Abs(v) > greatest {
		return math.Copysign(math.Inf(1), v)
	}
	return v
}
