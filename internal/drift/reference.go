// Package drift measures how far the observations that are served lie from
// those of the training.
//
// What enters are rows of observations, a sample of those that were answered,
// and what the training left of its own: a mean and a deviation of each value,
// where there are any its deciles. What leaves are, for each value by name, four
// numbers of the last minutes. The package knows no policies and no protocols.
package drift

import (
	"fmt"
	"math"
)

// Feature is one value of an observation and what is known of it.
type Feature struct {
	Name string // "speed", "sensors[2]"
	// Input and Offset say where the value is: in which input, and in the row
	// of that.
	Input, Offset int
	// Mean and Deviation are those of the training; a deviation that is not
	// finite and above 0 says that they are not known.
	Mean, Deviation float64
	// Deciles are the nine values below which a tenth, two tenths and so on of
	// those of the training lay; nil where they are not known.
	Deciles []float64
	// Low and High bound the value, both inclusive; infinite for no bound.
	Low, High float64
}

// Known reports whether a feature can be measured.
func (f *Feature) Known() bool {
	return f.Mean-f.Mean == 0 && f.Deviation > 0 && !math.IsInf(f.Deviation, 1)
}

// bins is the number of bins of equal probability of a distribution.
const bins = 10

// normalDeciles are the nine deciles of the normal distribution with mean 0 and
// deviation 1.
var normalDeciles = [bins - 1]float64{
	-1.2815515655446004, -0.8416212335729142, -0.5244005127080407, -0.2533471031357997, 0,
	0.2533471031357997, 0.5244005127080407, 0.8416212335729142, 1.2815515655446004,
}

// farDeviations is how many deviations from its mean a value may lie that
// training saw: of a normal distribution one in 1.7 million lies farther, of any
// distribution at most one in 25 (Chebyshev's inequality).
const farDeviations = 5

// reference is what one value is held to, in float32 as it is compared.
type reference struct {
	name          string
	input, offset int
	mean, inverse float64 // of the deviation
	edges         [bins - 1]float32
	near, far     float32 // the least and the greatest value in range
	low, high     float32 // infinite for no bound
	bounded       bool
}

func newReference(f *Feature) (reference, error) {
	r := reference{
		name: f.Name, input: f.Input, offset: f.Offset, mean: f.Mean, inverse: 1 / f.Deviation,
		near: float32(max(f.Low, f.Mean-farDeviations*f.Deviation)), far: float32(min(f.High, f.Mean+farDeviations*f.Deviation)),
		low: float32(f.Low), high: float32(f.High), bounded: !math.IsInf(f.Low, 0) || !math.IsInf(f.High, 0),
	}
	for i := range r.edges {
		r.edges[i] = float32(f.Mean + f.Deviation*normalDeciles[i])
	}
	if f.Deciles == nil {
		return r, nil
	}
	if len(f.Deciles) != len(r.edges) {
		return r, fmt.Errorf("feature %s has %d deciles, not %d", f.Name, len(f.Deciles), len(r.edges))
	}
	for i, v := range f.Deciles {
		if r.edges[i] = float32(v); v-v != 0 || i > 0 && v < f.Deciles[i-1] {
			return r, fmt.Errorf("feature %s: decile %d is %v: wanted are finite numbers that do not fall", f.Name, i+1, v)
		}
	}
	return r, nil
}

// bin is where among the edges a value lies. A value on an edge is of the bin
// above it, and on several that are the same, as those of a value that mostly
// is the same, of the one above them all.
func (r *reference) bin(v float32) int {
	n := 0
	for _, e := range r.edges {
		if v >= e {
			n++
		}
	}
	return n
}

// expected is the probability of each bin: a tenth, but that of a bin in which
// no value can lie, between deciles that are the same or below the least, is
// that of the bin above it.
func (r *reference) expected() [bins]float64 {
	var p [bins]float64
	for i := range p {
		p[i] = 1.0 / bins
	}
	below := r.low
	for i, e := range r.edges {
		if e <= below {
			p[i+1] += p[i]
			p[i] = 0
		}
		below = e
	}
	return p
}

// PSI is the population stability index of counts against the probabilities
// that were expected:
//
//	Σ (a - e) · ln(a / e)
//
// over the bins, where a is the share of a bin and e its probability. It is the
// sum of both Kullback-Leibler divergences (Jeffreys, "An invariant form for the
// prior probability in estimation problems", 1946; as an index of scorecards:
// Siddiqi, "Credit Risk Scorecards", 2006, where below 0.1 is called no change
// and above 0.25 a large one). Half an observation is added to each bin, or one
// that is empty would make it infinite. A bin that is expected to be empty is
// left out. It is NaN without counts.
func PSI(counts, expected []float64) float64 {
	total, open := 0.0, 0.0
	for i, e := range expected {
		if e > 0 {
			total += counts[i]
			open++
		}
	}
	if total == 0 {
		return math.NaN()
	}
	sum := 0.0
	for i, e := range expected {
		if e > 0 {
			a := (counts[i] + 0.5) / (total + 0.5*open)
			sum += (a - e) * math.Log(a/e)
		}
	}
	return sum
}
