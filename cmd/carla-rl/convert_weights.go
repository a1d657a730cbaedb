package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// weightKinds are the words of --weights and the narrow types that they stand
// for.
var weightKinds = map[string]graph.DType{"bf16": graph.BFloat16, "int8": graph.Int8}

// narrowing is a policy whose dense layers were rounded to fewer bits, beside
// the one that it was made of.
type narrowing struct {
	to     graph.DType
	engine *narrowEngine
	policy *policy.Policy // with narrow weights

	golden, drawn int // observations on which it was compared
	actions       []*actionError
	tolerance     float64
}

// actionError is how far one action is from that of float32 weights.
type actionError struct {
	name     string
	discrete bool
	values   int
	max, sum float64
	beyond   int // values beyond the tolerance, or choices that differ
	flipped  int // of these, choices on golden vectors
}

// narrowEngine is the plan of a graph whose weights it rounds first.
type narrowEngine struct {
	to               graph.DType
	layers, elements int // of the graph that has most
}

// Name implements policy.Engine.
func (e *narrowEngine) Name() string { return "plan with " + e.to.String() + " weights" }

// Compile implements policy.Engine.
func (e *narrowEngine) Compile(g *graph.Graph) (policy.Program, error) {
	narrow, err := g.Clone()
	if err != nil {
		return nil, err
	}
	if err := e.narrow(narrow); err != nil {
		return nil, err
	}
	p, err := plan.Compile(narrow, plan.Options{})
	if err != nil {
		return nil, err
	}
	return narrowProgram{p}, nil
}

// narrow optimizes a graph, so that nothing folds into its weights later, and
// rounds them.
func (e *narrowEngine) narrow(g *graph.Graph) error {
	if err := graph.Optimize(g); err != nil {
		return err
	}
	layers, elements, err := graph.NarrowWeights(g, e.to)
	if elements > e.elements {
		e.layers, e.elements = layers, elements
	}
	return err
}

type narrowProgram struct{ plan *plan.Plan }

// NewRunner implements policy.Program.
func (p narrowProgram) NewRunner() policy.ProgramRunner { return p.plan.NewRunner() }

// narrows reports whether weights are to be rounded.
func (c *convertCmd) narrows() bool { return c.Weights != "" && c.Weights != "float32" }

// checkWeights refuses flags that do not go together.
func (c *convertCmd) checkWeights() error {
	switch {
	case !c.narrows():
		return nil
	case !(c.Tolerance > 0) || math.IsInf(c.Tolerance, 0):
		return errors.New("--tolerance must be above 0")
	case c.Samples < 1 || c.Samples > samplesMax:
		return fmt.Errorf("--samples must be from 1 to %d", samplesMax)
	case c.Rows > 0:
		return errors.New("--weights does not go with --rows")
	}
	return nil
}

// samplesMax bounds the observations that weights are compared on.
const samplesMax = 100_000

// narrow rounds the weights of a policy and compares what it does with what it
// did: on the golden vectors of its card, and on drawn observations.
func (c *convertCmd) narrow(a *artifact.Artifact, p *policy.Policy) (*narrowing, error) {
	n := &narrowing{to: weightKinds[c.Weights], tolerance: c.Tolerance}
	n.engine = &narrowEngine{to: n.to}
	// The card's tolerance is for float32; what is made declares its own.
	golden := a.Card.Golden
	a.Card.Golden = nil
	q, err := policy.Open(a, policy.Options{Engine: n.engine, Untried: true})
	a.Card.Golden = golden
	if err != nil {
		return nil, fmt.Errorf("with %s weights: %w", c.Weights, err)
	}
	if n.engine.layers == 0 {
		return nil, fmt.Errorf("--weights %s: no dense layer has %d weights or more, and smaller ones are as fast in float32", c.Weights, graph.NarrowLeast)
	}
	n.policy = q
	contract := p.Contract()
	for i := range contract.Actions {
		a := &contract.Actions[i]
		name := "action"
		if a.Name != "" {
			name += " " + a.Name
		}
		n.actions = append(n.actions, &actionError{name: name, discrete: a.Discrete})
	}
	if golden != nil {
		o := newObservations(contract, len(golden.Vectors))
		o.episodeStart = make([]bool, o.rows)
		for i := range golden.Vectors {
			if err := contract.Pack(golden.Vectors[i].Observation, i, o.in); err != nil {
				return nil, fmt.Errorf("golden vector %d: %w", i, err)
			}
			o.episodeStart[i] = true
		}
		if err := n.compare(p, o, true); err != nil {
			return nil, err
		}
	}
	o, err := (&verification{}).usable(p, newSampler(p, c.Seed).sample(c.Samples))
	if err != nil {
		return nil, err
	}
	return n, n.compare(p, o, false)
}

