package torchscript

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// raising ends a branch in which the code raises an error.
type raising struct{ pos Position }

// path is what a branch did: its graph, how it ended, and what it left in the
// cells that it changed.
type path struct {
	sc     *scope
	sig    signal
	raised bool
	cells  []any
	snaps  map[any]snap
	olds   map[any]any
}

// returned is the name under which a frame holds what it returns: no name of
// the code.
const returned = "return"

// try runs a branch in a graph of its own, and undoes what it did.
func (in *interp) try(loop bool, body func(p *path)) *path {
	if in.depth++; in.depth > maxCallDepth {
		in.limit("more than %d nested branches and calls", maxCallDepth)
	}
	p := &path{snaps: map[any]snap{}}
	log, back, depth := in.begin(), in.enter(in.sc), in.depth
	p.sc = in.push(loop)
	func() {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(*raising); !ok {
					panic(r)
				}
				p.raised = true
			}
		}()
		body(p)
	}()
	in.depth = depth
	in.log = log
	p.cells, p.olds = log.order, log.olds
	if !p.raised {
		for _, cell := range p.cells {
			p.snaps[cell] = in.content(cell)
		}
	}
	in.undo(log)
	back()
	in.depth--
	return p
}

// content takes down what a cell holds.
func (in *interp) content(cell any) snap {
	switch c := cell.(type) {
	case varCell:
		if v, ok := c.fr.vars[c.name]; ok {
			return in.snapshot(v)
		}
	case attrCell:
		if v, ok := in.attrs[c.o][c.name]; ok {
			return in.snapshot(v)
		}
		if stored(c.o, c.name) {
			return in.snapshot(in.objectAttr(c.o, c.name))
		}
	case *list:
		s := in.snapshot(c)
		s.val = &list{elems: c.elems}
		return s
	case *dict:
		s := in.snapshot(c)
		s.val = &dict{keys: c.keys, vals: c.vals}
		return s
	case *memory:
		if c.lost != "" {
			return snap{val: unmerged{c.lost}}
		}
		if c.root == nil || c.root.pending {
			return snap{val: unmerged{"a tensor of unknown shape"}}
		}
		v := in.read(c.root)
		return snap{val: newTensor(v), t: v}
	}
	return missing
}

// lasting keeps those cells that are still there when the branch is over.
func (in *interp) lasting(fr *frame, cells []any) []any {
	var reach map[any]bool
	reached := func(x any) bool {
		if reach == nil {
			reach = in.reachable(fr)
		}
		return reach[x]
	}
	var out []any
	for _, cell := range cells {
		keep := false
		switch c := cell.(type) {
		case varCell:
			keep = c.fr == fr
		case attrCell:
			keep = !c.o.made || reached(c.o)
		case *tensor: // only for undoing
		default:
			keep = reached(c)
		}
		if keep {
			out = append(out, cell)
		}
	}
	return out
}

// setCell writes a value into a cell.
func (in *interp) setCell(cell any, v value) {
	switch c := cell.(type) {
	case varCell:
		in.setVar(c.fr, c.name, v)
	case attrCell:
		in.putAttr(c.o, c.name, v)
		in.change(attrKey(c))
	case *list:
		in.touch(c)
		if l, ok := v.(*list); ok {
			c.elems = l.elems
		} else {
			in.unsupported("a list that is changed under a condition on the data: %s", why(v))
		}
	case *dict:
		in.touch(c)
		if d, ok := v.(*dict); ok {
			c.keys, c.vals = d.keys, d.vals
		} else {
			in.unsupported("a dict that is changed under a condition on the data: %s", why(v))
		}
	case *memory:
		if t, ok := v.(*tensor); ok {
			in.write(c.root, in.read(t))
		} else {
			in.unsupported("a tensor that is changed under a condition on the data: %s", why(v))
		}
	}
}

func why(v value) string {
	if u, ok := v.(unmerged); ok {
		return u.why
	}
	return kindName(v)
}

// branch runs what the data decides between, and merges what both sides leave.
func (in *interp) branch(fr *frame, cond *graph.Value, then, alts func() signal) signal {
	pos := in.pos
	a := in.try(false, func(p *path) { p.sig = then() })
	if a.raised {
		in.raiseWhen(cond)
		return alts()
	}
	b := in.try(false, func(p *path) { p.sig = alts() })
	if b.raised {
		in.raiseWhen(in.add(graph.OpNot, nil, cond))
		return then()
	}
	in.pos = pos
	if a.sig != b.sig {
		in.unsupported("a return, break or continue under a condition on the data")
	}
	cells := slices.Clone(a.cells)
	for _, c := range b.cells {
		if _, both := a.snaps[c]; !both {
			cells = append(cells, c)
		}
	}
	cells = in.lasting(fr, cells)
	forms := make([]*form, len(cells))
	var lows [2][]*graph.Value
	for i, c := range cells {
		sa, inA := a.snaps[c]
		if !inA {
			sa = in.content(c)
		}
		sb, inB := b.snaps[c]
		if !inB {
			sb = in.content(c)
		}
		forms[i] = join(formOf(sa), formOf(sb))
		for k, s := range []snap{sa, sb} {
			back := in.enter([]*scope{a.sc, b.sc}[k])
			lows[k] = append(lows[k], in.lowered(forms[i], s)...)
			back()
		}
	}
	results := in.choose(cond, a.sc, b.sc, lows[0], lows[1])
	for i, c := range cells {
		var v value
		v, results = in.raised(forms[i], results)
		in.setCell(c, v)
	}
	return a.sig
}

// choose makes the node that runs one of two graphs. Where neither computes
// anything, values are chosen.
func (in *interp) choose(cond *graph.Value, a, b *scope, as, bs []*graph.Value) []*graph.Value {
	if len(as) == 0 {
		return nil
	}
	captured := slices.Clone(a.captured)
	for _, o := range b.captured {
		if !slices.Contains(captured, o) {
			captured = append(captured, o)
		}
	}
	if len(a.g.Nodes)+len(b.g.Nodes) == 0 {
		out := make([]*graph.Value, len(as))
		for i := range as {
			x, y := in.lift(a, as[i]), in.lift(b, bs[i])
			if out[i] = x; x != y {
				out[i] = in.add(graph.OpWhere, nil, cond, x, y)
			}
		}
		return out
	}
	for _, s := range []*scope{a, b} {
		var inputs []*graph.Value
		for _, o := range captured {
			v, ok := s.own[o]
			if !ok {
				v = in.capture(s, o)
			}
			inputs = append(inputs, v)
		}
		s.g.Inputs = inputs
		renameInputs(s.g)
	}
	for i := range as {
		a.g.Output(outputName(i), as[i])
		b.g.Output(outputName(i), bs[i])
	}
	operands := append([]*graph.Value{cond}, captured...)
	return in.addNode(graph.OpIf, graph.Attrs{"then": a.g, "else": b.g}, operands...).Out
}

// lift returns what a value of an inner graph without nodes stands for.
func (in *interp) lift(s *scope, v *graph.Value) *graph.Value {
	if o, ok := s.from[v]; ok {
		return o
	}
	return v
}
