package sb3

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// activation is one of torch.nn with its arguments, which it has where
// activation_fn is a functools.partial.
type activation struct {
	name string // of the class, "Tanh"
	args map[string]any
}

// argument is an argument of an activation: a float64 or a string.
type argument struct {
	name string
	def  any
}

// form is what is known of one activation: its arguments in the order of its
// constructor, and what it does outside training. name is that of the module,
// for one that has weights.
type form struct {
	arguments []argument
	apply     func(b *builder, x *graph.Value, a activation, name string) *graph.Value
}

// forms are the activations of torch.nn, with the defaults of torch.
var forms = map[string]form{
	"ReLU":        plain(graph.OpRelu),
	"Tanh":        plain(graph.OpTanh),
	"Sigmoid":     plain(graph.OpSigmoid),
	"SiLU":        plain(graph.OpSilu),
	"SELU":        plain(graph.OpSelu),
	"Mish":        plain(graph.OpMish),
	"Softsign":    plain(graph.OpSoftsign),
	"Hardswish":   plain(graph.OpHardswish),
	"Hardsigmoid": plain(graph.OpHardsigmoid),
	"LogSigmoid":  plain(graph.OpLogSigmoid),
	"ELU":         with(graph.OpElu, "alpha", argument{"alpha", 1.0}),
	"CELU":        with(graph.OpCelu, "alpha", argument{"alpha", 1.0}),
	"LeakyReLU":   with(graph.OpLeakyRelu, "alpha", argument{"negative_slope", 0.01}),
	"GELU":        with(graph.OpGelu, "approximate", argument{"approximate", "none"}),
	"Softplus":    with(graph.OpSoftplus, "beta threshold", argument{"beta", 1.0}, argument{"threshold", 20.0}),
	"Hardtanh":    with(graph.OpClamp, "min max", argument{"min_val", -1.0}, argument{"max_val", 1.0}),
	"ReLU6":       {apply: func(b *builder, x *graph.Value, _ activation, _ string) *graph.Value { return b.clamp(x, 0, 6) }},
	"Identity":    {apply: unchanged},
	"RReLU":       {[]argument{{"lower", 1.0 / 8}, {"upper", 1.0 / 3}}, meanSlope},
	"PReLU":       {[]argument{{"num_parameters", 1.0}, {"init", 0.25}}, learnedSlope},
	"Tanhshrink": {apply: func(b *builder, x *graph.Value, _ activation, _ string) *graph.Value {
		return b.add(graph.OpSub, nil, x, b.add(graph.OpTanh, nil, x))
	}},
	"Softshrink": {[]argument{{"lambd", 0.5}}, softshrink},
	"Hardshrink": {[]argument{{"lambd", 0.5}}, hardshrink},
	"Threshold":  {[]argument{{"threshold", nil}, {"value", nil}}, threshold},
	"Softmax":    {[]argument{{"dim", 1.0}}, softmax(graph.OpSoftmax, false)},
	"Softmin":    {[]argument{{"dim", 1.0}}, softmax(graph.OpSoftmax, true)},
	"LogSoftmax": {[]argument{{"dim", 1.0}}, softmax(graph.OpLogSoftmax, false)},

	// They are no activations, but stand where one is.
	"Dropout":             {[]argument{{"p", 0.5}}, unchanged},
	"AlphaDropout":        {[]argument{{"p", 0.5}}, unchanged},
	"FeatureAlphaDropout": {[]argument{{"p", 0.5}}, unchanged},
}

// activationGlobals are the names that activations have in a pickle.
func activationGlobals() []string {
	names := []string{"functools.partial"}
	for name := range forms {
		module := "activation"
		switch {
		case name == "Identity":
			module = "linear"
		case strings.HasSuffix(name, "Dropout"):
			module = "dropout"
		}
		names = append(names, "torch.nn.modules."+module+"."+name)
	}
	return names
}

func plain(op graph.Op) form {
	return form{apply: func(b *builder, x *graph.Value, _ activation, _ string) *graph.Value { return b.add(op, nil, x) }}
}

// with is an operator whose attributes are the arguments, in their order.
func with(op graph.Op, attrs string, arguments ...argument) form {
	names := strings.Fields(attrs)
	return form{arguments, func(b *builder, x *graph.Value, a activation, _ string) *graph.Value {
		set := graph.Attrs{}
		for i, arg := range arguments {
			set[names[i]] = a.args[arg.name]
		}
		return b.add(op, set, x)
	}}
}

func unchanged(_ *builder, x *graph.Value, _ activation, _ string) *graph.Value { return x }

func (b *builder) clamp(x *graph.Value, low, high float64) *graph.Value {
	return b.add(graph.OpClamp, graph.Attrs{"min": low, "max": high}, x)
}

func (a activation) number(name string) float64 { f, _ := a.args[name].(float64); return f }

// meanSlope is RReLU outside training: the slope is the mean of its range.
func meanSlope(b *builder, x *graph.Value, a activation, _ string) *graph.Value {
	return b.add(graph.OpLeakyRelu, graph.Attrs{"alpha": (a.number("lower") + a.number("upper")) / 2}, x)
}