// compare adds what both policies do with the observations.
func (n *narrowing) compare(p *policy.Policy, o *observations, golden bool) error {
	want, err := ask(p, o, true, 0)
	if err != nil {
		return err
	}
	got, err := ask(n.policy, o, true, 0)
	if err != nil {
		return fmt.Errorf("with %v weights: %w", n.to, err)
	}
	if golden {
		n.golden += o.rows
	} else {
		n.drawn += o.rows
	}
	c := p.Contract()
	for i, e := range n.actions {
		a := &c.Actions[i]
		g, w := actionValues(c, a, o.rows, got.actions), actionValues(c, a, o.rows, want.actions)
		for j := range w {
			e.add(g[j], w[j], n.tolerance, golden)
		}
	}
	return nil
}

func (e *actionError) add(got, want, tolerance float64, golden bool) {
	d := math.Abs(got - want)
	e.values++
	switch {
	case d == 0:
	case e.discrete:
		e.beyond++
		if golden {
			e.flipped++
		}
	default:
		e.max, e.sum = max(e.max, d), e.sum+d
		if !(d <= tolerance+tolerance*math.Abs(want)) {
			e.beyond++
		}
	}
}

// lines tell of the weights and of the error.
func (n *narrowing) lines() []string {
	elements := n.engine.elements
	lines := []string{fmt.Sprintf("weights %s in %s: %d weights in %d bytes, of float32 %d; the rest is float32",
		weightName(n.to), counted(n.engine.layers, "dense layer"), elements, elements*n.to.Bytes(), 4*elements)}
	for _, e := range n.actions {
		if e.discrete {
			lines = append(lines, fmt.Sprintf("error   %s: %d of %d choices are those of float32", e.name, e.values-e.beyond, e.values))
			continue
		}
		lines = append(lines, fmt.Sprintf("error   %s: at most %.2g, mean %.2g", e.name, e.max, e.sum/float64(e.values)))
	}
	of := counted(n.drawn, "drawn observation")
	if n.golden > 0 {
		of = counted(n.golden, "golden vector") + " and " + of
	}
	allowed := fmt.Sprintf("%g + %g·|action|", n.tolerance, n.tolerance)
	if slices.ContainsFunc(n.actions, func(e *actionError) bool { return e.discrete }) {
		allowed = fmt.Sprintf("%g %% of drawn choices", 100*n.tolerance)
		if slices.ContainsFunc(n.actions, func(e *actionError) bool { return !e.discrete }) {
			allowed = fmt.Sprintf("%g + %g·|action| and %s", n.tolerance, n.tolerance, allowed)
		}
	}
	return append(lines, fmt.Sprintf("against float32 on %s; allowed are %s", of, allowed))
}

func weightName(to graph.DType) string {
	if to == graph.Int8 {
		return "int8"
	}
	return to.String()
}

// check refuses what is beyond the tolerance. Choices on golden vectors are to
// be equal, those on drawn observations within the share that the tolerance is,
// unless changes are allowed.
func (n *narrowing) check(allowChanged bool) error {
	var wrong []string
	for _, e := range n.actions {
		switch {
		case !e.discrete && e.beyond > 0:
			wrong = append(wrong, fmt.Sprintf("%s differs by up to %.3g, %d of %d values beyond the tolerance", e.name, e.max, e.beyond, e.values))
		case e.discrete && !allowChanged && e.flipped > 0:
			wrong = append(wrong, fmt.Sprintf("%s is another choice on %s", e.name, counted(e.flipped, "golden vector")))
		case e.discrete && !allowChanged && float64(e.beyond) > n.tolerance*float64(e.values):
			wrong = append(wrong, fmt.Sprintf("%s is another choice in %d of %d", e.name, e.beyond, e.values))
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%s weights do not do what float32 does: %s; --tolerance sets what is allowed, and nothing was written", weightName(n.to), strings.Join(wrong, "; "))
}
