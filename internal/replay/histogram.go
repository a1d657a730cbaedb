package replay

import "math"

// histogram counts magnitudes: numbers of 0 and more, in float32. A class has
// the numbers whose upper 16 bits are the same, which are less than 1/128 apart
// from each other; 0 has one of its own. Counting needs no bounds to be known
// before, and the order in which the numbers come does not matter.
type histogram struct {
	counts []uint32 // by the upper bits; uint32 is enough for 4e9 steps
	n      uint64
	most   float32
}

const (
	histogramShift   = 16
	histogramClasses = 0x7f80 + 1 // up to infinity
)

func newHistogram() *histogram { return &histogram{counts: make([]uint32, histogramClasses)} }

// add counts x, which is not negative and no NaN.
func (h *histogram) add(x float32) {
	h.counts[math.Float32bits(x)>>histogramShift]++
	h.n++
	h.most = max(h.most, x)
}

// quantile returns a number that at least the share q of the counted ones do
// not exceed: the largest of its class, or the largest that came where that is
// less. It is at most 1/128 more than the least such number.
func (h *histogram) quantile(q float64) float64 {
	if h.n == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(q*float64(h.n))))
	seen := uint64(0)
	for class, n := range h.counts {
		if seen += uint64(n); seen >= rank {
			return float64(min(h.most, upperEdge(class)))
		}
	}
	return float64(h.most)
}

// above counts the numbers of classes that lie wholly above x.
func (h *histogram) above(x float32) uint64 {
	n := uint64(0)
	for _, c := range h.counts[math.Float32bits(x)>>histogramShift+1:] {
		n += uint64(c)
	}
	return n
}

// upperEdge is the largest number of a class.
func upperEdge(class int) float32 {
	if class == 0 {
		return 0 // With it are those below 1e-40, which no action differs by.
	}
	return math.Float32frombits(uint32(class)<<histogramShift | (1<<histogramShift - 1))
}
