package torchscript

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// optional is a value that is None or not as the data decides.
type optional struct {
	there *graph.Value // bool, without dimensions
	v     value
}

// unmerged is a value that cannot be told after a branch. It is refused where
// it is read.
type unmerged struct{ why string }

// snap is what a value was at the end of a branch, before the branch was
// undone: tensors by their value, containers by their elements.
type snap struct {
	val   value        // as it is, for what both branches share
	t     *graph.Value // of a tensor
	elems []snap       // of a list, tuple or dict; the value of an optional
	keys  []value      // of a dict
	deep  bool         // nested too deep, or not known yet
}

// missing is a value that is never read where it is missing.
var missing = snap{val: uninitialized{}}

// snapshot takes down a value.
func (in *interp) snapshot(v value) snap { return in.snapshotAt(v, 0) }

func (in *interp) snapshotAt(v value, depth int) snap {
	s := snap{val: v}
	if depth > maxCallDepth {
		s.deep = true
		return s
	}
	all := func(vs []value) {
		in.cost(len(vs) / 4)
		for _, e := range vs {
			s.elems = append(s.elems, in.snapshotAt(e, depth+1))
		}
	}
	switch v := v.(type) {
	case *tensor:
		if v.pending {
			s.deep = true
			return s
		}
		s.t = in.read(v)
	case *list:
		all(v.elems)
	case *tuple:
		all(v.elems)
	case *dict:
		s.keys = slices.Clone(v.keys)
		for _, k := range v.keys {
			s.elems = append(s.elems, in.snapshotAt(v.vals[k], depth+1))
		}
	case *optional:
		s.elems = []snap{in.snapshotAt(v.v, depth+1)}
	}
	return s
}

// formKind is what a form is of.
type formKind uint8

const (
	formFixed    formKind = iota // the same on all paths: known
	formNone                     // None
	formMissing                  // never read
	formNumber                   // dtype is that of the number's kind
	formTensor                   // dtype and shape
	formOptional                 // elems[0], or None
	formList
	formTuple // names
	formDict  // keys
	formPoison
)

// form is what values at a place have in common on all paths. What differs
// between paths are its leaves: numbers and tensors.
type form struct {
	kind  formKind
	known bool  // the value is val on all paths
	val   value // of a fixed or known one
	dtype graph.DType
	shape graph.Shape
	elems []*form
	names []string
	keys  []value
	why   string // of a poison
}

func formOf(s snap) *form {
	f := &form{known: true, val: s.val}
	each := func() {
		for _, e := range s.elems {
			f.elems = append(f.elems, formOf(e))
		}
	}
	switch v := s.val.(type) {
	case nil:
		f.kind = formNone
	case uninitialized:
		f.kind = formMissing
	case unmerged:
		return poison("%s", v.why)
	case bool, int64, float64:
		f.kind, f.dtype = formNumber, numberTypes[kindName(v)]
	case *scalar:
		f.kind, f.dtype = formNumber, v.v.DType
	case *tensor:
		f.kind = formTensor
		if s.t == nil {
			return poison("a tensor whose shape is not known")
		}
		f.dtype, f.shape = s.t.DType, s.t.Shape
	case *optional:
		f.kind = formOptional
		each()
	case *list:
		f.kind = formList
		each()
	case *tuple:
		f.kind, f.names = formTuple, v.names
		each()
	case *dict:
		f.kind, f.keys = formDict, s.keys
		each()
	default:
		f.kind = formFixed
	}
	if s.deep {
		return poison("a value that is nested too deep, or of unknown shape")
	}
	return f
}

func poison(format string, args ...any) *form {
	return &form{kind: formPoison, why: fmt.Sprintf(format, args...)}
}

// join is what two forms have in common.
func join(a, b *form) *form {
	if a.known && b.known && a.kind == b.kind && sameValue(a.val, b.val) {
		return a
	}
	switch {
	case a.kind == formPoison:
		return a
	case b.kind == formPoison:
		return b
	case a.kind == formMissing:
		return b.open(true)
	case b.kind == formMissing:
		return a.open(true)
	case a.kind == formOptional || b.kind == formOptional || a.kind == formNone || b.kind == formNone:
		return joinOptional(a, b)
	case a.kind != b.kind:
		return poison("%s in one branch and %s in another", a, b)
	}
	out := &form{kind: a.kind, dtype: a.dtype, shape: a.shape, names: a.names, keys: a.keys}
	switch a.kind {
	case formFixed:
		return poison("%s in one branch and %s in another", a, b)
	case formNumber:
		if a.dtype != b.dtype {
			return poison("%s in one branch and %s in another", a, b)
		}
	case formTensor:
		if a.dtype != b.dtype || !a.shape.Equal(b.shape) {
			return poison("%s in one branch and %s in another", a, b)
		}
	case formDict:
		if !slices.Equal(a.keys, b.keys) {
			return poison("a dict of other keys in another branch")
		}
	}
	if len(a.elems) != len(b.elems) {
		return poison("%d elements in one branch and %d in another", len(a.elems), len(b.elems))
	}
	for i := range a.elems {
		e := join(a.elems[i], b.elems[i])
		if e.kind == formPoison && a.kind != formTuple {
			return e
		}
		out.elems = append(out.elems, e)
	}
	return out
}

// joinOptional is the form of what may be None.
func joinOptional(a, b *form) *form {
	inner := func(f *form) *form {
		switch f.kind {
		case formNone:
			return &form{kind: formMissing, known: true, val: uninitialized{}}
		case formOptional:
			return f.elems[0]
		}
		return f
	}
	e := join(inner(a), inner(b)).open(true)
	if e.kind == formPoison {
		return e
	}
	return &form{kind: formOptional, elems: []*form{e}}
}

