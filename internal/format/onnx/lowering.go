package onnx

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// value is a value of the model: an initializer, a list of numbers that is
// known while lowering (a shape, most often), a tensor of the graph, or a
// sequence. An absent operand has none of them.
type value struct {
	c   *graph.Tensor
	s   *static
	t   torchscript.Value
	seq *sequence
}

func (v value) absent() bool { return v.c == nil && v.s == nil && v.t == nil && v.seq == nil }

// scope are the values of a graph of the file. A graph inside another sees
// those around it.
type scope struct {
	values map[string]value
	outer  *scope
}

func (s *scope) get(name string) (value, bool) {
	for ; s != nil; s = s.outer {
		if v, ok := s.values[name]; ok {
			return v, true
		}
	}
	return value{}, false
}

// lowering is the state of one lowering.
type lowering struct {
	c       *torchscript.Calls
	m       *Model
	opset   int64 // of the operators of ONNX itself
	scope   *scope
	depth   int  // of graphs and functions
	widened bool // a 1 of the file stands for the number of rows

	// The node that is lowered.
	n     *node
	place string
	in    []value
	used  map[string]bool // values that some node or output takes

	derived map[derivation]*graph.Tensor
}

// derivation names a constant that is made of an initializer. Nodes that share
// the initializer share it too, so that a small file cannot make many of them.
type derivation struct {
	from *graph.Tensor
	what string
}

// derive returns the constant that f makes of an initializer.
func (l *lowering) derive(from *graph.Tensor, what string, f func() *graph.Tensor) torchscript.Value {
	return l.c.Parameter("", l.once(from, what, f))
}

func (l *lowering) run(shapes map[string][]int) {
	l.used = map[string]bool{}
	uses(l.m.body, l.used)
	for _, f := range l.m.functions {
		uses(f.body, l.used)
		for _, out := range f.out {
			l.used[out] = true
		}
	}
	for _, state := range []bool{false, true} {
		for _, in := range l.m.Inputs {
			if l.m.isState(in.Name) == state {
				l.input(in, shapes[in.Name])
			}
		}
	}
	l.nodes(l.m.body, "graph")
	l.c.At("outputs")
	for _, state := range []bool{false, true} {
		for _, name := range l.m.Outputs {
			if l.m.isStateOutput(name) == state {
				v, _ := l.scope.get(name)
				l.c.Output(name, l.tensorOf(v))
			}
		}
	}
}

// input makes an input of the graph. A shape that is not told is found by the
// operators that take it.
func (l *lowering) input(in Input, s []int) {
	if countOpen(s) > 1 {
		l.c.Unsupported("input %s of shape %v has more than one open dimension: give its shape, or export with the batch axis alone dynamic", short(in.Name), graph.Shape(s))
	}
	if in.DType == graph.Invalid {
		l.c.Errorf("input %s has no type", short(in.Name))
	}
	l.scope.values[in.Name] = value{t: l.c.Input(in.Name, in.DType, s)}
}

// uses marks the values that nodes and outputs of a graph take.
func uses(b *body, used map[string]bool) {
	for _, n := range b.nodes {
		for _, in := range n.in {
			used[in] = true
		}
		for _, a := range n.attrs {
			if a.g != nil {
				uses(a.g, used)
			}
		}
	}
	for _, out := range b.outputs {
		used[out.Name] = true
	}
}

// needed tells of each node whether an output depends on it: the others are
// not lowered, so that what is left over in a file does no harm.
func needed(b *body, outs []string) []bool {
	want := map[string]bool{}
	for _, out := range outs {
		want[out] = true
	}
	need := make([]bool, len(b.nodes))
	for i := len(b.nodes) - 1; i >= 0; i-- {
		n := &b.nodes[i]
		for _, out := range n.out {
			need[i] = need[i] || out != "" && want[out]
		}
		if !need[i] {
			continue
		}
		for _, in := range n.in {
			want[in] = true
		}
		for _, a := range n.attrs {
			if a.g != nil {
				uses(a.g, want)
			}
		}
	}
	return need
}

// nodes lowers the nodes of a graph in the present scope.
func (l *lowering) nodes(b *body, place string) {
	outs := make([]string, len(b.outputs))
	for i, out := range b.outputs {
		outs[i] = out.Name
	}
	for _, t := range b.tensors {
		l.scope.values[t.Name] = value{c: t.Tensor}
	}
	for i, need := range needed(b, outs) {
		if need {
			l.node(&b.nodes[i], fmt.Sprintf("%s.node[%d] (%s)", place, i, short(b.nodes[i].op)))
		}
	}
}

