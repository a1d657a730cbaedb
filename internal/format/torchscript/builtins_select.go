package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// selectBuiltins choose elements by positions, which the data may give.
var selectBuiltins = map[string]builtin{
	"gather":            {"x dim index sparse_grad", gather},
	"take_along_dim":    {"x indices dim", takeAlong},
	"index_select":      {"x dim index", indexSelect},
	"take":              {"x index", takeFlat},
	"index":             {"x indices", index},
	"sort":              {"x a b c dim descending stable", sortTensor},
	"msort":             {"x", func(c *call) value { c.args = append(c.args, int64(0), absent{}); return firstOf(sorted(c, 1, 2)) }},
	"argsort":           {"x a b c dim descending stable", func(c *call) value { return sortTensor(c).(*tuple).elems[1] }},
	"topk":              {"x k dim largest sorted", topk},
	"kthvalue":          {"x k dim keepdim", func(c *call) value { return ordinal(c, c.int(1, 1)-1, c.int(2, -1), c.bool(3, false)) }},
	"median":            {"x dim keepdim", median},
	"bucketize":         {"x boundaries out_int32 right", func(c *call) value { return searched(c, c.value(1), c.value(0), c.bool(3, false)) }},
	"searchsorted":      {"sorted x out_int32 right side sorter", searchSorted},
	"embedding":         {"weight indices padding_idx scale_grad_by_freq sparse", embedding},
	"embedding_bag":     {"weight indices offsets scale_grad_by_freq mode sparse per_sample_weights include_last_offset padding_idx", embeddingBag},
	"repeat_interleave": {"x repeats dim output_size", repeatInterleave},
	"roll":              {"x shifts dims", roll},
	"rot90":             {"x k dims", rot90},
	"flip":              {"x dims", flip},
	"fliplr":            {"x", func(c *call) value { return newTensor(c.in.flipped(c.value(0), c.in.axisOf(c.value(0), 1))) }},
	"flipud":            {"x", func(c *call) value { return newTensor(c.in.flipped(c.value(0), c.in.axisOf(c.value(0), 0))) }},
	"unfold":            {"x dim size step", unfoldDim},
	"diagonal":          {"x offset dim1 dim2", diagonal},
	"diag_embed":        {"x offset dim1 dim2", diagEmbed},
	"diag":              {"x diagonal", diag},
	"trace": {"x", func(c *call) value {
		c.args = append(c.args, absent{}, absent{}, absent{})
		return newTensor(c.in.reduce(graph.OpSum, c.in.read(diagonal(c).(*tensor)), []int{0}, false))
	}},
}

// positions is a constant of integers.
func (in *interp) positions(at []int64) *graph.Value {
	in.cost(len(at))
	return in.constant(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(at)}, I64: at})
}

// take takes parts of a dimension by an index. One that is known and goes
// straight on is a slice.
func (in *interp) take(x *graph.Value, axis int, idx *graph.Value) *graph.Value {
	if x.Shape[axis] < 0 {
		in.mixes("rows of a batch chosen by an index")
	}
	if at := in.folded(idx); at != nil && at.I64 != nil && at.DType != graph.Bool {
		for _, i := range at.I64 {
			if i < int64(-x.Shape[axis]) || i >= int64(x.Shape[axis]) {
				in.errorf("index %d of a dimension of %d", i, x.Shape[axis])
			}
		}
		first, straight := int64(0), len(at.Shape) == 1 && at.Len() > 0
		for k, i := range at.I64 {
			if i < 0 {
				i += int64(x.Shape[axis])
			}
			if k == 0 {
				first = i
			}
			straight = straight && i == first+int64(k)
		}
		if straight {
			return in.slice(x, axis, int(first), int(first)+at.Len(), 1)
		}
	}
	if x.DType == graph.Bool { // an index out of range has no truth value
		return in.cast(in.take(in.cast(x, graph.Uint8), axis, idx), graph.Bool)
	}
	return in.add(graph.OpTake, graph.Attrs{"axis": axis}, x, idx)
}

// indexOf returns an argument of integers as an index.
func (c *call) indexOf(i int) *graph.Value {
	v := c.integers(i)
	if v.DType == graph.Bool {
		c.in.errorf("%s with an index of booleans", c.name)
	}
	return v
}

