package torchscript

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// LowerOptions say which computation of a module is wanted. They are those of
// package format.
type LowerOptions struct {
	// Method is the method to lower; empty is "forward".
	Method string
	// Deterministic is given to a parameter of the method of that name.
	Deterministic bool
	// InputShapes gives the shape of inputs by name, with graph.Batch for the
	// batch axis, where the file does not tell it.
	InputShapes map[string][]int
	// InputTypes gives the element type of inputs by name, where the file does
	// not tell it. A floating one says no more than that: which, the weights
	// tell.
	InputTypes map[string]graph.DType
	// Rows asks for exactly that number of rows, without a batch axis; 0 is for
	// any number.
	Rows int
}

// Lower makes the graph of a method. Inputs whose shape the file does not tell
// take it from the layers that use them, or from the options; where neither
// does, the error is a *NeedShapeError.
func (m *Module) Lower(o LowerOptions) (*graph.Graph, error) {
	method, def := m.method(o.Method)
	if def == nil {
		return nil, &UnsupportedError{What: fmt.Sprintf("a module without a method %q; it has %s", method, strings.Join(m.Methods(), ", "))}
	}
	if o.Rows > 0 {
		in, err := m.lowerRows(method, def, o)
		if err == nil && slices.ContainsFunc(in.slots, func(s *slot) bool { return s.ranked }) {
			// Whether it was a row, the graph of many rows tells.
			o.Rows = 0
			if in, _, err := m.lower(method, def, o, map[attrKey]*form{}); err != nil {
				if need := in.sequence(err); need != nil {
					return nil, need
				}
			}
		}
		return in.graph(), err
	}
	in, more, err := m.lower(method, def, o, map[attrKey]*form{})
	if err == nil && !more {
		return in.graph(), nil
	}
	if err != nil && in != nil {
		if in.steps > maxSteps {
			return nil, err // another attempt would take as long
		}
		if need := in.sequence(err); need != nil {
			return nil, need
		}
	}
	// What cannot be told apart for many rows may be computed for one, and
	// what the module keeps between calls is known only from that.
	o.Rows = 1
	one, again := m.lowerRows(method, def, o)
	switch {
	case again != nil && err == nil:
		return nil, again
	case errors.Is(again, errors.ErrUnsupported) && !errors.Is(err, errors.ErrUnsupported):
		return nil, again // code of one row, which fails with many for that
	case again != nil:
		return nil, err
	case len(one.g.States) > 0:
		return nil, &UnsupportedError{mixes: true, What: fmt.Sprintf(
			"state that is kept in the module between calls (%s), for many rows at once: it lowers for a fixed number of rows", stateNames(one.g))}
	case err != nil && !errors.Is(err, graph.ErrMixesRows):
		return nil, &UnsupportedError{mixes: true, What: fmt.Sprintf("many rows at once (%v)", err)}
	}
	if err != nil {
		return nil, err
	}
	return in.graph(), nil
}

// sequence is the request for the shape of an input that was taken for a row,
// where rows were then taken for a sequence; else nil.
func (in *interp) sequence(err error) error {
	var mixes *UnsupportedError
	if in == nil || !errors.As(err, &mixes) || !mixes.mixes {
		return nil
	}
	// A layer of torch asks for the number of dimensions to tell a sequence
	// from several; the code of a policy has other reasons.
	if !strings.HasPrefix(mixes.Pos.File, "code/__torch__/torch/nn/") && !strings.Contains(mixes.What, "as a sequence") {
		return nil
	}
	for _, s := range in.slots {
		if s.ranked {
			return &NeedShapeError{Input: s.name, Cause: errors.New(err.Error())}
		}
	}
	return nil
}

// method returns a method by its name, nil where there is none; without a name
// it is forward.
func (m *Module) method(name string) (string, *funcDef) {
	if name == "" {
		name = "forward"
	}
	return name, m.root.class.methods[name]
}

// graph returns what was made, nil where there is nothing.
func (in *interp) graph() *graph.Graph {
	if in == nil {
		return nil
	}
	return in.g
}

// lowerRows makes the graph for a fixed number of rows. What the module keeps
// between calls, and in what form, is found out by running it.
func (m *Module) lowerRows(method string, def *funcDef, o LowerOptions) (*interp, error) {
	states := map[attrKey]*form{}
	for range maxRounds {
		in, more, err := m.lower(method, def, o, states)
		if err != nil {
			return nil, err
		}
		if !more {
			return in, nil
		}
		if len(states) > graph.MaxPorts {
			break
		}
	}
	return nil, &UnsupportedError{What: "state that is kept in the module between calls in a form that keeps changing"}
}