// lowerFunc lowers one node: its first results, in order.
type lowerFunc func(l *lowering) []torchscript.Value

// operators is the table of operators by name.
var operators = map[string]lowerFunc{}

func init() {
	for _, group := range []map[string]lowerFunc{mathOps, activationOps, linearOps, shapeOps, reduceOps, normOps, convOps, recurrentOps, indexOps, padOps, quantizeOps, quantizedOps, sequenceOps, attentionOps} {
		maps.Copy(operators, group)
	}
}

func (l *lowering) node(n *node, place string) {
	l.n, l.place = n, place
	l.c.At(place)
	l.in = make([]value, len(n.in))
	for k, name := range n.in {
		if name != "" {
			l.in[k], _ = l.scope.get(name)
		}
	}
	var results []torchscript.Value
	if f, ok := l.m.functions[functionKey(n.domain, n.op)]; ok {
		results = l.function(f)
	} else if s, ok := l.fold(); ok {
		l.c.Cost(len(s.nums) / 4)
		l.scope.values[n.out[0]] = value{s: s}
		return
	} else if c := l.foldCast(); c != nil {
		l.scope.values[n.out[0]] = value{c: c}
		return
	} else if c := l.foldNarrow(); c != nil {
		l.scope.values[n.out[0]] = value{c: c}
		return
	} else {
		results = l.operator()(l)
	}
	l.c.At(place)
	known := l.operandsKnown()
	for k, name := range n.out {
		switch {
		case name == "":
		case k < len(results) && results[k] != nil:
			v := l.wrap(results[k])
			if known {
				v = l.computed(v)
			}
			l.scope.values[name] = v
		case l.used[name]:
			l.c.Unsupported("result %d", k+1)
		}
	}
}

// operandsKnown reports whether the node has operands and none of them depends
// on the inputs.
func (l *lowering) operandsKnown() bool {
	for _, v := range l.in {
		switch {
		case v.absent(), v.c != nil:
		case v.s != nil:
			if slices.ContainsFunc(v.s.nums, func(n num) bool { return n.rows }) {
				return false
			}
		default:
			return false
		}
	}
	return len(l.in) > 0
}

// maxComputed bounds the elements of a result that is computed while lowering,
// so that operators see it that need to know an operand.
const maxComputed = 4096

// computed is a result of known operands as a constant, where it is small.
func (l *lowering) computed(v value) value {
	if v.t == nil {
		return v
	}
	if shape, ok := l.c.Shape(v.t); !ok || !shape.Fixed() || shape.RowElements() > maxComputed {
		return v
	}
	if c := l.c.Known(v.t); c != nil {
		return value{c: c}
	}
	return v
}

// operator is the lowering of the node.
func (l *lowering) operator() lowerFunc {
	table := operators
	switch l.n.domain {
	case "":
	case "ai.onnx.ml":
		table = learningOps
	case "com.microsoft":
		table = microsoftOps
	default:
		l.c.Unsupported("operator %s of domain %s", short(l.n.op), short(l.n.domain))
	}
	f, ok := table[l.n.op]
	switch {
	case !ok && l.n.domain == "":
		l.c.Unsupported("operator %s of operator set %d", short(l.n.op), l.opset)
	case !ok:
		l.c.Unsupported("operator %s of domain %s", short(l.n.op), short(l.n.domain))
	}
	return f
}

// wrap sorts a result of a lowering.
func (l *lowering) wrap(v torchscript.Value) value {
	switch v := v.(type) {
	case value:
		return v
	case *graph.Tensor:
		return value{c: v}
	}
	return value{t: v}
}

// tensorOf is a value as a tensor of the graph.
func (l *lowering) tensorOf(v value) torchscript.Value {
	switch {
	case v.t != nil:
		return v.t
	case v.c != nil:
		return l.c.Parameter("", v.c)
	case v.s != nil:
		return l.c.Parameter("", l.constOf(v))
	}
	if v.seq != nil {
		l.c.Unsupported("a sequence as a tensor")
	}
	l.c.Errorf("an operand is missing")
	return nil
}

// has reports whether operand k is there.
func (l *lowering) has(k int) bool { return k < len(l.in) && !l.in[k].absent() }

// operand is operand k, which must be there.
func (l *lowering) operand(k int) value {
	if !l.has(k) {
		l.c.Errorf("operand %d is missing", k+1)
	}
	return l.in[k]
}

// x is operand k as a tensor.
func (l *lowering) x(k int) torchscript.Value {
	return l.tensorOf(l.operand(k))
}

// maybe is operand k as a tensor, nil where it is absent.
func (l *lowering) maybe(k int) torchscript.Value {
	if !l.has(k) {
		return nil
	}
	return l.x(k)
}

