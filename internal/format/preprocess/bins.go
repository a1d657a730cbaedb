package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// bins gives the bin of each value, as its number or as a 1 among zeros.
type bins struct {
	edges  [][]float64 // of each column, those between two bins
	onehot bool
}

// binsDiscretizer reads a KBinsDiscretizer. A result that would be sparse is
// given dense.
func binsDiscretizer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	t := &bins{onehot: s.text("encode", "onehot-dense", "onehot", "ordinal") != "ordinal"}
	v, ok := o.Attr("bin_edges_")
	switch {
	case s.err != nil:
		return nil, s.err
	case !ok:
		return nil, fmt.Errorf("%w: has no bin_edges_", errNotFitted)
	}
	columns, err := objectArray(v)
	if err != nil {
		return nil, fmt.Errorf("bin_edges_: %w", err)
	}
	widest, out := 0, 0
	for i, v := range columns {
		a, err := pickle.Numbers(v)
		if err != nil {
			return nil, fmt.Errorf("bin_edges_[%d]: %w", i, err)
		}
		n := len(a.Values)
		if len(a.Shape) != 1 || n < 2 {
			return nil, fmt.Errorf("bin_edges_[%d] has shape %v, at least two edges were wanted", i, a.Shape)
		}
		for j, e := range a.Values {
			if math.IsNaN(e) || j > 0 && e < a.Values[j-1] {
				return nil, fmt.Errorf("bin_edges_[%d] do not rise", i)
			}
		}
		t.edges = append(t.edges, a.Values[1:n-1])
		s.values += n
		widest, out = max(widest, n-1), out+n-1
	}
	p, err := s.changing([]step{t})
	switch {
	case err != nil:
		return nil, err
	case p.width != len(columns):
		return nil, fmt.Errorf("bin_edges_ has %d columns and n_features_in_ is %d", len(columns), p.width)
	case p.width*widest > maxDerived || p.width > maxParts:
		return nil, fmt.Errorf("%w: %d bins of %d columns", pickle.ErrLimit, widest, p.width)
	case t.onehot:
		p.out = out
	}
	if err := t.holdEncoder(o); err != nil {
		return nil, err
	}
	return p, nil
}

// holdEncoder holds the encoder that scikit-learn gives the numbers of bins to,
// to what it was fitted for: the bins of each column in their order.
func (s *bins) holdEncoder(o *pickle.Object) error {
	v, ok := o.Attr("_encoder")
	if !ok || !s.onehot {
		return nil
	}
	inner, ok := v.(*pickle.Object)
	if !ok || inner.Class.Name != "OneHotEncoder" {
		return fmt.Errorf("_encoder is a %s, a OneHotEncoder was wanted", pickle.TypeName(v))
	}
	t, _, err := readOneHot(inner)
	if err != nil {
		return fmt.Errorf("_encoder: %w", err)
	}
	if len(t.values) != len(s.edges) {
		return fmt.Errorf("_encoder has %d columns, %d were wanted", len(t.values), len(s.edges))
	}
	first := 0 // column of the first bin
	for i, edges := range s.edges {
		n := len(edges) + 1
		if len(t.values[i]) != n {
			return fmt.Errorf("_encoder has %d categories for the %d bins of column %d", len(t.values[i]), n, i)
		}
		for j := range n {
			if t.values[i][j] != float64(j) || t.groups[i][j] != first+j {
				return fmt.Errorf("_encoder does not put bin %d of column %d into its column", j, i)
			}
		}
		first += n
	}
	return nil
}

// objectArray reads the items of a list, or of a numpy array of objects of one
// dimension, which has them in its state.
func objectArray(v pickle.Value) ([]pickle.Value, error) {
	if items, ok := pickle.Items(v); ok {
		return items, nil
	}
	if o, ok := v.(*pickle.Object); ok && pickle.IsArray(v) {
		if state, ok := o.State.(pickle.Tuple); ok && len(state) >= 4 { // (..., shape, type, order, items)
			items, ok := pickle.Items(state[len(state)-1])
			shape, _ := state[len(state)-4].(pickle.Tuple)
			if ok && len(shape) == 1 && shape[0] == int64(len(items)) {
				return items, nil
			}
		}
	}
	return nil, fmt.Errorf("a %s, an array of arrays was wanted", pickle.TypeName(v))
}

// lower compares with every edge. An edge stands for the smallest float32 that
// is not below it, so that the comparison is that of float64.
func (s *bins) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	k := 0
	for _, e := range s.edges {
		k = max(k, len(e)+1)
	}
	// The first bin has no lower edge, the last one no upper one; bins that a
	// column does not have are reached by nothing.
	inf := float32(math.Inf(1))
	low, high := make([]float32, 0, n*k), make([]float32, 0, n*k)
	var there []int
	for i, edges := range s.edges {
		for j := range k {
			l, h := inf, inf
			if j == 0 {
				l = -inf
			} else if j <= len(edges) {
				l = ceil32(edges[j-1])
			}
			if j < len(edges) {
				h = ceil32(edges[j])
			}
			if j <= len(edges) {
				there = append(there, i*k+j)
			}
			low, high = append(low, l), append(high, h)
		}
	}
	b := &builder{g: g}
	x = b.with(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, n, 1}}, x)
	reached := b.add(graph.OpGe, x, table(g, "edges", low, n, k))
	if !s.onehot {
		sum := b.with(graph.OpSum, graph.Attrs{"axes": []int{2}}, b.with(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, reached))
		return b.done(b.number(graph.OpSub, sum, 1)) // every value reaches the first bin
	}
	inside := b.add(graph.OpAnd, reached, b.add(graph.OpLt, x, table(g, "edges.upper", high, n, k)))
	row := b.with(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, n * k}},
		b.with(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, inside))
	if b.err != nil {
		return nil, b.err
	}
	return take(g, row, there)
}

func (s *bins) String() string {
	n := make([]int, len(s.edges))
	for i, e := range s.edges {
		n[i] = len(e) + 1
	}
	if s.onehot {
		return listInts(n) + " bins, one-hot"
	}
	return listInts(n) + " bins, by number"
}
