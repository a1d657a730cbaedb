package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// indexBuiltins take parts of a tensor.
var indexBuiltins = map[string]builtin{
	"select":                  {"x dim index", selected},
	"slice":                   {"x dim start end step", slice},
	"narrow":                  {"x dim start length", narrow},
	"unbind":                  {"x dim", func(c *call) value { return &list{elems: c.in.unbind(c.handle(0), c.int(1, 0))} }},
	"chunk":                   {"x chunks dim", chunk},
	"unsafe_chunk":            {"x chunks dim", chunk},
	"unsafe_split":            {"x size dim", split},
	"unsafe_split_with_sizes": {"x sizes dim", split},
	"split":                   {"x size dim", split},
	"split_with_sizes":        {"x sizes dim", split},
	"tensor_split":            {"x sections dim", tensorSplit},
	"hsplit":                  {"x sections", splitAlong(1)},
	"vsplit":                  {"x sections", splitAlong(0)},
	"dsplit":                  {"x sections", splitAlong(2)},
	"narrow_copy":             {"x dim start length", func(c *call) value { return newTensor(c.in.read(narrow(c).(*tensor))) }},
	"one_hot":                 {"x num_classes", oneHot},
}

// slice takes a part of one dimension: none for the part that is all of it.
func (in *interp) slice(x *graph.Value, axis, start, end, step int) *graph.Value {
	n := x.Shape[axis]
	if n >= 0 {
		start, end = sliceBounds(n, start, end)
		end = max(start, end)
	} else if start == 0 && end >= 1<<31 {
		end = 1 << 40
	}
	if step == 1 && start == 0 && (n >= 0 && end == n || n < 0 && end == 1<<40) {
		return x
	}
	if n < 0 {
		in.mixes("a part of the rows of a batch")
	}
	return in.add(graph.OpSlice, graph.Attrs{"axis": axis, "start": start, "end": end, "step": step}, x)
}

