package torchscript

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Value is a value of a computation that Build makes: nil for None, bool,
// int64, float64, string, []Value for a list or tuple, or an opaque one that
// came from a method of Calls: a tensor, a number of rows.
type Value any

// Calls makes a graph of calls of torch's functions, for formats whose
// computation is a list of them and no code. Its methods may be used only
// within the function given to Build: where something cannot be done they do
// not return, and Build returns the error.
type Calls struct {
	in   *interp
	what string
}

// Build makes the graph of a computation that f describes. Inputs whose shape
// is not known take it from the calls that use them: f is then called again,
// and must do the same again. The error is that of f, a *NeedShapeError, or
// what is wrong with the call or named by At.
func Build(name string, o LowerOptions, f func(c *Calls) error) (*graph.Graph, error) {
	hints := map[string]slotHint{}
	// Every restart tells the shape or the type of one more input.
	for range 2*graph.MaxPorts + 1 {
		c := &Calls{in: newInterp(&Module{root: &object{class: &classDef{name: name}}}, o, hints)}
		err := c.run(f)
		var again *restartError
		if !errors.As(err, &again) {
			if err != nil {
				return nil, err
			}
			if err := c.in.g.Verify(); err != nil {
				return nil, fmt.Errorf("%s: lowering made a graph that does not verify: %w", name, err)
			}
			return c.in.g, nil
		}
		if old, seen := hints[again.input]; seen && old.dtype == again.hint.dtype && old.shape.Equal(again.hint.shape) {
			return nil, &NeedShapeError{Input: again.input}
		}
		hints[again.input] = again.hint
	}
	return nil, &NeedShapeError{Input: "?"}
}

// run calls f once. A panic of the interpreter is its error.
func (c *Calls) run(f func(c *Calls) error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *failure:
			err = c.located(c.in.explain(r.err))
		case *restart:
			err = &restartError{*r}
		default:
			panic(r)
		}
	}()
	if err := f(c); err != nil {
		return err
	}
	for _, s := range c.in.slots {
		if s.v == nil { // no operation asked for it
			c.in.fail(&NeedShapeError{Input: s.name})
		}
	}
	c.in.checkState()
	return nil
}

// located says in an error where it came up.
func (c *Calls) located(err error) error {
	if c.what == "" {
		return err
	}
	var unsupported *UnsupportedError
	var run *RunError
	switch {
	case errors.As(err, &unsupported):
		return &UnsupportedError{What: unsupported.What + " in " + c.what, mixes: unsupported.mixes}
	case errors.As(err, &run):
		return fmt.Errorf("%s: %w", c.what, run.Err)
	}
	return err
}

// At names what the next calls belong to, for messages: a layer, a node.
func (c *Calls) At(what string) {
	c.what = what
	c.in.step(Position{})
}

// Cost counts work that the calls themselves do not show, in steps.
func (c *Calls) Cost(n int) { c.in.cost(n) }

// Unsupported ends the computation: it is sound but cannot be served.
func (c *Calls) Unsupported(format string, args ...any) { c.in.unsupported(format, args...) }

// Errorf ends the computation: something in it does not fit.
func (c *Calls) Errorf(format string, args ...any) { c.in.errorf(format, args...) }

// Input makes an input of the graph. The type is graph.Invalid and the shape
// nil where they are not known; a shape in the options comes before the one
// that is given.
func (c *Calls) Input(name string, dt graph.DType, shape graph.Shape) Value {
	return c.in.open(&slot{name: name, dtype: dt, shape: shape})
}

// Parameter returns a tensor of the file, the same for tied weights. A
// computation that changes one and depends on it is refused.
func (c *Calls) Parameter(path string, t *graph.Tensor) Value {
	return c.in.parameter(path, attrKey{}, t)
}

// Call calls a function by its name without torch: "linear", "batch_norm".
// Arguments are those of the schema, in their order or by name; a name that
// ends in an underscore changes its first argument.
func (c *Calls) Call(name string, args []Value, kws map[string]Value) Value {
	c.in.step(c.in.pos)
	own := make([]value, len(args))
	for i, a := range args {
		own[i] = c.inside(a)
	}
	var named map[string]value
	if len(kws) > 0 {
		named = make(map[string]value, len(kws))
		for k, a := range kws {
			named[k] = c.inside(a)
		}
	}
	return c.outside(c.in.builtin("torch."+name, own, named))
}

// Op adds a node of the graph's own operators. Numbers among the operands
// become constants of the type of the first tensor.
func (c *Calls) Op(op graph.Op, attrs graph.Attrs, operands ...Value) Value {
	c.in.step(c.in.pos)
	if len(operands) == 1 {
		if t, ok := operands[0].(*tensor); ok && t.pending && keepsShape(op) {
			return c.in.stillPending(t)
		}
	}
	var like *graph.Value
	for _, o := range operands {
		if t, ok := o.(*tensor); ok {
			like = c.in.read(t)
			break
		}
	}
	vs := make([]*graph.Value, len(operands))
	for i, o := range operands {
		switch o := o.(type) {
		case *tensor:
			vs[i] = c.in.read(o)
		case int64, float64:
			vs[i] = c.in.number(o, like)
		default:
			c.in.errorf("%s: operand %d is a %s, a tensor or a number was wanted", op, i+1, kindName(c.inside(o)))
		}
	}
	return newTensor(c.in.add(op, attrs, vs...))
}

// keepsShape reports whether an operator of one operand gives its shape, so
// that it says nothing of the shape of an input.
func keepsShape(op graph.Op) bool {
	switch op {
	case graph.OpReshape, graph.OpTranspose, graph.OpExpand, graph.OpConcat, graph.OpSlice, graph.OpSum, graph.OpMean,
		graph.OpAmax, graph.OpAmin, graph.OpArgmax, graph.OpCast:
		return false
	}
	return true
}

// Shape returns the shape of a tensor, false where it is not known yet.
func (c *Calls) Shape(v Value) (graph.Shape, bool) {
	t, ok := v.(*tensor)
	if !ok || t.pending {
		return nil, false
	}
	return c.in.read(t).Shape, true
}

// Output names an output of the graph.
func (c *Calls) Output(name string, v Value) { c.in.output(name, c.inside(v)) }

// Return names the outputs as those of a method: "out" for a tensor, "out0",
// "out1" for those of a list.
func (c *Calls) Return(v Value) { c.in.outputs(c.inside(v)) }

// inside turns a value into one of the interpreter.
func (c *Calls) inside(v Value) value {
	l, ok := v.([]Value)
	if !ok {
		return value(v)
	}
	c.in.cost(len(l) / 4)
	elems := make([]value, len(l))
	for i, e := range l {
		elems[i] = c.inside(e)
	}
	return &list{elems: elems}
}

// outside turns a value of the interpreter into one of Build.
func (c *Calls) outside(v value) Value {
	var elems []value
	switch v := v.(type) {
	case *list:
		elems = v.elems
	case *tuple:
		elems = v.elems
	default:
		return v
	}
	l := make([]Value, len(elems))
	for i, e := range elems {
		l[i] = c.outside(e)
	}
	return l
}
