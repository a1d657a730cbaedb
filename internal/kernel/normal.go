package kernel

import (
	"math"
	"math/bits"
)

// Normal fills y, one row of a value, with draws of the standard normal
// distribution. They are those of the reference evaluator, which says how they
// are made: element e comes from block e/4 of Philox4x32-10 with counter
// (e/4, stream, row low, row high), two at a time by Box and Muller. Here each
// block is computed once.
func Normal(y []float32, key [2]uint32, stream uint32, row uint64) {
	for i := 0; i < len(y); i += 4 {
		w := philox([4]uint32{uint32(i / 4), stream, uint32(row), uint32(row >> 32)}, key)
		var d [4]float32
		d[0], d[1] = boxMuller(w[0], w[1])
		if i+2 < len(y) {
			d[2], d[3] = boxMuller(w[2], w[3])
		}
		copy(y[i:], d[:])
	}
}

func philox(c [4]uint32, k [2]uint32) [4]uint32 {
	for range 10 {
		hi0, lo0 := bits.Mul32(0xd2511f53, c[0])
		hi1, lo1 := bits.Mul32(0xcd9e8d57, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0}
		k[0] += 0x9e3779b9
		k[1] += 0xbb67ae85
	}
	return c
}

// boxMuller makes two draws: sqrt(-2·ln((a+1)/2³²)) times the cosine and the
// sine of 2π·b/2³². Products are converted before they are added, which keeps
// the compiler from fusing them on the machines where it could.
func boxMuller(a, b uint32) (cos, sin float32) {
	r := math.Sqrt(2 * negLog(a))
	quarter := (b + 1<<29) >> 30 // the nearest quarter turn
	c, s := cosSin(float64(int32(b-quarter<<30)) * (2 * math.Pi / (1 << 32)))
	switch quarter & 3 {
	case 1:
		c, s = -s, c
	case 2:
		c, s = -c, -s
	case 3:
		c, s = s, -c
	}
	return float32(r * c), float32(r * s)
}

// The coefficients of the series, as the divisions of the reference give them.
var atanhSeries = func() (c [9]float64) {
	for i := range c {
		c[i] = 1 / float64(17-2*i)
	}
	return c
}()

// negLog returns -ln((a+1)/2³²) by the series of atanh, in the order of the
// reference.
func negLog(a uint32) float64 {
	n := uint64(a) + 1
	e := bits.Len64(n)
	m := math.Float64frombits(math.Float64bits(float64(n)) - uint64(e)<<52)
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	s := (m - 1) / (m + 1)
	q := float64(s * s)
	sum := 1.0 / 19
	for _, c := range atanhSeries {
		sum = float64(sum*q) + c
	}
	return float64(float64(32-e)*math.Ln2) - float64(2*s*sum)
}

// cosSin is the Taylor series of both for |t| up to π/4, in the order of the
// reference.
func cosSin(t float64) (cos, sin float64) {
	q := float64(t * t)
	cos, sin = 1, 1
	for k := 16; k >= 2; k -= 2 {
		cos = 1 - float64(float64(cos*q)/float64(k*(k-1)))
		sin = 1 - float64(float64(sin*q)/float64(k*(k+1)))
	}
	return cos, float64(sin * t)
}
