package torchscript

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// ErrLimit is wrapped by every error that says a named maximum was exceeded.
var ErrLimit = errors.New("limit exceeded")

// Position is a place in the code of an archive.
type Position struct {
	File string // member name without the archive's stem: code/__torch__/m.py
	Line int    // from 1
	Col  int    // from 1, in bytes
}

// String prints the position as file:line:column.
func (p Position) String() string {
	if p.File == "" {
		return "archive"
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// SyntaxError is a piece of code that is no TorchScript.
type SyntaxError struct {
	Pos Position
	Msg string
}

// Error says where and what.
func (e *SyntaxError) Error() string { return fmt.Sprintf("torchscript: %s: %s", e.Pos, e.Msg) }

// FormatError is a defect of the archive: a member that is missing or whose
// content contradicts itself.
type FormatError struct {
	Member string // member name without the archive's stem
	Err    error
}

// Error says which member and what.
func (e *FormatError) Error() string {
	return fmt.Sprintf("torchscript: %s: %v", e.Member, e.Err)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// UnsupportedError is a module that is sound but that cannot be served: it
// calls an operator without a lowering, or its control flow depends on data.
// It matches errors.ErrUnsupported.
type UnsupportedError struct {
	Pos  Position
	What string

	mixes bool
}

// Error begins with "unsupported:" and says what is missing and where.
func (e *UnsupportedError) Error() string {
	if e.Pos.File == "" {
		return "unsupported: " + e.What
	}
	return fmt.Sprintf("unsupported: %s at %s", e.What, e.Pos)
}

// Is reports whether target is errors.ErrUnsupported, or graph.ErrMixesRows
// for what can be lowered for a fixed number of rows.
func (e *UnsupportedError) Is(target error) bool {
	return target == errors.ErrUnsupported || e.mixes && target == graph.ErrMixesRows
}

// RunError is an error that the module's own code would raise, or an operator
// whose operands do not fit.
type RunError struct {
	Pos Position
	Err error
}

// Error says where and what.
func (e *RunError) Error() string { return fmt.Sprintf("torchscript: %s: %v", e.Pos, e.Err) }

// Unwrap returns the cause.
func (e *RunError) Unwrap() error { return e.Err }

// NeedShapeError says that the shape of an input is needed and that neither
// the file nor the options tell it. It matches errors.ErrUnsupported, for
// without that shape the module cannot be served.
type NeedShapeError struct {
	Input string // name of the input
	Hint  string // what is known of the shape, such as "[B,3,?,?]"; may be empty
	Pos   Position
	// Cause is what went wrong when a flat row was taken for granted, if
	// that was tried.
	Cause error
}

// Error says which input and how to give its shape.
func (e *NeedShapeError) Error() string {
	s := fmt.Sprintf("unsupported: the shape of input %q is not told by the file", e.Input)
	if e.Hint != "" {
		s += ", which says only " + e.Hint
	}
	s += ": give it in the model card (input_shape, or observation) or, without one, by --input-shape"
	if e.Pos.File != "" {
		s += fmt.Sprintf(" (needed at %s)", e.Pos)
	}
	return s
}

// Is reports whether target is errors.ErrUnsupported.
func (e *NeedShapeError) Is(target error) bool { return target == errors.ErrUnsupported }

// Unwrap returns the cause.
func (e *NeedShapeError) Unwrap() error { return e.Cause }

// NeedTypeError says that the code asks for the element type of an input that
// neither the file nor the options tell. It matches errors.ErrUnsupported.
type NeedTypeError struct {
	Input string // name of the input
	Pos   Position
}

// Error says which input and what to do.
func (e *NeedTypeError) Error() string {
	return fmt.Sprintf("unsupported: the code asks whether input %q is of integers, of booleans or of floating point (at %s), which a scripted file does not tell: "+
		"trace the module, or save it with torch.export", e.Input, e.Pos)
}

// Is reports whether target is errors.ErrUnsupported.
func (e *NeedTypeError) Is(target error) bool { return target == errors.ErrUnsupported }

func limitf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrLimit, fmt.Sprintf(format, args...))
}
