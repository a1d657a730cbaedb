package torchscript

import (
	"maps"
	"slices"
)

// A cell is a place that the code can change: a variable, an attribute, the
// elements of a list or dict, the memory of a tensor. What a branch does to
// cells is noted in a journal, undone, and merged with the other branch.
type (
	varCell struct {
		fr   *frame
		name string
	}
	attrCell struct {
		o    *object
		name string
	}
)

// gone is the content of a cell that is not there.
type gone struct{}

// journal holds what cells held before a branch.
type journal struct {
	outer *journal
	olds  map[any]any
	order []any
}

func (in *interp) begin() *journal {
	in.log = &journal{outer: in.log, olds: map[any]any{}}
	return in.log
}

// touch notes the content of a cell before it is changed.
func (in *interp) touch(cell any) {
	if in.log == nil {
		return
	}
	if _, noted := in.log.olds[cell]; noted {
		return
	}
	in.cost(1)
	var old any
	switch c := cell.(type) {
	case varCell:
		old = lookup(c.fr.vars, c.name)
	case attrCell:
		old = lookup(in.attrs[c.o], c.name)
	case *list:
		in.cost(len(c.elems) / 4)
		old = slices.Clone(c.elems)
	case *dict:
		in.cost(len(c.keys) / 4)
		old = dict{keys: slices.Clone(c.keys), vals: maps.Clone(c.vals), inputs: c.inputs}
	case *tensor:
		old = *c
	case *memory:
		old = *c
	}
	in.log.olds[cell] = old
	in.log.order = append(in.log.order, cell)
}

func lookup(m map[string]value, name string) any {
	if v, ok := m[name]; ok {
		return v
	}
	return gone{}
}

// undo puts everything back and ends the journal.
func (in *interp) undo(j *journal) {
	for _, cell := range slices.Backward(j.order) {
		old := j.olds[cell]
		_, none := old.(gone)
		switch c := cell.(type) {
		case varCell:
			if none {
				delete(c.fr.vars, c.name)
			} else {
				c.fr.vars[c.name] = old
			}
		case attrCell:
			if none {
				delete(in.attrs[c.o], c.name)
			} else {
				in.attrs[c.o][c.name] = old
			}
		case *list:
			c.elems = old.([]value)
		case *dict:
			d := old.(dict)
			c.keys, c.vals = d.keys, d.vals
		case *tensor:
			*c = old.(tensor)
		case *memory:
			*c = old.(memory)
		}
	}
	in.log = j.outer
}

// setVar is `name = v`.
func (in *interp) setVar(fr *frame, name string, v value) {
	in.touch(varCell{fr, name})
	fr.vars[name] = v
}

// putAttr sets an attribute for the rest of this run.
func (in *interp) putAttr(o *object, name string, v value) {
	in.touch(attrCell{o, name})
	if in.attrs[o] == nil {
		in.attrs[o] = map[string]value{}
	}
	in.attrs[o][name] = v
}

// reachable collects what the code can get at from a frame and from modules:
// lists, dicts, objects and memories.
func (in *interp) reachable(fr *frame) map[any]bool {
	seen := map[any]bool{}
	var walk func(v value, depth int)
	walk = func(v value, depth int) {
		if depth > maxCallDepth {
			return
		}
		switch v := v.(type) {
		case *list:
			if !seen[v] {
				seen[v] = true
				in.cost(len(v.elems) / 8)
				for _, e := range v.elems {
					walk(e, depth+1)
				}
			}
		case *tuple:
			for _, e := range v.elems {
				walk(e, depth+1)
			}
		case *dict:
			if !seen[v] {
				seen[v] = true
				for _, k := range v.keys {
					walk(v.vals[k], depth+1)
				}
			}
		case *optional:
			walk(v.v, depth+1)
		case *tensor:
			seen[v.memory] = true
		case *object:
			seen[v] = true
		}
	}
	for _, v := range fr.vars {
		walk(v, 0)
	}
	for o, attrs := range in.attrs {
		seen[o] = true
		for _, v := range attrs {
			walk(v, 0)
		}
	}
	for _, h := range in.handles {
		seen[h.memory] = true
	}
	for _, v := range in.entered { // what the module keeps, as it entered the call
		walk(v, 0)
	}
	return seen
}
