package preprocess

import (
	"errors"
	"fmt"
	"slices"
)

// Stacked returns the preprocessor of k observations side by side, where p has
// the statistics of one: VecFrameStack of stable-baselines3 around VecNormalize.
// Frames are joined as it does, along the last axis. Only VecNormalize has such
// statistics.
func (p *Preprocessor) Stacked(k int) (*Preprocessor, error) {
	if p.kind != "VecNormalize" {
		return nil, fmt.Errorf("preprocessor %s: of one observation, not of %d that are stacked", p.kind, k)
	}
	q := *p
	q.notes = append(slices.Clone(p.notes), fmt.Sprintf("each of %d stacked observations is normalised by the same statistics", k))
	var err error
	if len(p.steps) > 0 {
		if q.steps, q.width, err = stackSteps(p.steps, p.shape, k); err != nil {
			return nil, err
		}
	}
	q.parts = slices.Clone(p.parts)
	for i := range q.parts {
		if q.parts[i].steps, q.parts[i].width, err = stackSteps(p.parts[i].steps, p.parts[i].shape, k); err != nil {
			return nil, err
		}
	}
	return &q, nil
}

// stackSteps repeats the statistics of the first step along the axis of the
// frames; the others are the same for all columns.
func stackSteps(steps []step, shape []int, k int) ([]step, int, error) {
	n, ok := steps[0].(*normalize)
	width := len(n.mean)
	switch {
	case !ok || k < 1:
		return nil, 0, errors.New("statistics that cannot be stacked")
	case width > maxWidth/k:
		return nil, 0, fmt.Errorf("%d observations of %d values", k, width)
	}
	// A frame is rows of run values; each row is followed by that of the next
	// frame.
	run := width
	if len(shape) > 1 {
		run = shape[len(shape)-1]
	}
	m := &normalize{mean: make([]float64, 0, k*width), std: make([]float64, 0, k*width)}
	for at := 0; at < width; at += run {
		for range k {
			m.mean = append(m.mean, n.mean[at:at+run]...)
			m.std = append(m.std, n.std[at:at+run]...)
			if n.unvaried != nil {
				m.unvaried = append(m.unvaried, n.unvaried[at:at+run]...)
			}
		}
	}
	return append([]step{m}, steps[1:]...), k * width, nil
}
