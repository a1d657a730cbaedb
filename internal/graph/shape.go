package graph

import (
	"fmt"
	"slices"
)

// Equal reports whether both shapes have the same dimensions.
func (s Shape) Equal(t Shape) bool { return slices.Equal(s, t) }

// BatchAxis returns the position of the dimension that grows with the number
// of rows, or -1 where the shape is fixed.
func (s Shape) BatchAxis() int {
	return slices.IndexFunc(s, func(d int) bool { return d < 0 })
}

// Fixed reports whether no dimension depends on the number of rows.
func (s Shape) Fixed() bool { return s.BatchAxis() < 0 }

// RowElements returns the number of elements in a run of one row. For a shape
// with a batch axis a run of n rows has n times as many; a fixed shape has
// the same number in every run.
func (s Shape) RowElements() int {
	n := 1
	for _, d := range s {
		n *= max(d, -d)
	}
	return n
}

// For returns the shape in a run of the given number of rows, in which every
// dimension is fixed.
func (s Shape) For(rows int) Shape {
	t := slices.Clone(s)
	for i, d := range t {
		if d < 0 {
			t[i] = -d * rows
		}
	}
	return t
}

// Check reports a shape that no value may have: more than MaxRank dimensions
// or MaxRowElements elements a row (ErrLimit), or more than one dimension that
// grows with the number of rows (ErrMixesRows).
func (s Shape) Check() error {
	if len(s) > MaxRank {
		return fmt.Errorf("graph: shape of %d dimensions: %w: at most %d", len(s), ErrLimit, MaxRank)
	}
	n, batch := 1, 0
	for _, d := range s {
		if d < 0 {
			batch++
			d = -d
		}
		if d < 0 || d > MaxRowElements {
			return fmt.Errorf("graph: shape %v: %w: a dimension is at most %d", s, ErrLimit, MaxRowElements)
		}
		// Neither factor is above 2^28, so the product does not overflow.
		if n *= max(d, 1); n > MaxRowElements {
			return fmt.Errorf("graph: shape %v: %w: at most %d elements a row", s, ErrLimit, MaxRowElements)
		}
	}
	if batch > 1 {
		return fmt.Errorf("graph: shape %v: %w: two dimensions grow with the batch", s, ErrMixesRows)
	}
	return nil
}

// InferDim returns the dimension that belongs at position at of a reshape of
// s, the other positions being given: what -1 stands for in a view of torch.
// The dimension is a multiple of Batch where s has the batch axis and the
// other positions lack it. The error is a *ShapeError of OpReshape.
func InferDim(s Shape, shape []int, at int) (int, error) {
	rest, batch := 1, false
	for i, d := range shape {
		if i == at {
			continue
		}
		if d < 0 {
			batch = true
			d = -d
		}
		if rest *= d; rest > MaxRowElements || rest < 0 {
			return 0, fmt.Errorf("graph: reshape to %v: %w", Shape(shape), ErrLimit)
		}
	}
	fail := func(reason string) (int, error) {
		return 0, &ShapeError{Op: OpReshape, DTypes: []DType{Invalid}, Shapes: []Shape{s}, Reason: reason}
	}
	if at < 0 || at >= len(shape) {
		return fail(fmt.Sprintf("position %d is not one of a shape of %d dimensions", at, len(shape)))
	}
	n := s.RowElements()
	if rest == 0 || n%rest != 0 {
		return fail(fmt.Sprintf("%d elements a row do not divide by %d", n, rest))
	}
	switch {
	case s.Fixed() && batch:
		return fail("the shape has a batch axis that the operand lacks")
	case !s.Fixed() && !batch:
		return -n / rest, nil
	default:
		return n / rest, nil
	}
}

// Broadcast returns the shape in which values of both shapes meet, by the
// rules of numpy: aligned at the last dimension, equal or 1. The batch axis
// meets itself and 1, never a fixed number. It reports false where the shapes
// do not fit.
func Broadcast(a, b Shape) (Shape, bool) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	off := len(a) - len(b)
	for i, d := range b {
		switch {
		case out[off+i] == d || d == 1:
		case out[off+i] == 1:
			out[off+i] = d
		default:
			return nil, false
		}
	}
	return out, true
}

// strides returns the row-major strides of a fixed shape, in elements.
func (s Shape) strides() []int {
	st := make([]int, len(s))
	n := 1
	for i := len(s) - 1; i >= 0; i-- {
		st[i] = n
		n *= s[i]
	}
	return st
}

// broadcastStrides returns, for each dimension of the fixed shape to, how far
// an operand of the fixed shape s moves: 0 where it is stretched.
func (s Shape) broadcastStrides(to Shape) []int {
	st := make([]int, len(to))
	own := s.strides()
	off := len(to) - len(s)
	for i, d := range s {
		if d != 1 {
			st[off+i] = own[i]
		}
	}
	return st
}
