package graph

import "math"

// roundTo returns x as a value of the floating point type d, rounded to the
// nearest and half to even, widened again.
func roundTo(d DType, x float64) float64 {
	switch d {
	case Float32:
		return float64(float32(x))
	case Float16:
		return roundBits(x, 11, -14, 65504)
	case BFloat16:
		return roundBits(x, 8, -126, 0x1.fep127)
	default:
		return x
	}
}

// roundBits rounds x to a binary format of the given precision in bits
// (with the leading one), least normal exponent and greatest finite value.
func roundBits(x float64, precision, minExp int, limit float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	_, e := math.Frexp(x) // |x| is in [2^(e-1), 2^e)
	ulp := math.Ldexp(1, max(e-1, minExp)-(precision-1))
	y := math.RoundToEven(x/ulp) * ulp
	if math.Abs(y) > limit {
		return math.Inf(int(math.Copysign(1, x)))
	}
	return y
}

// truncate returns x as an integer, toward zero. A number that no int64 holds
// and NaN give the least int64, as the conversion of amd64 does.
func truncate(x float64) int64 {
	if x >= -(1<<63) && x < 1<<63 {
		return int64(x)
	}
	return math.MinInt64
}

// wrap reduces x to the range of the integer type d, two's complement.
func wrap(d DType, x int64) int64 {
	switch d {
	case Int32:
		return int64(int32(x))
	case Int16:
		return int64(int16(x))
	case Int8:
		return int64(int8(x))
	case Uint8:
		return int64(uint8(x))
	case Bool:
		if x != 0 {
			return 1
		}
		return 0
	default:
		return x
	}
}