func gather(c *call) value {
	if t := c.handle(0); t.pending {
		c.in.needShape(t)
	}
	return newTensor(c.in.gatherAt(c.value(0), c.in.axisOf(c.value(0), c.int(1, 0)), c.indexOf(2)))
}

// gatherAt takes single elements. torch takes an index that is shorter than x
// in the other dimensions.
func (in *interp) gatherAt(x *graph.Value, axis int, idx *graph.Value) *graph.Value {
	if len(x.Shape) != len(idx.Shape) {
		in.errorf("gather from %v by %v", x.Shape, idx.Shape)
	}
	for a, d := range idx.Shape {
		if a != axis && d >= 0 && x.Shape[a] > d {
			x = in.slice(x, a, 0, d, 1)
		}
	}
	if x.DType == graph.Bool {
		return in.cast(in.gatherAt(in.cast(x, graph.Uint8), axis, idx), graph.Bool)
	}
	return in.add(graph.OpGather, graph.Attrs{"axis": axis}, x, idx)
}

func takeAlong(c *call) value {
	x, idx := c.value(0), c.indexOf(1)
	if !c.has(2) {
		c.in.unsupported("torch.take_along_dim without a dimension")
	}
	axis := c.in.axisOf(x, c.int(2, 0))
	xs, is := append(graph.Shape{}, x.Shape...), append(graph.Shape{}, idx.Shape...)
	if len(xs) != len(is) {
		c.in.errorf("take_along_dim of %v by %v", xs, is)
	}
	for a := range xs {
		if a == axis {
			continue
		}
		d, ok := graph.Broadcast(graph.Shape{xs[a]}, graph.Shape{is[a]})
		if !ok {
			c.in.errorf("take_along_dim of %v by %v", xs, is)
		}
		xs[a], is[a] = d[0], d[0]
	}
	return newTensor(c.in.gatherAt(c.in.expandTo(x, xs), axis, c.in.expandTo(idx, is)))
}

// takeFlat takes elements of a tensor as if it were one row.
func takeFlat(c *call) value {
	x := c.value(0)
	if !x.Shape.Fixed() {
		c.in.mixes("torch.take of the rows of a batch")
	}
	return newTensor(c.in.take(c.in.reshape(x, graph.Shape{x.Shape.RowElements()}), 0, c.indexOf(1)))
}

func indexSelect(c *call) value {
	x, idx := c.value(0), c.indexOf(2)
	if len(idx.Shape) > 1 {
		c.in.errorf("index_select with an index of %v", idx.Shape)
	}
	if len(idx.Shape) == 0 {
		idx = c.in.reshape(idx, graph.Shape{1})
	}
	return newTensor(c.in.take(x, c.in.axisOf(x, c.int(1, 0)), idx))
}

// sortTensor is torch.sort and torch.argsort, whose flag of stability comes
// before the dimension or not at all.
func sortTensor(c *call) value {
	dim, descending := c.args[4], c.args[5]
	var plain []value
	for _, a := range c.args[1:4] {
		if _, none := a.(absent); !none {
			plain = append(plain, a)
		}
	}
	if len(plain) > 0 {
		if _, flag := plain[0].(bool); flag && len(plain) > 1 || plain[0] == nil { // stable
			plain = plain[1:]
		}
	}
	if len(plain) > 0 {
		dim = plain[0]
	}
	if len(plain) > 1 {
		descending = plain[1]
	}
	c.args = []value{c.args[0], dim, descending}
	return sorted(c, 1, 2)
}

func sorted(c *call, dim, descending int) value {
	x := c.value(0)
	axis := c.in.axisOf(x, c.int(dim, -1))
	at := c.in.add(graph.OpArgsort, graph.Attrs{"axis": axis, "descending": c.bool(descending, false)}, x)
	return &tuple{elems: []value{newTensor(c.in.gatherAt(x, axis, at)), newTensor(at)}}
}

func firstOf(v value) value { return v.(*tuple).elems[0] }

func topk(c *call) value {
	x := c.value(0)
	axis, k := c.in.axisOf(x, c.int(2, -1)), c.int(1, 1)
	if k < 0 || k > c.fixedDim(x, axis) {
		c.in.errorf("topk of %d out of %v", k, x.Shape)
	}
	at := c.in.add(graph.OpArgsort, graph.Attrs{"axis": axis, "descending": c.bool(3, true)}, x)
	at = c.in.slice(at, axis, 0, k, 1)
	return &tuple{elems: []value{newTensor(c.in.gatherAt(x, axis, at)), newTensor(at)}}
}

