package torchexport

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Options say what a lowering knows beside the file.
type Options struct {
	// InputShapes gives the shape of inputs by name, with graph.Batch for the
	// batch axis, where the file does not.
	InputShapes map[string][]int
	// Rows asks for exactly that number of rows, without a batch axis; 0 is for
	// any number.
	Rows int
}

// Lower makes the graph of the program. One that was exported for a fixed
// number of rows becomes one for any number where its operators allow that:
// the rows are the first dimension of the first input, or else its second, as
// behind an axis of time. Where neither does, the graph has the shapes of the
// export and no batch axis.
func (p *Program) Lower(o Options) (*graph.Graph, error) {
	shapes := map[string][]int{}
	for _, in := range p.Inputs {
		if s, ok := o.InputShapes[in.Name]; ok && in.Shape == nil {
			shapes[in.Name] = s
		}
	}
	g, err := p.lower(p.shapes(), shapes, o.Rows)
	if err == nil || p.Static == 0 || errors.Is(err, torchscript.ErrLimit) {
		return g, err
	}
	if rows, second := p.batched(1); rows > 0 && len(p.Inputs[0].exact) > 2 {
		if g, again := p.lower(second, shapes, o.Rows); again == nil {
			return g, nil
		}
	}
	if !errors.Is(err, graph.ErrMixesRows) {
		exact := make([]graph.Shape, len(p.Inputs))
		for i, in := range p.Inputs {
			exact[i] = in.exact
		}
		if g, again := p.lower(exact, shapes, max(o.Rows, 1)); again == nil {
			return g, nil
		}
	}
	return nil, err
}

// RowsOf returns how many rows a program was exported for that the graph takes
// any number of: 0 where the graph has no batch axis, or the program does not
// fix the number.
func (p *Program) RowsOf(g *graph.Graph) int {
	for i, in := range p.Inputs {
		if axis := g.Inputs[i].Shape.BatchAxis(); axis >= 0 && axis < len(in.exact) {
			return in.exact[axis]
		}
	}
	return 0
}

// shapes are those of the inputs.
func (p *Program) shapes() []graph.Shape {
	shapes := make([]graph.Shape, len(p.Inputs))
	for i, in := range p.Inputs {
		shapes[i] = in.Shape
	}
	return shapes
}

func (p *Program) lower(inputs []graph.Shape, shapes map[string][]int, rows int) (*graph.Graph, error) {
	kept := p.kept()
	g, err := torchscript.Build("program", torchscript.LowerOptions{InputShapes: shapes, Rows: rows}, func(c *torchscript.Calls) error {
		l := lowering{c: c, p: p, inputs: inputs, values: map[string]torchscript.Value{}}
		return l.run(kept, rows)
	})
	if err == nil {
		err = p.states(g, kept)
	}
	if err != nil && p.Static > 0 && !errors.Is(err, torchscript.ErrLimit) {
		err = fmt.Errorf("%w (the program was exported for %d rows; export it for any number of them with dynamic_shapes and torch.export.Dim)", err, p.Static)
	}
	if err != nil {
		return nil, fmt.Errorf("torch.export: %w", err)
	}
	return g, nil
}

// lowering is the state of one lowering.
type lowering struct {
	c      *torchscript.Calls
	p      *Program
	inputs []graph.Shape // as they are taken
	values map[string]torchscript.Value
	depth  int // of graphs within graphs
}

func (l *lowering) run(kept []string, rows int) error {
	for i, in := range l.p.Inputs {
		l.values[in.value] = l.c.Input(in.Name, in.DType, slices.Clone(l.inputs[i]))
	}
	if err := l.keep(kept, rows); err != nil {
		return err
	}
	for i := range l.p.nodes {
		n := &l.p.nodes[i]
		if err := l.node(n); err != nil {
			return fmt.Errorf("node %d (%s): %w", i, short(n.Target), err)
		}
	}
	l.c.At("outputs")
	values := make([]torchscript.Value, len(l.p.outputs))
	for i, a := range l.p.outputs {
		v, err := l.arg(a)
		if err != nil {
			return fmt.Errorf("output %d: %w", i, err)
		}
		values[i] = v
	}
	l.results(values)
	return l.carryOn(kept)
}

