package torchscript

import (
	"sort"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// shapeBuiltins give a tensor another shape. Most results are views.
var shapeBuiltins = map[string]builtin{
	"view":         {"x size", func(c *call) value { return c.reshaped(c.dims(1), false) }},
	"reshape":      {"x shape", func(c *call) value { return c.reshaped(c.dims(1), true) }},
	"_unsafe_view": {"x size", func(c *call) value { return c.reshaped(c.dims(1), false) }},
	"view_as":      {"x other", func(c *call) value { return c.reshaped(c.value(1).Shape, false) }},
	"reshape_as":   {"x other", func(c *call) value { return c.reshaped(c.value(1).Shape, true) }},
	"flatten":      {"x start_dim end_dim", flatten},
	"ravel":        {"x", flatten1},
	"unflatten":    {"x dim sizes", unflatten},
	"squeeze":      {"x dim", squeeze},
	"unsqueeze":    {"x dim", unsqueeze},
	"permute":      {"x dims", func(c *call) value { return c.permuted(c.permutation(1)) }},
	"transpose":    {"x dim0 dim1", func(c *call) value { return c.swapped(c.int(1, 0), c.int(2, 1)) }},
	"swapaxes":     {"x dim0 dim1", func(c *call) value { return c.swapped(c.int(1, 0), c.int(2, 1)) }},
	"swapdims":     {"x dim0 dim1", func(c *call) value { return c.swapped(c.int(1, 0), c.int(2, 1)) }},
	"movedim":      {"x source destination", movedim},
	"moveaxis":     {"x source destination", movedim},
	"t":            {"x", func(c *call) value { return c.swapped(0, -1) }},
	"numpy_T":      {"x", func(c *call) value { return c.swapped(0, -1) }},
	"adjoint":      {"x", func(c *call) value { return c.swapped(-2, -1) }},
	"expand":       {"x size implicit", expand},
	"expand_as":    {"x other", func(c *call) value { return c.expanded(c.value(1).Shape) }},
	"broadcast_to": {"x size", expand},
	"repeat":       {"x repeats", func(c *call) value { return repeat(c, c.ints(1)) }},
	"tile":         {"x dims", func(c *call) value { return repeat(c, c.ints(1)) }},
	"atleast_1d":   {"x", func(c *call) value { return atLeast(c, 1) }},
	"atleast_2d":   {"x", func(c *call) value { return atLeast(c, 2) }},
	"atleast_3d":   {"x", atLeast3},
	"meshgrid":     {"tensors indexing", meshgrid},

	"contiguous": {"x memory_format", contiguous},
	"clone":      {"x memory_format", clone},
}

// reshaped is a view of argument 0 in another shape, of which one dimension
// may be worked out. With maybe it is torch.reshape, which copies where a view
// is not possible.
func (c *call) reshaped(dims []int, maybe bool) value {
	t := c.handle(0)
	if t.pending {
		return c.reshapedPending(t, dims)
	}
	x := c.in.read(t)
	shape := c.in.workOut(x.Shape, dims)
	return c.in.viewAs(t, shape, maybe)
}

// viewAs is a view with the same elements in the same order.
func (in *interp) viewAs(t *tensor, shape graph.Shape, maybe bool) *tensor {
	return in.view(t,
		func(parent *graph.Value) *graph.Value { return in.reshape(parent, shape) },
		func(parent, own *graph.Value) *graph.Value { return in.reshape(own, parent.Shape) }, maybe)
}

// workOut fills in the dimension that the code left to torch.
func (in *interp) workOut(from graph.Shape, dims []int) graph.Shape {
	shape := append(graph.Shape{}, dims...)
	open := -1
	for i, d := range shape {
		if d != inferDim {
			continue
		}
		if open >= 0 {
			in.errorf("a shape with two dimensions of -1")
		}
		open = i
	}
	if open < 0 {
		return shape
	}
	shape[open] = 1
	d, err := graph.InferDim(from, shape, open)
	if err != nil {
		in.fail(&RunError{Pos: in.pos, Err: err})
	}
	shape[open] = d
	return shape
}

// reshapedPending is a reshape of an input that is not known: one to rows of a
// known width tells the shape of a flat input.
func (c *call) reshapedPending(t *tensor, dims []int) value {
	if t.lifted == 0 && len(dims) == 2 && (dims[0] == graph.Batch || dims[0] == inferDim) {
		t.slot.flat = true
		if dims[1] > 0 {
			c.in.learn(t, graph.Shape{graph.Batch, dims[1]}, nil)
		}
		if dims[1] == inferDim && dims[0] == graph.Batch {
			return c.in.stillPending(t)
		}
	}
	c.in.needShape(t)
	return nil
}

// flatten joins the dimensions from start to end. A pending input is taken for
// the flat row that the result is.
func flatten(c *call) value {
	t := c.handle(0)
	start, end := c.int(1, 0), c.int(2, -1)
	if t.pending {
		if start != 1 || end != -1 || t.lifted != 0 {
			c.in.needShape(t)
		}
		t.slot.flat = true
		return c.in.stillPending(t)
	}
	x := c.in.read(t)
	if len(x.Shape) == 0 {
		return c.in.viewAs(t, graph.Shape{1}, true)
	}
	start, end = c.in.axis(start, len(x.Shape)), c.in.axis(end, len(x.Shape))
	if start > end {
		c.in.errorf("flatten from dimension %d to %d", start, end)
	}
	if start == end {
		return t
	}
	joined, batch := 1, false
	for _, d := range x.Shape[start : end+1] {
		batch = batch || d < 0
		joined *= max(d, -d)
	}
	if batch {
		joined = -joined
	}
	shape := append(graph.Shape{}, x.Shape[:start]...)
	shape = append(append(shape, joined), x.Shape[end+1:]...)
	return c.in.viewAs(t, shape, true)
}

func flatten1(c *call) value {
	c.args = []value{c.args[0], absent{}, absent{}}
	return flatten(c)
}

// unflatten splits one dimension into several.
func unflatten(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	axis := c.in.axisOf(x, c.int(1, 0))
	sizes := c.in.workOut(graph.Shape{x.Shape[axis]}, c.dims(2))
	shape := append(graph.Shape{}, x.Shape[:axis]...)
	shape = append(append(shape, sizes...), x.Shape[axis+1:]...)
	return c.in.viewAs(t, shape, false)
}

// squeeze takes away dimensions of 1: all of them, or those given.
func squeeze(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	take := map[int]bool{}
	if _, all := c.args[1].(absent); all {
		for i := range x.Shape {
			take[i] = true
		}
		if x.Shape.BatchAxis() >= 0 {
			c.in.mixes("torch.squeeze of all dimensions, which would take the batch axis of a single row")
		}
	}
	for _, d := range c.ints(1) {
		if len(x.Shape) > 0 {
			take[c.in.axis(d, len(x.Shape))] = true
		}
	}
	shape := graph.Shape{}
	for i, d := range x.Shape {
		if take[i] && d == graph.Batch && i != 0 {
			c.in.mixes("torch.squeeze of the batch axis")
		}
		if !take[i] || d != 1 {
			shape = append(shape, d)
		}
	}
	if take[0] && len(x.Shape) > 0 && x.Shape[0] == graph.Batch {
		c.in.mixes("torch.squeeze of the batch axis")
	}
	return c.in.viewAs(t, shape, false)
}

func unsqueeze(c *call) value {
	t := c.handle(0)
	if dim := c.int(1, 0); t.pending && t.lifted == 0 && (dim == 0 || dim == 1) {
		t.slot.flat = true
		up := c.in.stillPending(t).(*tensor)
		up.lifted = dim + 1
		return up
	}
	x := c.in.read(t)
	axis := c.in.axis(c.int(1, 0), len(x.Shape)+1)
	shape := append(graph.Shape{}, x.Shape[:axis]...)
	shape = append(append(shape, 1), x.Shape[axis:]...)
	return c.in.viewAs(t, shape, false)
}

// permutation reads the order of dimensions of an argument.
func (c *call) permutation(i int) []int {
	n := len(c.value(0).Shape)
	perm := append([]int(nil), c.ints(i)...)
	if len(perm) != n {
		c.in.errorf("%s with %d numbers for %d dimensions", c.name, len(perm), n)
	}
	for k := range perm {
		perm[k] = c.in.axis(perm[k], n)
	}
	return perm
}

// permuted is a view with the dimensions in another order.
func (c *call) permuted(perm []int) value {
	in := c.in
	back := make([]int, len(perm))
	for i, p := range perm {
		back[p] = i
	}
	return in.view(c.handle(0),
		func(parent *graph.Value) *graph.Value { return in.transpose(parent, perm) },
		func(_, own *graph.Value) *graph.Value { return in.transpose(own, back) }, false)
}

// transpose reorders dimensions; the order they have is no node.
func (in *interp) transpose(x *graph.Value, perm []int) *graph.Value {
	if sort.IntsAreSorted(perm) {
		return x
	}
	return in.add(graph.OpTranspose, graph.Attrs{"perm": append([]int(nil), perm...)}, x)
}

func identityPerm(n int) []int {
	perm := make([]int, n)
	for i := range perm {
		perm[i] = i
	}
	return perm
}

func (in *interp) swap(x *graph.Value, a, b int) *graph.Value {
	perm := identityPerm(len(x.Shape))
	a, b = in.axisOf(x, a), in.axisOf(x, b)
	perm[a], perm[b] = perm[b], perm[a]
	return in.transpose(x, perm)
}

func (c *call) swapped(a, b int) value {
	x := c.value(0)
	if len(x.Shape) < 2 {
		return c.handle(0)
	}
	perm := identityPerm(len(x.Shape))
	a, b = c.in.axisOf(x, a), c.in.axisOf(x, b)
	perm[a], perm[b] = perm[b], perm[a]
	return c.permuted(perm)
}

// movedim moves dimensions; the others keep their order.
func movedim(c *call) value {
	from, to := c.ints(1), c.ints(2)
	x := c.value(0)
	if len(from) != len(to) {
		c.in.errorf("movedim of %v to %v", from, to)
	}
	perm := make([]int, len(x.Shape))
	moved := map[int]bool{}
	for i := range perm {
		perm[i] = -1
	}
	for i := range from {
		f, t := c.in.axisOf(x, from[i]), c.in.axisOf(x, to[i])
		if moved[f] || perm[t] >= 0 {
			c.in.errorf("movedim of %v to %v", from, to)
		}
		moved[f], perm[t] = true, f
	}
	next := 0
	for i := range perm {
		if perm[i] >= 0 {
			continue
		}
		for moved[next] {
			next++
		}
		perm[i] = next
		next++
	}
	return c.permuted(perm)
}

func expand(c *call) value {
	x := c.value(0)
	dims := c.dims(1)
	if len(dims) < len(x.Shape) {
		c.in.errorf("expand to %d dimensions of a tensor of %d", len(dims), len(x.Shape))
	}
	shape := append(graph.Shape{}, dims...)
	for i := range shape {
		if shape[i] != inferDim {
			continue
		}
		at := i - (len(dims) - len(x.Shape))
		if at < 0 {
			c.in.errorf("expand with -1 for a new dimension")
		}
		shape[i] = x.Shape[at]
	}
	return c.expanded(shape)
}

// expanded is a view that repeats elements and cannot be written to.
func (c *call) expanded(shape graph.Shape) value {
	in := c.in
	return in.view(c.handle(0), func(parent *graph.Value) *graph.Value { return in.expandTo(parent, shape) }, nil, false)
}

// repeat joins copies along each dimension.
func repeat(c *call, times []int) value {
	x := c.value(0)
	for len(times) < len(x.Shape) { // torch.tile may give fewer
		times = append([]int{1}, times...)
	}
	if len(times) > len(x.Shape) {
		shape := make(graph.Shape, len(times)-len(x.Shape), len(times))
		for i := range shape {
			shape[i] = 1
		}
		x = c.in.reshape(x, append(shape, x.Shape...))
	}
	for axis, n := range times {
		switch {
		case n == 1:
		case n < 1 || n > graph.MaxOperands:
			c.in.unsupported("torch.repeat %d times", n)
		case x.Shape[axis] == 1:
			shape := append(graph.Shape{}, x.Shape...)
			shape[axis] = n
			x = c.in.expandTo(x, shape)
		case x.Shape[axis] < 0:
			c.in.mixes("torch.repeat of the batch axis")
		default:
			parts := make([]*graph.Value, n)
			for i := range parts {
				parts[i] = x
			}
			x = c.in.add(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
		}
	}
	return newTensor(x)
}

// atLeast adds leading dimensions of 1 up to a number of dimensions.
func atLeast(c *call, n int) value {
	t := c.handle(0)
	x := c.in.read(t)
	if len(x.Shape) >= n {
		return t
	}
	shape := graph.Shape{}
	for range n - len(x.Shape) {
		shape = append(shape, 1)
	}
	return c.in.viewAs(t, append(shape, x.Shape...), false)
}

// atLeast3 adds dimensions of 1 before and behind a row, behind a matrix.
func atLeast3(c *call) value {
	t := c.handle(0)
	shape := append(graph.Shape{}, c.in.read(t).Shape...)
	switch len(shape) {
	case 0:
		shape = graph.Shape{1, 1, 1}
	case 1:
		shape = graph.Shape{1, shape[0], 1}
	case 2:
		shape = append(shape, 1)
	}
	return c.in.viewAs(t, shape, false)
}

// meshgrid stretches vectors to the grid that they span. As xy, the first two
// have changed places.
func meshgrid(c *call) value {
	vs := c.values(0)
	xy := c.str(1, "ij") == "xy" && len(vs) > 1
	if xy {
		vs[0], vs[1] = vs[1], vs[0]
	}
	shape := graph.Shape{}
	for _, v := range vs {
		if len(v.Shape) > 1 || !v.Shape.Fixed() {
			c.in.errorf("meshgrid of %v", v.Shape)
		}
		shape = append(shape, v.Shape.RowElements())
	}
	if err := shape.Check(); err != nil { // RowElements of any shape may overflow
		c.in.fail(&RunError{Pos: c.in.pos, Err: err})
	}
	c.in.cost(shape.RowElements() / 16)
	out := &list{}
	for i, v := range vs {
		own := make(graph.Shape, len(vs))
		for k := range own {
			own[k] = 1
		}
		own[i] = shape[i]
		out.elems = append(out.elems, newTensor(c.in.expandTo(c.in.reshape(v, own), shape)))
	}
	if xy {
		out.elems[0], out.elems[1] = out.elems[1], out.elems[0]
	}
	return out
}

// contiguous is x itself, or a copy, which depends on strides.
func contiguous(c *call) value {
	t := c.handle(0)
	if t.pending || t.parent == nil {
		return t
	}
	return c.in.viewAs(t, c.in.read(t).Shape, true)
}

func clone(c *call) value {
	t := c.handle(0)
	if t.pending {
		return c.in.stillPending(t)
	}
	if t.num != nil {
		return newNumber(t.num)
	}
	return newTensor(c.in.read(t))
}