// ordinal is the element that has k before it in order, and its position.
func ordinal(c *call, k, dim int, keep bool) value {
	x := c.value(0)
	axis := c.in.axisOf(x, dim)
	if k < 0 || k >= c.fixedDim(x, axis) {
		c.in.errorf("%s: %d of %v", c.name, k+1, x.Shape)
	}
	at := c.in.slice(c.in.add(graph.OpArgsort, graph.Attrs{"axis": axis}, x), axis, k, k+1, 1)
	v := c.in.gatherAt(x, axis, at)
	if !keep {
		shape := without(v.Shape, []int{axis})
		v, at = c.in.reshape(v, shape), c.in.reshape(at, shape)
	}
	return &tuple{elems: []value{newTensor(v), newTensor(at)}}
}

// median is the lower of the two in the middle. NaN is above all, so that one
// in the row is found only where torch says so, too: it has NaN then.
func median(c *call) value {
	x := c.value(0)
	if !c.has(1) {
		if !x.Shape.Fixed() {
			c.in.mixes("torch.median over the rows of a batch")
		}
		flat := c.in.reshape(x, graph.Shape{x.Shape.RowElements()})
		return firstOf(medianOf(&call{in: c.in, name: c.name, args: []value{newTensor(flat)}}, flat, 0, false))
	}
	return medianOf(c, x, c.in.axisOf(x, c.int(1, -1)), c.bool(2, false))
}

func medianOf(c *call, x *graph.Value, axis int, keep bool) value {
	t := ordinal(c, (c.fixedDim(x, axis)-1)/2, axis, keep).(*tuple)
	if x.DType.IsFloat() {
		v := c.in.read(t.elems[0].(*tensor))
		nan := c.in.reduce(graph.OpSum, c.in.cast(c.in.add(graph.OpNe, nil, x, x), graph.Int64), []int{axis}, keep)
		odd := c.in.add(graph.OpGt, nil, nan, c.in.number(int64(0), nan))
		v = c.in.add(graph.OpWhere, nil, odd, c.in.reduce(graph.OpSum, x, []int{axis}, keep), v)
		t.elems[0] = newTensor(v)
	}
	return t
}

func searchSorted(c *call) value {
	right := c.bool(3, false) || c.str(4, "left") == "right"
	if c.has(5) {
		c.in.unsupported("torch.searchsorted with a sorter")
	}
	return searched(c, c.value(0), c.value(1), right)
}

// searched counts the boundaries below each element; with right, those that
// are equal too.
func searched(c *call, boundaries, x *graph.Value, right bool) value {
	if len(boundaries.Shape) != 1 {
		c.in.unsupported("torch.%s of boundaries of %v", c.name, boundaries.Shape)
	}
	op := graph.OpLt
	if right {
		op = graph.OpLe
	}
	up := c.in.reshape(x, append(append(graph.Shape{}, x.Shape...), 1))
	below := c.in.cast(c.in.add(op, nil, boundaries, up), graph.Int64)
	return newTensor(c.in.reduce(graph.OpSum, below, []int{len(x.Shape)}, false))
}

// embedding takes rows of a table.
func embedding(c *call) value {
	w := c.value(0)
	if t := c.handle(1); t.pending {
		t.slot.described = "[B,n] of integers"
		c.in.needShape(t)
	}
	if len(w.Shape) != 2 || !w.Shape.Fixed() {
		c.in.errorf("embedding with a table of %v", w.Shape)
	}
	return newTensor(c.in.take(w, 0, c.integers(1)))
}

