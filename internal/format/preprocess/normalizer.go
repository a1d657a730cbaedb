package preprocess

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// unit divides a row by its norm.
type unit struct {
	norm string // "l1", "l2" or "max"
}

// smallestNorm is the norm below which scikit-learn leaves a row of float32 as
// it is: ten times the spacing of numbers at 1.
const smallestNorm = 10 * 0x1p-23

// normalizer reads a Normalizer.
func normalizer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	return s.done([]step{&unit{s.text("norm", "l1", "l2", "max")}})
}

func (s *unit) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	b := &builder{g: g}
	var norm *graph.Value
	all := graph.Attrs{"axes": []int{1}, "keepdim": true}
	switch s.norm {
	case "l1":
		norm = b.with(graph.OpSum, all, b.add(graph.OpAbs, x))
	case "l2":
		norm = b.add(graph.OpSqrt, b.with(graph.OpSum, all, b.add(graph.OpMul, x, x)))
	default:
		norm = b.with(graph.OpAmax, all, b.add(graph.OpAbs, x))
	}
	small := b.add(graph.OpLt, norm, g.Number(smallestNorm, x))
	norm = b.add(graph.OpWhere, small, g.Number(1, x), norm)
	return b.done(b.add(graph.OpDiv, x, norm))
}

func (s *unit) String() string { return "x / its " + s.norm + " norm" }
