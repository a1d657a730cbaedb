package onnx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Options say which computation is wanted.
type Options struct {
	// InputShapes gives the shape of inputs by name, with graph.Batch for the
	// batch axis, in place of what the file says.
	InputShapes map[string][]int
	// Rows asks for exactly that number of rows, without a batch axis; 0 is for
	// any number.
	Rows int
}

// Lower makes the graph of the model. A model for one row, as exports without
// dynamic axes are, becomes one for any number of rows where its operators
// allow it: the rows are then computed as if one after the other.
func (m *Model) Lower(o Options) (*graph.Graph, error) {
	if widened, ok := m.widened(o); ok {
		if g, err := m.lower(widened, true); err == nil {
			return g, nil
		} else if errors.Is(err, torchscript.ErrLimit) {
			return nil, err
		}
	}
	shapes := map[string][]int{}
	for _, in := range m.Inputs {
		if s, ok := o.InputShapes[in.Name]; ok {
			shapes[in.Name] = s
		} else {
			shapes[in.Name] = in.Shape
		}
	}
	return m.lower(shapes, false)
}

// widened gives inputs of one row the batch axis. The state of a recurrent
// network, h_in and c_in of rsl_rl, has it behind the layers. It reports false
// where some shape is open, or given as another, or some input has not one row.
func (m *Model) widened(o Options) (map[string][]int, bool) {
	shapes := map[string][]int{}
	for _, in := range m.Inputs {
		s := slices.Clone(in.Shape)
		axis := 0
		if in.Name == "h_in" || in.Name == "c_in" {
			axis = 1
		}
		if len(s) <= axis || s[axis] != 1 || !graph.Shape(s).Fixed() {
			return nil, false
		}
		s[axis] = graph.Batch
		if given, ok := o.InputShapes[in.Name]; ok && !slices.Equal(given, s) {
			return nil, false
		}
		shapes[in.Name] = s
	}
	return shapes, len(shapes) > 0
}

func (m *Model) lower(shapes map[string][]int, widened bool) (*graph.Graph, error) {
	g, err := torchscript.Build("model", torchscript.LowerOptions{}, func(c *torchscript.Calls) error {
		l := &lowering{c: c, m: m, values: map[string]value{}, widened: widened, derived: map[derivation]*graph.Tensor{}}
		return l.run(shapes)
	})
	switch {
	case errors.Is(err, errors.ErrUnsupported): // its message is complete
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return g, nil
}

// value is a value of the model: an initializer, a list of numbers that is
// known while lowering (a shape, most often), or a tensor of the graph. An
// absent operand has none of them.
type value struct {
	c *graph.Tensor
	s *static
	t torchscript.Value
}

func (v value) absent() bool { return v.c == nil && v.s == nil && v.t == nil }

// lowering is the state of one lowering.
type lowering struct {
	c       *torchscript.Calls
	m       *Model
	values  map[string]value
	widened bool // a 1 of the file stands for the number of rows

	// The node that is lowered.
	n    *node
	in   []value
	used map[string]bool // values that some node or output takes

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
	t, ok := l.derived[derivation{from, what}]
	if !ok {
		t = f()
		l.derived[derivation{from, what}] = t
	}
	return l.c.Parameter("", t)
}

func (l *lowering) run(shapes map[string][]int) error {
	for _, t := range l.m.Tensors {
		l.values[t.Name] = value{c: t.Tensor}
	}
	for _, in := range l.m.Inputs {
		s := shapes[in.Name]
		open := 0
		for _, d := range s {
			if d < 0 {
				open++
			}
		}
		switch {
		case s == nil:
			l.c.Unsupported("input %s has no shape", short(in.Name))
		case open > 1:
			l.c.Unsupported("input %s of shape %v has more than one open dimension: give its shape, or export with the batch axis alone dynamic", short(in.Name), graph.Shape(s))
		case in.DType == graph.Invalid:
			l.c.Errorf("input %s has no type", short(in.Name))
		}
		l.values[in.Name] = value{t: l.c.Input(in.Name, in.DType, s)}
	}
	l.used = map[string]bool{}
	for _, n := range l.m.nodes {
		for _, in := range n.in {
			l.used[in] = true
		}
	}
	for _, out := range l.m.Outputs {
		l.used[out] = true
	}
	for i := range l.m.nodes {
		l.node(i)
	}
	l.c.At("outputs")
	for _, name := range l.m.Outputs {
		l.c.Output(name, l.tensorOf(l.values[name]))
	}
	return nil
}

// lowerFunc lowers one node: its first results, in order.
type lowerFunc func(l *lowering) []torchscript.Value

// operators is the table of operators by name.
var operators = map[string]lowerFunc{}

func init() {
	for _, group := range []map[string]lowerFunc{mathOps, activationOps, linearOps, shapeOps, reduceOps, normOps, convOps, recurrentOps} {
		maps.Copy(operators, group)
	}
}

func (l *lowering) node(i int) {
	n := &l.m.nodes[i]
	l.n = n
	l.c.At(fmt.Sprintf("graph.node[%d] (%s)", i, short(n.op)))
	f, ok := operators[n.op]
	if n.domain != "" {
		l.c.Unsupported("operator %s of domain %s", short(n.op), short(n.domain))
	}
	if !ok {
		l.c.Unsupported("operator %s of operator set %d", short(n.op), l.m.Opset)
	}
	l.in = make([]value, len(n.in))
	for k, name := range n.in {
		if name != "" {
			l.in[k] = l.values[name]
		}
	}
	if s, ok := l.fold(); ok {
		l.values[n.out[0]] = value{s: s}
		return
	}
	results := f(l)
	for k, name := range n.out {
		switch {
		case name == "":
		case k < len(results):
			l.values[name] = l.wrap(results[k])
		case l.used[name]:
			l.c.Unsupported("result %d", k+1)
		}
	}
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
