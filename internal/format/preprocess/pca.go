package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// projection computes x · weightsᵀ.
type projection struct {
	weights  []float64 // a row for each value that leaves
	out, in  int
	whitened bool
}

// smallestScale is the deviation that scikit-learn takes for a component
// without any.
const smallestScale = 0x1p-52

// principalComponents reads a PCA: (x - mean_) · components_ᵀ, each divided by
// its deviation where it whitens.
func principalComponents(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	mean := s.offsets("mean_")
	weights, rows, columns := s.table("components_")
	whiten := s.flag("whiten", false)
	var variance column
	if whiten {
		variance = s.offsets("explained_variance_")
	}
	switch {
	case s.err != nil:
		return nil, s.err
	case rows < 1 || columns != len(mean.values):
		return nil, fmt.Errorf("components_ has shape [%d %d] and mean_ %d values", rows, columns, len(mean.values))
	case whiten && len(variance.values) != rows:
		return nil, fmt.Errorf("explained_variance_ has %d values, %d were wanted", len(variance.values), rows)
	}
	for i, v := range variance.values {
		if v < 0 {
			return nil, fmt.Errorf("explained_variance_[%d] is %g, at least 0 was wanted", i, v)
		}
		scale := max(math.Sqrt(v), smallestScale)
		for j := range columns {
			weights.values[i*columns+j] /= scale
		}
	}
	if err := weights.offset(); err != nil {
		return nil, err
	}
	p, err := s.changing([]step{&normalize{mean: mean.values}, &projection{weights.values, rows, columns, whiten}}, mean)
	if err != nil {
		return nil, err
	}
	p.out = rows
	return p, nil
}

func (s *projection) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	w := make([]float32, len(s.weights))
	for i, v := range s.weights {
		w[i] = float32(v)
	}
	return g.Add(graph.OpLinear, nil, x, table(g, "components", w, s.out, s.in))
}

func (s *projection) String() string {
	text := fmt.Sprintf("%d principal components of %d values", s.out, s.in)
	if s.whitened {
		text += ", whitened"
	}
	return text
}
