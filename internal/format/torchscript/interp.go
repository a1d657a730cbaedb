package torchscript

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Maxima of one lowering.
const (
	// maxSteps bounds statements and expressions: the policies seen take less
	// than 20,000.
	maxSteps = 500_000
	// maxCallDepth bounds nested calls of functions of the code.
	maxCallDepth = 100
	// maxListLen bounds lists that the code makes.
	maxListLen = 1 << 16
	// maxStringLen bounds strings that the code makes, in bytes.
	maxStringLen = 1 << 16
	// maxMadeElements bounds the constants that the code makes, all together.
	maxMadeElements = 1 << 22
	// maxFolded bounds the elements of one value that is computed while
	// lowering because the control flow needs it.
	maxFolded = 1 << 20
)

// interp runs a method on symbolic tensors. Python values are computed;
// operations on tensors become nodes of the graph. Errors travel as panics of
// *failure up to the method that began, and leave as errors.
type interp struct {
	m *Module
	g *graph.Graph
	o LowerOptions

	steps, depth int
	made         int // elements of constants made by the code
	pos          Position

	slots   []*slot
	hints   map[string]slotHint
	streams int
	// tracedRows is the number of rows that the trace was made with, else 0.
	tracedRows int
	// rows is the number of rows of a graph without a batch axis, else 0.
	rows     int
	root, sc *scope
	homes    map[*graph.Value]*scope // of values that are not of the root
	log      *journal                // of the branch under way, else nil
	version  int                     // of the last write to a memory

	states   map[attrKey]*form // what is known to be kept between calls
	entered  map[attrKey]value // those that were read
	changed  map[attrKey]Position
	changes  []attrKey // in the order of the first change
	inputsOf map[attrKey][]*graph.Value

	inputsInOrder []attrKey // as they were first read

	// majors holds, for a value into whose batch axis dimensions before it
	// were merged, their product; the others are 1.
	majors map[*graph.Value]int

	handles  map[*graph.Tensor]*tensor // of parameters and buffers
	owners   map[string]*graph.Value   // constants of parameters and buffers by path
	written  map[string]Position       // parameters and buffers changed in place
	decided  map[*graph.Value]bool     // values that the control flow looked at
	ofData   map[*graph.Value]bool     // what fromData found out
	attrs    map[*object]map[string]value
	attrRead map[*object]map[string]bool
}

// slotHint is what an earlier attempt found out about an input.
type slotHint struct {
	shape  graph.Shape
	dtype  graph.DType
	ranked bool // the code asked for the number of dimensions, before
}

// failure carries an error out of the interpreter.
type failure struct{ err error }

// restart asks for another attempt, now that more is known of an input.
type restart struct {
	input string
	hint  slotHint
}

func (in *interp) fail(err error) { panic(&failure{err}) }

// unsupported ends the lowering: the code is sound but cannot be served.
func (in *interp) unsupported(format string, args ...any) {
	in.fail(&UnsupportedError{Pos: in.pos, What: fmt.Sprintf(format, args...)})
}

// mixes ends the lowering as unsupported does: what the code does asks for the
// number of rows to be fixed.
func (in *interp) mixes(format string, args ...any) {
	in.fail(&UnsupportedError{Pos: in.pos, What: fmt.Sprintf(format, args...), mixes: in.rows == 0})
}

// errorf ends the lowering: running the code would fail, too.
func (in *interp) errorf(format string, args ...any) {
	in.fail(&RunError{Pos: in.pos, Err: fmt.Errorf(format, args...)})
}

func (in *interp) limit(format string, args ...any) {
	in.fail(&RunError{Pos: in.pos, Err: limitf(format, args...)})
}

func (in *interp) step(pos Position) {
	in.pos = pos
	if in.steps++; in.steps > maxSteps {
		in.fail(&UnsupportedError{Pos: pos, What: fmt.Sprintf("code that takes more than %d steps (an endless loop?)", maxSteps)})
	}
}

// cost counts work that grows with the size of a value.
func (in *interp) cost(n int) {
	if in.steps += n; in.steps > maxSteps {
		in.limit("code that takes more than %d steps", maxSteps)
	}
}

