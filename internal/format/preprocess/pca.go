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
	what     string
	whitened bool
}

// smallestScale is the deviation that scikit-learn takes for a component
// without any.
const smallestScale = 0x1p-52

// principalComponents reads a PCA or IncrementalPCA: (x - mean_) · components_ᵀ, each divided by
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
	steps, err := centredProjection(mean.values, &projection{weights.values, rows, columns, "principal components", whiten})
	if err != nil {
		return nil, err
	}
	p, err := s.changing(steps, mean)
	if err != nil {
		return nil, err
	}
	p.out = rows
	return p, nil
}

// centredProjection computes (x - mean) · weightsᵀ. Each column is brought to
// the unit in which it moves a result by 1, or half of it where that is 1 already:
// the difference is then that of a normalised feature, and the passes keep its
// digits far from zero.
func centredProjection(mean []float64, last *projection) ([]step, error) {
	const most = 1e30
	units := make([]float64, last.in)
	for i := range units {
		greatest := 0.
		for o := range last.out {
			greatest = max(greatest, math.Abs(last.weights[o*last.in+i]))
		}
		if units[i] = 0.5; greatest > 1/most && greatest < most && greatest != 1 {
			units[i] = 1 / greatest
		}
		for o := range last.out {
			last.weights[o*last.in+i] *= units[i]
		}
	}
	return []step{&normalize{mean: mean, std: units}, last}, column{"components_", last.weights}.offset()
}

// independentComponents reads a FastICA: (x - mean_) · components_ᵀ, without
// the mean where it does not whiten.
func independentComponents(o *pickle.Object) (*Preprocessor, error) {
	centred := true
	if v, ok := o.Attr("whiten"); ok {
		b, isBool := boolOf(v)
		switch text, _ := textOf(v); {
		case isBool, v == pickle.None{}:
			centred = b
		case text == "arbitrary-variance", text == "unit-variance", text == "warn": // the last by a version that was about to change it
		default:
			return nil, fmt.Errorf("%w: whiten that is a %s", ErrUnsupported, pickle.TypeName(v))
		}
	}
	return projected(o, "independent components", centred)
}

// truncatedSVD and gaussianProjection read x · components_ᵀ.
func truncatedSVD(o *pickle.Object) (*Preprocessor, error) {
	return projected(o, "singular vectors", false)
}

func gaussianProjection(o *pickle.Object) (*Preprocessor, error) {
	return projected(o, "random directions", false)
}

func projected(o *pickle.Object, what string, centred bool) (*Preprocessor, error) {
	s := &scaler{o: o}
	weights, rows, columns := s.table("components_")
	last := &projection{weights.values, rows, columns, what, false}
	steps := []step{last}
	if centred {
		mean := s.offsets("mean_")
		if s.err == nil && len(mean.values) != columns {
			return nil, fmt.Errorf("components_ has shape [%d %d] and mean_ %d values", rows, columns, len(mean.values))
		}
		if s.err == nil {
			var err error
			if steps, err = centredProjection(mean.values, last); err != nil {
				return nil, err
			}
		}
	}
	p, err := s.done(steps)
	switch {
	case err != nil:
		return nil, err
	case rows < 1 || columns < 1 || p.width != 0 && p.width != columns:
		return nil, fmt.Errorf("components_ has shape [%d %d], n_features_in_ is %d", rows, columns, p.width)
	}
	p.width, p.out = columns, rows
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
	text := fmt.Sprintf("%d %s of %d values", s.out, s.what, s.in)
	if s.whitened {
		text += ", whitened"
	}
	return text
}