// embeddingBag reduces bags of rows of a table, which begin at known offsets.
func embeddingBag(c *call) value {
	in := c.in
	idx, offsets := c.integers(1), in.folded(c.value(2))
	if offsets == nil || offsets.I64 == nil || len(idx.Shape) != 1 {
		in.mixes("torch.embedding_bag with bags that depend on data")
	}
	n := c.fixedDim(idx, 0)
	ends := append(append([]int64{}, offsets.I64[1:]...), int64(n))
	if c.bool(7, false) {
		ends = offsets.I64[1:]
	}
	rows := in.take(c.value(0), 0, idx)
	if w := c.optional(6); w != nil {
		rows = in.add(graph.OpMul, nil, rows, in.reshape(w, graph.Shape{n, 1}))
	}
	op, ok := map[int]graph.Op{0: graph.OpSum, 1: graph.OpMean, 2: graph.OpAmax}[c.int(4, 0)]
	if !ok || c.int0(8, -1) >= 0 {
		in.unsupported("torch.embedding_bag of mode %d, or with padding", c.int(4, 0))
	}
	var bags []*graph.Value
	for i, end := range ends {
		from := offsets.I64[i]
		if from < 0 || end < from || end > int64(n) {
			in.errorf("embedding_bag with offsets of %v", offsets.I64)
		}
		if end == from {
			bags = append(bags, in.zeros(rows.DType, graph.Shape{1, rows.Shape[1]}))
			continue
		}
		bags = append(bags, in.reduce(op, in.slice(rows, 0, int(from), int(end), 1), []int{0}, true))
	}
	out := bags[0]
	if len(bags) > 1 {
		out = in.add(graph.OpConcat, graph.Attrs{"axis": 0}, bags...)
	}
	return &tuple{elems: []value{newTensor(out), nil, nil, nil}}
}

// repeatInterleave repeats each element along a dimension.
func repeatInterleave(c *call) value {
	x := c.value(0)
	if !c.has(2) {
		if !x.Shape.Fixed() {
			c.in.mixes("torch.repeat_interleave over the rows of a batch")
		}
		x = c.in.reshape(x, graph.Shape{x.Shape.RowElements()})
	}
	axis := c.in.axisOf(x, c.int0(2, 0))
	n := c.fixedDim(x, axis)
	c.in.cost(n)
	times := make([]int64, n)
	if t, ok := c.args[1].(*tensor); ok {
		k := c.in.folded(c.in.read(t))
		if k == nil || k.I64 == nil || k.Len() != 1 && k.Len() != n {
			c.in.unsupported("torch.repeat_interleave by numbers that depend on data")
		}
		for i := range times {
			times[i] = k.I64[min(i, k.Len()-1)]
		}
	} else {
		for i := range times {
			times[i] = int64(c.int(1, 1))
		}
	}
	var at []int64
	for i, k := range times {
		c.in.listLen(len(at) + clampInt(k))
		for range k {
			at = append(at, int64(i))
		}
	}
	return newTensor(c.in.take(x, axis, c.in.positions(at)))
}

// roll moves elements on, those at the end to the beginning.
func roll(c *call) value {
	x, shifts, dims := c.value(0), c.ints(1), c.ints(2)
	if len(dims) == 0 {
		if !x.Shape.Fixed() || len(shifts) != 1 {
			c.in.mixes("torch.roll over the rows of a batch")
		}
		flat := c.in.reshape(x, graph.Shape{x.Shape.RowElements()})
		return newTensor(c.in.reshape(c.in.rolled(flat, 0, shifts[0]), x.Shape))
	}
	if len(dims) != len(shifts) {
		c.in.errorf("roll by %v along %v", shifts, dims)
	}
	for i, d := range dims {
		axis := c.in.axisOf(x, d)
		c.fixedDim(x, axis)
		x = c.in.rolled(x, axis, shifts[i])
	}
	return newTensor(x)
}

func (in *interp) rolled(x *graph.Value, axis, shift int) *graph.Value {
	n := x.Shape[axis]
	if n == 0 {
		return x
	}
	at := ((-shift)%n + n) % n
	if at == 0 {
		return x
	}
	return in.add(graph.OpConcat, graph.Attrs{"axis": axis}, in.slice(x, axis, at, n, 1), in.slice(x, axis, 0, at, 1))
}

func rot90(c *call) value {
	x, dims := c.value(0), c.ints(2)
	if dims == nil {
		dims = []int{0, 1}
	}
	if len(dims) != 2 {
		c.in.errorf("rot90 along %v", dims)
	}
	a, b := c.in.axisOf(x, dims[0]), c.in.axisOf(x, dims[1])
	switch ((c.int(1, 1) % 4) + 4) % 4 {
	case 1:
		x = c.in.swap(c.in.flipped(x, b), a, b)
	case 2:
		x = c.in.flipped(c.in.flipped(x, a), b)
	case 3:
		x = c.in.flipped(c.in.swap(x, a, b), b)
	}
	return newTensor(x)
}

