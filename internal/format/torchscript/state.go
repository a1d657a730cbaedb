package torchscript

import (
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// attrKey is an attribute of an object of the archive: what a module may keep
// between calls.
type attrKey struct {
	o    *object
	name string
}

func (k attrKey) path() string { return k.o.child(k.name) }

// change notes that the code changes an attribute, or what it holds.
func (in *interp) change(k attrKey) {
	if k.o == world {
		return
	}
	if k.o == nil { // a constant of the code, or a parameter of Calls
		if in.states != nil {
			in.unsupported("a constant of the code that the code changes")
		}
		return
	}
	if _, noted := in.changed[k]; !noted {
		in.changed[k] = in.pos
		in.changes = append(in.changes, k)
	}
}

// kept returns an attribute that is known to be kept between calls, as it
// enters this one: inputs of the graph.
func (in *interp) kept(o *object, name string) (value, bool) {
	k := attrKey{o, name}
	f, ok := in.states[k]
	if !ok || f == nil || in.rows == 0 {
		return nil, false
	}
	if v, ok := in.entered[k]; ok {
		return v, true
	}
	var vs []*graph.Value
	for _, l := range f.leaves(k.path()) {
		vs = append(vs, in.root.g.Input(in.freeName(l.name), l.dtype, l.shape))
	}
	in.inputsOf[k] = vs
	in.inputsInOrder = append(in.inputsInOrder, k)
	v, _ := in.raised(f, vs)
	in.own(k, v)
	in.entered[k] = v
	return v, true
}

// freeName is a name that no input has yet.
func (in *interp) freeName(name string) string {
	for slices.ContainsFunc(in.root.g.Inputs, func(v *graph.Value) bool { return v.Name == name }) ||
		slices.ContainsFunc(in.slots, func(s *slot) bool { return s.name == name }) {
		name += "_"
	}
	return name
}

// own makes the attribute the owner of what it holds, so that changes in place
// are changes of it.
func (in *interp) own(k attrKey, v value) {
	switch v := v.(type) {
	case *tensor:
		v.memory.owner, v.memory.key = k.path(), k
	case *optional:
		in.own(k, v.v)
	case *list:
		v.owner, v.key = k.path(), k
		for _, e := range v.elems {
			in.own(k, e)
		}
	case *tuple:
		for _, e := range v.elems {
			in.own(k, e)
		}
	case *dict:
		v.owner, v.key = k.path(), k
		for _, e := range v.vals {
			in.own(k, e)
		}
	}
}

// keep ends a run: what the module changed leaves the graph, to enter it at
// the next call. It reports whether something is changed that did not enter,
// or not in this form; then the run is to be made again. With a batch axis it
// only reports whether the module changes anything that matters.
func (in *interp) keep() (more bool) {
	if in.rows == 0 {
		return in.changesMatter()
	}
	keys := slices.Clone(in.changes)
	for _, k := range in.inputsInOrder {
		if _, noted := in.changed[k]; !noted {
			keys = append(keys, k)
		}
	}
	finals := map[attrKey]snap{}
	for _, k := range keys {
		if !in.attrRead[k.o][k.name] {
			continue // set before it is ever read
		}
		s, f := in.content(attrCell(k)), in.states[k]
		finals[k] = s
		if f == nil {
			f = formOf(in.initial(k))
			f = f.open(false)
			more = true
		}
		j := join(f, formOf(s).open(false))
		if j.kind == formPoison {
			in.pos = in.changed[k]
			in.unsupported("state that is kept in the module between calls (%s): %s", k.path(), strings.NewReplacer(
				"in one branch", "before a call", "in another branch", "after it", "in another", "after it").Replace(j.why))
		}
		more = more || !j.equal(f)
		in.states[k] = j
	}
	if more {
		return true
	}
	in.makeStates(keys, finals)
	return false
}

// initial takes down an attribute as the archive has it.
func (in *interp) initial(k attrKey) snap {
	fresh := newInterp(in.m, LowerOptions{}, nil)
	fresh.sc, fresh.g, fresh.root = in.sc, in.g, in.root
	return fresh.snapshot(fresh.copyOf(k.path(), attrKey{}, k.o.attrs[k.name]))
}

// makeStates adds the outputs of what is kept, and drops what no result
// depends on.
func (in *interp) makeStates(keys []attrKey, finals map[attrKey]snap) {
	type pair struct {
		in, out      *graph.Value
		first, again *graph.Tensor
		name         string
	}
	var pairs []pair
	resets, start := in.m.resets(in, keys), newInterp(in.m, LowerOptions{Rows: in.rows}, nil)
	for _, k := range keys {
		vs := in.inputsOf[k]
		if len(vs) == 0 {
			continue
		}
		f := in.states[k]
		outs := in.lowered(f, finals[k])
		firsts := start.tensorsOf(f, start.initial(k))
		again := resets[k]
		for i, v := range vs {
			p := pair{in: v, out: outs[i], first: firsts[i], name: v.Name}
			if again != nil && !sameTensor(again[i], firsts[i]) {
				p.again = again[i]
			}
			pairs = append(pairs, p)
		}
	}
	carried := make(map[*graph.Value]*graph.Value, len(pairs))
	for _, p := range pairs {
		carried[p.in] = p.out
	}
	reached := in.reached(carried)
	var inputs []*graph.Value
	for _, v := range in.g.Inputs {
		if !slices.ContainsFunc(pairs, func(p pair) bool { return p.in == v }) {
			inputs = append(inputs, v)
		}
	}
	in.g.Inputs = inputs
	dropped := map[*graph.Value]bool{}
	for _, p := range pairs {
		if !reached[p.in] {
			dropped[p.in] = true
			continue
		}
		if len(in.g.Inputs) >= graph.MaxPorts || len(in.g.Outputs) >= graph.MaxPorts {
			in.limit("more than %d inputs or outputs with what is kept between calls", graph.MaxPorts)
		}
		in.g.Inputs = append(in.g.Inputs, p.in)
		name := p.name + "_out"
		for slices.ContainsFunc(in.g.Outputs, func(o graph.Output) bool { return o.Name == name }) {
			name += "_"
		}
		in.g.Output(name, p.out)
		in.g.States = append(in.g.States, graph.State{
			Input: len(in.g.Inputs) - 1, Output: len(in.g.Outputs) - 1, Initial: p.first, Reset: p.again,
		})
	}
	in.dropUses(dropped)
}

// dropUses removes the nodes that depend on inputs which no result needs.
func (in *interp) dropUses(dropped map[*graph.Value]bool) {
	in.g.Nodes = slices.DeleteFunc(in.g.Nodes, func(n *graph.Node) bool {
		if !slices.ContainsFunc(n.In, func(v *graph.Value) bool { return dropped[v] }) {
			return false
		}
		for _, v := range n.Out {
			dropped[v] = true
		}
		return true
	})
}

// tensorsOf returns the leaves of a form as tensors, nil where one depends on
// more than constants.
func (in *interp) tensorsOf(f *form, s snap) []*graph.Tensor {
	var out []*graph.Tensor
	for _, v := range in.lowered(f, s) {
		t := in.folded(v)
		if t == nil {
			return nil
		}
		out = append(out, t)
	}
	return out
}

func sameTensor(a, b *graph.Tensor) bool {
	if a.DType != b.DType || !a.Shape.Equal(b.Shape) {
		return false
	}
	for i := range a.Len() {
		x, y := a.At(i), b.At(i)
		if x != y && (x == x || y == y) {
			return false
		}
	}
	return true
}

// changesMatter reports whether results depend on what the module changes: if
// so, they depend on earlier calls, and a later call can tell.
func (in *interp) changesMatter() bool {
	if len(in.changed) == 0 && len(in.written) == 0 {
		return false
	}
	reached := in.reached(nil)
	for k := range in.changed {
		t, isTensor := k.o.attrs[k.name].(*graph.Tensor)
		if !isTensor {
			if in.attrRead[k.o][k.name] {
				return true
			}
			continue
		}
		if h := in.handles[t]; h != nil && in.attrRead[k.o][k.name] {
			if v := in.owners[h.memory.owner]; v == nil || in.decided[v] || reached[v] {
				return true
			}
		}
	}
	return false
}

// reached returns the values on which a result depends. carried gives what
// enters a state from one run to the next: who reads a state depends on what
// left it; it may be nil.
func (in *interp) reached(carried map[*graph.Value]*graph.Value) map[*graph.Value]bool {
	reached := map[*graph.Value]bool{}
	var walk []*graph.Value
	for _, o := range in.g.Outputs {
		walk = append(walk, o.Value)
	}
	for len(walk) > 0 {
		v := walk[len(walk)-1]
		walk = walk[:len(walk)-1]
		if reached[v] {
			continue
		}
		reached[v] = true
		if v.Def != nil {
			walk = append(walk, v.Def.In...)
		}
		if out := carried[v]; out != nil {
			walk = append(walk, out)
		}
	}
	return reached
}

// stateNames lists what a graph keeps between runs.
func stateNames(g *graph.Graph) string {
	var names []string
	for _, s := range g.States {
		names = append(names, g.Inputs[s.Input].Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