// frame is one call of a function of the code.
type frame struct {
	vars map[string]value
}

// signal tells how a statement ended.
type signal uint8

const (
	sigNext signal = iota
	sigReturn
	sigBreak
	sigContinue
)

// call runs a function of the code. Arguments that are left out take their
// defaults.
func (in *interp) call(f *function, args []value, kws map[string]value) value {
	if in.depth++; in.depth > maxCallDepth {
		in.limit("more than %d nested calls", maxCallDepth)
	}
	defer func() { in.depth-- }()
	caller := in.pos
	fr := &frame{vars: make(map[string]value, len(f.def.params)+8)}
	params := f.def.params
	if f.self != nil {
		if len(params) == 0 {
			in.errorf("method %s has no self", f.def.name)
		}
		fr.vars[params[0].name] = f.self
		params = params[1:]
	}
	if len(args) > len(params) {
		in.errorf("%s takes %d arguments, got %d", f.def.name, len(params), len(args))
	}
	for i, p := range params {
		v, named := kws[p.name]
		switch {
		case i < len(args) && named:
			in.errorf("%s got %s twice", f.def.name, p.name)
		case i < len(args):
			v = args[i]
		case named:
		case p.def != nil:
			v = in.eval(fr, p.def)
		default:
			in.errorf("%s needs an argument %s", f.def.name, p.name)
		}
		fr.vars[p.name] = v
	}
	for name := range kws {
		if _, ok := fr.vars[name]; !ok {
			in.errorf("%s has no parameter %s", f.def.name, name)
		}
	}
	in.block(fr, f.def.body)
	in.pos = caller
	return fr.vars[returned]
}

func (in *interp) block(fr *frame, body []stmt) signal {
	for _, s := range body {
		if sig := in.exec(fr, s); sig != sigNext {
			return sig
		}
	}
	return sigNext
}

func (in *interp) exec(fr *frame, s stmt) signal {
	in.step(s.stmtPos())
	switch s := s.(type) {
	case *assignStmt:
		in.assign(fr, s)
	case *augAssignStmt:
		old := in.eval(fr, s.target)
		in.store(fr, s.target, in.augmented(s.op, old, in.eval(fr, s.value)))
	case *exprStmt:
		in.eval(fr, s.x)
	case *ifStmt:
		known, data := in.cond(in.eval(fr, s.cond), s.pos, "if")
		switch {
		case data != nil:
			then, alts := func() signal { return in.block(fr, s.then) }, func() signal { return in.block(fr, s.alts) }
			return in.branch(fr, data, then, alts)
		case known:
			return in.block(fr, s.then)
		}
		return in.block(fr, s.alts)
	case *whileStmt:
		return in.whileLoop(fr, s)
	case *withStmt:
		return in.withBlock(fr, s)
	case *forStmt:
		return in.forLoop(fr, s)
	case *returnStmt:
		if s.value != nil {
			in.setVar(fr, returned, in.eval(fr, s.value))
		}
		return sigReturn
	case *raiseStmt:
		in.raise(format(in.eval(fr, s.value)))
	case *assertStmt:
		known, data := in.cond(in.eval(fr, s.cond), s.pos, "assert")
		switch {
		case data != nil:
			in.raiseWhen(in.add(graph.OpNot, nil, data))
		case !known:
			msg := "assertion failed"
			if s.msg != nil {
				msg = format(in.eval(fr, s.msg))
			}
			in.raise(msg)
		}
	case *hostStmt:
		s.run()
	case *breakStmt:
		return sigBreak
	case *continueStmt:
		return sigContinue
	}
	return sigNext
}

func (in *interp) forLoop(fr *frame, s *forStmt) signal {
	iter := in.eval(fr, s.iter)
	if r, ok := iter.(*rangeOf); ok {
		return in.rangeLoop(fr, s, r)
	}
	elems := in.elements(iter, "a loop")
	in.cost(len(elems) / 4)
	for _, e := range append([]value(nil), elems...) {
		in.step(s.pos)
		if s.unpack {
			in.unpack(fr, s.targets, e)
		} else {
			in.store(fr, s.targets[0], e)
		}
		if sig := in.block(fr, s.body); sig == sigReturn {
			return sig
		} else if sig == sigBreak {
			break
		}
	}
	return sigNext
}

