package onnx

import (
	"fmt"
	"maps"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

func init() {
	// The lowering of a graph inside a node needs the table of operators, which
	// cannot be named where it is made.
	maps.Copy(operators, map[string]lowerFunc{"If": choice, "Loop": loop, "Scan": scan})
}

// The maxima of what is unrolled.
const (
	maxInlined    = 64   // graphs and functions inside each other
	maxIterations = 4096 // of one loop
)

// inside lowers a graph of the node in a scope of its own and returns its
// outputs.
func (l *lowering) inside(b *body, what string, inputs []value) []value {
	n, in, place := l.n, l.in, l.place
	l.deeper()
	l.c.Cost(1 + len(inputs) + len(b.nodes) + len(b.tensors) + len(b.outputs))
	l.scope = &scope{values: map[string]value{}, outer: l.scope}
	for i, v := range inputs {
		l.scope.values[b.inputs[i].Name] = v
	}
	l.nodes(b, place+"."+what)
	outs := make([]value, len(b.outputs))
	for i, out := range b.outputs {
		outs[i], _ = l.scope.get(out.Name)
	}
	l.scope = l.scope.outer
	l.depth--
	l.n, l.in, l.place = n, in, place
	l.c.At(place)
	return outs
}

func (l *lowering) deeper() {
	if l.depth++; l.depth > maxInlined {
		l.c.Errorf("%w: graphs and functions inside each other, deeper than %d", torchscript.ErrLimit, maxInlined)
	}
}

// function puts the nodes of a function in the place of the node that calls
// it. Its attributes are those of the node.
func (l *lowering) function(f *function) []torchscript.Value {
	n, in, place, sc, opset := l.n, l.in, l.place, l.scope, l.opset
	l.deeper()
	l.c.Cost(1 + len(in) + len(f.body.nodes) + len(f.out))
	l.scope = &scope{values: map[string]value{}}
	for i, name := range f.in {
		if i < len(in) && name != "" {
			l.scope.values[name] = in[i]
		}
	}
	if f.opset != 0 {
		l.opset = f.opset
	}
	for i, need := range needed(f.body, f.out) {
		if !need {
			continue
		}
		own := l.withAttributes(f.body.nodes[i], n.attrs, f.defaults)
		l.node(&own, fmt.Sprintf("%s.node[%d] (%s)", place, i, short(own.op)))
	}
	results := make([]torchscript.Value, len(f.out))
	for i, name := range f.out {
		if v, ok := l.scope.get(name); ok {
			results[i] = v
		}
	}
	l.depth--
	l.n, l.in, l.place, l.scope, l.opset = n, in, place, sc, opset
	return results
}

// withAttributes is a node of a function in which references to the function's
// attributes are replaced, in the graphs inside too.
func (l *lowering) withAttributes(n node, given, defaults map[string]attribute) node {
	attrs := make(map[string]attribute, len(n.attrs))
	for name, a := range n.attrs {
		if a.ref != "" {
			from, ok := given[a.ref]
			if !ok {
				from, ok = defaults[a.ref]
			}
			if !ok {
				continue
			}
			a = from
		}
		if a.g != nil {
			l.c.Cost(len(a.g.nodes))
			g := *a.g
			g.nodes = make([]node, len(a.g.nodes))
			for i, inner := range a.g.nodes {
				g.nodes[i] = l.withAttributes(inner, given, defaults)
			}
			a.g = &g
		}
		attrs[name] = a
	}
	n.attrs = attrs
	return n
}

// branch is the graph of an attribute.
func (l *lowering) branch(name string, inputs, outputs int) *body {
	a, ok := l.attr(name)
	if !ok || a.g == nil {
		l.c.Errorf("there is no %s", name)
	}
	if len(a.g.inputs) != inputs || outputs >= 0 && len(a.g.outputs) != outputs {
		l.c.Errorf("%s has %d inputs and %d outputs, %d and %d were expected", name, len(a.g.inputs), len(a.g.outputs), inputs, outputs)
	}
	return a.g
}

// known is a condition that does not depend on data.
func (l *lowering) known(v value) (truth, ok bool) {
	s := staticOf(v)
	if s == nil || len(s.nums) != 1 {
		return false, false
	}
	return s.nums[0].rows || s.nums[0].n != 0, true
}

// choice is one of two graphs.
func choice(l *lowering) []torchscript.Value {
	then, other := l.branch("then_branch", 0, len(l.n.out)), l.branch("else_branch", 0, len(l.n.out))
	cond, ok := l.known(l.operand(0))
	if !ok {
		return l.choiceByData(then, other)
	}
	if cond {
		return results(l.inside(then, "then_branch", nil))
	}
	return results(l.inside(other, "else_branch", nil))
}

func results(vs []value) []torchscript.Value {
	out := make([]torchscript.Value, len(vs))
	for i, v := range vs {
		out[i] = v
	}
	return out
}

// loop runs a graph a number of times, which is unrolled where it is known.
func loop(l *lowering) []torchscript.Value {
	carried := max(len(l.in)-2, 0)
	body := l.branch("body", 2+carried, -1)
	stacked := len(body.outputs) - 1 - carried
	if stacked < 0 || len(l.n.out) > carried+stacked {
		l.c.Errorf("body has %d outputs for %d carried values", len(body.outputs), carried)
	}
	most := int64(maxIterations + 1)
	if l.has(0) {
		s := staticOf(l.in[0])
		if s == nil || len(s.nums) != 1 || s.nums[0].rows {
			return l.loopByData(body, carried, stacked)
		}
		most = s.nums[0].n
	}
	on := true
	if l.has(1) {
		var ok bool
		if on, ok = l.known(l.in[1]); !ok {
			return l.loopByData(body, carried, stacked)
		}
	}
	values := slices.Clone(l.in[2:])
	parts := make([][]value, stacked)
	for i := int64(0); on && i < most; i++ {
		if i >= maxIterations {
			return l.loopByData(body, carried, stacked)
		}
		number := value{s: &static{nums: []num{{n: i}}, scalar: true, dtype: graph.Int64}}
		truth := value{s: &static{nums: []num{{n: 1}}, scalar: true, dtype: graph.Bool}}
		outs := l.inside(body, "body", append([]value{number, truth}, values...))
		var ok bool
		if on, ok = l.known(outs[0]); !ok {
			return l.loopByData(body, carried, stacked)
		}
		values = outs[1 : 1+carried]
		for k := range parts {
			parts[k] = append(parts[k], outs[1+carried+k])
		}
	}
	out := results(values)
	for _, p := range parts {
		if len(p) == 0 {
			l.c.Unsupported("the results of a loop that never runs")
		}
		out = append(out, l.stack(p, 0))
	}
	return out
}

// stack joins values along a new axis.
func (l *lowering) stack(vs []value, axis int) torchscript.Value {
	parts := make([]torchscript.Value, len(vs))
	for i, v := range vs {
		x := l.tensorOf(v)
		shape := l.shape(x)
		at := l.axisOf(axis, len(shape)+1)
		parts[i] = l.reshape(x, slices.Insert(slices.Clone(shape), at, 1))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	rank := len(l.shape(parts[0]))
	return l.op(graph.OpConcat, graph.Attrs{"axis": l.axisOf(axis, rank)}, parts...)
}

// scan runs a graph for each element along an axis.
func scan(l *lowering) []torchscript.Value {
	if l.opset < 9 {
		l.c.Unsupported("Scan of operator set 8")
	}
	count := l.attrInt("num_scan_inputs", 0)
	states := len(l.in) - count
	if count < 1 || states < 0 {
		l.c.Errorf("%d scanned inputs of %d", count, len(l.in))
	}
	body := l.branch("body", len(l.in), len(l.n.out))
	axes, backwards := l.attrInts("scan_input_axes"), l.attrInts("scan_input_directions")
	outAxes, outBackwards := l.attrInts("scan_output_axes"), l.attrInts("scan_output_directions")
	at := func(list []int, k int) int {
		if k < len(list) {
			return list[k]
		}
		return 0
	}
	values := slices.Clone(l.in[:states])
	steps := -1
	xs := make([]torchscript.Value, count)
	for k := range xs {
		xs[k] = l.x(states + k)
		shape := l.shape(xs[k])
		n := shape[l.axisOf(at(axes, k), len(shape))]
		if n < 0 {
			l.c.Errorf("%w: a scan over the rows of the batch", graph.ErrMixesRows)
		}
		if steps >= 0 && n != steps || n > maxIterations {
			l.c.Errorf("scanned inputs of %d and %d steps, at most %d", steps, n, maxIterations)
		}
		steps = n
	}
	parts := make([][]value, len(body.outputs)-states)
	for i := range steps {
		in := slices.Clone(values)
		for k, x := range xs {
			step := i
			if at(backwards, k) != 0 {
				step = steps - 1 - i
			}
			axis := l.axisOf(at(axes, k), len(l.shape(x)))
			part := l.slice(x, axis, step, step+1, 1)
			in = append(in, value{t: l.reshape(part, slices.Delete(slices.Clone(l.shape(x)), axis, axis+1))})
		}
		outs := l.inside(body, "body", in)
		values = outs[:states]
		for k := range parts {
			if at(outBackwards, k) != 0 {
				parts[k] = slices.Insert(parts[k], 0, outs[states+k])
			} else {
				parts[k] = append(parts[k], outs[states+k])
			}
		}
	}
	out := results(values)
	for k, p := range parts {
		if len(p) == 0 {
			l.c.Unsupported("a scan of nothing")
		}
		out = append(out, l.stack(p, at(outAxes, k)))
	}
	return out
}

// choiceByData is a choice that the data decides about.
func (l *lowering) choiceByData(then, other *body) []torchscript.Value {
	side := func(b *body, name string) func() []torchscript.Value {
		return func() []torchscript.Value { return l.tensors(l.inside(b, name, nil)) }
	}
	return l.c.If(l.x(0), side(then, "then_branch"), side(other, "else_branch"))
}

func (l *lowering) tensors(vs []value) []torchscript.Value {
	out := make([]torchscript.Value, len(vs))
	for i, v := range vs {
		out[i] = l.tensorOf(v)
	}
	return out
}

// loopByData is a loop whose end the data decides about. It carries its own
// counter, and the condition behind it.
func (l *lowering) loopByData(body *body, carried, stacked int) []torchscript.Value {
	if stacked > 0 {
		for _, out := range l.n.out[min(1+carried, len(l.n.out)):] {
			if l.used[out] {
				l.c.Unsupported("results of each turn of a loop whose end the data decides about")
			}
		}
	}
	zero := l.c.Parameter("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{0}})
	var first torchscript.Value = true
	if l.has(1) {
		first = l.x(1)
	}
	var most torchscript.Value
	if l.has(0) {
		most = l.reshape(l.x(0), graph.Shape{})
		first = l.both(first, l.op(graph.OpLt, nil, zero, most))
	}
	start := append([]torchscript.Value{zero}, l.tensors(l.in[2:])...)
	end := l.c.Loop(first, start, func(now []torchscript.Value) (torchscript.Value, []torchscript.Value) {
		on := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{}, I64: []int64{1}}
		in := []value{{t: now[0]}, {c: on}}
		for _, v := range now[1:] {
			in = append(in, value{t: v})
		}
		outs := l.inside(body, "body", in)
		again := l.tensorOf(outs[0])
		number := l.op(graph.OpAdd, nil, now[0], int64(1))
		if most != nil {
			again = l.both(again, l.op(graph.OpLt, nil, number, most))
		}
		return again, append([]torchscript.Value{number}, l.tensors(outs[1:1+carried])...)
	})
	return end[1:]
}

// both is the condition that two conditions of one element hold.
func (l *lowering) both(a, b torchscript.Value) torchscript.Value {
	if a == true {
		return b
	}
	return l.op(graph.OpAnd, nil, l.reshape(a, graph.Shape{}), l.reshape(b, graph.Shape{}))
}