// results names the outputs by the tree of what forward returns.
func (l *lowering) results(values []torchscript.Value) {
	t := l.p.outTree
	switch {
	case t == nil && len(values) == 1, t != nil && t.kind == "":
		l.c.Output("out", values[0])
		return
	case t != nil && t.kind == "dict":
		at := 0
		for i, c := range t.children {
			n := c.leaves()
			for k := range n {
				name := t.keys[i]
				if n > 1 || c.kind != "" {
					name += strconv.Itoa(k)
				}
				l.c.Output(name, values[at+k])
			}
			at += n
		}
		return
	}
	for i, v := range values {
		l.c.Output("out"+strconv.Itoa(i), v)
	}
}

func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// checks are operators that only assert what holds anyway.
var checks = map[string]bool{
	"_assert_tensor_metadata": true, "_assert_scalar": true, "_assert_async": true,
	"sym_constrain_range": true, "sym_constrain_range_for_size": true,
}

// renamed are operators under another name of the same function.
var renamed = map[string]string{
	"lift_fresh_copy": "clone", "lift_fresh": "alias", "detach_": "detach", "_unsafe_index": "index", "special_expit": "sigmoid",
	"_safe_softmax": "softmax", "_adaptive_avg_pool2d": "adaptive_avg_pool2d", "_is_all_true": "all", "_is_any_true": "any", "sym_numel": "numel",
	"_embedding_bag": "embedding_bag", "_embedding_bag_forward_only": "embedding_bag",
}

// python are Python's operators on numbers.
var python = map[string]string{
	"add": "add", "sub": "sub", "mul": "mul", "truediv": "truediv", "floordiv": "floordiv", "mod": "remainder", "pow": "pow", "neg": "neg",
	"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "getitem": "__getitem__",
	"or_": "__or__", "and_": "__and__", "not_": "__not__",
}

func (l *lowering) node(n *nodeJSON) error {
	l.c.At(short(n.Target))
	switch n.Target {
	case gradMode:
		return l.block(n)
	case condTarget:
		return l.cond(n)
	case whileTarget:
		return l.loop(n)
	}
	name, aten := strings.CutPrefix(n.Target, "torch.ops.aten.")
	if aten {
		name, _, _ = strings.Cut(name, ".")
	} else if op, ok := strings.CutPrefix(n.Target, "_operator."); ok {
		if name, ok = python[op]; !ok {
			l.c.Unsupported("operator %s", short(n.Target))
		}
	} else {
		l.c.Unsupported("operator %s", short(n.Target))
	}
	if checks[name] {
		return nil
	}
	if other, ok := renamed[name]; ok {
		name = other
	}
	var positional args
	kws := map[string]torchscript.Value{}
	for _, in := range n.Inputs {
		v, err := l.arg(in.Arg)
		if err != nil {
			return fmt.Errorf("argument %.40q: %w", in.Name, err)
		}
		switch {
		case in.Kind == 1, in.Kind == 0 && !byName(n.Target, in.Name):
			positional = append(positional, v)
		case name == "clone", name == "contiguous": // where and how it lies in memory
		default:
			if _, twice := kws[in.Name]; twice {
				return fmt.Errorf("argument %.40q is there twice", in.Name)
			}
			kws[in.Name] = v
		}
	}
	if _, ok := kws["dtype"]; ok && name == "to" {
		name = "_to_copy"
	}
	if f, ok := decomposed[name]; ok && len(kws) == 0 {
		return l.bind(n.Outputs, f(l, positional))
	}
	return l.bind(n.Outputs, l.c.Call(name, positional, kws))
}

// gradMode runs a graph within the graph with or without gradients, as
// torch.no_grad does: nothing of it is left outside training.
const gradMode = "torch.ops.higher_order.wrap_with_set_grad_enabled"

// maxBlocks bounds the nesting of graphs within graphs.
const maxBlocks = 16

// block puts the nodes of a graph within the graph in its place: its arguments
// are a flag, the graph, and what the graph takes.
func (l *lowering) block(n *nodeJSON) error {
	if len(n.Inputs) < 2 {
		return errors.New("the graph within the graph is missing")
	}
	operand, ok := n.Inputs[1].Arg.value.(graphOperand)
	if !ok {
		return errors.New("the graph within the graph is missing")
	}
	given, err := list(n.Inputs[2:], func(in nodeInput) (torchscript.Value, error) { return l.arg(in.Arg) })
	if err != nil {
		return err
	}
	results, err := l.inline(&operand.Graph, given.([]torchscript.Value))
	if err != nil {
		return err
	}
	l.c.At(short(n.Target))
	return l.bind(n.Outputs, results)
}

