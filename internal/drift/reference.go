// Package drift measures how far the observations that are served lie from
// those of the training.
//
// What enters are rows of observations, a sample of those that were answered,
// and what the training left of its own: a mean and a deviation of each value, and
// its bounds. What leaves are, for each value by name, four
// numbers of the last minutes. The package knows no policies and no protocols.
package drift

import "math"

// Feature is one value of an observation and what is known of it.
type Feature struct {
	Name string // "speed", "sensors[2]"
	// Input and Offset say where the value is: in which input, and in the row
	// of that.
	Input, Offset int
	// Mean and Deviation are those of the training; a deviation that is not
	// finite and above 0 says that they are not known.
	Mean, Deviation float64
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

func newReference(f *Feature) reference {
	r := reference{
		name: f.Name, input: f.Input, offset: f.Offset, mean: f.Mean, inverse: 1 / f.Deviation,
		near: float32(max(f.Low, f.Mean-farDeviations*f.Deviation)), far: float32(min(f.High, f.Mean+farDeviations*f.Deviation)),
		low: float32(f.Low), high: float32(f.High), bounded: !math.IsInf(f.Low, 0) || !math.IsInf(f.High, 0),
	}
	for i := range r.edges {
		r.edges[i] = float32(f.Mean + f.Deviation*normalDeciles[i])
	}
	return r
}

// bin is where among the edges a value lies; one on an edge is of the bin above
// it.
func (r *reference) bin(v float32) int {
	n := 0
	for _, e := range r.edges {
		if v >= e {
			n++
		}
	}
	return n
}

// PSI is the population stability index of the counts of bins that were expected
// to have the same share each:
//
//	Σ (a - e) · ln(a / e)
//
// over the bins, where a is the share that a bin has and e = 1/len(counts) the
// one it should have. It is the sum of both Kullback-Leibler divergences
// (Jeffreys, "An invariant form for the prior probability in estimation
// problems", 1946); as an index of populations, below 0.1 is called no change
// and above 0.25 a large one (Siddiqi, "Credit Risk Scorecards", 2006). Half an
// observation is added to each bin, or an empty one would make it infinite. It is
// NaN without counts.
func PSI(counts []float64) float64 {
	total := 0.0
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return math.NaN()
	}
	e := 1 / float64(len(counts))
	sum := 0.0
	for _, n := range counts {
		a := (n + 0.5) / (total + 0.5*float64(len(counts)))
		sum += (a - e) * math.Log(a/e)
	}
	return sum
}
