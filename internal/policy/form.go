package policy

import (
	"sync"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// form is one way to act: deterministic or sampled, with action masks or
// without, with extras or the action alone. The graph of a form with extras is
// composed when it is first asked for, that of another when the policy is
// opened; the program is made when it is first asked for, so that a form which
// nobody uses takes no memory for its weights.
type form struct {
	engine Engine

	composing sync.Once                    // guards what follows
	compose   func() (*graph.Graph, error) // nil once it was called
	graph     *graph.Graph
	composed  error
	draws     bool // of the graph, where it has been composed

	compiling sync.Once // guards what follows
	program   Program
	compiled  error
}

// build returns the form's graph.
func (f *form) build() (*graph.Graph, error) {
	f.composing.Do(func() {
		f.graph, f.composed = f.compose()
		f.compose = nil
		f.draws = f.composed != nil || f.graph.Draws()
	})
	return f.graph, f.composed
}

// compile returns the form's program.
func (f *form) compile() (Program, error) {
	f.compiling.Do(func() {
		var g *graph.Graph
		if g, f.compiled = f.build(); f.compiled == nil {
			f.program, f.compiled = f.engine.Compile(g)
		}
	})
	return f.program, f.compiled
}

// networks are the graphs of the model file by formOf, without extras.
type networks [4]*lowered

// forms are the ways to act, by formOf. A policy that does not sample has the
// deterministic form in both places; one that takes no masks has none with
// them.
type forms [2 * len(networks{})]*form

func formOf(deterministic, masked, extras bool) int {
	i := 0
	if !deterministic {
		i |= 1
	}
	if masked {
		i |= 2
	}
	if extras {
		i |= len(networks{})
	}
	return i
}

// makeForms prepares the forms of the networks, and composes those without
// extras.
func (p *Policy) makeForms(src *sources, all networks) error {
	kept := *src
	kept.network = nil // The forms hold what they need of it.
	for i, n := range all {
		if n == nil {
			continue
		}
		extras := i + len(all)
		for j, other := range all[:i] {
			if other == n {
				p.forms[i], p.forms[extras] = p.forms[j], p.forms[j+len(all)]
			}
		}
		if p.forms[i] != nil {
			continue
		}
		p.forms[i] = &form{engine: p.engine, compose: func() (*graph.Graph, error) { return p.composeForm(&kept, n, nil) }}
		p.forms[extras] = &form{engine: p.engine, compose: func() (*graph.Graph, error) { return p.composeForm(&kept, n, p.contract.Extras) }}
		if _, err := p.forms[i].build(); err != nil {
			return err
		}
	}
	return nil
}
