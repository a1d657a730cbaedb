package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// tensor is a tensor of the code: a handle that variables share, whose value
// in the graph changes when an in-place operation writes to it.
//
// Views are kept as torch has them. A view knows how to read itself from the
// tensor it is a view of, and how to put itself back; a write goes up to the
// memory that all of them share, and every other view of it reads itself anew
// when it is next used.
type tensor struct {
	v      *graph.Value // nil while pending
	memory *memory
	seen   int    // version of the memory that v shows
	within *scope // in which a view was last read; nil for others

	parent *tensor // of a view; nil for the owner of the memory
	get    func(parent *graph.Value) *graph.Value
	put    func(parent, own *graph.Value) *graph.Value // nil: cannot be written
	// maybe tells that torch may have made a copy instead of a view, which
	// depends on strides that are not followed here.
	maybe bool

	// slot is the input that this is, or that it has the shape of while
	// pending.
	slot    *slot
	pending bool
	// cast tells of a pending tensor that its element type is no longer that
	// of the input.
	cast bool
	// lifted tells of a pending tensor that it has a dimension of 1 more than
	// the row: 1 for one before the batch, 2 for one behind it.
	lifted int

	// num is the Python number of a tensor that the code made of one.
	num value
	// rowNumbers is 0, 1, ... up to the number of rows.
	rowNumbers bool
}

// memory is what a tensor and its views share.
type memory struct {
	root    *tensor // the tensor that is no view
	version int
	key     attrKey // of the attribute that holds it, where owner is set
	// owner is the path of the parameter or buffer that this is the memory
	// of; empty for results.
	owner string
	// lost says why the content is not known any more; empty while it is.
	lost string
}

// slot is an input of the graph while its shape is being found out.
type slot struct {
	name      string
	shape     graph.Shape // nil while not known
	batch     graph.Shape // shape with the batch axis, where rows are fixed
	dtype     graph.DType // Invalid while not known
	floating  bool        // told to be of floating point, of whatever width
	v         *graph.Value
	flat      bool   // the code asked for the shape and was told that of a row
	ranked    bool   // the code asked for the number of dimensions
	described string // what is known of the shape, for messages
}

// newTensor returns a handle of a result.
func newTensor(v *graph.Value) *tensor {
	t := &tensor{v: v, memory: &memory{}}
	t.memory.root = t
	return t
}

// newNumber returns a tensor of a number of Python.
func newNumber(v value) *tensor {
	t := &tensor{num: v, memory: &memory{}}
	t.memory.root = t
	return t
}

// view returns a view of t. With maybe, torch may have copied.
func (in *interp) view(t *tensor, get func(*graph.Value) *graph.Value, put func(parent, own *graph.Value) *graph.Value, maybe bool) *tensor {
	w := &tensor{v: get(in.read(t)), memory: t.memory, parent: t, get: get, put: put, maybe: maybe}
	w.seen, w.within = t.memory.version, in.sc
	return w
}

// read returns the present value of t.
func (in *interp) read(t *tensor) *graph.Value {
	if t.pending {
		in.needShape(t)
	}
	if t.rowNumbers {
		in.mixes("the numbers of the rows of a batch as values")
	}
	if t.memory.lost != "" {
		in.unsupported("%s", t.memory.lost)
	}
	if t.num != nil {
		return in.numberTensor(t.num)
	}
	if t.parent != nil && (t.seen != t.memory.version || !in.sc.within(t.within)) {
		if t.maybe && t.seen != t.memory.version {
			in.unsupported("reading a tensor that may share memory with one changed in place")
		}
		t.v = t.get(in.read(t.parent))
		t.seen, t.within = t.memory.version, in.sc
	}
	return t.v
}

// write makes v the value of t, as an in-place operation does.
func (in *interp) write(t *tensor, v *graph.Value) {
	if t.pending {
		in.needShape(t)
	}
	if t.maybe {
		if in.log != nil {
			in.unsupported("changing a tensor that may be a copy, under a condition on the data")
		}
		t.memory.lost = "reading a tensor that may share memory with one changed in place"
		*t = *newTensor(v)
		t.memory.root = t
		return
	}
	in.touch(t.memory)
	if t.memory.owner != "" {
		in.mutated(t.memory.owner)
		in.change(t.memory.key)
	}
	old := t.memory.version
	in.version++
	t.memory.version = in.version
	in.writeUp(t, v, old)
}

// writeUp writes v into t and what it is a view of; old is the version of the
// memory before.
func (in *interp) writeUp(t *tensor, v *graph.Value, old int) {
	in.touch(t)
	t.num = nil
	if p := t.parent; p != nil {
		if t.put == nil {
			in.unsupported("writing to an expanded tensor")
		}
		if p.maybe {
			in.unsupported("writing to a view of a tensor that may be a copy")
		}
		in.writeUp(p, t.put(in.readOld(p, old), v), old)
	}
	t.v = v
	t.seen, t.within = t.memory.version, in.sc
}

// readOld returns the value of t before the write under way.
func (in *interp) readOld(t *tensor, old int) *graph.Value {
	if t.num != nil {
		return in.numberTensor(t.num)
	}
	if t.parent != nil && (t.seen != old || !in.sc.within(t.within)) {
		return t.get(in.readOld(t.parent, old))
	}
	return t.v
}

// numberTensor makes a constant without dimensions of a Python number.
func (in *interp) numberTensor(num value) *graph.Value {
	switch n := num.(type) {
	case *scalar:
		return n.beside(in, nil)
	case bool:
		x, _ := toInt(n)
		return in.constant(&graph.Tensor{DType: graph.Bool, Shape: graph.Shape{}, I64: []int64{x}})
	case int64:
		return in.constant(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{n}})
	case float64:
		return in.constant(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{}, F32: []float32{float32(n)}})
	}
	in.mixes("the number of rows as a value of the computation")
	return nil
}
