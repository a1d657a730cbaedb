package preprocess

import "math"

// Statistics returns the mean and the standard deviation that the preprocessor
// knows of each of its Width values, where it begins by subtracting the one and
// dividing by the other; nil where it does not. A value that did not vary has
// an infinite deviation: nothing can be said of how far it strays.
func (p *Preprocessor) Statistics() (mean, deviation []float64) {
	if len(p.steps) == 0 || p.width == 0 {
		return nil, nil
	}
	n, ok := p.steps[0].(*normalize)
	if !ok || n.mean == nil || n.std == nil {
		return nil, nil
	}
	mean, deviation = make([]float64, p.width), make([]float64, p.width)
	for i := range p.width {
		if mean[i], deviation[i] = at(n.mean, i), math.Abs(at(n.std, i)); deviation[i] == 0 {
			deviation[i] = math.Inf(1)
		}
	}
	return mean, deviation
}
