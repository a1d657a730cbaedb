package preprocess

import "math"

// Statistics returns the mean and the standard deviation that the preprocessor
// knows of each value of the rows of n values that it takes, where it begins by
// subtracting the one and dividing by the other; nil where it does not. A value
// that did not vary in the training, whose divisor its library made up, or that
// is left as it is, has an infinite
// deviation: nothing can be said of how far it strays.
func (p *Preprocessor) Statistics(n int) (mean, deviation []float64) {
	if len(p.steps) == 0 || p.width != 0 && p.width != n {
		return nil, nil
	}
	var of func(i int) (mean, deviation float64)
	switch s := p.steps[0].(type) {
	case *normalize:
		if s.mean == nil || s.std == nil {
			return nil, nil
		}
		of = func(i int) (float64, float64) {
			if i < len(s.unvaried) && s.unvaried[i] {
				return at(s.mean, i), 0
			}
			return at(s.mean, i), at(s.std, i)
		}
	case *carStep:
		of = func(i int) (float64, float64) {
			part := min(i, len(s.mean)-1)
			if s.mean[part] == 0 && s.std[part] == 1 {
				return 0, 0
			}
			return s.mean[part], s.std[part]
		}
	default:
		return nil, nil
	}
	mean, deviation = make([]float64, n), make([]float64, n)
	for i := range n {
		if mean[i], deviation[i] = of(i); deviation[i] == 0 {
			deviation[i] = math.Inf(1)
		}
		deviation[i] = math.Abs(deviation[i])
	}
	return mean, deviation
}

// StatisticsOf is Statistics of the part of an observation that is one of Keys,
// nil for any other name.
func (p *Preprocessor) StatisticsOf(key string, n int) (mean, deviation []float64) {
	part := p.part(key)
	if part == nil {
		return nil, nil
	}
	return p.on(part.steps, part.width).Statistics(n)
}
