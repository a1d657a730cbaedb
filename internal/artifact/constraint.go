package artifact

import (
	"fmt"
	"strings"
)

// Constraint is one condition on a version: an operator and a version.
type Constraint struct {
	Op      string // one of >= <= > < ~ ^ =
	Version Version
}

var operators = []string{">=", "<=", "==", ">", "<", "~", "^", "="}

// HasOperator reports whether s begins like a constraint rather than a
// version.
func HasOperator(s string) bool {
	return strings.IndexAny(strings.TrimSpace(s), "<>=~^") == 0
}

// ParseConstraints reads conditions separated by commas or blanks, all of
// which must hold: ">=1.2.0, <2.0.0". A bare version means exactly it.
func ParseConstraints(s string) ([]Constraint, error) {
	var out []Constraint
	fields := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	for i := 0; i < len(fields); i++ {
		text := fields[i]
		c := Constraint{Op: "="}
		for _, op := range operators {
			if rest, ok := strings.CutPrefix(text, op); ok {
				c.Op, text = strings.Replace(op, "==", "=", 1), rest
				break
			}
		}
		if text == "" && i+1 < len(fields) { // ">= 1.2.0"
			i++
			text = fields[i]
		}
		v, err := ParseVersion(text)
		if err != nil {
			return nil, fmt.Errorf("constraint %s: %w", quote(s), err)
		}
		c.Version = v
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: constraint %s is empty", ErrVersion, quote(s))
	}
	return out, nil
}

// Allows reports whether v meets the condition.
//
// The caret means the same major version also below 1.0.0: v0.9.0 meets
// ^0.1.0, unlike in npm and cargo. Prereleases take part like any other
// version: v1.3.0-rc.1 meets >=1.2.0.
func (c Constraint) Allows(v Version) bool {
	w := c.Version
	switch c.Op {
	case ">=":
		return v.Compare(w) >= 0
	case "<=":
		return v.Compare(w) <= 0
	case ">":
		return v.Compare(w) > 0
	case "<":
		return v.Compare(w) < 0
	case "~":
		return v.Major == w.Major && v.Minor == w.Minor && v.Patch >= w.Patch
	case "^":
		return v.Major == w.Major && (v.Minor > w.Minor || v.Minor == w.Minor && v.Patch >= w.Patch)
	}
	return v.Equal(w)
}

// String prints the condition as it is written.
func (c Constraint) String() string {
	if c.Op == "=" {
		return c.Version.String()
	}
	return c.Op + c.Version.String()
}
