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
	seen   int // version of the memory that v shows

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
}

// memory is what a tensor and its views share.
type memory struct {
	version int
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
	dtype     graph.DType // Invalid while not known
	v         *graph.Value
	flat      bool   // the code asked for the rank and was told two
	described string // what is known of the shape, for messages
}

// newTensor returns a handle of a result.
func newTensor(v *graph.Value) *tensor { return &tensor{v: v, memory: &memory{}} }

// view returns a view of t. With maybe, torch may have copied.
func (in *interp) view(t *tensor, get func(*graph.Value) *graph.Value, put func(parent, own *graph.Value) *graph.Value, maybe bool) *tensor {
	w := &tensor{v: get(in.read(t)), memory: t.memory, parent: t, get: get, put: put, maybe: maybe}
	w.seen = t.memory.version
	return w
}

// read returns the present value of t.
func (in *interp) read(t *tensor) *graph.Value {
	if t.pending {
		in.needShape(t)
	}
	if t.memory.lost != "" {
		in.unsupported("%s", t.memory.lost)
	}
	if t.num != nil {
		return in.numberTensor(t.num)
	}
	if t.parent != nil && t.seen != t.memory.version {
		if t.maybe {
			in.unsupported("reading a tensor that may share memory with one changed in place")
		}
		t.v = t.get(in.read(t.parent))
		t.seen = t.memory.version
	}
	return t.v
}

// write makes v the value of t, as an in-place operation does.
func (in *interp) write(t *tensor, v *graph.Value) {
	if t.pending {
		in.needShape(t)
	}
	if t.maybe {
		t.memory.lost = "reading a tensor that may share memory with one changed in place"
		*t = tensor{v: v, memory: &memory{}}
		return
	}
	t.num = nil
	if t.memory.owner != "" {
		in.mutated(t.memory.owner)
	}
	t.memory.version++
	in.writeUp(t, v)
}

func (in *interp) writeUp(t *tensor, v *graph.Value) {
	if p := t.parent; p != nil {
		if t.put == nil {
			in.unsupported("writing to an expanded tensor")
		}
		if p.maybe {
			in.unsupported("writing to a view of a tensor that may be a copy")
		}
		old := p.v
		if p.parent != nil && p.seen != p.memory.version-1 {
			old = p.get(in.readOld(p.parent))
		}
		in.writeUp(p, t.put(old, v))
	}
	t.v = v
	t.seen = t.memory.version
}

// readOld returns the value of t before the write under way.
func (in *interp) readOld(t *tensor) *graph.Value {
	if t.parent != nil && t.seen != t.memory.version-1 {
		return t.get(in.readOld(t.parent))
	}
	return t.v
}

// numberTensor makes a constant without dimensions of a Python number.
func (in *interp) numberTensor(num value) *graph.Value {
	switch n := num.(type) {
	case bool:
		x, _ := toInt(n)
		return in.constant(&graph.Tensor{DType: graph.Bool, Shape: graph.Shape{}, I64: []int64{x}})
	case int64:
		return in.constant(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{n}})
	case float64:
		return in.constant(&graph.Tensor{DType: graph.Float32, Shape: graph.Shape{}, F32: []float32{float32(n)}})
	}
	in.unsupported("the number of rows as a value of the computation")
	return nil
}
