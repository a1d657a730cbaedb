package load

import (
	"math"
	"math/bits"
	"time"
)

// Values up to 2·half are counted one by one, larger ones to within one part
// in half of them.
const (
	halfBits = 7
	half     = 1 << halfBits
	// maxBits of a value: 2^42 ns is more than an hour.
	maxBits = 42
	buckets = (maxBits - halfBits) * half
)

// Histogram counts durations from 1 ns to an hour with an error below 1 %. The
// zero Histogram is empty. It is not safe for use by several goroutines.
type Histogram struct {
	counts   [buckets + half]uint64
	n        uint64
	sum      float64 // nanoseconds
	min, max time.Duration
}

// bucket returns the index of a value in nanoseconds.
func bucket(v uint64) int {
	e := max(0, bits.Len64(v)-halfBits-1)
	return min(e*half+int(v>>e), buckets+half-1)
}

// upper returns the largest value of a bucket, in nanoseconds.
func upper(i int) uint64 {
	if i < 2*half {
		return uint64(i)
	}
	e := i/half - 1
	return uint64(i-e*half+1)<<e - 1
}

// Record counts one duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n++
	h.sum += float64(d)
	h.counts[bucket(uint64(d))]++
}

// Add counts all that o has counted.
func (h *Histogram) Add(o *Histogram) {
	if o.n == 0 {
		return
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

// Count is the number of durations.
func (h *Histogram) Count() uint64 { return h.n }

// Min is the shortest duration; like Max and Mean it is exact, and 0 where
// nothing was counted.
func (h *Histogram) Min() time.Duration { return h.min }

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is the arithmetic mean.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.n))
}

// Percentile returns the least duration that at least p percent of all do not
// exceed, to within the width of a bucket; 0 where nothing was counted.
func (h *Histogram) Percentile(p float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := uint64(math.Ceil(p / 100 * float64(h.n)))
	want = min(max(want, 1), h.n)
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= want {
			return min(max(time.Duration(upper(i)), h.min), h.max)
		}
	}
	return h.max
}

// Between counts the durations above from and not above to, to within the width
// of a bucket; a from below 0 takes them all from 0 on.
func (h *Histogram) Between(from, to time.Duration) uint64 {
	first := 0
	if from >= 0 {
		first = bucket(uint64(from)) + 1
	}
	var n uint64
	for i := first; i <= bucket(uint64(max(to, 0))); i++ {
		n += h.counts[i]
	}
	return n
}
