package torchexport

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// dtypes are the numbers of element types in the schema.
var dtypes = map[int64]graph.DType{
	1: graph.Uint8, 2: graph.Int8, 3: graph.Int16, 4: graph.Int32, 5: graph.Int64,
	6: graph.Float16, 7: graph.Float32, 8: graph.Float64, 12: graph.Bool, 13: graph.BFloat16,
}

// scalarTypes are the numbers that torch itself has for element types, which
// are those of arguments.
var scalarTypes = map[graph.DType]int64{
	graph.Uint8: 0, graph.Int8: 1, graph.Int16: 2, graph.Int32: 3, graph.Int64: 4,
	graph.Float16: 5, graph.Float32: 6, graph.Float64: 7, graph.Bool: 11, graph.BFloat16: 15,
}

// stridedLayout is the number of dense tensors.
const stridedLayout = 7

func dtype(n int64) (graph.DType, error) {
	dt, ok := dtypes[n]
	if !ok {
		return graph.Invalid, unsupportedf("element type %d of the schema", n)
	}
	return dt, nil
}

// numbers returns dimensions that are all fixed.
func numbers(dims []dimension) ([]int64, error) {
	out := make([]int64, len(dims))
	for i, d := range dims {
		if d.Int == nil {
			return nil, errors.New("a size that is no number")
		}
		out[i] = *d.Int
	}
	return out, nil
}

// plainSymbol is the expression of one symbol alone.
var plainSymbol = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:Symbol\('(\w+)'.*\)|(\w+))$`) })

// symbolic returns the shape of an input. The first symbol is the batch axis;
// the shape is nil where another dimension varies too.
func symbolic(dims []dimension) (graph.Shape, error) {
	if len(dims) > graph.MaxRank {
		return nil, fmt.Errorf("%w: %d dimensions, at most %d", ErrLimit, len(dims), graph.MaxRank)
	}
	shape := make(graph.Shape, len(dims))
	batch := false
	for i, d := range dims {
		switch {
		case d.Int != nil && *d.Int >= 0 && *d.Int <= graph.MaxRowElements:
			shape[i] = int(*d.Int)
		case d.Expr != nil && !batch && plainSymbol().MatchString(d.Expr.Text):
			shape[i] = graph.Batch
			batch = true
		case d.Expr != nil:
			return nil, nil
		default:
			return nil, errors.New("a dimension that is no number and no expression")
		}
	}
	return shape, nil
}

// staticRows makes a dimension of the inputs the batch, where the program was
// exported for a fixed number of rows.
func (p *Program) staticRows() {
	for _, in := range p.Inputs {
		if in.Shape == nil || !in.Shape.Fixed() {
			return
		}
	}
	for i := range p.Inputs {
		p.Inputs[i].exact = p.Inputs[i].Shape
	}
	rows, shapes := p.batched(0)
	for i := range p.Inputs {
		p.Inputs[i].Shape = shapes[i]
	}
	p.Static = int64(rows)
}

// batched puts the batch axis into fixed shapes: it is that dimension of the
// first input, and, of inputs after it, the one that has as many, as the state
// of a recurrent layer does. It returns the number of rows, 0 where no input
// has that dimension.
func (p *Program) batched(axis int) (rows int, shapes []graph.Shape) {
	for _, in := range p.Inputs {
		s := slices.Clone(in.exact)
		shapes = append(shapes, s)
		if len(s) == 0 || rows == 0 && len(s) <= axis && axis > 0 {
			continue
		}
		if len(s) == 1 && in.DType.IsFloat() && rows == 0 { // a single row without the axis
			s = graph.Shape{1, s[0]}
			shapes[len(shapes)-1] = s
		}
		at := axis
		if rows == 0 {
			rows = s[axis]
		} else {
			at = max(slices.Index(s, rows), 0)
		}
		s[at] = graph.Batch
	}
	return rows, shapes
}
