package torchscript

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// subscripts are the tensors among the indices of x[i, :, j].
type subscripts struct {
	dims []int // where they stand
	idx  []*tensor
}

func (c *call) subscripts(i int) subscripts {
	var s subscripts
	for d, e := range c.list(i).elems {
		switch t := e.(type) {
		case nil:
		case *tensor:
			s.dims, s.idx = append(s.dims, d), append(s.idx, t)
		default:
			c.in.errorf("an index that is a %s", kindName(e))
		}
	}
	return s
}

// nonzero turns an index of known booleans into those of their positions; one
// that depends on data has as many elements as the data has it.
func (in *interp) nonzero(s subscripts) subscripts {
	out := subscripts{}
	for k, t := range s.idx {
		if t.rowNumbers || in.read(t).DType != graph.Bool && in.read(t).DType != graph.Uint8 {
			out.dims, out.idx = append(out.dims, s.dims[k]), append(out.idx, t)
			continue
		}
		mask := in.folded(in.read(t))
		if mask == nil {
			in.unsupported("elements chosen by booleans that depend on data: how many they are is not known")
		}
		var hits []int
		for i := range mask.Len() {
			if mask.I64[i] != 0 {
				hits = append(hits, i)
			}
		}
		in.cost(mask.Len() * len(mask.Shape))
		for a := range mask.Shape {
			stride := 1
			for _, d := range mask.Shape[a+1:] {
				stride *= d
			}
			at := make([]int64, len(hits))
			for i, h := range hits {
				at[i] = int64(h / stride % mask.Shape[a])
			}
			out.dims, out.idx = append(out.dims, s.dims[k]+a), append(out.idx, newTensor(in.positions(at)))
		}
	}
	return out
}

// index is x[i, :, j] with tensors as indices.
func index(c *call) value {
	in := c.in
	x, s := c.handle(0), c.subscripts(1)
	if len(s.dims) == 0 {
		return x
	}
	in.typeOfIndices(c.handle(0), s, false)
	s = in.nonzero(s)
	if len(s.dims) > 1 && s.idx[0].rowNumbers {
		return newTensor(in.ofEachRow(in.read(x), s))
	}
	v, _, at := in.flatIndex(in.read(x), s)
	return newTensor(in.take(v.x, v.axis, at))
}

// flattened is a tensor in which the indexed dimensions are one.
type flattened struct {
	x     *graph.Value
	axis  int
	sizes []int // of the dimensions that were joined
	back  []int // brings the dimensions back where they were; nil where they stayed
}

// flatIndex joins the indexed dimensions of x and makes one index of all. The
// indices meet in one shape. Dimensions that are not neighbours come first.
func (in *interp) flatIndex(x *graph.Value, s subscripts) (flattened, graph.Shape, *graph.Value) {
	f := flattened{x: x, axis: s.dims[0]}
	last := s.dims[len(s.dims)-1]
	if last >= len(x.Shape) {
		in.errorf("an index of %d dimensions of a tensor of %v", last+1, x.Shape)
	}
	if last-f.axis+1 != len(s.dims) {
		perm := slices.Clone(s.dims)
		for i := range x.Shape {
			if !slices.Contains(s.dims, i) {
				perm = append(perm, i)
			}
		}
		f.back = make([]int, len(perm))
		for i, p := range perm {
			f.back[p] = i
		}
		f.x, f.axis = in.transpose(x, perm), 0
	}
	shape := graph.Shape{}
	for _, t := range s.idx {
		b, ok := graph.Broadcast(shape, in.read(t).Shape)
		if !ok {
			in.errorf("indices of %v and %v", shape, in.read(t).Shape)
		}
		shape = b
	}
	var at *graph.Value
	size := 1
	for k := range s.dims {
		n := f.x.Shape[f.axis+k]
		if n < 0 {
			in.mixes("rows of a batch chosen by an index")
		}
		f.sizes = append(f.sizes, n)
		size *= n
		i := in.cast(in.read(s.idx[k]), graph.Int64)
		if len(s.dims) > 1 {
			under := in.add(graph.OpLt, nil, i, in.number(int64(0), i))
			i = in.add(graph.OpWhere, nil, under, in.add(graph.OpAdd, nil, i, in.number(int64(n), i)), i)
		}
		if at == nil {
			at = i
		} else {
			at = in.add(graph.OpAdd, nil, in.add(graph.OpMul, nil, at, in.number(int64(n), at)), i)
		}
	}
	joined := append(append(graph.Shape{}, f.x.Shape[:f.axis]...), size)
	f.x = in.reshape(f.x, append(joined, f.x.Shape[f.axis+len(s.dims):]...))
	return f, shape, in.expandTo(at, shape)
}

// ofEachRow is x[arange(B), i]: one element, or one part, of each row.
func (in *interp) ofEachRow(x *graph.Value, s subscripts) *graph.Value {
	if len(x.Shape) == 0 || x.Shape[0] != graph.Batch || s.dims[0] != 0 {
		in.mixes("rows of a batch chosen by an index")
	}
	f, shape, at := in.flatIndex(x, subscripts{s.dims[1:], s.idx[1:]})
	if f.axis != 1 || len(shape) > 1 || len(shape) == 1 && shape[0] != graph.Batch {
		in.mixes("rows of a batch chosen by an index of %v", shape)
	}
	rest := f.x.Shape[2:]
	one := append(graph.Shape{graph.Batch, 1}, rest...)
	flat := graph.Shape{graph.Batch, 1}
	for range rest {
		flat = append(flat, 1)
	}
	at = in.expandTo(in.reshape(in.expandTo(at, graph.Shape{graph.Batch}), flat), one)
	return in.reshape(in.gatherAt(f.x, 1, at), append(graph.Shape{graph.Batch}, rest...))
}

