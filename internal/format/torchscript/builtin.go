package torchscript

import (
	"errors"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// builtin is a function that the code may call and does not define. Arguments
// are bound to the names of the parameters; one that is left out is absent.
type builtin struct {
	params string // names with blanks between them
	fn     func(c *call) value
}

// call is one call of a built-in function.
type call struct {
	in   *interp
	name string // as the code has it, without torch.
	args []value
}

// The tables of built-in functions: those on Python values, tried when no
// argument is a tensor, and those on tensors.
var (
	scalarBuiltins = map[string]builtin{}
	tensorBuiltins = map[string]builtin{}
)

func register(table map[string]builtin, group map[string]builtin) {
	for name, b := range group {
		if _, dup := table[name]; dup {
			panic("torchscript: built-in " + name + " is registered twice")
		}
		table[name] = b
	}
}

func init() {
	for _, g := range []map[string]builtin{scalarMath, scalarLogic, containerBuiltins, textBuiltins, primBuiltins} {
		register(scalarBuiltins, g)
	}
	for _, g := range []map[string]builtin{
		binaryBuiltins, unaryBuiltins, mathBuiltins, activationBuiltins, linearBuiltins, convBuiltins, shapeBuiltins,
		indexBuiltins, selectBuiltins, scatterBuiltins, joinBuiltins, reduceBuiltins, normBuiltins, createBuiltins, randomBuiltins, typeBuiltins, attentionBuiltins, poolBuiltins, rnnBuiltins,
	} {
		register(tensorBuiltins, g)
	}
}

// maxCallArgs bounds the arguments of one call of a built-in.
const maxCallArgs = 64

// builtin calls a built-in function by its dotted name.
func (in *interp) builtin(full string, args []value, kws map[string]value) value {
	name := full
	for _, prefix := range []string{"torch.", "ops.prim.", "ops.aten.", "prim.", "aten."} {
		if rest, ok := strings.CutPrefix(full, prefix); ok {
			name = rest
			break
		}
	}
	if len(args) > maxCallArgs {
		in.limit("call of %s with %d arguments", name, len(args))
	}
	onTensors, onScalars := false, false
	for _, a := range args {
		switch a := a.(type) {
		case *tensor:
			onTensors = true
		case *scalar:
			onScalars = true
		case *list:
			in.cost(len(a.elems) / 4)
		case *tuple:
			in.cost(len(a.elems) / 4)
		case *dict:
			in.cost(len(a.keys) / 4)
		case string:
			in.cost(len(a) / 64)
		}
	}
	for _, a := range kws {
		if _, ok := a.(*tensor); ok {
			onTensors = true
		}
	}
	if onScalars && !onTensors && len(kws) == 0 {
		if v, ok := in.onScalars(name, args); ok {
			return v
		}
	}
	first, second := scalarBuiltins, tensorBuiltins
	if onTensors {
		first, second = second, first
	}
	b, ok := first[name]
	if !ok {
		if b, ok = second[name]; !ok {
			return in.inPlace(name, full, args, kws)
		}
	}
	return in.bind(name, b, args, kws)
}

func (in *interp) bind(name string, b builtin, args []value, kws map[string]value) value {
	c := &call{in: in, name: name}
	params := strings.Fields(b.params)
	if len(args) > len(params) {
		in.unsupported("torch.%s with %d arguments", name, len(args))
	}
	c.args = make([]value, len(params))
	copy(c.args, args)
	used := 0
	for i := range params {
		if i >= len(args) {
			c.args[i] = absent{}
		}
		if v, ok := kws[params[i]]; ok {
			if i < len(args) {
				in.errorf("%s got %s twice", name, params[i])
			}
			c.args[i] = v
			used++
		}
	}
	if used < len(kws) {
		for k := range kws {
			if !strings.Contains(" "+b.params+" ", " "+k+" ") && !ignoredKeyword(k) {
				in.unsupported("torch.%s with an argument %s", name, k)
			}
		}
	}
	return b.fn(c)
}

// ignoredKeyword names arguments that change where and how a result lies in
// memory, not what it is.
func ignoredKeyword(k string) bool {
	switch k {
	case "device", "layout", "pin_memory", "memory_format", "requires_grad", "generator", "non_blocking", "implicit":
		return true
	}
	return false
}

// inPlace calls a function whose name ends in an underscore: the function
// without it, whose result the first argument takes.
func (in *interp) inPlace(name, full string, args []value, kws map[string]value) value {
	base, ok := strings.CutSuffix(name, "_")
	if ok && len(args) > 0 && !strings.HasSuffix(base, "_") {
		t, isTensor := args[0].(*tensor)
		_, known := tensorBuiltins[base]
		if isTensor && known {
			result, ok := in.builtin("torch."+base, args, kws).(*tensor)
			if !ok {
				in.unsupported("%s", full)
			}
			if t.pending || result == t {
				return result
			}
			in.assignTo(t, in.read(result))
			return t
		}
	}
	if strings.HasPrefix(full, "torch.") {
		in.unsupported("operator %s", full)
	}
	in.unsupported("function %s", full)
	return nil
}

// assignTo writes v into t, which keeps its shape and element type.
func (in *interp) assignTo(t *tensor, v *graph.Value) {
	old := in.read(t)
	v = in.expandTo(in.cast(v, old.DType), old.Shape)
	in.write(t, v)
}

// has reports whether argument i was given, and is not None.
func (c *call) has(i int) bool {
	switch c.args[i].(type) {
	case absent, nil:
		return false
	}
	return true
}

func (c *call) wrong(i int, want string) {
	if _, ok := c.args[i].(absent); ok {
		c.in.errorf("%s: argument %d is missing, %s was expected", c.name, i+1, want)
	}
	c.in.errorf("%s: argument %d is a %s, %s was expected", c.name, i+1, kindName(c.args[i]), want)
}

// handle returns a tensor argument. A number becomes a tensor.
func (c *call) handle(i int) *tensor {
	switch v := c.args[i].(type) {
	case *tensor:
		return v
	case bool, int64, float64, rows:
		return newNumber(v)
	case *scalar:
		return newTensor(v.beside(c.in, nil))
	}
	c.wrong(i, "a tensor")
	return nil
}

// value returns the graph value of a tensor argument.
func (c *call) value(i int) *graph.Value { return c.in.read(c.handle(i)) }

// optional returns the graph value of a tensor argument, nil where it is None
// or left out.
func (c *call) optional(i int) *graph.Value {
	if !c.has(i) {
		return nil
	}
	return c.value(i)
}

// int returns an integer argument; def where it is left out.
func (c *call) int(i int, def int) int {
	if _, ok := c.args[i].(absent); ok {
		return def
	}
	return c.toInt(i, c.args[i])
}

func (c *call) toInt(i int, v value) int {
	switch v := v.(type) {
	case int64:
		return clampInt(v)
	case bool:
		n, _ := toInt(v)
		return int(n)
	case *tensor:
		if n, ok := c.in.numberNeeded(v).(int64); ok {
			return clampInt(n)
		}
	case rows:
		c.in.mixes("torch.%s with the number of rows as argument", c.name)
	case *scalar:
		c.in.unsupported("torch.%s with an integer that depends on data", c.name)
	}
	c.wrong(i, "an integer")
	return 0
}

// clampInt keeps an integer of the code within 2^40, where sums of a few of
// them cannot overflow. Sizes beyond that are refused everywhere, and a slice
// to the end stays one.
func clampInt(v int64) int {
	const most = 1 << 40
	return int(max(min(v, most), -most))
}

// float returns a number; def where it is left out or None.
func (c *call) float(i int, def float64) float64 {
	if !c.has(i) {
		return def
	}
	v := c.args[i]
	if t, ok := v.(*tensor); ok {
		v = c.in.numberNeeded(t)
	}
	f, ok := toFloat(v)
	if _, data := v.(*scalar); data {
		c.in.unsupported("torch.%s with a number that depends on data", c.name)
	}
	if !ok {
		c.wrong(i, "a number")
	}
	return f
}

func (c *call) bool(i int, def bool) bool {
	if !c.has(i) {
		return def
	}
	return c.in.truth(c.args[i], c.in.pos, "argument of "+c.name)
}

func (c *call) str(i int, def string) string {
	if !c.has(i) {
		return def
	}
	s, ok := c.args[i].(string)
	if !ok {
		c.wrong(i, "a string")
	}
	return s
}

// inferDim stands in a list of dimensions for the -1 of the code, which is
// worked out from the others; -1 itself is the batch.
const inferDim = -1 << 41

// elems returns the elements of a list argument. A single value is a list of
// one; nil where it is left out or None.
func (c *call) elems(i int) []value {
	if !c.has(i) {
		return nil
	}
	var elems []value
	switch v := c.args[i].(type) {
	case *list:
		elems = v.elems
	case *tuple:
		elems = v.elems
	default:
		elems = []value{v}
	}
	if len(elems) > maxListLen {
		c.in.limit("list of %d integers", len(elems))
	}
	return elems
}

// dims returns a shape that the code gives: the number of rows is Batch and
// its multiples, and -1 is inferDim.
func (c *call) dims(i int) []int {
	elems := c.elems(i)
	out := make([]int, len(elems))
	for k, e := range elems {
		if t, ok := e.(*tensor); ok {
			e = c.in.numberNeeded(t)
		}
		if n, ok := e.(rows); ok {
			out[k] = -clampInt(int64(n))
			continue
		}
		switch d := c.toInt(i, e); {
		case d == -1:
			out[k] = inferDim
		case d < 0:
			c.in.errorf("%s: a dimension of %d", c.name, d)
		default:
			out[k] = d
		}
	}
	return out
}

// ints returns a list of integers.
func (c *call) ints(i int) []int {
	elems := c.elems(i)
	if elems == nil {
		return nil
	}
	out := make([]int, len(elems))
	for k, e := range elems {
		out[k] = c.toInt(i, e)
	}
	return out
}

// tensors returns the handles of a list of tensors.
func (c *call) tensors(i int) []*tensor {
	l, ok := c.args[i].(*list)
	var elems []value
	if ok {
		elems = l.elems
	} else if t, isTuple := c.args[i].(*tuple); isTuple {
		elems = t.elems
	} else {
		c.wrong(i, "a list of tensors")
	}
	out := make([]*tensor, len(elems))
	for k, e := range elems {
		if out[k], ok = e.(*tensor); !ok {
			c.in.errorf("%s: a list with a %s, tensors were expected", c.name, kindName(e))
		}
	}
	return out
}

// add appends a node with one result. Its errors are refusals where the
// operator cannot be served, else errors of the code.
func (in *interp) add(op graph.Op, attrs graph.Attrs, operands ...*graph.Value) *graph.Value {
	v := in.addNode(op, attrs, operands...).Out[0]
	if op != graph.OpReshape {
		in.follow(v, operands)
	}
	return v
}

// addNode appends a node.
func (in *interp) addNode(op graph.Op, attrs graph.Attrs, operands ...*graph.Value) *graph.Node {
	in.cost(8) // a node costs more than a step
	own := make([]*graph.Value, len(operands))
	for i, v := range operands {
		own[i] = in.use(v)
	}
	n, err := in.g.AddNode(op, attrs, own...)
	switch {
	case errors.Is(err, graph.ErrMixesRows):
		in.mixes("%v", err)
	case errors.Is(err, graph.ErrUnsupportedOp):
		in.unsupported("%v", err)
	case err != nil:
		in.fail(&RunError{Pos: in.pos, Err: err})
	}
	for _, v := range n.Out {
		in.here(v)
	}
	return n
}

// constant adds a constant that the code made.
func (in *interp) constant(t *graph.Tensor) *graph.Value {
	if in.made += t.Len(); in.made > maxMadeElements {
		in.limit("constants of more than %d elements made by the code", maxMadeElements)
	}
	return in.here(in.g.Constant("", t))
}

// number adds a Python number as an operand beside like.
func (in *interp) number(v value, like *graph.Value) *graph.Value {
	switch n := v.(type) {
	case float64:
		return in.here(in.g.Number(n, like))
	case int64:
		return in.here(in.g.Integer(n))
	case bool:
		return in.numberTensor(n)
	case *scalar:
		return n.beside(in, like)
	}
	in.mixes("the number of rows as a value of the computation")
	return nil
}

// cast converts v to an element type.
func (in *interp) cast(v *graph.Value, dt graph.DType) *graph.Value {
	if v.DType == dt {
		return v
	}
	return in.add(graph.OpCast, graph.Attrs{"dtype": dt}, v)
}

// reshape gives v another shape; the same shape is no node. One that moves the
// batch axis past other elements would deal elements of one row to others.
func (in *interp) reshape(v *graph.Value, shape graph.Shape) *graph.Value {
	if v.Shape.Equal(shape) {
		return v
	}
	major := 1
	if a := shape.BatchAxis(); a >= 0 && !v.Shape.Fixed() {
		lead, rest := in.leading(v), before(shape)
		if rest == 0 || lead%rest != 0 || -shape[a]%max(lead/rest, 1) != 0 {
			in.mixes("a reshape of %v to %v: rows of the batch would be mixed", v.Shape, shape)
		}
		major = lead / rest
	}
	out := in.add(graph.OpReshape, graph.Attrs{"shape": []int(shape)}, v)
	if major > 1 {
		in.majors[out] = major
	}
	return out
}

// before returns the number of elements that the dimensions before the batch
// axis count.
func before(s graph.Shape) int {
	n := 1
	for _, d := range s[:max(0, s.BatchAxis())] {
		n *= d
	}
	return n
}

// leading returns the number of elements that lie before those of one row and
// the next: the dimensions before the batch axis, and what was merged into it
// from before.
func (in *interp) leading(v *graph.Value) int { return before(v.Shape) * max(1, in.majors[v]) }

// follow notes what was merged into the batch axis of a result, which is what
// was merged into those of its operands.
func (in *interp) follow(out *graph.Value, operands []*graph.Value) {
	if len(in.majors) == 0 || out.Shape.Fixed() {
		return
	}
	major, seen := 1, false
	for _, v := range operands {
		a := v.Shape.BatchAxis()
		if a < 0 {
			continue
		}
		m := max(1, in.majors[v])
		if seen && m != major {
			in.mixes("an operation on rows in two orders: rows of the batch would be mixed")
		}
		major, seen = m, true
	}
	if major > 1 {
		in.majors[out] = major
	}
}

// expandTo stretches v to a shape.
func (in *interp) expandTo(v *graph.Value, shape graph.Shape) *graph.Value {
	if v.Shape.Equal(shape) {
		return v
	}
	return in.add(graph.OpExpand, graph.Attrs{"shape": []int(shape)}, v)
}

// axis counts an axis from the front.
func (in *interp) axis(a, rank int) int {
	if rank == 0 && (a == 0 || a == -1) {
		return 0
	}
	if a < -rank || a >= rank {
		in.errorf("dimension %d of a tensor of %d dimensions", a, rank)
	}
	if a < 0 {
		a += rank
	}
	return a
}
