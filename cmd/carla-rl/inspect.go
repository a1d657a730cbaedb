package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// inspectCmd prints what was understood of a path.
type inspectCmd struct {
	Path  string `arg:"" help:"A folder, or one file: model, preprocessor, VecNormalize, model card."`
	Stage string `placeholder:"STAGE" enum:"decode,graph,optimized,plan," default:"" help:"Dump one stage instead: decode, graph, optimized or plan."`
	JSON  bool   `help:"Print JSON."`
}

// Help tells the stages and the exit codes.
func (c *inspectCmd) Help() string {
	return `Opens the path as the server would, runs nothing of it, and tells what it holds.
Exit code 0: it loads and verifies (a file of weights only: it was read whole);
1: it is refused, with the reason on standard error.

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
	st, err := newStages(o)
	if err != nil {
		return err
	}
	switch {
	case c.Stage != "":
		return st.dump(s.out, c.Stage)
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
		return st, st.compile(func() (*graph.Graph, error) {
			return o.network.Lower(format.LowerOptions{Deterministic: true})
		})
	case o.preprocessor != nil:
		st.steps = o.preprocessor.Describe()
		return st, st.compile(func() (*graph.Graph, error) { return o.preprocessor.Graph(anyWidth) })
	}
	return st, nil
}

// anyWidth is the width with which a preprocessor that takes any is shown.
const anyWidth = 3

// compile lowers twice, because the passes change the graph that they are
// given and both are to be shown.
func (st *stages) compile(lower func() (*graph.Graph, error)) error {
	var err error
	if st.graph, err = lower(); err != nil {
		return err
	}
	if err = st.graph.Verify(); err != nil {
		return err
	}
	if st.optimized, err = lower(); err != nil {
		return err
	}
	if err = graph.Optimize(st.optimized); err != nil {
		return err
	}
	st.plan, err = plan.Compile(st.optimized, plan.Options{})
	return err
}

// dump prints one stage.
func (st *stages) dump(w io.Writer, stage string) error {
	var text string
	switch {
	case stage == "decode":
		text = st.decoded()
	case st.graph == nil:
		return errors.New("unsupported: this path holds no computation, so it has no stage " + stage)
	case stage == "graph":
		text = st.graph.String()
	case stage == "optimized":
		text = st.optimized.String()
	default:
		text = st.plan.Steps()
	}
	_, err := io.WriteString(w, printable(strings.TrimRight(text, "\n")+"\n"))
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