// byName reports whether an argument is one that is only given by name. The
// schema of torch 2.5 does not tell them from the others.
func byName(target, name string) bool {
	switch name {
	case "beta":
		return strings.Contains(target, "add")
	case "alpha", "dtype", "layout", "device", "pin_memory", "memory_format", "rounding_mode", "approximate", "correction",
		"generator", "implicit", "enable_gqa", "scale":
		return true
	case "keepdim":
		return strings.HasSuffix(target, ".correction")
	case "value":
		return strings.Contains(target, ".addc")
	}
	return false
}

// bind names the results of a node.
func (l *lowering) bind(outputs []argument, v torchscript.Value) error {
	if len(outputs) > 1 {
		list, ok := v.([]torchscript.Value)
		if !ok || len(list) < len(outputs) {
			return fmt.Errorf("%d results are named that are not there", len(outputs))
		}
		for i, o := range outputs {
			if err := l.bind([]argument{o}, list[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(outputs) == 0 {
		return nil
	}
	set := func(name string, v torchscript.Value) error {
		_, twice := l.values[name]
		_, tensor := l.p.tensors[name]
		if name == "" || twice || tensor {
			return fmt.Errorf("the value %.80q is empty or there twice", name)
		}
		l.values[name] = v
		return nil
	}
	switch o := outputs[0].value.(type) {
	case named:
		if list, ok := v.([]torchscript.Value); ok {
			if len(list) == 0 {
				return errors.New("there is no result")
			}
			v = list[0]
		}
		return set(o.Name, v)
	case []named:
		list, ok := v.([]torchscript.Value)
		if !ok || len(list) != len(o) {
			return fmt.Errorf("%d results are named that are not there", len(o))
		}
		for i, t := range o {
			if err := set(t.Name, list[i]); err != nil {
				return err
			}
		}
		return nil
	case symbol:
		if o.Name != nil {
			return set(*o.Name, v)
		}
	case optional:
		if o.Tensor != nil {
			return set(o.Tensor.Name, v)
		}
	}
	if outputs[0].is("as_none") {
		return nil
	}
	l.c.Unsupported("a result that is no tensor and no number")
	return nil
}

// arg turns an argument of the JSON into one of a call.
func (l *lowering) arg(a argument) (torchscript.Value, error) {
	switch a.kind {
	case "as_none", "as_memory_format", "as_layout", "as_device":
		return nil, nil
	case "as_scalar_type":
		dt, err := dtype(a.value.(int64))
		if err != nil {
			return nil, err
		}
		return scalarTypes[dt], nil
	}
	switch v := a.value.(type) {
	case int64, string, bool:
		return v, nil
	case float:
		return float64(v), nil
	case named:
		return l.tensor(v.Name)
	case []named:
		return list(v, func(n named) (torchscript.Value, error) { return l.tensor(n.Name) })
	case []int64:
		return list(v, func(n int64) (torchscript.Value, error) { return n, nil })
	case []float:
		return list(v, func(f float) (torchscript.Value, error) { return float64(f), nil })
	case []bool:
		return list(v, func(b bool) (torchscript.Value, error) { return b, nil })
	case symbol:
		return l.symbol(v)
	case []symbol:
		return list(v, l.symbol)
	case optional:
		return l.optional(v)
	case []optional:
		return list(v, l.optional)
	case graphOperand:
		return nil, unsupportedf("a graph within the graph: control flow that depends on data")
	}
	return nil, unsupportedf("an argument of the kind %.40q", a.kind)
}

func list[T any](items []T, f func(T) (torchscript.Value, error)) (torchscript.Value, error) {
	out := make([]torchscript.Value, len(items))
	for i, item := range items {
		v, err := f(item)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (l *lowering) tensor(name string) (torchscript.Value, error) {
	if v, ok := l.values[name]; ok {
		return v, nil
	}
	if t, ok := l.p.tensors[name]; ok {
		return l.c.Parameter(t.Name, t.Tensor), nil
	}
	return nil, fmt.Errorf("there is no value %.80q", name)
}

func (l *lowering) symbol(s symbol) (torchscript.Value, error) {
	switch {
	case s.Name != nil:
		if v, ok := l.values[*s.Name]; ok {
			return v, nil
		}
		return nil, fmt.Errorf("there is no value %.80q", *s.Name)
	case s.Int != nil:
		return *s.Int, nil
	case s.Bool != nil:
		return *s.Bool, nil
	case s.Float != nil:
		return float64(*s.Float), nil
	}
	return nil, errors.New("a symbol without a name")
}

func (l *lowering) optional(o optional) (torchscript.Value, error) {
	if o.Tensor == nil {
		return nil, nil
	}
	return l.tensor(o.Tensor.Name)
}