// withBlock runs a block between what an object does before and after it, as
// torch.no_grad() has it.
func (in *interp) withBlock(fr *frame, s *withStmt) signal {
	o, ok := in.eval(fr, s.x).(*object)
	if !ok || o.class.methods["__enter__"] == nil || o.class.methods["__exit__"] == nil {
		in.unsupported("with something that has no __enter__ and __exit__")
	}
	entered := in.call(&function{def: o.class.methods["__enter__"], self: o}, nil, nil)
	if s.as != "" {
		in.setVar(fr, s.as, entered)
	}
	sig := in.block(fr, s.body)
	in.call(&function{def: o.class.methods["__exit__"], self: o}, []value{nil, nil, nil}, nil)
	return sig
}

func (in *interp) assign(fr *frame, s *assignStmt) {
	if len(s.values) == 1 {
		v := in.eval(fr, s.values[0])
		if s.unpack {
			in.unpack(fr, s.targets, v)
		} else {
			in.store(fr, s.targets[0], v)
		}
		return
	}
	vals := make([]value, len(s.values))
	for i, e := range s.values {
		vals[i] = in.eval(fr, e)
	}
	for i, t := range s.targets {
		in.store(fr, t, vals[i])
	}
}

func (in *interp) unpack(fr *frame, targets []expr, v value) {
	elems := in.elements(v, "unpacking")
	if len(elems) != len(targets) {
		in.errorf("%d values are unpacked into %d names", len(elems), len(targets))
	}
	for i, t := range targets {
		in.store(fr, t, elems[i])
	}
}

// elements returns what a loop over v goes through.
func (in *interp) elements(v value, what string) []value {
	switch v := v.(type) {
	case *list:
		return v.elems
	case *tuple:
		return v.elems
	case *dict:
		return v.keys
	case *tensor:
		return in.unbind(v, 0)
	case *object:
		if v.class.base == "NamedTuple" {
			elems := make([]value, len(v.names))
			for i, n := range v.names {
				elems[i] = v.attrs[n]
			}
			return elems
		}
		return in.children(v)
	case string:
		in.cost(len(v))
		elems := make([]value, 0, len(v))
		for _, r := range v {
			elems = append(elems, string(r))
		}
		return elems
	}
	in.unsupported("%s over a %s", what, kindName(v))
	return nil
}

// children returns the submodules of a container in order.
func (in *interp) children(o *object) []value {
	var elems []value
	for _, n := range o.names {
		if c, ok := o.attrs[n].(*object); ok {
			elems = append(elems, c)
		}
	}
	return elems
}

func (in *interp) store(fr *frame, target expr, v value) {
	switch t := target.(type) {
	case *nameExpr:
		in.setVar(fr, t.name, v)
	case *attrExpr:
		o, ok := in.eval(fr, t.x).(*object)
		if !ok {
			in.unsupported("setting an attribute of something that is not a module")
		}
		in.setAttr(o, t.name, v)
	case *indexExpr:
		in.setItem(in.eval(fr, t.x), in.indices(fr, t), v)
	}
}

// truth decides a condition. One that depends on what the inputs hold cannot
// be decided.
func (in *interp) truth(v value, pos Position, what string) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case rows:
		return true
	case float64:
		return v != 0
	case string:
		return v != ""
	case *list:
		return len(v.elems) > 0
	case *tuple:
		return len(v.elems) > 0
	case *dict:
		return len(v.keys) > 0
	case *tensor:
		if n, ok := in.numberOf(v); ok {
			return in.truth(n, pos, what)
		}
		in.pos = pos
		in.mixes("data-dependent %s", what)
	case *scalar:
		in.pos = pos
		in.unsupported("data-dependent %s", what)
	}
	in.errorf("%s is no condition", kindName(v))
	return false
}