// lower makes the graph of a method once: with a batch axis, or with a number
// of rows. It reports whether the module changes what is not among the states
// yet; they are added.
func (m *Module) lower(method string, def *funcDef, o LowerOptions, states map[attrKey]*form) (*interp, bool, error) {
	hints := map[string]slotHint{}
	// Every restart tells the shape or the type of one more input.
	for range 2*graph.MaxPorts + 1 {
		in := newInterp(m, o, hints)
		in.states = states
		more, err := in.run(method, def)
		var again *restartError
		if !errors.As(err, &again) {
			switch {
			case err != nil:
				return in, false, in.explain(err)
			case more:
				return in, true, nil
			}
			if err := in.g.Verify(); err != nil {
				return nil, false, fmt.Errorf("torchscript: lowering made a graph that does not verify: %w", err)
			}
			return in, false, nil
		}
		if old, seen := hints[again.input]; seen && old.dtype == again.hint.dtype && old.shape.Equal(again.hint.shape) {
			return nil, false, &NeedShapeError{Input: again.input}
		}
		hints[again.input] = again.hint
	}
	return nil, false, &NeedShapeError{Input: "?"}
}

func newInterp(m *Module, o LowerOptions, hints map[string]slotHint) *interp {
	root := &scope{g: graph.New(m.root.class.name[strings.LastIndexByte(m.root.class.name, '.')+1:]), own: map[*graph.Value]*graph.Value{}}
	return &interp{
		m: m, g: root.g, sc: root, root: root, o: o, hints: hints, rows: o.Rows,
		homes:    map[*graph.Value]*scope{},
		entered:  map[attrKey]value{},
		changed:  map[attrKey]Position{},
		inputsOf: map[attrKey][]*graph.Value{},
		majors:   map[*graph.Value]int{},
		handles:  map[*graph.Tensor]*tensor{},
		owners:   map[string]*graph.Value{},
		written:  map[string]Position{},
		decided:  map[*graph.Value]bool{},
		ofData:   map[*graph.Value]bool{},
		attrs:    map[*object]map[string]value{world: {hasRaised: false}},
		attrRead: map[*object]map[string]bool{},
	}
}

// errInternal is a panic that is no failure of the code: a defect here.
var errInternal = errors.New("internal error of the reader")

// restartError carries a restart out of run.
type restartError struct{ restart }

func (e *restartError) Error() string { return "the shape of input " + e.input + " was found" }

// run interprets one method. A panic of the interpreter is its error.
func (in *interp) run(name string, def *funcDef) (more bool, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *failure:
			err = r.err
		case *restart:
			err = &restartError{*r}
		default:
			// A defect of this package must not end a server that opens a file.
			err = &RunError{Pos: in.pos, Err: fmt.Errorf("%w: %v", errInternal, r)}
		}
	}()
	in.pos = def.pos
	args := in.arguments(name, def)
	in.outputs(in.call(&function{def: def, self: in.m.root}, args, nil))
	for _, s := range in.slots {
		if s.v == nil { // no operation asked for it
			in.fail(&NeedShapeError{Input: s.name})
		}
	}
	in.spoil()
	return in.keep(), nil
}

// outputs names what the method returned.
func (in *interp) outputs(v value) {
	switch v := v.(type) {
	case *tensor:
		in.output("out", v)
	case *dict:
		n := 0
		in.namedOutputs(v, &n, 0)
	case *tuple:
		if v.names != nil {
			for i, n := range v.names {
				in.output(n, v.elems[i])
			}
			break
		}
		n := 0
		in.flatOutputs(v.elems, &n, 0)
	case *list:
		n := 0
		in.flatOutputs(v.elems, &n, 0)
	default:
		in.unsupported("a method that returns a %s", kindName(v))
	}
	if len(in.g.Outputs) == 0 {
		in.unsupported("a method that returns no tensor")
	}
}

// namedOutputs names the tensors of a dict by its keys.
func (in *interp) namedOutputs(d *dict, n *int, depth int) {
	for _, k := range d.keys {
		switch e := d.vals[k].(type) {
		case *tuple, *list, *dict:
			in.flatOutputs([]value{e}, n, depth+1)
		default:
			in.output(format(k), e)
			*n++
		}
	}
}

// flatOutputs numbers the tensors of nested tuples: out0, out1. Those of dicts
// among them have the names of their keys.
func (in *interp) flatOutputs(elems []value, n *int, depth int) {
	if depth > maxCallDepth {
		in.limit("outputs nested deeper than %d", maxCallDepth)
	}
	for _, e := range elems {
		in.cost(1)
		switch e := e.(type) {
		case *tuple:
			in.flatOutputs(e.elems, n, depth+1)
		case *list:
			in.flatOutputs(e.elems, n, depth+1)
		case *dict:
			in.namedOutputs(e, n, depth+1)
		default:
			in.output("out"+strconv.Itoa(*n), e)
			*n++
		}
	}
}

