package torchscript

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// scope is a graph under construction: that of the method, or that of a branch
// or the body of a loop which the data decides about. Values of the scopes
// around it are captured: they become inputs of its graph.
type scope struct {
	g        *graph.Graph
	outer    *scope // nil for the method
	loop     bool   // the body of a loop, or within one
	own      map[*graph.Value]*graph.Value
	from     map[*graph.Value]*graph.Value // of an input, the captured value of the outer scope
	captured []*graph.Value                // of the outer scope, in the order of their inputs
}

func (in *interp) push(loop bool) *scope {
	in.sc = &scope{
		g: graph.New(""), outer: in.sc, loop: loop || in.sc.loop,
		own: map[*graph.Value]*graph.Value{}, from: map[*graph.Value]*graph.Value{},
	}
	in.g = in.sc.g
	return in.sc
}

// enter makes s the present scope and returns the way back.
func (in *interp) enter(s *scope) func() {
	old := in.sc
	in.sc, in.g = s, s.g
	return func() { in.sc, in.g = old, old.g }
}

// home returns the scope in which a value was made.
func (in *interp) home(v *graph.Value) *scope {
	if s, ok := in.homes[v]; ok {
		return s
	}
	return in.root
}

// here notes that a value belongs to the present scope.
func (in *interp) here(v *graph.Value) *graph.Value {
	if in.sc != in.root {
		in.homes[v] = in.sc
	}
	return v
}

// use returns what stands for v in the present scope.
func (in *interp) use(v *graph.Value) *graph.Value { return in.useIn(in.sc, v) }

func (in *interp) useIn(s *scope, v *graph.Value) *graph.Value {
	if in.home(v) == s {
		return v
	}
	if w, ok := s.own[v]; ok {
		return w
	}
	var w *graph.Value
	if v.Const != nil {
		w = s.g.Constant(v.Name, v.Const)
	} else {
		if s.outer == nil {
			in.errorf("a value of a branch is used outside of it")
		}
		o := in.useIn(s.outer, v)
		if own, ok := s.own[o]; ok {
			w = own
		} else {
			w = in.capture(s, o)
		}
	}
	s.own[v] = w
	if s != in.root {
		in.homes[w] = s
	}
	return w
}

// capture makes an input of s of a value of the scope around it.
func (in *interp) capture(s *scope, o *graph.Value) *graph.Value {
	in.cost(8)
	w := s.g.Input(fmt.Sprintf("c%d", len(s.captured)), o.DType, o.Shape)
	s.own[o], s.from[w] = w, o
	s.captured = append(s.captured, o)
	in.homes[w] = s
	return w
}

// within reports whether values of s are at hand in the scope: it is s, or
// lies in it.
func (sc *scope) within(s *scope) bool {
	for ; sc != nil; sc = sc.outer {
		if sc == s {
			return true
		}
	}
	return false
}
