package preprocess

import (
	"fmt"
	"math"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// normalize computes (x - mean) / std. Each of the two has a value for every
// column or a single one; nil leaves that part out.
type normalize struct {
	mean, std []float64
	// unvaried tells of each column whether it did not vary in the training,
	// so that its std says nothing of it; nil where all did.
	unvaried []bool
}

// maxRounding is the error, in standard deviations, up to which a mean may be
// rounded to float32. A mean that lies further from zero than ten deviations
// is subtracted in two parts, which is as exact as the float64 of the trainer.
const maxRounding = 1e-6

func (s *normalize) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	var err error
	if s.mean != nil {
		high := make([]float32, n)
		low := make([]float32, n)
		split := false
		for i := range n {
			mean := at(s.mean, i)
			high[i] = float32(mean)
			low[i] = float32(mean - float64(high[i]))
			if s.std == nil || math.Abs(float64(low[i])) > maxRounding*at(s.std, i) {
				split = split || low[i] != 0
			}
		}
		if x, err = withConstant(g, graph.OpSub, x, "mean", high); err != nil {
			return nil, err
		}
		if split {
			if x, err = withConstant(g, graph.OpSub, x, "mean.low", low); err != nil {
				return nil, err
			}
		}
	}
	if s.std != nil {
		if x, err = withConstant(g, graph.OpDiv, x, "std", narrow(s.std, n)); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (s *normalize) String() string {
	switch {
	case s.mean == nil:
		return "x / " + list(s.std)
	case s.std == nil:
		return "x - " + list(s.mean)
	}
	return "(x - " + list(s.mean) + ") / " + list(s.std)
}

// affine computes x * scale + offset.
type affine struct {
	scale, offset []float64
}

// lower subtracts where the result is zero before it multiplies: a column far
// from zero then loses no digits.
func (s *affine) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	zero := &normalize{mean: make([]float64, n), std: make([]float64, n)}
	for i := range n {
		zero.mean[i], zero.std[i] = -at(s.offset, i)/at(s.scale, i), 1/at(s.scale, i)
	}
	if (column{"", zero.mean}).offset() == nil && (column{"", zero.std}).divisor() == nil {
		return zero.lower(g, x, n)
	}
	x, err := withConstant(g, graph.OpMul, x, "scale", narrow(s.scale, n))
	if err != nil {
		return nil, err
	}
	return withConstant(g, graph.OpAdd, x, "offset", narrow(s.offset, n))
}

func (s *affine) String() string { return "x * " + list(s.scale) + " + " + list(s.offset) }

// clip bounds every value by the same two limits.
type clip struct {
	low, high float64
}

func (s *clip) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	return g.Add(graph.OpClamp, graph.Attrs{"min": s.low, "max": s.high}, x)
}

func (s *clip) String() string { return fmt.Sprintf("clip to [%g, %g]", s.low, s.high) }

// withConstant applies an operator to x and a constant row.
func withConstant(g *graph.Graph, op graph.Op, x *graph.Value, name string, row []float32) (*graph.Value, error) {
	return g.Add(op, nil, x, g.Constant("preprocess."+name, graph.Float32s(row, len(row))))
}

// narrow spreads values over n columns in float32.
func narrow(values []float64, n int) []float32 {
	row := make([]float32, n)
	for i := range row {
		row[i] = float32(at(values, i))
	}
	return row
}

// take gives some of the columns of rows, in the order of their indices.
func take(g *graph.Graph, x *graph.Value, columns []int) (*graph.Value, error) {
	if whole(columns, x.Shape[1]) {
		return x, nil
	}
	var parts []*graph.Value
	for _, r := range runs(columns) {
		part, err := g.Add(graph.OpSlice, graph.Attrs{"axis": 1, "start": r[0], "end": r[1]}, x)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return concat(g, parts)
}

// whole reports whether the columns are all n in their order.
func whole(columns []int, n int) bool {
	for i, c := range columns {
		if i != c {
			return false
		}
	}
	return len(columns) == n
}

// runs returns the ranges [start, end) of columns that follow each other.
func runs(columns []int) [][2]int {
	var out [][2]int
	for _, c := range columns {
		if n := len(out); n > 0 && out[n-1][1] == c {
			out[n-1][1]++
			continue
		}
		out = append(out, [2]int{c, c + 1})
	}
	return out
}

// concat joins rows side by side.
func concat(g *graph.Graph, parts []*graph.Value) (*graph.Value, error) {
	if len(parts) == 1 {
		return parts[0], nil
	}
	return g.Add(graph.OpConcat, graph.Attrs{"axis": 1}, parts...)
}

// table adds a constant of several dimensions.
func table(g *graph.Graph, name string, values []float32, shape ...int) *graph.Value {
	return g.Constant("preprocess."+name, graph.Float32s(values, shape...))
}

// ceil32 returns the smallest float32 that is at least v: a float32 is at least
// the one where it is at least the other.
func ceil32(v float64) float32 {
	f := float32(v)
	if float64(f) < v {
		f = math.Nextafter32(f, float32(math.Inf(1)))
	}
	return f
}

// floor32 returns the largest float32 that is at most v.
func floor32(v float64) float32 { return -ceil32(-v) }

// at returns the value of a column.
func at(values []float64, i int) float64 {
	if len(values) == 1 {
		return values[0]
	}
	return values[i]
}

// list writes a few values for Describe.
func list(values []float64) string {
	const most = 6
	if len(values) == 1 {
		return strconv.FormatFloat(values[0], 'g', 6, 64)
	}
	s := "["
	for i, v := range values {
		if i == most {
			return s + " ...]"
		}
		if i > 0 {
			s += " "
		}
		s += strconv.FormatFloat(v, 'g', 6, 64)
	}
	return s + "]"
}

// column names a field of a file for messages, with its values checked.
type column struct {
	name   string
	values []float64
}

// offset checks values that are added: finite in float32.
func (c column) offset() error {
	for i, v := range c.values {
		if f := float32(v); f-f != 0 {
			return fmt.Errorf("%s[%d] is %g, a finite number was wanted", c.name, i, v)
		}
	}
	return nil
}

// divisor checks values by which is divided: finite and positive in float32.
func (c column) divisor() error {
	for i, v := range c.values {
		if f := float32(v); !(f > 0) || f-f != 0 {
			return fmt.Errorf("%s[%d] is %g, a finite positive number was wanted", c.name, i, v)
		}
	}
	return nil
}

// widthOf returns the common number of columns of fields, of which a single
// value fits all, or 0 where all are single.
func widthOf(columns ...column) (int, error) {
	width := 0
	for _, c := range columns {
		switch n := len(c.values); {
		case n == 0 || n > maxWidth:
			return 0, fmt.Errorf("%s has %d values, 1 to %d were wanted", c.name, n, maxWidth)
		case n == 1 || n == width:
		case width == 0:
			width = n
		default:
			return 0, fmt.Errorf("%s has %d values, %d were wanted", c.name, n, width)
		}
	}
	return width, nil
}
