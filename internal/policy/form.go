package policy

import (
	"sync"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// form is one way to act: deterministic or sampled, with action masks or
// without. The graph is composed when the policy is opened; the program is
// made when it is first asked for, so that a form which nobody uses takes no
// memory for its weights.
type form struct {
	graph  *graph.Graph
	engine Engine

	once    sync.Once // guards what follows
	program Program
	err     error
}

// compile returns the form's program.
func (f *form) compile() (Program, error) {
	f.once.Do(func() { f.program, f.err = f.engine.Compile(f.graph) })
	return f.program, f.err
}

// forms are the ways to act, by formOf. A policy that does not sample has the
// deterministic form in both places; one that takes no masks has none with
// them.
type forms [4]*form

func formOf(deterministic, masked bool) int {
	i := 0
	if !deterministic {
		i |= 1
	}
	if masked {
		i |= 2
	}
	return i
}
