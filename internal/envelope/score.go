package envelope

import (
	"errors"
	"fmt"
	"math"
)

// Statistics are what is known of the observations of a training.
type Statistics struct {
	// Mean and Deviation are of each value of an observation. An infinite
	// deviation is that of a value of which nothing is known.
	Mean, Deviation []float64
	// Covariance is that of all values, row-major; nil where it is not known.
	Covariance []float64
	// MaxZ is the most that a value may lie from its mean, in deviations, and
	// MaxDistance the most that an observation may, by Mahalanobis; 0 is no
	// limit. MaxDistance needs the covariance.
	MaxZ, MaxDistance float64
}

// Scorer tells how unlike the training an observation is. It never changes and
// may be used from many goroutines.
type Scorer struct {
	mean, deviation []float64
	// whiten is the inverse of the Cholesky factor of the covariance, lower
	// triangular, row after row; the distance is the norm of its product with
	// what an observation differs from the mean.
	whiten            []float64
	maxZ, maxDistance float64
}

// NewScorer returns the scorer of s, or an error that says what no observation
// could be measured by.
func NewScorer(s Statistics) (*Scorer, error) {
	n := len(s.Mean)
	switch {
	case n == 0 || len(s.Deviation) != n:
		return nil, fmt.Errorf("%d means and %d deviations", n, len(s.Deviation))
	case !(s.MaxZ >= 0) || !(s.MaxDistance >= 0):
		return nil, fmt.Errorf("limits of %v deviations and a distance of %v: want 0 or more", s.MaxZ, s.MaxDistance)
	case s.MaxZ == 0 && s.MaxDistance == 0:
		return nil, errors.New("neither deviations nor distance have a limit")
	case s.MaxDistance > 0 && s.Covariance == nil:
		return nil, errors.New("a distance needs the covariance")
	}
	for i := range n {
		if m, d := s.Mean[i], s.Deviation[i]; m-m != 0 || !(d > 0) {
			return nil, fmt.Errorf("value %d has the mean %v and the deviation %v", i, m, d)
		}
	}
	c := &Scorer{mean: s.Mean, deviation: s.Deviation, maxZ: limitOf(s.MaxZ), maxDistance: limitOf(s.MaxDistance)}
	if s.MaxDistance == 0 {
		return c, nil
	}
	var err error
	c.whiten, err = whitening(s.Covariance, n)
	return c, err
}

// limitOf makes no limit one that nothing passes.
func limitOf(v float64) float64 {
	if v == 0 {
		return math.Inf(1)
	}
	return v
}

// whitening returns the inverse of the Cholesky factor of an n×n covariance.
func whitening(covariance []float64, n int) ([]float64, error) {
	if len(covariance) != n*n {
		return nil, fmt.Errorf("the covariance of %d values has %d numbers, want %d", n, len(covariance), n*n)
	}
	l := make([]float64, n*n)
	for i := range n {
		for j := range i + 1 {
			sum := covariance[i*n+j]
			if sum != covariance[j*n+i] {
				return nil, fmt.Errorf("the covariance is not symmetric at %d and %d", i, j)
			}
			for k := range j {
				sum -= l[i*n+k] * l[j*n+k]
			}
			if i != j {
				l[i*n+j] = sum / l[j*n+j]
				continue
			}
			if !(sum > 0) || math.IsInf(sum, 1) {
				return nil, fmt.Errorf("the covariance is not positive definite at %d", i)
			}
			l[i*n+i] = math.Sqrt(sum)
		}
	}
	inverse := make([]float64, n*n)
	for j := range n {
		inverse[j*n+j] = 1 / l[j*n+j]
		for i := j + 1; i < n; i++ {
			sum := 0.0
			for k, x := range l[i*n+j:][:i-j] {
				sum -= x * inverse[(j+k)*n+j]
			}
			inverse[i*n+j] = sum / l[i*n+i]
		}
	}
	for i, x := range inverse {
		if x-x != 0 {
			return nil, fmt.Errorf("the covariance has no inverse that can be computed with: it is too near to singular at %d", i/n)
		}
	}
	return inverse, nil
}

// ZScore returns the value of the observation that lies farthest from its mean,
// and how far in deviations; a value that is not a number is farthest.
func (c *Scorer) ZScore(observation []float32) (value int, z float64) {
	for i, m := range c.mean {
		d := math.Abs(float64(observation[i])-m) / c.deviation[i]
		if d != d {
			return i, d
		}
		if d > z {
			value, z = i, d
		}
	}
	return value, z
}

// Distance returns the Mahalanobis distance of the observation from the mean, 0
// where it is not limited.
func (c *Scorer) Distance(observation []float32) float64 {
	n := len(c.mean)
	sum := 0.0
	for i := range len(c.whiten) / n {
		y := 0.0
		for j, w := range c.whiten[i*n:][:i+1] {
			y = math.FMA(w, float64(observation[j])-c.mean[j], y)
		}
		sum += y * y
	}
	return math.Sqrt(sum)
}

// Check reports whether the observation is like those of the training, and
// otherwise why not.
func (c *Scorer) Check(observation []float32) (Cause, bool) {
	if value, z := c.ZScore(observation); !(z <= c.maxZ) {
		return Cause{Kind: Unlike, Feature: value, Score: z}, false
	}
	if d := c.Distance(observation); !(d <= c.maxDistance) {
		return Cause{Kind: Unlike, Feature: NoFeature, Score: d}, false
	}
	return Cause{}, true
}
