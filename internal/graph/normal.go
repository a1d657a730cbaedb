package graph

import (
	"math"
	"math/bits"
)

// Noise keys the random draws of one run. The same key, row, stream and
// element give the same draw on every machine and in every batch.
//
// A draw is made so, and package kernel has the same in a fast form:
//
//  1. The key of the run is the first two words of Philox4x32-10 with
//     counter (Seed low, Seed high, Step low, Step high) and the key
//     (0x6361726c, 0x612d726c).
//  2. Elements are drawn in blocks of four. Block e/4 of element e is
//     Philox4x32-10 with counter (e/4, stream, row low, row high) and the key
//     of the run; "low" and "high" are halves of 32 bits. The element counts
//     in row-major order within its row. A value without a batch axis is row 0
//     where the graph has inputs with one, and of the run's row where not.
//  3. Words 0 and 1 of the block make elements 0 and 1 of the block, words 2
//     and 3 make elements 2 and 3, by Box and Muller: of the pair (a, b),
//     r = sqrt(-2·ln((a+1)/2^32)) and t = 2π·b/2^32 give r·cos(t), then
//     r·sin(t), in float64, rounded to float32 at the end.
//
// Inside a loop the key of turn i, from 0, is the first two words of
// Philox4x32-10 with counter (i low, i high, 0x6c6f6f70, 0) and the key outside.
//
// The logarithm, sine and cosine are those of this file: short series in
// which each product is rounded before it is added. Go may otherwise fuse
// the two on some machines and not on others.
type Noise struct {
	Seed uint64 // chosen by the caller, once an episode
	Step uint64 // counts the runs of the episode
	Row  uint64 // number of the first row of the run, where the rows are part of a larger batch
}

// NormalKey is the key of one run, which all its draws share.
type NormalKey [2]uint32

// Key returns the key of the run.
func (n Noise) Key() NormalKey {
	w := philox([4]uint32{uint32(n.Seed), uint32(n.Seed >> 32), uint32(n.Step), uint32(n.Step >> 32)},
		[2]uint32{0x6361726c, 0x612d726c})
	return NormalKey{w[0], w[1]}
}

// Turn is the key inside a loop in its turn i, counted from 0.
func (k NormalKey) Turn(i int) NormalKey {
	w := philox([4]uint32{uint32(i), uint32(uint64(i) >> 32), 0x6c6f6f70, 0}, k)
	return NormalKey{w[0], w[1]}
}

// Normal returns one draw of the standard normal distribution. Its absolute
// value is below 6.7.
func Normal(key NormalKey, stream uint32, row uint64, element uint32) float32 {
	w := philox([4]uint32{element / 4, stream, uint32(row), uint32(row >> 32)}, key)
	pair := element % 4 &^ 1
	cos, sin := boxMuller(w[pair], w[pair+1])
	if element%2 == 0 {
		return cos
	}
	return sin
}

// philox is Philox4x32 with ten rounds (Salmon, Moraes, Dror, Shaw: Parallel
// random numbers: as easy as 1, 2, 3; 2011).
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

// boxMuller makes two normal draws of two words.
func boxMuller(a, b uint32) (cos, sin float32) {
	r := math.Sqrt(2 * negLog(a))
	// The nearest quarter turn and what is left, at most an eighth.
	quarter := (b + 1<<29) >> 30
	t := float64(int32(b-quarter<<30)) * (2 * math.Pi / (1 << 32))
	c, s := cosSin(t)
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

// negLog returns -ln((a+1)/2^32): with a+1 = m·2^e and m in [√½, √2), the
// logarithm of m is twice the series of atanh at (m-1)/(m+1).
func negLog(a uint32) float64 {
	m, e := math.Frexp(float64(a) + 1)
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
	return float64(float64(32-e)*math.Ln2) - float64(2*s*sum)
}

// cosSin is the Taylor series of both for |t| up to π/4, to an error below
// 2^-50.
func cosSin(t float64) (cos, sin float64) {
	q := float64(t * t)
	cos, sin = 1, 1
	for k := 16; k >= 2; k -= 2 {
		cos = 1 - float64(float64(cos*q)/float64(k*(k-1)))
		sin = 1 - float64(float64(sin*q)/float64(k*(k+1)))
	}
	return cos, float64(sin * t)
}