// put writes own in place of a part of x.
func (in *interp) put(x, own *graph.Value, axis, start, end, step int) *graph.Value {
	n := x.Shape[axis]
	if n < 0 || start == 0 && end >= n && step == 1 {
		return own
	}
	start, end = sliceBounds(n, start, end)
	if step != 1 {
		from := in.identityOf(n)
		for i := 0; start+i*step < end; i++ {
			from[start+i*step] = int64(n + i)
		}
		return in.take(in.add(graph.OpConcat, graph.Attrs{"axis": axis}, x, own), axis, in.positions(from))
	}
	var parts []*graph.Value
	if start > 0 {
		parts = append(parts, in.slice(x, axis, 0, start, 1))
	}
	parts = append(parts, own)
	if end < n {
		parts = append(parts, in.slice(x, axis, end, n, 1))
	}
	return in.add(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
}

// sliced is the view of a part of one dimension.
func (in *interp) sliced(t *tensor, axis, start, end, step int) *tensor {
	return in.view(t,
		func(parent *graph.Value) *graph.Value { return in.slice(parent, axis, start, end, step) },
		func(parent, own *graph.Value) *graph.Value { return in.put(parent, own, axis, start, end, step) }, false)
}

func slice(c *call) value {
	t := c.handle(0)
	start, end, step := c.int0(2, 0), c.int0(3, 1<<40), c.int(4, 1)
	if step < 1 {
		c.in.errorf("slice with a step of %d", step)
	}
	if t.pending && start == 0 && end >= 1<<31 && step == 1 {
		return t
	}
	x := c.in.read(t)
	return c.in.sliced(t, c.in.axisOf(x, c.int(1, 0)), start, end, step)
}

func narrow(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	axis, start, n := c.in.axisOf(x, c.int(1, 0)), c.int(2, 0), c.int(3, 0)
	if start < 0 {
		start += x.Shape[axis]
	}
	if n < 0 || start < 0 || x.Shape[axis] >= 0 && start+n > x.Shape[axis] {
		c.in.errorf("narrow to %d elements from %d of %v", n, start, x.Shape)
	}
	return c.in.sliced(t, axis, start, start+n, 1)
}

// selectAt is the view of one element of a dimension, which falls away.
func (in *interp) selectAt(t *tensor, dim, i int) *tensor {
	x := in.read(t)
	axis := in.axisOf(x, dim)
	n := x.Shape[axis]
	if n < 0 {
		in.mixes("one row of a batch by itself")
	}
	if i < -n || i >= n {
		in.errorf("element %d of dimension %d of %v", i, axis, x.Shape)
	}
	if i < 0 {
		i += n
	}
	without := func(s graph.Shape) graph.Shape {
		return append(append(graph.Shape{}, s[:axis]...), s[axis+1:]...)
	}
	return in.view(t,
		func(parent *graph.Value) *graph.Value {
			return in.reshape(in.slice(parent, axis, i, i+1, 1), without(parent.Shape))
		},
		func(parent, own *graph.Value) *graph.Value {
			one := append(graph.Shape{}, parent.Shape...)
			one[axis] = 1
			return in.put(parent, in.reshape(own, one), axis, i, i+1, 1)
		}, false)
}

// selected is one element of a dimension, whose position the data may give.
func selected(c *call) value {
	i := c.args[2]
	if t, ok := i.(*tensor); ok {
		i = c.in.numberIn(t)
	}
	if s, data := i.(*scalar); data {
		return c.in.selectBy(c.handle(0), c.int(1, 0), s)
	}
	c.args[2] = i
	return c.in.selectAt(c.handle(0), c.int(1, 0), c.int(2, 0))
}

// selectBy is selectAt with a position that the data gives.
func (in *interp) selectBy(t *tensor, dim int, s *scalar) *tensor {
	x := in.read(t)
	axis := in.axisOf(x, dim)
	if x.Shape[axis] < 0 {
		in.mixes("one row of a batch by itself")
	}
	at := in.reshape(s.v, graph.Shape{1})
	rest := append(append(graph.Shape{}, x.Shape[:axis]...), x.Shape[axis+1:]...)
	one := append(graph.Shape{}, x.Shape...)
	one[axis] = 1
	return in.view(t,
		func(parent *graph.Value) *graph.Value { return in.reshape(in.take(parent, axis, in.use(at)), rest) },
		func(parent, own *graph.Value) *graph.Value {
			return in.putAt(parent, axis, in.use(at), in.reshape(own, one), false)
		}, false)
}

// unbind returns the elements of a dimension.
func (in *interp) unbind(t *tensor, dim int) []value {
	x := in.read(t)
	n := x.Shape[in.axisOf(x, dim)]
	if n < 0 {
		in.mixes("a loop over the rows of a batch")
	}
	in.listLen(n)
	out := make([]value, n)
	for i := range out {
		out[i] = in.selectAt(t, dim, i)
	}
	return out
}

// parts cuts a dimension at the sizes given.
func (c *call) parts(t *tensor, axis int, sizes []int) value {
	out, at := &list{}, 0
	c.in.listLen(len(sizes))
	for _, n := range sizes {
		out.elems = append(out.elems, c.in.sliced(t, axis, at, at+n, 1))
		at += n
	}
	return out
}

func chunk(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	axis, n := c.in.axisOf(x, c.int(2, 0)), c.int(1, 1)
	if n < 1 {
		c.in.errorf("chunk into %d", n)
	}
	d := c.fixedDim(x, axis)
	return c.parts(t, axis, evenSizes(d, max(1, (d+n-1)/n)))
}

// fixedDim returns a dimension that is not the batch.
func (c *call) fixedDim(x *graph.Value, axis int) int {
	if x.Shape[axis] < 0 {
		c.in.mixes("torch.%s of the rows of a batch", c.name)
	}
	return x.Shape[axis]
}

// evenSizes cuts n into pieces of a size, the last one what is left.
func evenSizes(n, size int) []int {
	sizes := []int{}
	for at := 0; at < n && len(sizes) <= maxListLen; at += size {
		sizes = append(sizes, min(size, n-at))
	}
	if n == 0 {
		sizes = []int{0}
	}
	return sizes
}

func split(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	axis := c.in.axisOf(x, c.int(2, 0))
	d := c.fixedDim(x, axis)
	if _, many := c.args[1].(*list); !many {
		n := c.int(1, 1)
		if n < 1 {
			c.in.errorf("split into pieces of %d", n)
		}
		return c.parts(t, axis, evenSizes(d, n))
	}
	sizes, sum := c.ints(1), 0
	for _, n := range sizes {
		if n < 0 {
			c.in.errorf("split with a size of %d", n)
		}
		sum += n
	}
	if sum != d {
		c.in.errorf("split of %d elements into %v", d, sizes)
	}
	return c.parts(t, axis, sizes)
}

// splitAlong is tensor_split along a dimension; a row has only one.
func splitAlong(dim int) func(c *call) value {
	return func(c *call) value {
		d := dim
		if len(c.value(0).Shape) == 1 {
			d = 0
		}
		c.args = append(c.args, int64(d))
		return tensorSplit(c)
	}
}

func tensorSplit(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	axis := c.in.axisOf(x, c.int(2, 0))
	d, at := c.fixedDim(x, axis), 0
	var sizes []int
	if _, many := c.args[1].(*list); many {
		for _, end := range append(c.ints(1), d) {
			end = max(at, min(end, d))
			sizes = append(sizes, end-at)
			at = end
		}
		return c.parts(t, axis, sizes)
	}
	n := c.int(1, 1)
	if n < 1 || n > maxListLen {
		c.in.errorf("tensor_split into %d", n)
	}
	for i := range n {
		size := d / n
		if i < d%n {
			size++
		}
		sizes = append(sizes, size)
	}
	return c.parts(t, axis, sizes)
}

// maxGather bounds the parts of an adaptive pooling.
const maxGather = 4096

// classes is the constant 0, 1, ... n-1.
func (in *interp) classes(n int) *graph.Value {
	ids := make([]int64, in.area(n, 1))
	for i := range ids {
		ids[i] = int64(i)
	}
	return in.constant(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{n}, I64: ids})
}

// oneHotOf compares each index with all classes.
func (c *call) oneHotOf(x *graph.Value, n int) *graph.Value {
	x = c.in.reshape(x, append(append(graph.Shape{}, x.Shape...), 1))
	return c.in.add(graph.OpEq, nil, x, c.in.classes(n))
}

func oneHot(c *call) value {
	n := c.int(1, -1)
	if n < 1 || n > maxListLen {
		c.in.unsupported("torch.one_hot into %d classes", n)
	}
	t := c.handle(0)
	if t.pending { // one class a row, unless the card says otherwise
		panic(&restart{t.slot.name, slotHint{shape: graph.Shape{graph.Batch}, dtype: graph.Int64}})
	}
	return newTensor(c.in.cast(c.oneHotOf(c.integers(0), n), graph.Int64))
}

// integers returns indices. An input of unknown type must have been one of
// integers.
func (c *call) integers(i int) *graph.Value {
	t := c.handle(i)
	x := c.in.read(t)
	if x.DType.IsFloat() {
		c.in.wantIntegers(x)
		c.in.errorf("%s of %v, integers are needed", c.name, x.DType)
	}
	return x
}
