package graph

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of failure of this package, for errors.Is.
var (
	// ErrUnsupportedOp is an operator that has no spec.
	ErrUnsupportedOp = errors.New("unsupported operator")
	// ErrOperands is a number of operands that the operator does not take.
	ErrOperands = errors.New("wrong number of operands")
	// ErrAttribute is an attribute that is unknown, missing, of the wrong
	// kind or out of range.
	ErrAttribute = errors.New("bad attribute")
	// ErrShape is a shape that does not fit. Every *ShapeError is one.
	ErrShape = errors.New("shapes do not fit")
	// ErrDType is an element type that the operator does not take.
	ErrDType = errors.New("element type does not fit")
	// ErrMixesRows is an operation in which one row's result would depend on
	// another row, such as a sum over the batch axis. A server that answers
	// several requests in one batch cannot run it.
	ErrMixesRows = errors.New("rows of the batch would be mixed")
	// ErrLimit is a graph beyond one of the named maxima.
	ErrLimit = errors.New("limit exceeded")
	// ErrInvalid is a graph that is not well formed.
	ErrInvalid = errors.New("invalid graph")
	// ErrStepBudget is a run in which a loop goes on beyond its limit, or all
	// loops together beyond StepBudget.
	ErrStepBudget = errors.New("step budget exceeded")
	// ErrSyntax is text that Parse does not understand.
	ErrSyntax = errors.New("syntax error")
)

// ShapeError tells which operator could not take which operands. It matches
// ErrShape under errors.Is.
type ShapeError struct {
	Op     Op
	DTypes []DType // of the operands, in order
	Shapes []Shape // of the operands, in order
	Reason string  // what was expected and what came, in words
}

// Error names the operator, its operands and the reason:
// graph: linear(f32[B,5], f32[64,7]): x has 5 features, the weight takes 7.
func (e *ShapeError) Error() string {
	return fmt.Sprintf("graph: %s%s: %s", e.Op, operandList(e.DTypes, e.Shapes), e.Reason)
}

// Is reports whether target is ErrShape.
func (e *ShapeError) Is(target error) bool { return target == ErrShape }

func operandList(dts []DType, shapes []Shape) string {
	var b strings.Builder
	b.WriteByte('(')
	for i := range shapes {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == 8 {
			fmt.Fprintf(&b, "... %d more", len(shapes)-i)
			break
		}
		b.WriteString(dts[i].String())
		b.WriteString(shapes[i].String())
	}
	b.WriteByte(')')
	return b.String()
}

func (n *Node) operands() ([]DType, []Shape) {
	dts := make([]DType, len(n.In))
	shapes := make([]Shape, len(n.In))
	for i, v := range n.In {
		dts[i], shapes[i] = v.DType, v.Shape
	}
	return dts, shapes
}

// shapeError is a *ShapeError of the node's operands.
func (n *Node) shapeError(format string, args ...any) error {
	dts, shapes := n.operands()
	return &ShapeError{Op: n.Op, DTypes: dts, Shapes: shapes, Reason: fmt.Sprintf(format, args...)}
}

// fail wraps kind with the node's operator and operands.
func (n *Node) fail(kind error, format string, args ...any) error {
	return fmt.Errorf("graph: %s%s: %w: %s", n.Op, operandList(n.operands()), kind, fmt.Sprintf(format, args...))
}
