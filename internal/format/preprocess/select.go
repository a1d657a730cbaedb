package preprocess

import (
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// varianceThreshold reads a VarianceThreshold: the columns whose variance lies
// above a number.
func varianceThreshold(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	variances, threshold := s.array("variances_"), s.number("threshold", 0)
	var kept []int
	for i, v := range variances.values {
		if v > threshold {
			kept = append(kept, i)
		}
	}
	return s.selected(kept, variances)
}

// selectKBest reads a SelectKBest: the columns of the highest scores; of equal
// ones those that stand last, as a stable sort has it.
func selectKBest(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	scores := s.array("scores_")
	n := len(scores.values)
	k := n
	if v, _ := o.Attr("k"); v != "all" {
		c, ok := pickle.Int(v)
		if !ok || c < 0 {
			return nil, fmt.Errorf("k is a %s, a number of columns was wanted", pickle.TypeName(v))
		}
		k = int(min(c, int64(n)))
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
		if math.IsNaN(scores.values[i]) { // as scikit-learn has it
			scores.values[i] = -math.MaxFloat64
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := scores.values[a], scores.values[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	kept := slices.Clone(order[n-k:])
	slices.Sort(kept)
	return s.selected(kept, scores)
}

// selected makes the preprocessor that gives some of the columns.
func (s *scaler) selected(kept []int, columns column) (*Preprocessor, error) {
	p, err := s.changing([]step{&pick{kept}}, columns)
	switch {
	case err != nil:
		return nil, err
	case len(kept) == 0:
		return nil, fmt.Errorf("%w: no column is selected", ErrUnsupported)
	case len(runs(kept)) > maxParts:
		return nil, fmt.Errorf("%w: columns in more than %d ranges", pickle.ErrLimit, maxParts)
	}
	if len(kept) < p.width {
		p.out = len(kept)
	} else {
		p.steps = nil
	}
	return p, nil
}