// indexPut is x[i, :, j] = v.
func indexPut(c *call) value {
	in := c.in
	x, s, add := c.value(0), c.subscripts(1), c.bool(3, false)
	v := in.cast(c.value(2), x.DType)
	if len(s.dims) == 0 {
		return newTensor(in.expandTo(v, x.Shape))
	}
	in.typeOfIndices(c.handle(0), s, true)
	if len(s.dims) == 1 && !s.idx[0].rowNumbers {
		if mask := in.read(s.idx[0]); mask.DType == graph.Bool && in.folded(mask) == nil {
			return newTensor(in.maskPut(x, s.dims[0], mask, v, add))
		}
	}
	s = in.nonzero(s)
	if s.idx[0].rowNumbers {
		return newTensor(in.putInRows(x, s, v, add))
	}
	f, shape, at := in.flatIndex(x, s)
	n := shape.RowElements()
	// The value has the dimensions of the index in place of those indexed.
	full := append(append(graph.Shape{}, f.x.Shape[:f.axis]...), shape...)
	v = in.expandTo(v, append(full, f.x.Shape[f.axis+1:]...))
	flat := append(append(graph.Shape{}, f.x.Shape[:f.axis]...), n)
	v = in.reshape(v, append(flat, f.x.Shape[f.axis+1:]...))
	y := in.putAt(f.x, f.axis, in.reshape(at, graph.Shape{n}), v, add)
	joined := append(append(graph.Shape{}, f.x.Shape[:f.axis]...), f.sizes...)
	y = in.reshape(y, append(joined, f.x.Shape[f.axis+1:]...))
	if f.back != nil {
		y = in.transpose(y, f.back)
	}
	return newTensor(y)
}

// maskPut puts one value where the data says so.
func (in *interp) maskPut(x *graph.Value, dim int, mask, v *graph.Value, add bool) *graph.Value {
	if dim != 0 || len(mask.Shape) > len(x.Shape) {
		in.unsupported("setting elements by booleans of some dimensions")
	}
	rest := x.Shape[len(mask.Shape):]
	if len(v.Shape) > len(rest) && v.Shape.RowElements() != 1 {
		in.unsupported("setting elements chosen by booleans that depend on data to several values")
	}
	shape := append(graph.Shape{}, mask.Shape...)
	for range rest {
		shape = append(shape, 1)
	}
	if add {
		v = in.add(graph.OpAdd, nil, x, v)
	}
	if len(v.Shape) > len(x.Shape) {
		v = in.reshape(v, graph.Shape{})
	}
	return in.cast(in.add(graph.OpWhere, nil, in.reshape(mask, shape), v, x), x.DType)
}

// maxPut bounds the parts that are written one after another because the data
// says where: each is a choice over all of x.
const maxPut = 64

// putAt writes the parts of v along an axis at the positions of an index.
func (in *interp) putAt(x *graph.Value, axis int, at, v *graph.Value, add bool) *graph.Value {
	n, k := x.Shape[axis], at.Shape[0]
	if known := in.folded(at); known != nil && !add {
		from := in.identityOf(n)
		for i, p := range known.I64 {
			if p < 0 {
				p += int64(n)
			}
			if p < 0 || p >= int64(n) {
				in.errorf("index %d of a dimension of %d", known.I64[i], n)
			}
			from[p] = int64(n + i)
		}
		return in.take(in.add(graph.OpConcat, graph.Attrs{"axis": axis}, x, v), axis, in.positions(from))
	}
	if k > maxPut {
		in.unsupported("writing %d elements where the data says", k)
	}
	shape := graph.Shape{n}
	for range len(x.Shape) - axis - 1 {
		shape = append(shape, 1)
	}
	under := in.add(graph.OpLt, nil, at, in.number(int64(0), at))
	at = in.add(graph.OpWhere, nil, under, in.add(graph.OpAdd, nil, at, in.number(int64(n), at)), at)
	place := in.reshape(in.classes(n), shape)
	for i := range k {
		here := in.add(graph.OpEq, nil, place, in.reshape(in.slice(at, 0, i, i+1, 1), graph.Shape{}))
		part := in.slice(v, axis, i, i+1, 1)
		if add {
			part = in.add(graph.OpAdd, nil, x, part)
		}
		x = in.add(graph.OpWhere, nil, here, part, x)
	}
	return x
}

func (in *interp) identityOf(n int) []int64 {
	at := make([]int64, in.area(n, 1))
	for i := range at {
		at[i] = int64(i)
	}
	return at
}

// putInRows is x[arange(B), i] = v.
func (in *interp) putInRows(x *graph.Value, s subscripts, v *graph.Value, add bool) *graph.Value {
	if len(s.dims) != 2 || s.dims[0] != 0 || s.dims[1] != 1 || len(x.Shape) < 2 || x.Shape[0] != graph.Batch {
		in.mixes("setting rows of a batch by an index")
	}
	at := in.expandTo(in.read(s.idx[1]), graph.Shape{graph.Batch})
	shape, place := graph.Shape{graph.Batch, 1}, graph.Shape{x.Shape[1]}
	for range x.Shape[2:] {
		shape, place = append(shape, 1), append(place, 1)
	}
	here := in.add(graph.OpEq, nil, in.reshape(in.classes(x.Shape[1]), place), in.reshape(at, shape))
	if len(v.Shape) > 0 {
		rest := append(graph.Shape{graph.Batch}, x.Shape[2:]...)
		v = in.reshape(in.expandTo(v, rest), append(graph.Shape{graph.Batch, 1}, x.Shape[2:]...))
	}
	if add {
		v = in.add(graph.OpAdd, nil, x, v)
	}
	return in.cast(in.add(graph.OpWhere, nil, here, v, x), x.DType)
}
