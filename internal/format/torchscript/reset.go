package torchscript

import (
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// resets runs the method of the module that begins an episode on the stored
// state, and returns what it leaves: the leaves of each attribute that is kept.
// There are none without such a method, or where it wants to be told more
// than that all rows begin anew.
func (m *Module) resets(in *interp, keys []attrKey) map[attrKey][]*graph.Tensor {
	def := m.resetMethod()
	if def == nil || len(keys) == 0 {
		return nil
	}
	run := newInterp(m, LowerOptions{Rows: in.o.Rows}, map[string]slotHint{})
	run.states = map[attrKey]*form{}
	run.pos = def.pos
	args, ok := run.resetArguments(def)
	if !ok {
		return nil
	}
	run.call(&function{def: def, self: m.root}, args, nil)
	out := map[attrKey][]*graph.Tensor{}
	for _, k := range keys {
		if len(in.inputsOf[k]) == 0 {
			continue // set before it is ever read, so that nothing is kept
		}
		f := in.states[k]
		s := run.content(attrCell(k))
		if j := join(f, formOf(s).open(false)); !j.equal(f) {
			in.pos = def.pos
			in.unsupported("%s() of the module, which leaves %s in %s", def.name, formOf(s), k.path())
		}
		ts := run.tensorsOf(f, s)
		if ts == nil {
			in.pos = def.pos
			in.unsupported("%s() of the module, which leaves %s to chance", def.name, k.path())
		}
		out[k] = ts
	}
	return out
}

// resetMethod is the method that begins an episode: reset, or the only one
// whose name begins so.
func (m *Module) resetMethod() *funcDef {
	if def, ok := m.root.class.methods["reset"]; ok {
		return def
	}
	var found *funcDef
	for _, name := range m.root.class.order {
		if strings.HasPrefix(name, "reset_") {
			if found != nil {
				return nil
			}
			found = m.root.class.methods[name]
		}
	}
	return found
}

// resetArguments are those that begin all rows anew.
func (in *interp) resetArguments(def *funcDef) ([]value, bool) {
	if len(def.params) == 0 {
		return nil, false
	}
	var args []value
	for _, p := range def.params[1:] {
		name := typeName(p.typ)
		switch {
		case p.def != nil:
			args = append(args, in.eval(&frame{}, p.def))
		case strings.HasPrefix(name, "Optional["):
			args = append(args, nil)
		case name == "Tensor": // of rows that are done
			all := make([]int64, in.rows)
			for i := range all {
				all[i] = 1
			}
			args = append(args, newTensor(in.constant(&graph.Tensor{DType: graph.Bool, Shape: graph.Shape{in.rows}, I64: all})))
		case name == "int":
			args = append(args, int64(in.rows))
		case name == "List[int]":
			l := &list{}
			for i := range in.rows {
				l.elems = append(l.elems, int64(i))
			}
			args = append(args, l)
		default:
			return nil, false
		}
	}
	return args, true
}
