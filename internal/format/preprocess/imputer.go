package preprocess

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// impute replaces one number by the statistic of its column.
type impute struct {
	missing    float64
	statistics []float64
}

// simpleImputer reads a SimpleImputer. What is missing is NaN, which no
// observation may hold, or a number.
func simpleImputer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	if s.flag("add_indicator", false) {
		return nil, fmt.Errorf("%w: add_indicator", ErrUnsupported)
	}
	v, ok := o.Attr("missing_values")
	missing, isNumber := pickle.Number(v)
	if ok && !isNumber || math.IsInf(missing, 0) {
		return nil, fmt.Errorf("%w: missing_values that is a %s; known are NaN and numbers", ErrUnsupported, pickle.TypeName(v))
	}
	statistics := s.array("statistics_")
	var kept []int
	var values []float64
	for i, v := range statistics.values {
		if !math.IsNaN(v) { // a column without any value is left out
			kept, values = append(kept, i), append(values, v)
		}
	}
	s.fail(column{"statistics_", values}.offset())
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
	if ok && !math.IsNaN(missing) {
		p.steps = append(p.steps, &impute{missing, values})
	} else {
		p.notes = append(p.notes, "replaces NaN, which observations do not hold")
	}
	return p, nil
}

func (s *impute) lower(g *graph.Graph, x *graph.Value, n int) (*graph.Value, error) {
	b := &builder{g: g}
	missing := b.number(graph.OpEq, x, s.missing)
	return b.done(b.add(graph.OpWhere, missing, table(g, "statistics", narrow(s.statistics, n), n), x))
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
