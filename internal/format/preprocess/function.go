package preprocess

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// functions are the ufuncs of numpy that are read, with what they are in the
// graph. A file only names them.
var functions = map[string]func(b *builder, x *graph.Value) *graph.Value{
	"absolute":   operator(graph.OpAbs),
	"ceil":       operator(graph.OpCeil),
	"cos":        operator(graph.OpCos),
	"exp":        operator(graph.OpExp),
	"expm1":      operator(graph.OpExpm1),
	"fabs":       operator(graph.OpAbs),
	"floor":      operator(graph.OpFloor),
	"log":        operator(graph.OpLog),
	"log1p":      operator(graph.OpLog1p),
	"negative":   operator(graph.OpNeg),
	"reciprocal": operator(graph.OpReciprocal),
	"rint":       operator(graph.OpRound),
	"sign":       operator(graph.OpSign),
	"sin":        operator(graph.OpSin),
	"sqrt":       operator(graph.OpSqrt),
	"tanh":       operator(graph.OpTanh),

	"positive": func(_ *builder, x *graph.Value) *graph.Value { return x },
	"square":   func(b *builder, x *graph.Value) *graph.Value { return b.add(graph.OpMul, x, x) },
	"tan": func(b *builder, x *graph.Value) *graph.Value {
		return b.add(graph.OpDiv, b.add(graph.OpSin, x), b.add(graph.OpCos, x))
	},
	"trunc": func(b *builder, x *graph.Value) *graph.Value {
		return b.add(graph.OpMul, b.add(graph.OpSign, x), b.add(graph.OpFloor, b.add(graph.OpAbs, x)))
	},
	"cbrt": func(b *builder, x *graph.Value) *graph.Value {
		return b.add(graph.OpMul, b.add(graph.OpSign, x), b.number(graph.OpPow, b.add(graph.OpAbs, x), 1./3))
	},

	"log2":    scaled(graph.OpLog, 1/math.Ln2),
	"log10":   scaled(graph.OpLog, 1/math.Ln10),
	"deg2rad": scaled("", math.Pi/180),
	"radians": scaled("", math.Pi/180),
	"rad2deg": scaled("", 180/math.Pi),
	"degrees": scaled("", 180/math.Pi),
}

// operator is a function that the graph has.
func operator(op graph.Op) func(*builder, *graph.Value) *graph.Value {
	return func(b *builder, x *graph.Value) *graph.Value { return b.add(op, x) }
}

// scaled is a function, or none, times a number.
func scaled(op graph.Op, factor float64) func(*builder, *graph.Value) *graph.Value {
	return func(b *builder, x *graph.Value) *graph.Value {
		if op != "" {
			x = b.add(op, x)
		}
		return b.number(graph.OpMul, x, factor)
	}
}

// functionNames lists the functions for messages.
func functionNames() string { return strings.Join(slices.Sorted(maps.Keys(functions)), ", ") }

// function applies a ufunc to each value.
type function struct {
	name string
}

// functionTransformer reads a FunctionTransformer of a ufunc of numpy.
func functionTransformer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	if v, ok := o.Attr("kw_args"); ok && v != (pickle.None{}) {
		if d, ok := v.(*pickle.Dict); !ok || d.Len() > 0 {
			return nil, fmt.Errorf("%w: kw_args", ErrUnsupported)
		}
	}
	v, ok := o.Attr("func")
	if !ok || v == (pickle.None{}) {
		return s.done(nil)
	}
	g, ok := v.(pickle.Global)
	if !ok || functions[g.Name] == nil || !slices.Contains(numpyModules, g.Module) {
		return nil, fmt.Errorf("%w: func that is a %s; known are numpy's %s", ErrUnsupported, pickle.TypeName(v), functionNames())
	}
	return s.done([]step{&function{g.Name}})
}

func (s *function) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	b := &builder{g: g}
	return b.done(functions[s.name](b, x))
}

func (s *function) String() string { return s.name + "(x)" }
