package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// inspectCmd prints what was understood of a path.
type inspectCmd struct {
	Path  string `arg:"" help:"A folder, or one file: model, preprocessor, VecNormalize, model card."`
	Stage string `placeholder:"STAGE" enum:"decode,graph,optimized,plan," default:"" help:"Dump one stage instead: decode, graph, optimized or plan."`
	JSON  bool   `help:"Print JSON; of one stage: {\"stage\": ..., \"text\": ...}."`
}

// Help tells the stages and the exit codes.
func (c *inspectCmd) Help() string {
	return `Opens the path as the server would, runs nothing of it, and tells what it holds.
Exit code 0: it loads and verifies (a file of weights only: it was read whole; one
that does not tell the shape of its input: all but its operators is shown); 1: it is
refused, with the reason on standard error.

Stages: decode (what is in the file), graph (the whole computation as one graph),
optimized (after the passes) and plan (the steps for this CPU).

Examples:
  carla-rl inspect ./artifacts
  carla-rl inspect model.pt --stage plan`
}

// Run opens the path and prints.
func (c *inspectCmd) Run(s stdio) error {
	o, err := openPath(c.Path)
	if err != nil {
		return err
	}
	o.asPolicy()
	st, err := newStages(o)
	if err != nil {
		return err
	}
	switch {
	case c.Stage != "":
		return st.dump(s.out, c.Stage, c.JSON)
	case c.JSON:
		return writeJSON(s.out, newReport(o, st))
	}
	w := &strings.Builder{}
	newReport(o, st).print(w)
	_, err = io.WriteString(s.out, printable(w.String()))
	return err
}

// stages are the forms that a computation goes through. Those that a path does
// not have (a card, a file of weights only) are nil.
type stages struct {
	description *format.Description
	steps       []string // of the preprocessor
	graph       *graph.Graph
	optimized   *graph.Graph
	plan        *plan.Plan
	notes       []string
}

// newStages makes every stage, so that what cannot be compiled is refused.
func newStages(o *opened) (*stages, error) {
	st := &stages{}
	switch {
	case o.policy != nil:
		d := o.policy.Description()
		st.description = &d
		st.steps = o.policy.Preprocessing()
		st.graph, st.optimized, st.plan = o.policy.Composed(), o.policy.Optimized(), o.policy.Plan()
		return st, nil
	case o.network != nil:
		d := o.network.Describe()
		st.description = &d
		if d.WeightsOnly {
			return st, nil
		}
		g, err := st.lower(o.network)
		if g == nil || err != nil {
			return st, err
		}
		return st, st.compile(g)
	case o.preprocessor != nil:
		st.steps = o.preprocessor.Describe()
		g, err := o.preprocessor.Graph(anyWidth)
		if err != nil {
			return nil, err
		}
		return st, st.compile(g)
	}
	return st, nil
}

// anyWidth is the width with which a preprocessor that takes any is shown.
const anyWidth = 3

// lower makes the graph of a network. It gives none, and says why, where the
// file does not tell the shape of an input: what is in the file is known then,
// and how it computes is not.
func (st *stages) lower(n format.Network) (*graph.Graph, error) {
	g, err := n.Lower(format.LowerOptions{Deterministic: true})
	if errors.Is(err, graph.ErrMixesRows) {
		own, ownErr := n.Lower(format.LowerOptions{Deterministic: true, Rows: 1})
		if ownErr != nil {
			return nil, ownErr
		}
		st.notes = append(st.notes, "Observations go through it one at a time: what is computed depends on the observation, or it keeps state in itself.")
		return own, nil
	}
	var unknown *torchscript.NeedShapeError
	if errors.As(err, &unknown) && !errors.Is(unknown.Cause, errors.ErrUnsupported) {
		st.notes = append(st.notes, fmt.Sprintf("The operators are not shown: %s.", strings.TrimPrefix(unknown.Error(), "unsupported: ")))
		return nil, nil
	}
	return g, err
}

// compile makes the stages of a graph. The passes change the graph that they
// are given, and both are to be shown.
func (st *stages) compile(g *graph.Graph) error {
	if err := g.Verify(); err != nil {
		return err
	}
	optimized, err := g.Clone()
	if err != nil {
		return err
	}
	if err := graph.Optimize(optimized); err != nil {
		return err
	}
	st.graph, st.optimized = g, optimized
	st.plan, err = plan.Compile(optimized, plan.Options{})
	return err
}

// stageDump is one stage as JSON.
type stageDump struct {
	Stage string `json:"stage"`
	Text  string `json:"text"`
}

// dump prints one stage.
func (st *stages) dump(w io.Writer, stage string, asJSON bool) error {
	var text string
	switch {
	case stage == "decode":
		text = st.decoded()
	case st.graph == nil && len(st.notes) > 0:
		return fmt.Errorf("there is no stage %s. %s", stage, st.notes[0])
	case st.graph == nil:
		return errors.New("unsupported: this path holds no computation, so it has no stage " + stage)
	case stage == "graph":
		text = st.graph.String()
	case stage == "optimized":
		text = st.optimized.String()
	default:
		text = st.plan.Steps()
	}
	text = strings.TrimRight(text, "\n") + "\n"
	if asJSON {
		return writeJSON(w, stageDump{stage, text})
	}
	_, err := io.WriteString(w, printable(text))
	return err
}

// decoded lists the layers and tensors of the model file, and the steps of
// the preprocessor.
func (st *stages) decoded() string {
	var b strings.Builder
	for _, step := range st.steps {
		fmt.Fprintf(&b, "preprocess %s\n", step)
	}
	if d := st.description; d != nil {
		for _, layer := range d.Layers {
			fmt.Fprintf(&b, "layer      %s\n", layer)
		}
		for _, t := range d.Tensors {
			fmt.Fprintf(&b, "tensor     %s %v %v\n", t.Name, t.DType, graph.Shape(t.Shape))
		}
	}
	return b.String()
}