// open is the form with leaves for all tensors, and for numbers too unless
// they may stay known.
func (f *form) open(keepNumbers bool) *form {
	out := *f
	switch f.kind {
	case formNumber:
		if !keepNumbers || !f.known || kindOfScalar(f.val) {
			out.known, out.val = false, nil
		}
	case formTensor, formOptional, formList, formTuple, formDict:
		out.known, out.val = false, nil
	}
	out.elems = make([]*form, len(f.elems))
	for i, e := range f.elems {
		out.elems[i] = e.open(keepNumbers)
	}
	return &out
}

func kindOfScalar(v value) bool { _, is := v.(*scalar); return is }

// sameValue reports whether two values are one: equal numbers, strings and
// names, or the same container, object or tensor.
func sameValue(a, b value) bool {
	switch x := a.(type) {
	case *function:
		y, ok := b.(*function)
		return ok && x.def == y.def && sameValue(x.self, y.self)
	case *list, *tuple, *dict, *tensor, *object, *classDef, *scalar, *optional, *rangeOf,
		nil, bool, int64, float64, string, namespace, device, uninitialized, rows, absent, unmerged:
		return a == b || isNaN(a) && isNaN(b)
	}
	return false
}

func (f *form) equal(g *form) bool {
	return f.kind == g.kind && f.known == g.known && (!f.known || sameValue(f.val, g.val)) && f.dtype == g.dtype && f.shape.Equal(g.shape) &&
		slices.Equal(f.keys, g.keys) && slices.EqualFunc(f.elems, g.elems, (*form).equal)
}

// String names a form for messages.
func (f *form) String() string {
	switch f.kind {
	case formNone:
		return "None"
	case formNumber:
		return "a " + numberKind(f.dtype)
	case formTensor:
		return fmt.Sprintf("a tensor of %v%v", f.dtype, f.shape)
	case formOptional:
		return "an optional value"
	case formList, formTuple, formDict:
		return map[formKind]string{formList: "a list", formTuple: "a tuple", formDict: "a dict"}[f.kind]
	case formFixed:
		return "a " + kindName(f.val)
	}
	return "a value"
}

// leaf is one value of a form that differs between paths.
type leaf struct {
	name  string // where in the form: .0, .set
	dtype graph.DType
	shape graph.Shape
}

// leaves lists the leaves of a form in order.
func (f *form) leaves(name string) []leaf {
	if f.known {
		return nil
	}
	var out []leaf
	switch f.kind {
	case formNumber:
		return []leaf{{name, f.dtype, graph.Shape{}}}
	case formTensor:
		return []leaf{{name, f.dtype, f.shape}}
	case formOptional:
		out = append(out, leaf{name + ".set", graph.Bool, graph.Shape{}})
		return append(out, f.elems[0].leaves(name)...)
	}
	for i, e := range f.elems {
		part := fmt.Sprint(i)
		if f.kind == formDict {
			part = format(f.keys[i])
		} else if i < len(f.names) {
			part = f.names[i]
		}
		out = append(out, e.leaves(name+"."+part)...)
	}
	return out
}

// lowered returns the values of a form's leaves on one path, in the present
// scope.
func (in *interp) lowered(f *form, s snap) []*graph.Value {
	if f.known {
		return nil
	}
	_, none := s.val.(uninitialized)
	switch f.kind {
	case formNumber:
		v, ok := in.numberValue(s.val)
		if !ok {
			v = in.zeros(f.dtype, graph.Shape{})
		}
		return []*graph.Value{in.use(v)}
	case formTensor:
		if s.t == nil {
			return []*graph.Value{in.zeros(f.dtype, f.shape)}
		}
		return []*graph.Value{in.use(s.t)}
	case formOptional:
		return in.loweredOptional(f, s)
	}
	var out []*graph.Value
	for i, e := range f.elems {
		part := missing
		if !none && i < len(s.elems) {
			part = s.elems[i]
		}
		out = append(out, in.lowered(e, part)...)
	}
	return out
}

func (in *interp) loweredOptional(f *form, s snap) []*graph.Value {
	there, inner := value(true), s
	switch v := s.val.(type) {
	case nil, uninitialized:
		there, inner = false, missing
	case *optional:
		there, inner = &scalar{v.there}, s.elems[0]
	}
	flag, _ := in.numberValue(there)
	return append([]*graph.Value{in.use(flag)}, in.lowered(f.elems[0], inner)...)
}

func (in *interp) zeros(dt graph.DType, shape graph.Shape) *graph.Value {
	return in.expandTo(in.scalarTensor(int64(0), dt), shape)
}

// raised makes a value of a form of its leaves, and returns those that are
// left.
func (in *interp) raised(f *form, vs []*graph.Value) (value, []*graph.Value) {
	if f.known {
		return f.val, vs
	}
	if f.kind == formOptional {
		there := vs[0]
		v, rest := in.raised(f.elems[0], vs[1:])
		return &optional{there, v}, rest
	}
	switch f.kind {
	case formPoison:
		return unmerged{f.why}, vs
	case formNumber:
		return &scalar{vs[0]}, vs[1:]
	case formTensor:
		return newTensor(vs[0]), vs[1:]
	}
	elems := make([]value, len(f.elems))
	for i, e := range f.elems {
		elems[i], vs = in.raised(e, vs)
	}
	switch f.kind {
	case formList:
		return &list{elems: elems}, vs
	case formDict:
		d := newDict()
		for i, k := range f.keys {
			d.set(k, elems[i])
		}
		return d, vs
	}
	return &tuple{elems: elems, names: f.names}, vs
}
