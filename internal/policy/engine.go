package policy

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// Engine makes programs of graphs. It is chosen when a policy is opened.
type Engine interface {
	// Name is what the engine is called in settings and messages.
	Name() string
	// Compile makes a program of a graph that verifies. It must not change
	// the graph, which others hold as well.
	Compile(g *graph.Graph) (Program, error)
}

// Program is a graph that was compiled. It never changes and may be shared.
type Program interface {
	// NewRunner returns a runner, which has the memory of one run at a time.
	NewRunner() ProgramRunner
}

// ProgramRunner runs a program.
type ProgramRunner interface {
	// Run computes the outputs of the given number of rows. in holds, for each
	// input of the graph, its rows one after another, and out takes the outputs
	// in the same way; what is longer than needed is left alone beyond its need.
	// Inputs are not changed and share no memory with outputs. A graph without
	// a batch axis is given the number of rows that it is of.
	Run(rows int, in, out [][]float32, n graph.Noise) error
}

// RunsWhole tells whether an engine also runs models of other formats as they
// are, graph.OpModel: it has a method Whole that says so.
func RunsWhole(e Engine) bool {
	w, ok := e.(interface{ Whole() bool })
	return ok && w.Whole()
}

// The engines that every build has.
var (
	// Plan compiles a graph to steps in float32 for this CPU (package plan).
	Plan Engine = planEngine{}
	// Reference runs plain loops in the precision of the file
	// (graph.Evaluate). It is the slow twin of every other engine.
	Reference Engine = referenceEngine{}
)

// Auto returns an engine that compiles with the first, and with the second what
// the first cannot compute. Policy.Notes then says what that is.
func Auto(first, second Engine) Engine { return autoEngine{first, second} }

type autoEngine struct{ first, second Engine }

// insteadOf is a program of the second engine, and why.
type insteadOf struct {
	Program
	note string
}

// Name implements Engine.
func (autoEngine) Name() string { return "auto" }

// Whole tells whether one of the engines runs models as they are.
func (e autoEngine) Whole() bool { return RunsWhole(e.first) || RunsWhole(e.second) }

// Compile implements Engine.
func (e autoEngine) Compile(g *graph.Graph) (Program, error) {
	p, err := e.first.Compile(g)
	if err == nil || !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, plan.ErrUnsupported) {
		return p, err
	}
	q, second := e.second.Compile(g)
	if second != nil {
		return nil, errors.Join(err, second)
	}
	return &insteadOf{q, fmt.Sprintf("engine: %s computes the policy, because %s does not: %v", e.second.Name(), e.first.Name(), err)}, nil
}

// PlanIn is Plan with the constants of its programs and the memory of their
// runners in m.
func PlanIn(m plan.Memory) Engine { return PlanWith(plan.Options{Memory: m}) }

// PlanWith is Plan with programs that are compiled with the options.
func PlanWith(o plan.Options) Engine { return planEngine{o} }

type planEngine struct{ options plan.Options }

// planned is the program of a plan.
type planned struct {
	optimized *graph.Graph
	plan      *plan.Plan
}

// Name implements Engine.
func (planEngine) Name() string { return "plan" }

// Compile implements Engine.
func (e planEngine) Compile(g *graph.Graph) (Program, error) {
	for _, n := range g.Nodes {
		if n.Op == graph.OpModel {
			return nil, n.Attrs["model"].(*graph.Model).Reason
		}
	}
	optimized, err := g.Clone()
	if err != nil {
		return nil, err
	}
	if err := graph.Optimize(optimized); err != nil {
		return nil, err
	}
	p, err := plan.Compile(optimized, e.options)
	if err != nil {
		return nil, err
	}
	return &planned{optimized, p}, nil
}

// NewRunner implements Program.
func (p *planned) NewRunner() ProgramRunner { return p.plan.NewRunner() }

type referenceEngine struct{}

// evaluated is the program of the reference evaluator, and its runner: it
// keeps no memory.
type evaluated struct{ g *graph.Graph }

// Name implements Engine.
func (referenceEngine) Name() string { return "reference" }

// Compile implements Engine.
func (referenceEngine) Compile(g *graph.Graph) (Program, error) { return evaluated{g}, nil }

// NewRunner implements Program.
func (e evaluated) NewRunner() ProgramRunner { return e }

// Run implements ProgramRunner for graphs whose inputs are float32, as those
// of policies are.
func (e evaluated) Run(rows int, in, out [][]float32, n graph.Noise) error {
	if len(in) != len(e.g.Inputs) || len(out) != len(e.g.Outputs) {
		return fmt.Errorf("reference: %d inputs of %d, %d outputs of %d", len(in), len(e.g.Inputs), len(out), len(e.g.Outputs))
	}
	tensors := make([]*graph.Tensor, len(in))
	for i, v := range e.g.Inputs {
		shape := v.Shape.For(rows)
		want := shape.RowElements()
		if len(in[i]) < want {
			return fmt.Errorf("reference: input %s has %d numbers, %d rows need %d", v.Name, len(in[i]), rows, want)
		}
		tensors[i] = &graph.Tensor{DType: v.DType, Shape: shape, F32: in[i][:want]}
	}
	results, err := graph.Evaluate(e.g, rows, tensors, n)
	if err != nil {
		return err
	}
	for i, t := range results {
		if len(out[i]) < t.Len() {
			return fmt.Errorf("reference: output %s has room for %d numbers, %d rows need %d", e.g.Outputs[i].Name, len(out[i]), rows, t.Len())
		}
		for j := range t.Len() {
			out[i][j] = float32(t.At(j))
		}
	}
	return nil
}
