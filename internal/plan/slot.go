package plan

import "github.com/carla-rl/carla-rl-serving/internal/graph"

// dim is a count that is fixed or, with batch, n times the number of rows.
type dim struct {
	n     int
	batch bool
}

func (d dim) at(rows int) int {
	if d.batch {
		return d.n * rows
	}
	return d.n
}

// mul is the product of two counts of which at most one has the batch.
func (d dim) mul(e dim) dim {
	if d.n == 0 || e.n == 0 {
		return dim{}
	}
	return dim{d.n * e.n, d.batch || e.batch}
}

// toDim reads a dimension of a shape.
func toDim(d int) dim {
	if d < 0 {
		return dim{-d, true}
	}
	return dim{n: d}
}

// sizeOf is the number of elements of a shape.
func sizeOf(s graph.Shape) dim {
	n := dim{n: 1}
	for _, d := range s {
		n = n.mul(toDim(d))
	}
	return n
}

// stridesOf returns the row-major strides of a shape.
func stridesOf(s graph.Shape) []dim {
	st := make([]dim, len(s))
	n := dim{n: 1}
	for i := len(s) - 1; i >= 0; i-- {
		st[i] = n
		n = n.mul(toDim(s[i]))
	}
	return st
}

// stretched returns, for each dimension of the shape to, how far an operand of
// shape s moves: not at all where it is broadcast.
func stretched(s, to graph.Shape) []dim {
	st := make([]dim, len(to))
	own := stridesOf(s)
	off := len(to) - len(s)
	for i, d := range s {
		if d != 1 {
			st[off+i] = own[i]
		}
	}
	return st
}

// slotKind tells where a slot's memory is.
type slotKind uint8

const (
	slotTemp   slotKind = iota // in the arena
	slotConst                  // in the plan
	slotInput                  // the caller's
	slotOutput                 // the caller's
)

var slotPrefix = [...]string{"t", "c", "in", "out"}

// slot is the memory of one or several values of the graph.
type slot struct {
	kind  slotKind
	index int // of the input or output
	size  dim
	shape graph.Shape // for the dump
	data  []float32   // of a constant
	off   int         // in the arena: floats, or floats a row
}