func (in *interp) output(name string, v value) {
	switch t := v.(type) {
	case nil: // an optional output that is left out
		return
	case *optional:
		in.unsupported("an output %s that is None as the data has it", name)
	case *tensor:
		if len(in.g.Outputs) >= graph.MaxPorts {
			in.limit("more than %d outputs", graph.MaxPorts)
		}
		if slices.ContainsFunc(in.g.Outputs, func(o graph.Output) bool { return o.Name == name }) {
			in.unsupported("two outputs of the name %s", name)
		}
		in.g.Output(name, in.read(t))
	default:
		in.unsupported("an output %s that is a %s", name, kindName(v))
	}
}

// checkState refuses a module that changes its parameters or buffers where a
// later call could tell: one whose outputs depend on what was changed. A
// counter of calls does no harm.
func (in *interp) checkState() {
	if len(in.written) == 0 {
		return
	}
	reached := in.reached(nil)
	var names []string
	for name := range in.written {
		names = append(names, name)
	}
	sort.Strings(names)
	var kept []string
	for _, name := range names {
		if v := in.owners[name]; v != nil && (reached[v] || in.decided[v]) {
			in.pos = in.written[name]
			kept = append(kept, name)
		}
	}
	if len(kept) > 0 {
		in.keepsState(strings.Join(kept, ", "))
	}
}

// keepsState ends the lowering: what one call computes depends on those before.
func (in *interp) keepsState(name string) {
	in.mixes("state that is kept in the module between calls (%s): a recurrent policy", name)
}

func (in *interp) mutated(owner string) {
	if _, ok := in.written[owner]; !ok {
		in.written[owner] = in.pos
	}
}

// explain turns an error that follows from taking an input for a flat row into
// the request for its shape.
func (in *interp) explain(err error) error {
	var need *NeedShapeError
	if errors.As(err, &need) {
		return err
	}
	for _, s := range in.slots {
		if s.flat && s.v == nil {
			return &NeedShapeError{Input: s.name, Hint: s.described, Pos: in.pos, Cause: err}
		}
	}
	return err
}

// needShape ends this attempt: the shape of the input behind t is not known.
func (in *interp) needShape(t *tensor) {
	in.fail(&NeedShapeError{Input: t.slot.name, Hint: t.slot.described, Pos: in.pos})
}

// learn ends this attempt with what was found out of the input behind t: its
// shape, and its element type where like has one.
func (in *interp) learn(t *tensor, shape graph.Shape, like *graph.Value) {
	h := slotHint{shape: shape, dtype: t.slot.dtype, ranked: t.slot.ranked}
	if h.dtype == graph.Invalid && !t.cast && like != nil && like.DType.IsFloat() {
		h.dtype = like.DType
	}
	panic(&restart{t.slot.name, h})
}

// loaded turns an attribute of an object of the archive into a value of this
// run: tensors become handles, lists and dicts are copied.
func (in *interp) loaded(o *object, name string, v value) value {
	switch v := v.(type) {
	case *graph.Tensor:
		return in.parameter(o.child(name), attrKey{o, name}, v)
	case *list, *dict, *tuple:
		copied := in.copyOf(o.child(name), attrKey{o, name}, v)
		if in.attrs[o] == nil {
			in.attrs[o] = map[string]value{}
		}
		in.attrs[o][name] = copied
		return copied
	}
	return v
}

func (in *interp) copyOf(path string, key attrKey, v value) value {
	switch v := v.(type) {
	case *graph.Tensor:
		return in.parameter(path, key, v)
	case *list:
		out := &list{elems: make([]value, len(v.elems)), owner: path, key: key}
		for i, e := range v.elems {
			out.elems[i] = in.copyOf(path, key, e)
		}
		return out
	case *tuple:
		out := &tuple{elems: make([]value, len(v.elems)), names: v.names}
		for i, e := range v.elems {
			out.elems[i] = in.copyOf(path, key, e)
		}
		return out
	case *dict:
		out := newDict()
		out.owner, out.key = path, key
		for _, k := range v.keys {
			out.set(k, in.copyOf(path, key, v.vals[k]))
		}
		return out
	}
	return v
}

// parameter returns the handle of a tensor of the archive: the same for tied
// weights.
func (in *interp) parameter(path string, key attrKey, t *graph.Tensor) *tensor {
	if h, ok := in.handles[t]; ok {
		return h
	}
	v := in.root.g.Constant(path, t)
	h := newTensor(v)
	h.memory.owner, h.memory.key = path, key
	in.handles[t] = h
	in.owners[path] = v
	return h
}

// constantNamed resolves CONSTANTS.cN.
func (in *interp) constantNamed(name string) value {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "c"))
	if err != nil || n < 0 || n >= len(in.m.constants) || !strings.HasPrefix(name, "c") {
		in.errorf("CONSTANTS.%s is not in constants.pkl, which holds %d", name, len(in.m.constants))
	}
	return in.copyOf("CONSTANTS."+name, attrKey{}, in.m.constants[n])
}