// shape is the shape of a tensor.
func (l *lowering) shape(v torchscript.Value) graph.Shape {
	s, ok := l.c.Shape(v)
	if !ok {
		l.c.Errorf("a value without a shape")
	}
	return s
}

// constOf is a value that does not depend on the inputs, nil where it does.
func (l *lowering) constOf(v value) *graph.Tensor {
	if v.s == nil {
		return v.c
	}
	t := &graph.Tensor{DType: v.s.dtype, Shape: v.s.shape(), I64: []int64{}}
	for _, n := range v.s.nums {
		if n.rows {
			l.c.Unsupported("the number of rows as a value of the computation")
		}
		t.I64 = append(t.I64, n.n)
	}
	return t
}

// constant is operand k, which must not depend on the inputs.
func (l *lowering) constant(k int) *graph.Tensor {
	t := l.constOf(l.operand(k))
	if t == nil {
		l.c.Unsupported("operand %d that depends on data", k+1)
	}
	return t
}

// ints is operand k as a list of integers.
func (l *lowering) ints(k int) []int {
	t := l.constant(k)
	if t.DType.IsFloat() || len(t.Shape) > 1 || t.Len() > maxStatic {
		l.c.Errorf("operand %d is %v%v, a list of integers was expected", k+1, t.DType, t.Shape)
	}
	out := make([]int, len(t.I64))
	for i, x := range t.I64 {
		out[i] = int(x)
	}
	return out
}

// number is operand k as a number.
func (l *lowering) number(k int) float64 {
	t := l.constant(k)
	if t.Len() != 1 {
		l.c.Errorf("operand %d is of shape %v, one number was expected", k+1, t.Shape)
	}
	return t.At(0)
}

func (l *lowering) attr(name string) (attribute, bool) { a, ok := l.n.attrs[name]; return a, ok }

func (l *lowering) attrInt(name string, def int) int {
	if a, ok := l.n.attrs[name]; ok {
		return int(a.i)
	}
	return def
}

func (l *lowering) attrFloat(name string, def float64) float64 {
	if a, ok := l.n.attrs[name]; ok {
		return a.f
	}
	return def
}

func (l *lowering) attrText(name, def string) string {
	if a, ok := l.n.attrs[name]; ok {
		return a.s
	}
	return def
}

func (l *lowering) attrInts(name string) []int {
	a := l.n.attrs[name]
	out := make([]int, len(a.ints))
	for i, x := range a.ints {
		out[i] = int(x)
	}
	return out
}

// intsOf are integers of an attribute, or of operand k in later operator sets.
func (l *lowering) intsOf(name string, k int) ([]int, bool) {
	if _, ok := l.n.attrs[name]; ok {
		return l.attrInts(name), true
	}
	if l.has(k) {
		return l.ints(k), true
	}
	return nil, false
}

// axisOf counts an axis from 0.
func (l *lowering) axisOf(axis, rank int) int {
	if axis < -rank || axis >= rank {
		l.c.Errorf("axis %d of %d dimensions", axis, rank)
	}
	if axis < 0 {
		axis += rank
	}
	return axis
}

// op adds a node with one result.
func (l *lowering) op(op graph.Op, attrs graph.Attrs, in ...torchscript.Value) torchscript.Value {
	return l.c.Op(op, attrs, in...)
}

// call calls a function of torch by position.
func (l *lowering) call(name string, args ...torchscript.Value) torchscript.Value {
	return l.c.Call(name, args, nil)
}

// list is a list of numbers as an argument of a call.
func list(ns []int) []torchscript.Value {
	out := make([]torchscript.Value, len(ns))
	for i, n := range ns {
		out[i] = int64(n)
	}
	return out
}

func (l *lowering) reshape(x torchscript.Value, shape graph.Shape) torchscript.Value {
	if l.shape(x).Equal(shape) {
		return x
	}
	return l.op(graph.OpReshape, graph.Attrs{"shape": []int(shape)}, x)
}

func (l *lowering) slice(x torchscript.Value, axis, start, end, step int) torchscript.Value {
	return l.op(graph.OpSlice, graph.Attrs{"axis": axis, "start": start, "end": end, "step": step}, x)
}

func (l *lowering) permute(x torchscript.Value, perm []int) torchscript.Value {
	return l.op(graph.OpTranspose, graph.Attrs{"perm": perm}, x)
}

func one(v torchscript.Value) []torchscript.Value { return []torchscript.Value{v} }

// Operators lists the operators that have a lowering, sorted.
func Operators() []string {
	names := make([]string, 0, len(operators))
	for name := range operators {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}