// learnedSlope is PReLU, whose slope below 0 is a weight: one, or one for each
// value.
func learnedSlope(b *builder, x *graph.Value, _ activation, name string) *graph.Value {
	w := b.parameter(name+".weight", 1)
	if b.err == nil && w.Shape[0] != 1 && w.Shape[0] != b.width(x) {
		return b.fail("%s: %s.weight has the shape %v on %d values", weightsMember, name, w.Shape, b.width(x))
	}
	below := b.add(graph.OpMul, nil, b.add(graph.OpRelu, nil, b.add(graph.OpNeg, nil, x)), w)
	return b.add(graph.OpSub, nil, b.add(graph.OpRelu, nil, x), below)
}

func softshrink(b *builder, x *graph.Value, a activation, _ string) *graph.Value {
	return b.add(graph.OpSub, nil, x, b.clamp(x, -a.number("lambd"), a.number("lambd")))
}

func hardshrink(b *builder, x *graph.Value, a activation, _ string) *graph.Value {
	inside := b.add(graph.OpLe, nil, b.add(graph.OpAbs, nil, x), b.number(float32(a.number("lambd"))))
	return b.add(graph.OpWhere, nil, inside, b.number(0), x)
}

func threshold(b *builder, x *graph.Value, a activation, _ string) *graph.Value {
	below := b.add(graph.OpLe, nil, x, b.number(float32(a.number("threshold"))))
	return b.add(graph.OpWhere, nil, below, b.number(float32(a.number("value"))), x)
}

// softmax is over the values of a row, as torch takes it where no dimension is
// given.
func softmax(op graph.Op, negative bool) func(*builder, *graph.Value, activation, string) *graph.Value {
	return func(b *builder, x *graph.Value, a activation, _ string) *graph.Value {
		if dim := a.number("dim"); dim != 1 && dim != -1 {
			return b.fail("%w: %s over dimension %v mixes the rows", ErrUnsupported, a.name, dim)
		}
		if negative {
			x = b.add(graph.OpNeg, nil, x)
		}
		return b.add(op, graph.Attrs{"axis": 1}, x)
	}
}

// activate applies the policy's activation, the module of a name.
func (b *builder) activate(x *graph.Value, name string) *graph.Value {
	if b.err != nil {
		return nil
	}
	a := b.p.options.activation
	return forms[a.name].apply(b, x, a, name)
}

// newActivation is an activation with its defaults.
func newActivation(name string) activation {
	a := activation{name, map[string]any{}}
	for _, arg := range forms[name].arguments {
		a.args[arg.name] = arg.def
	}
	return a
}

// readActivation reads activation_fn: a class of torch.nn, or functools.partial
// of one.
func readActivation(v pickle.Value) (activation, error) {
	o, ok := v.(*pickle.Object)
	if !ok || o.Class != (pickle.Global{Module: "functools", Name: "partial"}) {
		return namedActivation(v)
	}
	state, _ := o.State.(pickle.Tuple) // function, args, kwargs, attributes
	if len(state) < 3 {
		return activation{}, fmt.Errorf("%w: a functools.partial without its state", ErrUnsupported)
	}
	a, err := namedActivation(state[0])
	if err != nil {
		return a, err
	}
	args, _ := pickle.Items(state[1])
	for i, arg := range args {
		if i >= len(forms[a.name].arguments) {
			break // inplace
		}
		if err := a.set(forms[a.name].arguments[i].name, arg); err != nil {
			return a, err
		}
	}
	if kwargs, ok := state[2].(*pickle.Dict); ok {
		for _, e := range kwargs.Entries {
			key, _ := e.Key.(string)
			if err := a.set(key, e.Value); err != nil {
				return a, err
			}
		}
	}
	for name, x := range a.args {
		if x == nil {
			return a, fmt.Errorf("torch.nn.%s without its argument %s", a.name, name)
		}
	}
	return a, nil
}

func namedActivation(v pickle.Value) (activation, error) {
	g, ok := v.(pickle.Global)
	if !ok {
		return activation{}, fmt.Errorf("%w: a %s; known are the activations of torch.nn", ErrUnsupported, pickle.TypeName(v))
	}
	if _, ok := forms[g.Name]; !ok {
		return activation{}, fmt.Errorf("%w: the class %s; known are the activations of torch.nn", ErrUnsupported, g)
	}
	return newActivation(g.Name), nil
}

// set gives an argument its value, of the kind of its default.
func (a activation) set(name string, v pickle.Value) error {
	if name == "inplace" {
		return nil
	}
	def, ok := a.args[name]
	if !ok {
		return fmt.Errorf("%w: torch.nn.%s with the argument %.40s", ErrUnsupported, a.name, printable([]byte(name), 40))
	}
	if _, isText := def.(string); isText {
		text, ok := v.(string)
		if !ok || text != "none" && text != "tanh" {
			return fmt.Errorf("%w: torch.nn.%s with %s of another kind than none and tanh", ErrUnsupported, a.name, name)
		}
		a.args[name] = text
		return nil
	}
	if _, none := v.(pickle.None); none && name == "dim" {
		return nil
	}
	x, ok := pickle.Number(v)
	if !ok {
		return fmt.Errorf("torch.nn.%s: %s is a %s, a number was wanted", a.name, name, pickle.TypeName(v))
	}
	a.args[name] = x
	return nil
}

// String prints an activation as `torch.nn` has it, with the arguments that are
// not the defaults.
func (a activation) String() string {
	var args []string
	for _, arg := range forms[a.name].arguments {
		if x := a.args[arg.name]; x != arg.def {
			args = append(args, fmt.Sprintf("%s=%v", arg.name, x))
		}
	}
	if len(args) == 0 {
		return a.name
	}
	return a.name + "(" + strings.Join(args, ", ") + ")"
}
