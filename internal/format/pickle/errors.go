package pickle

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that a caller tells apart with errors.Is.
var (
	// ErrForbiddenGlobal is the refusal of a class or function that is not on
	// the allow-list of the file's role.
	ErrForbiddenGlobal = errors.New("global is not on the allow list")
	// ErrLimit is the refusal of a file that goes beyond a maximum.
	ErrLimit = errors.New("limit exceeded")
)

// ForbiddenGlobalError names the global that was refused. It is an
// ErrForbiddenGlobal.
type ForbiddenGlobalError struct {
	Global Global
}

// Error names the global.
func (e *ForbiddenGlobalError) Error() string {
	return fmt.Sprintf("%v: %s", ErrForbiddenGlobal, quote(e.Global.String()))
}

// Is makes the error an ErrForbiddenGlobal.
func (e *ForbiddenGlobalError) Is(target error) bool { return target == ErrForbiddenGlobal }

// FormatError says what is wrong with a file and where.
type FormatError struct {
	Format string // "pickle", "torch", ...
	Offset int64  // position in the bytes; negative where there is none
	Path   string // position in the structure: `["actor"][0]`, a member's name; may be empty
	Err    error
}

// Error returns the message with the position: `torch: archive/data.pkl: at
// byte 0x1f: REDUCE: ...`.
func (e *FormatError) Error() string {
	var b strings.Builder
	b.WriteString(e.Format)
	if e.Path != "" {
		b.WriteString(": ")
		if path := quote(e.Path); path[1:len(path)-1] == e.Path {
			b.WriteString(e.Path)
		} else { // long, or with characters that would spoil a log
			b.WriteString(path)
		}
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, ": at byte 0x%x", e.Offset)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// quote returns a text from a file in quotes, cut to a length that fits in a
// message.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%.*q... (%d bytes)", most, s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}