// flipped reverses a dimension.
func (in *interp) flipped(x *graph.Value, axis int) *graph.Value {
	n := x.Shape[axis]
	if n < 0 {
		in.mixes("the rows of a batch in reverse")
	}
	at := make([]int64, in.area(n, 1))
	for i := range at {
		at[i] = int64(n - 1 - i)
	}
	return in.take(x, axis, in.positions(at))
}

func flip(c *call) value {
	x := c.value(0)
	for _, d := range c.ints(1) {
		x = c.in.flipped(x, c.in.axisOf(x, d))
	}
	return newTensor(x)
}

// unfoldDim gives windows of a dimension, in a new last dimension.
func unfoldDim(c *call) value {
	x := c.value(0)
	axis, size, step := c.in.axisOf(x, c.int(1, 0)), c.int(2, 1), c.int(3, 1)
	n := c.fixedDim(x, axis)
	if size < 1 || size > n || step < 1 {
		c.in.errorf("unfold of %v in windows of %d by %d", x.Shape, size, step)
	}
	windows := (n-size)/step + 1
	c.in.listLen(windows * size)
	at := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{windows, size}}
	for w := range windows {
		for k := range size {
			at.I64 = append(at.I64, int64(w*step+k))
		}
	}
	v := c.in.take(x, axis, c.in.constant(at)) // [..., windows, size, ...]
	perm := identityPerm(len(v.Shape))
	perm = append(append(perm[:axis+1:axis+1], perm[axis+2:]...), axis+1)
	return newTensor(c.in.transpose(v, perm))
}

// diagonal takes a diagonal of two dimensions, which becomes the last one.
func diagonal(c *call) value {
	x, offset := c.value(0), c.int(1, 0)
	a, b := c.in.axisOf(x, c.int(2, 0)), c.in.axisOf(x, c.int(3, 1))
	if a == b {
		c.in.errorf("diagonal of one dimension")
	}
	n, m := c.fixedDim(x, a), c.fixedDim(x, b)
	var perm []int
	for i := range x.Shape {
		if i != a && i != b {
			perm = append(perm, i)
		}
	}
	x = c.in.transpose(x, append(perm, a, b))
	lead := x.Shape[:len(x.Shape)-2]
	x = c.in.reshape(x, append(append(graph.Shape{}, lead...), n*m))
	var at []int64
	for i := range n {
		if j := i + offset; j >= 0 && j < m {
			at = append(at, int64(i*m+j))
		}
	}
	return newTensor(c.in.take(x, len(lead), c.in.positions(at)))
}

// diagEmbed puts the last dimension on a diagonal of two new ones.
func diagEmbed(c *call) value {
	x, offset := c.value(0), c.int(1, 0)
	if len(x.Shape) == 0 || c.int(2, -2) != -2 || c.int(3, -1) != -1 {
		c.in.unsupported("torch.diag_embed into other dimensions than the last")
	}
	return newTensor(c.in.onDiagonal(x, offset))
}

func (in *interp) onDiagonal(x *graph.Value, offset int) *graph.Value {
	axis := len(x.Shape) - 1
	n := x.Shape[axis]
	if n < 0 {
		in.mixes("the rows of a batch on a diagonal")
	}
	size := n + max(offset, -offset)
	area := in.area(size, size)
	mask := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{size, size}, I64: make([]int64, area)}
	at := make([]int64, area)
	for i := range n {
		k := (i+max(-offset, 0))*size + i + max(offset, 0)
		mask.I64[k], at[k] = 1, int64(i)
	}
	v := in.take(x, axis, in.constant(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{size, size}, I64: at}))
	return in.cast(in.add(graph.OpWhere, nil, in.constant(mask), v, in.number(int64(0), v)), x.DType)
}

func diag(c *call) value {
	x := c.value(0)
	if len(x.Shape) == 1 {
		return newTensor(c.in.onDiagonal(x, c.int(1, 0)))
	}
	c.args = []value{c.args[0], c.args[1], absent{}, absent{}}
	return diagonal(c)
}
