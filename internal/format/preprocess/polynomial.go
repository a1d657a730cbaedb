package preprocess

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Maxima of what a few bytes of a file can make of a row.
const (
	maxDerived = 1 << 16 // values derived from a row, intermediate ones counted
	maxParts   = 4096    // ranges of columns that are joined, as the graph has it
	maxDegree  = 64
	maxTerms   = 1 << 12 // columns times degree: each takes a few nodes
)

// polynomial gives products of the values of a row, ordered by degree and in
// each degree as the columns are.
type polynomial struct {
	low, high   int // degrees
	interaction bool
	bias        bool
}

// polynomialFeatures reads a PolynomialFeatures.
func polynomialFeatures(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	t := &polynomial{interaction: s.flag("interaction_only", false), bias: s.flag("include_bias", true)}
	v, _ := o.Attr("degree")
	pair, isPair := pickle.Items(v)
	degree, isInt := pickle.Int(v)
	if isPair && len(pair) == 2 {
		low, ok1 := pickle.Int(pair[0])
		high, ok2 := pickle.Int(pair[1])
		isInt, degree, t.low = ok1 && ok2 && low >= 0 && low <= high, high, int(min(max(low, 0), maxDegree))
	}
	if !isInt || degree < 0 || degree > maxDegree {
		s.fail(fmt.Errorf("degree is not a number up to %d or a pair of them, the smaller first", maxDegree))
	}
	t.high = int(degree)
	p, err := s.changing([]step{t})
	if err != nil {
		return nil, err
	}
	if p.width*t.high > maxTerms {
		return nil, fmt.Errorf("%w: %d columns to the degree %d", pickle.ErrLimit, p.width, t.high)
	}
	if p.out, err = t.count(p.width); err != nil {
		return nil, err
	}
	full := &polynomial{0, t.high, t.interaction, t.bias}
	all, err := full.count(p.width)
	if err != nil {
		return nil, err
	}
	// What scikit-learn works with it has worked out of the parameters.
	s.holdNumber("_min_degree", t.low)
	s.holdNumber("_max_degree", t.high)
	s.holdNumber("n_output_features_", p.out)
	s.holdNumber("_n_out_full", all)
	if s.err != nil {
		return nil, s.err
	}
	return p, nil
}

// tails returns for each column where, in the products of a degree, those
// begin that the column is multiplied with for the next degree, and their end.
func (t *polynomial) tails(starts []int, end int) []int {
	from := make([]int, len(starts))
	for i := range starts {
		switch {
		case !t.interaction:
			from[i] = starts[i]
		case i+1 < len(starts):
			from[i] = starts[i+1]
		default:
			from[i] = end
		}
	}
	return from
}

// count returns the number of values that leave.
func (t *polynomial) count(n int) (int, error) {
	starts := make([]int, n)
	for i := range starts {
		starts[i] = i
	}
	end, all, out := n, n, 0
	if t.bias {
		out++
	}
	for d := 1; d <= t.high; d++ {
		if d >= max(t.low, 1) {
			out += end
		}
		next := 0
		for i, from := range t.tails(starts, end) {
			starts[i] = next
			if next += end - from; all+next > maxDerived && d < t.high {
				return 0, fmt.Errorf("%w: more than %d products of %d columns", pickle.ErrLimit, maxDerived, n)
			}
		}
		end = next
		all += next
	}
	if out == 0 {
		return 0, fmt.Errorf("gives no values: degree %d of %d columns", t.high, n)
	}
	return out, nil
}

func (t *polynomial) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	b := &builder{g: g}
	var parts []*graph.Value
	if t.bias {
		ones := table(g, "bias", []float32{1}, 1, 1)
		parts = append(parts, b.with(graph.OpExpand, graph.Attrs{"shape": []int{graph.Batch, 1}}, ones))
	}
	starts := make([]int, n)
	columns := make([]*graph.Value, n)
	for i := range starts {
		starts[i] = i
		if t.high > 1 {
			columns[i] = b.with(graph.OpSlice, graph.Attrs{"axis": 1, "start": i, "end": i + 1}, x)
		}
	}
	block, end := x, n
	for d := 1; d <= t.high && end > 0; d++ {
		if d >= t.low {
			parts = append(parts, block)
		}
		if d == t.high {
			break
		}
		var products []*graph.Value
		next := 0
		for i, from := range t.tails(starts, end) {
			starts[i] = next
			if from < end {
				tail := b.with(graph.OpSlice, graph.Attrs{"axis": 1, "start": from, "end": end}, block)
				products = append(products, b.add(graph.OpMul, columns[i], tail))
			}
			next += end - from
		}
		if end = next; end > 0 {
			block = b.with(graph.OpConcat, graph.Attrs{"axis": 1}, products...)
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	return concat(g, parts)
}

func (t *polynomial) String() string {
	text := fmt.Sprintf("products of degree %d to %d", max(t.low, 1), t.high)
	if t.interaction {
		text += " of different columns"
	}
	if t.bias {
		text += ", and 1"
	}
	return text
}
