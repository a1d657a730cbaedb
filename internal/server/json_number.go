package server

import (
	"strconv"
	"unsafe"
)

// pow10 are the powers of ten that a float64 holds exactly.
var pow10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

const (
	maxExactMantissa = 1 << 53 // integers to here are float64s exactly
	maxSafeDigits    = 19      // digits that a uint64 holds without overflow
	maxExponent      = 1 << 20 // where an exponent stops growing; far beyond every float
)

// scanNumber reads the JSON number that begins at b[i]. It returns the nearest
// float64, infinite where that overflows, and the position after the number;
// a negative end says that there is no number.
//
// Up to 2^53 with at most 22 places, which is nearly every number that people
// and programs write, the value is one exact multiplication or division
// (Clinger's fast path); strconv reads the others.
func scanNumber(b []byte, i int) (v float64, end int) {
	start := i
	negative := false
	if i < len(b) && b[i] == '-' {
		negative = true
		i++
	}
	if i == len(b) {
		return 0, -1
	}
	var mantissa uint64
	digits, exponent := 0, 0
	switch c := b[i]; {
	case c == '0':
		i++
		digits = 1
	case c >= '1' && c <= '9':
		first := i
		for i < len(b) && b[i]-'0' <= 9 {
			mantissa = mantissa*10 + uint64(b[i]-'0')
			i++
		}
		digits = i - first
	default:
		return 0, -1
	}
	if i < len(b) && b[i] == '.' {
		i++
		first := i
		for i < len(b) && b[i]-'0' <= 9 {
			mantissa = mantissa*10 + uint64(b[i]-'0')
			i++
		}
		if i == first {
			return 0, -1
		}
		digits += i - first
		exponent = first - i
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		minus := false
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			minus = b[i] == '-'
			i++
		}
		first, e := i, 0
		for i < len(b) && b[i]-'0' <= 9 {
			if e < maxExponent {
				e = e*10 + int(b[i]-'0')
			}
			i++
		}
		if i == first {
			return 0, -1
		}
		if minus {
			e = -e
		}
		exponent += e
	}
	if digits <= maxSafeDigits && mantissa <= maxExactMantissa {
		v = float64(mantissa)
		switch {
		case exponent == 0:
		case exponent > 0 && exponent < len(pow10):
			v *= pow10[exponent]
		case exponent < 0 && -exponent < len(pow10):
			v /= pow10[-exponent]
		default:
			return parseFloat(b[start:i]), i
		}
		if negative {
			v = -v
		}
		return v, i
	}
	return parseFloat(b[start:i]), i
}

// parseFloat is scanNumber's slow path. An overflow gives an infinity, which
// the caller refuses.
func parseFloat(b []byte) float64 {
	v, _ := strconv.ParseFloat(unsafe.String(unsafe.SliceData(b), len(b)), 64)
	return v
}
