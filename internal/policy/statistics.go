package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// ValueStatistics is what is known of one value of an observation.
type ValueStatistics struct {
	Name          string // of its feature, with its place where that has several: "sensors[2]"
	Input, Offset int    // as those of Feature
	// Mean and Deviation are those of the training, an infinite deviation where
	// they are not known.
	Mean, Deviation float64
	// Low and High are the bounds that observations are held to, else those of
	// the space of the training; infinite for none.
	Low, High float64
}

// Statistics returns what is known of the values of an observation, in the
// order of the contract and no more than limit of them, all for a limit below 0; nil where the training
// left no mean and deviation of any. They are those by which the preprocessor
// normalises what is sent, and those of the card's envelope.
func (p *Policy) Statistics(limit int) []ValueStatistics {
	var list []ValueStatistics
	for i := range p.contract.Features {
		f := &p.contract.Features[i]
		s := p.statistics[f.Input]
		for k := range f.Size {
			if s.mean == nil || len(list) == limit || math.IsInf(s.deviation[f.Offset+k], 1) {
				continue
			}
			v := ValueStatistics{
				Name: f.Name, Input: f.Input, Offset: f.Offset + k,
				Mean: s.mean[f.Offset+k], Deviation: s.deviation[f.Offset+k],
			}
			if f.Size > 1 {
				v.Name += "[" + strconv.Itoa(k) + "]"
			}
			v.Low, v.High = f.boundsOf(k)
			list = append(list, v)
		}
	}
	return list
}

// boundsOf returns the bounds of one value of the feature.
func (f *Feature) boundsOf(k int) (low, high float64) {
	low, high = f.Low, f.High
	if s := f.Space; s != nil && len(s.Low) == f.Size && len(s.High) == f.Size {
		if math.IsInf(low, 0) {
			low = float64(s.Low[k])
		}
		if math.IsInf(high, 0) {
			high = float64(s.High[k])
		}
	}
	return low, high
}

// statistics are those of the values of a row of one input; nil where nothing
// is known of any.
type statistics struct {
	mean, deviation []float64
	means           int // that were given
}

// readStatistics returns what the sources know of each input. The statistics of
// the card's envelope, which are of policies with one input, stand before those
// of the preprocessor.
func (c *Contract) readStatistics(src *sources) ([]statistics, error) {
	all := make([]statistics, len(c.Inputs))
	for i := range c.Inputs {
		in, s := &c.Inputs[i], &all[i]
		switch p := src.preprocessor; {
		case p == nil:
		case len(p.Keys()) > 0:
			s.mean, s.deviation = p.StatisticsOf(in.Name, in.Width)
		case len(c.Inputs) == 1:
			s.mean, s.deviation = p.Statistics(in.Width)
		}
		s.means = len(s.mean)
	}
	if src.card.Envelope == nil || len(c.Inputs) != 1 {
		return all, nil
	}
	for _, d := range src.card.Envelope.Statistics {
		i := slices.IndexFunc(c.Features, func(f Feature) bool { return f.Name == d.Feature })
		if i < 0 {
			return nil, fmt.Errorf("statistics: there is no feature %q; there are: %s", d.Feature, c.featureNames())
		}
		f, s := &c.Features[i], &all[0]
		for _, list := range [][]float64{d.Mean, d.Std} {
			if len(list) != 1 && len(list) != f.Size {
				return nil, fmt.Errorf("statistics: feature %s: expected one number or %d, got %d", f.Name, f.Size, len(list))
			}
		}
		if s.mean == nil {
			width := c.Inputs[0].Width
			s.mean, s.deviation = make([]float64, width), slices.Repeat([]float64{math.Inf(1)}, width)
		}
		for j := range f.Size {
			s.mean[f.Offset+j], s.deviation[f.Offset+j] = d.Mean[j%len(d.Mean)], d.Std[j%len(d.Std)]
		}
		s.means += f.Size
	}
	return all, nil
}
