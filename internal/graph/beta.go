package graph

import "math"

// MaxBetaTurns bounds how often one gamma draw is tried. A try is taken with a
// probability above 0.95, so that the bound is never met but by a generator
// that is broken: 0.05^64 is below 1e-83.
const MaxBetaTurns = 64

// Beta returns one draw of the Beta distribution with the given concentrations,
// strictly between 0 and 1; NaN where one of them is not a finite number above
// 0. Like Normal, it depends on its arguments alone: how often it had to try
// touches no other draw.
//
// It is g/(g+h) of the gamma draws g with alpha and h with beta. Each is made as
// Marsaglia and Tsang do (A simple method for generating gamma variables, 2000),
// for a concentration a of at least 1:
//
//  1. d = a - 1/3, c = 1/sqrt(9d).
//  2. Turn t, from 0, has the block of Philox4x32-10 with counter
//     (2e, stream, row low, row high) for alpha and 2e+1 for beta, e the element,
//     and the key of the turn: the first two words of Philox4x32-10 with counter
//     (t, 0, 0x62657461, 0) and the key of the run.
//  3. Words 0 and 1 make a normal draw x, as in Normal's cosine; v = (1+c·x)³;
//     word 2 makes ln u = ln((w+1)/2^32).
//  4. Where v > 0 and ln u < x²/2 + d - d·v + d·ln v, the draw is d·v; else the
//     next turn.
//
// Below 1, the draw with a+1 is multiplied by u'^(1/a), where word 3 makes u'.
// All is done in logarithms, which small concentrations need: theirs are draws
// that no float64 holds. The result is rounded to float32 and kept off 0 and 1.
func Beta(key NormalKey, stream uint32, row uint64, element uint32, alpha, beta float64) float32 {
	if !(alpha > 0 && beta > 0) || math.IsInf(alpha, 0) || math.IsInf(beta, 0) {
		return float32(math.NaN())
	}
	g := logGamma(key, stream, row, 2*element, alpha)
	h := logGamma(key, stream, row, 2*element+1, beta)
	const least, most = 0x1p-126, 1 - 0x1p-24 // of float32
	return float32(min(max(1/(1+exp(h-g)), least), most))
}

// logGamma is the logarithm of one gamma draw.
func logGamma(key NormalKey, stream uint32, row uint64, counter uint32, a float64) float64 {
	d := a - 1.0/3
	if a < 1 {
		d = a + 1 - 1.0/3
	}
	c := 1 / math.Sqrt(9*d)
	var logV float64
	for t := range MaxBetaTurns {
		turn := philox([4]uint32{uint32(t), 0, 0x62657461, 0}, key)
		w := philox([4]uint32{counter, stream, uint32(row), uint32(row >> 32)}, [2]uint32{turn[0], turn[1]})
		cos, _ := boxMuller(w[0], w[1])
		x := float64(cos)
		root := 1 + float64(c*x)
		if root <= 0 {
			continue
		}
		v := float64(root * root * root)
		logV = float64(3 * log(root))
		bound := float64(float64(x*x)/2) + d - float64(d*v) + float64(d*logV)
		if -negLog(w[2]) < bound {
			if a < 1 {
				logV -= float64(negLog(w[3]) / a)
			}
			break
		}
	}
	return log(d) + logV
}

// log is the natural logarithm of a number above 0, by the series of negLog.
func log(y float64) float64 {
	m, e := math.Frexp(y)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	s := (m - 1) / (m + 1)
	q := float64(s * s)
	sum := 1.0 / 19
	for k := 17; k >= 1; k -= 2 {
		sum = float64(sum*q) + 1/float64(k)
	}
	return float64(float64(e)*math.Ln2) + float64(2*s*sum)
}

// exp is e^y: the Taylor series about the nearest multiple of ln 2, to an error
// below 2^-51 of the result, 0 and infinity beyond ±700.
func exp(y float64) float64 {
	switch {
	case y > 700:
		return math.Inf(1)
	case y < -700:
		return 0
	}
	k := math.RoundToEven(float64(y / math.Ln2))
	r := y - float64(k*math.Ln2)
	sum := 1.0
	for i := 14; i >= 1; i-- {
		sum = 1 + float64(float64(sum*r)/float64(i))
	}
	return math.Ldexp(sum, int(k))
}
