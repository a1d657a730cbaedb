package artifact

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels for errors.Is.
var (
	ErrMissing     = errors.New("missing")
	ErrCard        = errors.New("invalid card")
	ErrHash        = errors.New("digest mismatch")
	ErrPlaceholder = errors.New("placeholder digest")
	ErrNoHash      = errors.New("no digest")
	ErrLimit       = errors.New("over the limit")
	ErrNotRegular  = errors.New("not a regular file")
	ErrEscape      = errors.New("leaves the artifact folder")
	ErrAmbiguous   = errors.New("ambiguous")
	ErrName        = errors.New("not a plain name")
)

// Problem is one thing that is wrong with an artifact.
type Problem struct {
	File  string // plain name of the file
	Field string // dotted field of the card, or ""
	Line  int    // line of the card, or 0
	Err   error
	Hint  string // what the operator can do, or ""
}

// String says the problem in one line: file, line, field, what is wrong and
// how to mend it.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Field != "" {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(p.Field)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(p.Err.Error())
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Error is returned for an artifact that may not be used. It holds every
// problem that was found.
type Error struct {
	Dir      string
	Problems []Problem
}

// Error lists the problems, the most telling first.
func (e *Error) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.String()
	}
	return strings.Join(parts, "; ")
}

// Unwrap lets errors.Is and errors.As see every problem.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p.Err
	}
	return errs
}
