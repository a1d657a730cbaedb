package torchexport

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// mutation is an output of the graph that is the next value of a buffer.
type mutation struct {
	buffer string // the value that stands for it
	output argument
}

// mutates notes that an output is the next value of a buffer.
func (p *Program) mutates(buffer string, output argument) error {
	for value, t := range p.tensors {
		if t.Name == buffer {
			p.mutations = append(p.mutations, mutation{value, output})
			return nil
		}
	}
	return fmt.Errorf("the next value of %.80q, which is no buffer", buffer)
}

// views are operators whose result lies in the memory of their first operand.
var views = []string{
	"alias", "detach", "view", "view_as", "reshape", "_unsafe_view", "expand", "expand_as", "slice", "select", "narrow", "squeeze", "unsqueeze",
	"t", "transpose", "permute", "flatten", "unflatten", "diagonal", "chunk", "split", "unbind", "lift_fresh",
}

// aten returns the name of an operator of aten without its overload, "" for
// any other.
func aten(target string) string {
	name, ok := strings.CutPrefix(target, "torch.ops.aten.")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// inPlace tells whether an operator changes its first operand: its name ends
// in one underscore.
func inPlace(name string) bool { return strings.HasSuffix(name, "_") && !strings.HasSuffix(name, "__") }

// kept returns the tensors of the file that a run changes, by the values that
// stand for them, in the order of their first change: those that an operator
// changes in place, itself or through a view, and those whose next value is an
// output.
func (p *Program) kept() []string {
	var kept []string
	keep := func(value string) {
		if _, ok := p.tensors[value]; ok && !slices.Contains(kept, value) {
			kept = append(kept, value)
		}
	}
	memory := map[string]string{} // of a view
	for i := range p.nodes {
		n := &p.nodes[i]
		name := aten(n.Target)
		if name == "" || len(n.Inputs) == 0 {
			continue
		}
		first, ok := n.Inputs[0].Arg.tensorName()
		if !ok {
			continue
		}
		if of, ok := memory[first]; ok {
			first = of
		}
		changes := inPlace(name)
		if changes {
			keep(first)
		}
		if !changes && !slices.Contains(views, name) {
			continue
		}
		for _, o := range n.Outputs {
			for _, result := range names(o) {
				memory[result] = first
			}
		}
	}
	for _, m := range p.mutations {
		keep(m.buffer)
	}
	return kept
}

// names are the tensors of an argument.
func names(a argument) []string {
	switch v := a.value.(type) {
	case named:
		return []string{v.Name}
	case []named:
		out := make([]string, len(v))
		for i, t := range v {
			out[i] = t.Name
		}
		return out
	}
	return nil
}

// Recurrent reports whether the program keeps state between runs.
func (p *Program) Recurrent() bool { return len(p.kept()) > 0 }

// stateError is the refusal of a program with state for any number of rows.
type stateError struct{ msg string }

func (e *stateError) Error() string { return e.msg }
func (e *stateError) Is(target error) bool {
	return target == errors.ErrUnsupported || target == graph.ErrMixesRows
}

// keep makes inputs of the tensors that a run changes. They have no batch axis,
// so that all rows share them.
func (l *lowering) keep(kept []string, rows int) error {
	if len(kept) > 0 && rows == 0 {
		var buffers []string
		for _, value := range kept {
			buffers = append(buffers, l.p.tensors[value].Name)
		}
		return &stateError{fmt.Sprintf("unsupported: state that is kept in buffers between runs (%s), which all rows would share", strings.Join(buffers, ", "))}
	}
	for _, value := range kept {
		t := l.p.tensors[value]
		l.values[value] = l.c.Input(l.p.stateName(t.Name), t.Tensor.DType, slices.Clone(t.Tensor.Shape))
	}
	return nil
}

// stateName is that of a tensor, unless an input has it.
func (p *Program) stateName(name string) string {
	for slices.ContainsFunc(p.Inputs, func(in Input) bool { return in.Name == name }) {
		name += "_kept"
	}
	return name
}

// carryOn makes outputs of what the tensors have become.
func (l *lowering) carryOn(kept []string) error {
	for _, value := range kept {
		next := l.values[value]
		for _, m := range l.p.mutations {
			if m.buffer == value {
				var err error
				if next, err = l.arg(m.output); err != nil {
					return err
				}
			}
		}
		l.c.Output(l.p.stateName(l.p.tensors[value].Name)+"_out", next)
	}
	return nil
}

// states pairs the inputs and outputs of what is kept, which are the last ones.
func (p *Program) states(g *graph.Graph, kept []string) error {
	for i, value := range kept {
		in, out := len(g.Inputs)-len(kept)+i, len(g.Outputs)-len(kept)+i
		if in < 0 || out < 0 || g.Inputs[in].Name != p.stateName(p.tensors[value].Name) {
			return errors.New("a state is no input of the graph")
		}
		if v := g.Outputs[out].Value; v.DType != g.Inputs[in].DType || !v.Shape.Equal(g.Inputs[in].Shape) {
			return unsupportedf("the state %s is %v%v before a run and %v%v after it", p.tensors[value].Name, g.Inputs[in].DType, g.Inputs[in].Shape, v.DType, v.Shape)
		}
		g.States = append(g.States, graph.State{Input: in, Output: out, Initial: p.tensors[value].Tensor})
	}
	return g.Verify()
}

// conditions and loops on data.
const (
	condTarget  = "torch.ops.higher_order.cond"
	whileTarget = "torch.ops.higher_order.while_loop"
)

// graphs returns the graphs within the graph among the operands of a node, and
// the other operands, lists of which are taken apart.
func (l *lowering) graphs(n *nodeJSON) ([]*graphJSON, []torchscript.Value, error) {
	var graphs []*graphJSON
	var given []torchscript.Value
	for i := range n.Inputs {
		a := n.Inputs[i].Arg
		if g, ok := a.value.(graphOperand); ok {
			graphs = append(graphs, &g.Graph)
			continue
		}
		v, err := l.arg(a)
		if err != nil {
			return nil, nil, err
		}
		if list, ok := v.([]torchscript.Value); ok {
			given = append(given, list...)
		} else {
			given = append(given, v)
		}
	}
	return graphs, given, nil
}

// cond is torch.cond: a condition, two graphs, and what they take.
func (l *lowering) cond(n *nodeJSON) error {
	graphs, given, err := l.graphs(n)
	switch {
	case err != nil:
		return err
	case len(graphs) != 2 || len(given) < 1:
		return fmt.Errorf("a condition with %d graphs", len(graphs))
	}
	side := func(g *graphJSON) func() []torchscript.Value {
		return func() []torchscript.Value { return l.within(g, given[1:]) }
	}
	return l.bind(n.Outputs, l.c.If(given[0], side(graphs[0]), side(graphs[1])))
}

// loop is torch.while_loop: a graph for the condition and one for the body,
// what is carried, and what both take beside it.
func (l *lowering) loop(n *nodeJSON) error {
	graphs, given, err := l.graphs(n)
	switch {
	case err != nil:
		return err
	case len(graphs) != 2 || len(n.Inputs) < 3:
		return fmt.Errorf("a loop with %d graphs", len(graphs))
	}
	carried := len(names(n.Inputs[2].Arg))
	if carried == 0 || carried > len(given) {
		return unsupportedf("a loop that carries other things than tensors")
	}
	beside := given[carried:]
	holds := func(now []torchscript.Value) torchscript.Value {
		results := l.within(graphs[0], slices.Concat(now, beside))
		if len(results) != 1 {
			l.c.Errorf("the condition of a loop gives %d values", len(results))
		}
		return results[0]
	}
	out := l.c.Loop(holds(given[:carried]), given[:carried], func(now []torchscript.Value) (torchscript.Value, []torchscript.Value) {
		next := l.within(graphs[1], slices.Concat(now, beside))
		return holds(next), next
	})
	return l.bind(n.Outputs, out)
}

// within computes a graph within the graph. What is wrong with it ends the
// computation.
func (l *lowering) within(g *graphJSON, given []torchscript.Value) []torchscript.Value {
	out, err := l.inline(g, given)
	if err != nil {
		l.c.Errorf("%w", err)
	}
	return out
}

// inline puts the nodes of a graph within the graph in its place.
func (l *lowering) inline(g *graphJSON, given []torchscript.Value) ([]torchscript.Value, error) {
	if l.depth >= maxBlocks {
		return nil, fmt.Errorf("%w: graphs within graphs, deeper than %d", ErrLimit, maxBlocks)
	}
	if len(g.Inputs) != len(given) {
		return nil, fmt.Errorf("%d values for a graph that takes %d", len(given), len(g.Inputs))
	}
	inner := lowering{c: l.c, p: &Program{}, values: map[string]torchscript.Value{}, depth: l.depth + 1}
	for i, v := range given {
		if err := inner.bind([]argument{g.Inputs[i]}, v); err != nil {
			return nil, err
		}
	}
	for i := range g.Nodes {
		if err := inner.node(&g.Nodes[i]); err != nil {
			return nil, fmt.Errorf("node %d (%s): %w", i, short(g.Nodes[i].Target), err)
		}
	}
	results, err := list(g.Outputs, inner.arg)
	if err != nil {
		return nil, err
	}
	return results.([]torchscript.Value), nil
}
