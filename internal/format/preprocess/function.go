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
	"arccos":     operator(graph.OpAcos),
	"arccosh":    operator(graph.OpAcosh),
	"arcsin":     operator(graph.OpAsin),
	"arcsinh":    operator(graph.OpAsinh),
	"arctan":     operator(graph.OpAtan),
	"arctanh":    operator(graph.OpAtanh),
	"ceil":       operator(graph.OpCeil),
	"cos":        operator(graph.OpCos),
	"cosh":       operator(graph.OpCosh),
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
	"sinh":       operator(graph.OpSinh),
	"sqrt":       operator(graph.OpSqrt),
	"tanh":       operator(graph.OpTanh),

	"exp2": func(b *builder, x *graph.Value) *graph.Value {
		return b.add(graph.OpExp, b.number(graph.OpMul, x, math.Ln2))
	},
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

// ufuncOf is how numpy pickled a ufunc before 1.20: a call with the module and
// the name.
var ufuncOf = pickle.Global{Module: "numpy.core", Name: "_ufunc_reconstruct"}

// clipFunctions are the names of numpy.clip, whose limits are arguments.
var clipFunctions = []pickle.Global{{Module: "numpy", Name: "clip"}, {Module: "numpy.core.fromnumeric", Name: "clip"}, {Module: "numpy._core.fromnumeric", Name: "clip"}}

// functionTransformer reads a FunctionTransformer of a ufunc of numpy, or of
// numpy.clip with its limits.
func functionTransformer(o *pickle.Object) (*Preprocessor, error) {
	s := &scaler{o: o}
	v, ok := o.Attr("func")
	g, named := v.(pickle.Global)
	if call, ok := v.(*pickle.Object); ok && call.Class == ufuncOf && len(call.Args) == 2 {
		module, _ := call.Args[0].(string)
		name, _ := call.Args[1].(string)
		g, named = pickle.Global{Module: module, Name: name}, true
	}
	arguments, err := keywords(o)
	switch {
	case err != nil:
		return nil, err
	case named && slices.Contains(clipFunctions, g):
		c, err := clipLimits(arguments)
		if err != nil {
			return nil, err
		}
		return s.done([]step{c})
	case arguments.Len() > 0:
		return nil, fmt.Errorf("%w: kw_args", ErrUnsupported)
	case !ok || v == (pickle.None{}):
		return s.done(nil)
	case !named:
		return nil, fmt.Errorf("%w: func that is a %s; known are numpy's %s", ErrUnsupported, pickle.TypeName(v), functionNames())
	case functions[g.Name] == nil || !slices.Contains(numpyModules, g.Module):
		return nil, fmt.Errorf("%w: function %.100q; known are numpy's %s", ErrUnsupported, g.String(), functionNames())
	}
	return s.done([]step{&function{g.Name}})
}

// keywords reads kw_args.
func keywords(o *pickle.Object) (*pickle.Dict, error) {
	v, ok := o.Attr("kw_args")
	if !ok || v == (pickle.None{}) {
		return new(pickle.Dict), nil
	}
	d, ok := v.(*pickle.Dict)
	if !ok {
		return nil, fmt.Errorf("%w: kw_args", ErrUnsupported)
	}
	return d, nil
}

// clipLimits reads the arguments of numpy.clip, in either spelling.
func clipLimits(d *pickle.Dict) (*clip, error) {
	c := &clip{math.Inf(-1), math.Inf(1)}
	for i := range d.Entries {
		key, value := d.Entries[i].Key, d.Entries[i].Value
		if value == (pickle.None{}) {
			continue
		}
		n, ok := pickle.Number(value)
		switch {
		case !ok || math.IsNaN(n):
			return nil, fmt.Errorf("%w: clip with an argument that is a %s", ErrUnsupported, pickle.TypeName(value))
		case key == "a_min" || key == "min":
			c.low = n
		case key == "a_max" || key == "max":
			c.high = n
		default:
			return nil, fmt.Errorf("%w: kw_args", ErrUnsupported)
		}
	}
	if c.low > c.high {
		return nil, fmt.Errorf("clip to [%g, %g]", c.low, c.high)
	}
	return c, nil
}

func (s *function) lower(g *graph.Graph, x *graph.Value, _ int) (*graph.Value, error) {
	b := &builder{g: g}
	return b.done(functions[s.name](b, x))
}

func (s *function) String() string { return s.name + "(x)" }
