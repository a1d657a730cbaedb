package preprocess

import (
	"fmt"
	"math"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// impute replaces one number by the statistic of its column.
type impute struct {
	missing    float64
	statistics []float64
}

// missingNumber reads missing_values: NaN, which no observation of a policy may
// hold but rows of transform may, or a number.
func missingNumber(o *pickle.Object) (float64, error) {
	v, ok := o.Attr("missing_values")
	if !ok {
		return math.NaN(), nil
	}
	missing, isNumber := pickle.Number(v)
	if !isNumber || math.IsInf(missing, 0) {
		return 0, fmt.Errorf("%w: missing_values that is a %s; known are NaN and numbers", ErrUnsupported, pickle.TypeName(v))
	}
	return missing, nil
}

// simpleImputer reads a SimpleImputer. With add_indicator, columns follow that
// tell what was missing.
func simpleImputer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	indicates := s.flag("add_indicator", false)
	missing, err := missingNumber(o)
	if err != nil {
		return nil, err
	}
	statistics := s.array("statistics_")
	empty := s.flag("keep_empty_features", false)
	var kept []int
	var values []float64
	for i, v := range statistics.values {
		if empty && math.IsNaN(v) { // only a constant can be: an empty column has 0
			s.fail(fmt.Errorf("%w: statistics_[%d] is NaN beside keep_empty_features, so that what is missing would become NaN", ErrUnsupported, i))
		}
		if !math.IsNaN(v) { // a column without any value is left out
			kept, values = append(kept, i), append(values, v)
		}
	}
	s.fail(column{"statistics_", values}.offset())
	s.fail(filledAs(o, values))
	p, err := s.changing(nil, statistics)
	if err != nil {
		return nil, err
	}
	if len(kept) == 0 || len(runs(kept)) > maxParts {
		return nil, fmt.Errorf("statistics_ has %d numbers in %d columns", len(kept), p.width)
	}
	if len(kept) < p.width {
		p.out = len(kept)
		p.steps = append(p.steps, &pick{kept})
	}
	p.steps = append(p.steps, &impute{missing, values})
	if !indicates {
		return p, nil
	}
	v, _ := o.Attr("indicator_")
	indicator, ok := v.(*pickle.Object)
	if !ok {
		return nil, fmt.Errorf("%w: indicator_ is a %s", errNotFitted, pickle.TypeName(v))
	}
	columns, err := indicated(indicator, p.width)
	if err != nil {
		return nil, fmt.Errorf("indicator_: %w", err)
	}
	of, err := missingNumber(indicator)
	if err != nil {
		return nil, fmt.Errorf("indicator_: %w", err)
	}
	if of != missing && !(math.IsNaN(of) && math.IsNaN(missing)) {
		return nil, fmt.Errorf("indicator_: missing_values is %g and that of the imputer is %g", of, missing)
	}
	if len(columns) == 0 {
		return p, nil
	}
	inner := *p
	p.values, p.out = 0, 0
	return p, p.fork([]branch{{p: &inner, weight: 1}, {columns, &Preprocessor{kind: "MissingIndicator", steps: []step{&isMissing{missing}}}, 1}})
}

// missingIndicator reads a MissingIndicator: 1 for what is missing, else 0.
func missingIndicator(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	missing, err := missingNumber(o)
	if err != nil {
		return nil, err
	}
	p, err := s.changing(nil)
	if err != nil {
		return nil, err
	}
	columns, err := indicated(o, p.width)
	if err != nil {
		return nil, err
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("%w: no column was missing", ErrUnsupported)
	}
	p.steps = []step{&pick{columns}, &isMissing{missing}}
	p.out = len(columns)
	return p, nil
}

// filledAs brings the numbers that are filled in to the type that scikit-learn
// brings them to, and refuses one that the type would cut. All become float32 in
// the end, so of the rounding types only float16 changes them.
func filledAs(o *pickle.Object, values []float64) error {
	v, ok := o.Attr("_fill_dtype")
	if !ok { // as in older versions
		return nil
	}
	if dtype, ok := v.(*pickle.Object); !ok || len(dtype.Args) == 0 {
		return fmt.Errorf("_fill_dtype is a %s, a type was wanted", pickle.TypeName(v))
	}
	name, kind := typeOf(v)
	if strings.HasPrefix(name, "O") { // as they are
		return nil
	}
	if kind == "" {
		return fmt.Errorf("%w: _fill_dtype %.64q", ErrUnsupported, name)
	}
	for i, v := range values {
		filled, whole := v, kind[0] != 'f'
		if kind == "f2" {
			filled = nearestHalf(v)
		}
		if math.IsInf(filled, 0) || whole && (v != math.Trunc(v) || v < wholeNumbers[kind][0] || v > wholeNumbers[kind][1]) {
			return fmt.Errorf("%w: a statistic of %g, number %d, as _fill_dtype %s", ErrUnsupported, v, i, name)
		}
		values[i] = filled
	}
	return nil
}

// indicated reads the columns of a MissingIndicator, which rise: where they are
// as many as there are columns at all, scikit-learn does not look at them.
func indicated(o *pickle.Object, n int) ([]int, error) {
	v, ok := o.Attr("features_")
	if !ok {
		return nil, fmt.Errorf("%w: has no features_", errNotFitted)
	}
	columns, err := columnIndices(v, n)
	if err != nil {
		return nil, fmt.Errorf("features_: %w", err)
	}
	for i := 1; i < len(columns); i++ {
		if columns[i] <= columns[i-1] {
			return nil, fmt.Errorf("features_[%d] is %d behind %d, rising numbers were wanted", i, columns[i], columns[i-1])
		}
	}
	s := &scaler{o: o}
	if s.holdNumber("_n_features", n); s.err != nil {
		return nil, s.err
	}
	return columns, nil
}

// isMissing gives 1 for a number and 0 for any other.
type isMissing struct{ missing float64 }

func (s *isMissing) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	b := &builder{g: g}
	return b.done(b.with(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, b.missing(x, s.missing)))
}

// missing tells where x holds the number; NaN is what is not equal to itself.
func (b *builder) missing(x *graph.Value, number float64) *graph.Value {
	if math.IsNaN(number) {
		return b.add(graph.OpNe, x, x)
	}
	return b.number(graph.OpEq, x, number)
}

func (s *isMissing) String() string { return fmt.Sprintf("whether it is %g", s.missing) }

func (s *impute) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	b := &builder{g: g}
	return b.done(b.add(graph.OpWhere, b.missing(x, s.missing), table(g, "statistics", narrow(s.statistics, n), n), x))
}

func (s *impute) String() string {
	return fmt.Sprintf("%g becomes %s", s.missing, list(s.statistics))
}

// pick gives some of the columns.
type pick struct {
	columns []int
}

func (s *pick) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	return take(g, x, s.columns)
}

func (s *pick) String() string { return "columns " + listInts(s.columns) }

// listInts writes a few indices for Describe.
func listInts(v []int) string {
	const most = 6
	if len(v) > most {
		return fmt.Sprint(v[:most]) + " ..."
	}
	return fmt.Sprint(v)
}
