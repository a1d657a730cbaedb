package preprocess

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// binarize gives 1 for values above a threshold and 0 for all others.
type binarize struct {
	threshold float64
}

// binarizer reads a Binarizer.
func binarizer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	return s.done([]step{&binarize{s.number("threshold", 0)}})
}

// lower compares in float32, as numpy does with rows of float32.
func (s *binarize) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	above, err := g.Add(graph.OpGt, nil, x, g.Number(s.threshold, x))
	if err != nil {
		return nil, err
	}
	return toFloat(g, above)
}

func (s *binarize) String() string { return fmt.Sprintf("1 above %g, else 0", s.threshold) }

// toFloat gives 1 and 0 for true and false.
func toFloat(g *graph.Graph, x *graph.Value) (*graph.Value, error) {
	return g.Add(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, x)
}
