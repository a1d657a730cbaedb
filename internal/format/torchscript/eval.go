package torchscript

import (
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// eval computes an expression.
func (in *interp) eval(fr *frame, e expr) value {
	in.step(e.exprPos())
	switch e := e.(type) {
	case *litExpr:
		return e.val
	case *nameExpr:
		if v, ok := fr.vars[e.name]; ok {
			return in.merged(v, e.name)
		}
		return in.global(e.name)
	case *attrExpr:
		return in.attribute(in.eval(fr, e.x), e.name, e.pos)
	case *callExpr:
		return in.evalCall(fr, e)
	case *indexExpr:
		x := in.eval(fr, e.x)
		return in.item(x, in.indices(fr, e))
	case *listExpr:
		return &list{elems: in.evalAll(fr, e.elems)}
	case *tupleExpr:
		return &tuple{elems: in.evalAll(fr, e.elems)}
	case *dictExpr:
		d := newDict()
		for i, k := range e.keys {
			d.set(in.key(in.eval(fr, k)), in.eval(fr, e.vals[i]))
		}
		return d
	case *unaryExpr:
		return in.unary(e.op, in.eval(fr, e.x))
	case *condExpr:
		known, data := in.cond(in.eval(fr, e.cond), e.pos, "if")
		return in.either(fr, known, data, func() value { return in.eval(fr, e.then) }, func() value { return in.eval(fr, e.y) })
	case *binaryExpr:
		switch e.op {
		case "and", "or":
			x := in.eval(fr, e.x)
			known, data := in.cond(x, e.pos, e.op)
			left, right := func() value { return x }, func() value { return in.eval(fr, e.y) }
			if e.op == "and" {
				left, right = right, left
			}
			return in.either(fr, known, data, left, right)
		}
		return in.binary(e.op, in.eval(fr, e.x), in.eval(fr, e.y))
	}
	in.errorf("expression cannot be evaluated")
	return nil
}

func (in *interp) evalAll(fr *frame, es []expr) []value {
	vals := make([]value, len(es))
	for i, e := range es {
		vals[i] = in.eval(fr, e)
	}
	return vals
}

// indices evaluates a subscript: a tuple of several.
func (in *interp) indices(fr *frame, e *indexExpr) value {
	if len(e.idx) == 1 {
		return in.eval(fr, e.idx[0])
	}
	return &tuple{elems: in.evalAll(fr, e.idx)}
}

// operators are the functions that the operators stand for.
var operators = map[string]string{
	"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "remainder", "**": "pow", "@": "matmul",
	"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge",
	"&": "__and__", "|": "__or__", "^": "__xor__", "<<": "__lshift__", ">>": "__rshift__",
	"is": "__is__", "is not": "__isnot__",
}

func (in *interp) binary(op string, x, y value) value {
	switch op {
	case "in":
		return in.builtin("torch.__contains__", []value{y, x}, nil)
	case "not in":
		return in.builtin("torch.__not__", []value{in.builtin("torch.__contains__", []value{y, x}, nil)}, nil)
	}
	return in.builtin("torch."+operators[op], []value{x, y}, nil)
}

// augmented computes `x op= y`: on tensors it is the in-place operation.
func (in *interp) augmented(op string, x, y value) value {
	name := "torch." + operators[op]
	if _, ok := x.(*tensor); ok {
		name += "_"
	}
	return in.builtin(name, []value{x, y}, nil)
}

func (in *interp) unary(op string, x value) value {
	switch op {
	case "-":
		return in.builtin("torch.neg", []value{x}, nil)
	case "not":
		return in.builtin("torch.__not__", []value{x}, nil)
	case "~":
		return in.builtin("torch.bitwise_not", []value{x}, nil)
	}
	return x
}

// global resolves a name that is no variable.
func (in *interp) global(name string) value {
	switch name {
	case "torch", "ops", "CONSTANTS", "__torch__", "prim", "aten":
		return namespace(name)
	case "annotate", "uninitialized", "unchecked_cast", "unwrap_optional", "getattr", "int", "float", "bool", "str",
		"len", "range", "print", "isinstance", "list", "hasattr", "number", "enumerate", "zip", "min", "max", "abs",
		"Tensor", "Optional", "List", "Dict", "Tuple", "NoneType", "Any", "Device", "Union":
		return namespace(name)
	}
	in.errorf("name %s is not defined", name)
	return nil
}

// attribute reads x.name.
func (in *interp) attribute(x value, name string, pos Position) value {
	switch x := x.(type) {
	case namespace:
		return in.qualified(x, name)
	case *object:
		return in.objectAttr(x, name)
	case *tensor:
		return in.tensorAttr(x, name)
	case *tuple:
		for i, n := range x.names {
			if n == name {
				return x.elems[i]
			}
		}
	case *classDef:
		for _, f := range x.fields { // members of an enumeration
			if f.name == name && f.value != nil {
				return in.eval(&frame{}, f.value)
			}
		}
		if m, ok := x.methods[name]; ok {
			return &function{def: m}
		}
		if name == "__new__" {
			return x
		}
	}
	if name == "value" { // of the member of an enumeration, which is its value
		switch x.(type) {
		case int64, float64, string:
			return x
		}
	}
	in.pos = pos
	in.errorf("%s has no attribute %s", kindName(x), name)
	return nil
}

// qualified resolves a further part of a dotted name.
func (in *interp) qualified(ns namespace, name string) value {
	full := string(ns) + "." + name
	switch {
	case ns == "CONSTANTS":
		return in.constantNamed(name)
	case strings.HasPrefix(full, "__torch__."):
		if c, ok := in.m.code.classes[full]; ok {
			return c
		}
		if f, ok := in.m.code.funcs[full]; ok {
			return &function{def: f}
		}
	}
	return namespace(full)
}

// objectAttr reads an attribute: set in this run, in the data, a constant of
// the class or a method.
func (in *interp) objectAttr(o *object, name string) value {
	if v, ok := in.attrs[o][name]; ok {
		return in.merged(v, name)
	}
	if v, ok := o.attrs[name]; ok {
		if in.attrRead[o] == nil {
			in.attrRead[o] = map[string]bool{}
		}
		in.attrRead[o][name] = true
		if kept, ok := in.kept(o, name); ok {
			return kept
		}
		return in.loaded(o, name, v)
	}
	for _, f := range slices.Backward(o.class.fields) {
		if f.name == name && f.value != nil {
			return in.eval(&frame{}, f.value)
		}
	}
	if m, ok := o.class.methods[name]; ok {
		return &function{def: m, self: o}
	}
	for _, f := range o.class.fields {
		// Frozen and stripped modules leave attributes of type None out.
		if f.name == name && typeName(f.typ) == "NoneType" {
			return nil
		}
	}
	in.errorf("%s has no attribute %s", o.class.name, name)
	return nil
}

// setAttr is `self.name = v`. The archive's objects are not changed: what is
// set lives as long as the run.
func (in *interp) setAttr(o *object, name string, v value) {
	in.putAttr(o, name, v)
	if !o.made {
		in.change(attrKey{o, name})
	}
}

// stored reports whether the archive has an attribute.
func stored(o *object, name string) bool { _, ok := o.attrs[name]; return ok }

// merged refuses a value that a condition on the data left open.
func (in *interp) merged(v value, name string) value {
	if u, ok := v.(unmerged); ok {
		in.unsupported("%s, which a condition on the data makes %s", name, u.why)
	}
	return v
}

// either is the one or the other value.
func (in *interp) either(fr *frame, known bool, data *graph.Value, then, alts func() value) value {
	switch {
	case data == nil && known:
		return then()
	case data == nil:
		return alts()
	}
	const result = "if" // no name of the code
	in.branch(fr, data, func() signal { in.setVar(fr, result, then()); return sigNext }, func() signal { in.setVar(fr, result, alts()); return sigNext })
	return in.merged(fr.vars[result], "a value")
}

// evalCall computes a call: of the code's own functions, or of a built-in.
func (in *interp) evalCall(fr *frame, e *callExpr) value {
	if n, ok := e.fn.(*nameExpr); ok {
		if _, shadowed := fr.vars[n.name]; !shadowed {
			if v, done := in.specialForm(fr, n.name, e); done {
				return v
			}
		}
	}
	if a, ok := e.fn.(*attrExpr); ok {
		// A method of a value, as x.tolist() or d.keys().
		recv := in.eval(fr, a.x)
		switch recv.(type) {
		case namespace, *object, *classDef:
			return in.apply(in.attribute(recv, a.name, a.pos), fr, e)
		}
		args := append([]value{recv}, in.evalAll(fr, e.args)...)
		return in.builtin("torch."+a.name, args, in.keywords(fr, e))
	}
	return in.apply(in.eval(fr, e.fn), fr, e)
}

func (in *interp) keywords(fr *frame, e *callExpr) map[string]value {
	if len(e.kws) == 0 {
		return nil
	}
	kws := make(map[string]value, len(e.kws))
	for _, k := range e.kws {
		if _, dup := kws[k.name]; dup {
			in.errorf("keyword argument %s is given twice", k.name)
		}
		kws[k.name] = in.eval(fr, k.val)
	}
	return kws
}

func (in *interp) apply(fn value, fr *frame, e *callExpr) value {
	if c, ok := fn.(*classDef); ok && len(e.args) == 1 {
		// `C.__new__(C)` makes an empty object, which __init__ then fills.
		if a, ok := e.fn.(*attrExpr); ok && a.name == "__new__" {
			return &object{class: c, attrs: map[string]value{}, made: true}
		}
	}
	args, kws := in.evalAll(fr, e.args), in.keywords(fr, e)
	in.pos = e.pos
	switch fn := fn.(type) {
	case *function:
		return in.call(fn, args, kws)
	case namespace:
		return in.builtin(string(fn), args, kws)
	case *classDef:
		return in.construct(fn, args, kws)
	case *object:
		if m, ok := fn.class.methods["forward"]; ok {
			return in.call(&function{def: m, self: fn}, args, kws)
		}
	}
	in.errorf("%s cannot be called", kindName(fn))
	return nil
}

// construct makes a named tuple, or an object by its __init__.
func (in *interp) construct(c *classDef, args []value, kws map[string]value) value {
	if c.base == "NamedTuple" {
		t := &tuple{}
		for i, f := range c.fields {
			v, named := kws[f.name]
			switch {
			case i < len(args):
				v = args[i]
			case named:
			case f.value != nil:
				v = in.eval(&frame{}, f.value)
			default:
				in.errorf("%s needs an argument %s", c.name, f.name)
			}
			t.names, t.elems = append(t.names, f.name), append(t.elems, v)
		}
		return t
	}
	o := &object{class: c, attrs: map[string]value{}, made: true}
	if m, ok := c.methods["__init__"]; ok {
		in.call(&function{def: m, self: o}, args, kws)
	}
	return o
}

// specialForm computes the calls whose arguments are no values.
func (in *interp) specialForm(fr *frame, name string, e *callExpr) (value, bool) {
	n := len(e.args)
	switch {
	case (name == "annotate" || name == "unchecked_cast") && n == 2:
		v := in.eval(fr, e.args[1])
		if t, ok := v.(*tensor); ok && name == "annotate" {
			switch typeName(e.args[0]) { // IntImplicit and its like
			case "int", "float", "number", "bool":
				return in.numberIn(t), true
			}
		}
		if o, ok := v.(*optional); ok && name == "unchecked_cast" {
			return o.v, true
		}
		return v, true
	case name == "uninitialized":
		return uninitialized{}, true
	case name == "isinstance" && n == 2:
		return in.isInstance(in.eval(fr, e.args[0]), e.args[1]), true
	case (name == "getattr" || name == "hasattr") && n >= 2:
		o := in.eval(fr, e.args[0])
		key, ok := in.eval(fr, e.args[1]).(string)
		if !ok {
			in.errorf("%s needs a name", name)
		}
		if obj, isObj := o.(*object); name == "hasattr" && isObj {
			return stored(obj, key), true
		}
		return in.attribute(o, key, e.pos), true
	}
	return nil, false
}

// isInstance decides isinstance(v, types).
func (in *interp) isInstance(v value, types expr) bool {
	switch t := types.(type) {
	case *tupleExpr:
		for _, x := range t.elems {
			if in.isInstance(v, x) {
				return true
			}
		}
		return false
	case *listExpr:
		return in.isInstance(v, &tupleExpr{t.pos, t.elems})
	}
	name := typeName(types)
	switch name {
	case "Tensor", "int", "float", "str", "bool":
		return kindName(v) == name
	case "NoneType":
		return v == nil
	}
	switch v.(type) {
	case *list:
		return strings.HasPrefix(strings.ToLower(name), "list")
	case *tuple:
		return strings.HasPrefix(strings.ToLower(name), "tuple")
	case *dict:
		return strings.HasPrefix(strings.ToLower(name), "dict")
	}
	return kindName(v) == name
}
