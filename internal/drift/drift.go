package drift

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// slots is the number of parts of the window. What is older than the window
// leaves it part by part, so that it holds between 9 and 10 tenths of it.
const slots = 10

// MinRows is how many rows the window must hold before anything is told of it:
// the PSI of rows of the very distribution is about 9/rows.
const MinRows = 100

// Version measures the observations of one version of a policy. It is safe for
// use by many goroutines.
type Version struct {
	references []reference
	slot       int64 // nanoseconds of one part of the window

	mu   sync.Mutex // guards ring
	ring [slots]counts
}

// counts are those of one part of the window.
type counts struct {
	epoch  int64 // which part it is, counted from 1970
	rows   float64
	values []valueCounts
}

type valueCounts struct {
	sum       float64 // of how far values lie from the mean, in deviations
	bins      [bins]uint32
	out       uint32 // beyond the range of the training
	saturated uint32 // at a bound
}

// New returns the measure of a version whose observations have these features,
// over a window of so long; nil where none of them is known.
func New(features []Feature, window time.Duration) (*Version, error) {
	if window < slots*time.Millisecond {
		return nil, fmt.Errorf("a window of %v is too short: at least %v", window, slots*time.Millisecond)
	}
	v := &Version{slot: int64(window / slots)}
	for i := range features {
		if !features[i].Known() {
			continue
		}
		v.references = append(v.references, newReference(&features[i]))
	}
	if len(v.references) == 0 {
		return nil, nil
	}
	for i := range v.ring {
		v.ring[i].values = make([]valueCounts, len(v.references))
	}
	return v, nil
}

// Observe adds a row of the inputs of a request, which have widths values each.
// It allocates nothing and never waits: a row that comes while another is added
// is left out, which a sample can afford.
func (v *Version) Observe(now time.Time, inputs [][]float32, widths []int, row int) {
	if !v.mu.TryLock() {
		return
	}
	c := v.at(now)
	c.rows++
	for i := range v.references {
		r := &v.references[i]
		c.values[i].add(r, inputs[r.input][row*widths[r.input]+r.offset])
	}
	v.mu.Unlock()
}

func (c *valueCounts) add(r *reference, x float32) {
	c.sum += (float64(x) - r.mean) * r.inverse
	c.bins[r.bin(x)]++
	if x < r.near || x > r.far {
		c.out++
	}
	if x <= r.low || x >= r.high {
		c.saturated++
	}
}

// at returns the counts of the part of the window that a time lies in, emptied
// where they are of one that is over.
func (v *Version) at(now time.Time) *counts {
	epoch := now.UnixNano() / v.slot
	c := &v.ring[epoch%slots]
	if c.epoch != epoch {
		c.epoch, c.rows = epoch, 0
		clear(c.values)
	}
	return c
}

// Score tells how one value of the observations in the window lies against
// those of the training.
type Score struct {
	Feature string
	// ZScore is how far the mean of the window lies from that of the training,
	// in deviations of the training: (mean - training's mean) / deviation. It is
	// the size of the shift and not a test of it, so it does not grow with the
	// number of rows.
	ZScore float64
	// PSI is the population stability index over the ten bins of equal probability
	// of the normal distribution with the mean and the deviation of the training.
	// A feature that is not normally distributed has one of its own that is not 0:
	// what tells is how it moves.
	PSI float64
	// OutOfRange is the share of values beyond the bounds of the feature, or
	// farther than five deviations from the mean.
	OutOfRange float64
	// Saturation is the share of values at a bound, NaN for a value without.
	Saturation float64
}

// Scores returns the number of rows in the window that ends now, and the scores
// of each value that is known, none where there are less than MinRows.
func (v *Version) Scores(now time.Time) (rows int, scores []Score) {
	total := counts{values: make([]valueCounts, len(v.references))}
	oldest := now.UnixNano()/v.slot - slots + 1
	v.mu.Lock()
	for i := range v.ring {
		if c := &v.ring[i]; c.epoch >= oldest {
			total.add(c)
		}
	}
	v.mu.Unlock()
	if total.rows < MinRows {
		return int(total.rows), nil
	}
	for i := range v.references {
		c, r := &total.values[i], &v.references[i]
		s := Score{
			Feature: r.name, ZScore: c.sum / total.rows, PSI: c.psi(),
			OutOfRange: float64(c.out) / total.rows, Saturation: math.NaN(),
		}
		if r.bounded {
			s.Saturation = float64(c.saturated) / total.rows
		}
		scores = append(scores, s)
	}
	return int(total.rows), scores
}

func (c *counts) add(o *counts) {
	c.rows += o.rows
	for i := range c.values {
		a, b := &c.values[i], &o.values[i]
		a.sum += b.sum
		a.out += b.out
		a.saturated += b.saturated
		for k, n := range b.bins {
			a.bins[k] += n
		}
	}
}

func (c *valueCounts) psi() float64 {
	var n [bins]float64
	for i, k := range c.bins {
		n[i] = float64(k)
	}
	return PSI(n[:])
}
