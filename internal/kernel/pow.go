package kernel

import "math"

// powGeneric computes a to the power of b. Where both are ordinary numbers and
// a is positive it is exp(b·log(a)) by short series in float64, whose error of
// 1e-10 is a thousandth of the last place of the result: a third of what
// math.Pow takes, which has the rest.
func powGeneric(y, a, b []float32) {
	for i, v := range a {
		switch u := b[i]; {
		case v > 0 && v <= math.MaxFloat32 && u >= -math.MaxFloat32 && u <= math.MaxFloat32:
			y[i] = expSeries(float64(u) * logSeries(float64(v)))
		case v < 0 && v >= -math.MaxFloat32 && float32(math.Trunc(float64(u))) != u:
			y[i] = float32(math.NaN()) // also where u is NaN
		default:
			y[i] = float32(math.Pow(float64(v), float64(u)))
		}
	}
}

// logSeries is the logarithm of a positive number that float32 holds: with
// a = m·2^e and m from √½ to √2, twice the series of atanh at (m-1)/(m+1), to
// the thirteenth power.
func logSeries(a float64) float64 {
	const sqrtHalf = 0x3fe6a09e667f3bcd
	bits := math.Float64bits(a)
	e := (int64(bits) - sqrtHalf) >> 52
	m := math.Float64frombits(bits - uint64(e)<<52)
	s := (m - 1) / (m + 1)
	z := s * s
	q := z * z // in pairs, which do not wait for each other
	p := (1 + z*(1.0/3)) + q*((1.0/5+z*(1.0/7))+q*((1.0/9+z*(1.0/11))+q*(1.0/13)))
	return float64(e)*math.Ln2 + 2*s*p
}

// expSeries is the exponential: with t = n·ln2 + r and |r| <= ln2/2, Taylor's
// series to the ninth power.
func expSeries(t float64) float32 {
	switch {
	case t > 90:
		return float32(math.Inf(1))
	case t < -110:
		return 0
	}
	n := math.Floor(t*math.Log2E + 0.5)
	r := t - n*math.Ln2
	q := r * r
	p := ((1 + r) + q*(1.0/2+r*(1.0/6))) + q*q*(((1.0/24+r*(1.0/120))+q*(1.0/720+r*(1.0/5040)))+q*q*(1.0/40320+r*(1.0/362880)))
	return float32(p * math.Float64frombits(uint64(int64(n)+1023)<<52))
}
