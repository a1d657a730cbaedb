package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// rowsMax bounds --rows: the graph is made for each of them.
const rowsMax = 4096

// rowsGraph is the graph of a bare model file for the number of rows that the
// file fixes, or that --rows says, as predict runs it: a policy takes such a
// file one observation at a time. It is nil where the graph of the policy is
// what the file allows: for any number of rows, or with state, which is that of
// one episode.
func (c *convertCmd) rowsGraph(a *artifact.Artifact, p *policy.Policy, shapes *givenShapes) (*graph.Graph, []string, error) {
	d := p.Description()
	bare := !a.Card.Present && d.Spaces == nil && len(p.Preprocessing()) == 0 && !c.Sampled && !c.Masked
	switch {
	case c.Rows == 0 && (p.Batchable() || !bare || len(p.Contract().State) > 0):
		return nil, nil, nil
	case c.Rows == 0:
	case !bare:
		return nil, nil, usage(errors.New("--rows is for a bare model file, without a card, a preprocessor or the spaces of an environment"))
	case p.Batchable():
		return nil, nil, usage(errors.New("--rows: the file that is written takes any number of rows"))
	case len(p.Contract().State) > 0:
		return nil, nil, usage(errors.New("--rows: the model keeps state, which is that of one episode"))
	}
	n, err := readNetwork(a)
	if err != nil {
		return nil, nil, err
	}
	o := format.LowerOptions{Deterministic: true, Rows: c.Rows}
	if slices.Contains(d.Methods, "act") {
		o.Method = "act"
	}
	if o.InputShapes, err = shapes.forInputs(d.Inputs); err != nil {
		return nil, nil, err
	}
	g, err := n.Lower(o)
	mixes := c.Rows == 0 && errors.Is(err, graph.ErrMixesRows)
	if mixes {
		o.Rows = 1
		g, err = n.Lower(o)
	}
	if err != nil {
		return nil, nil, err
	}
	note := "The inputs have the shapes that the model was made for, its rows among them; it takes no others."
	rows := firstDimension(g)
	switch {
	case c.Rows > 0 && (g.Batched() || len(g.States) > 0):
		return nil, nil, usage(errors.New("--rows: the network has no fixed rows"))
	case g.Batched() || len(g.States) > 0:
		return nil, nil, nil
	case c.Rows == 0 && rows < 2 && mixes:
		return nil, []string{"What is computed for one row depends on how many there are, or on the row: --rows N writes a file for N rows at a time."}, nil
	case c.Rows == 0 && rows < 2:
		return nil, nil, nil
	case c.Rows > 0 && rows != c.Rows:
		return nil, nil, usage(fmt.Errorf("--rows %d: the model was made for %d rows, and its operators allow no others", c.Rows, rows))
	case c.Rows > 0:
		note = fmt.Sprintf("The file takes %d rows at a time, no more and no fewer.", rows)
	}
	g.Outputs[0].Name = "action"
	if c.ActionOnly {
		g.Outputs = g.Outputs[:1]
	}
	return g, []string{note}, g.Verify()
}

// firstDimension is that of the first input of a graph, 0 where there is none.
func firstDimension(g *graph.Graph) int {
	if len(g.Inputs) == 0 || len(g.Inputs[0].Shape) == 0 {
		return 0
	}
	return g.Inputs[0].Shape[0]
}
