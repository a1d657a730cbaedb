package server

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

// violation is one way in which a body does not fit the contract.
type violation struct {
	field   string // "body.observations.0.speed"
	message string // "expected 0 to 200 km/h, got 250"
	kind    string // stable; clients may switch on it
}

// maxViolations bounds how many violations of one body are told. Once there
// are so many the rest is only held to be JSON: to find out what is wrong with
// a million members takes longer than to send them.
const maxViolations = 32

// Kinds of violations. Those that the ancestor's validator had keep its names.
const (
	kindMissing   = "missing"
	kindUnknown   = "extra_forbidden"
	kindDuplicate = "duplicate_key"
	kindNumber    = "float_type"
	kindFinite    = "finite_number"
	kindLow       = "greater_than_equal"
	kindHigh      = "less_than_equal"
	kindShort     = "too_short"
	kindLong      = "too_long"
	kindList      = "list_type"
	kindObject    = "dict_type"
	kindBool      = "bool_type"
	kindInteger   = "int_type"
	kindText      = "string_type"
	kindToken     = "state_token"
	kindValue     = "value_error"
)

// refusal collects the ways in which one body does not fit the contract,
// whatever it is encoded in.
type refusal struct {
	violations []violation
	count      int // of violations; more may have gone unseen once the list is full
}

func (r *refusal) reset() { r.violations, r.count = r.violations[:0], 0 }

// rowField names a row.
func (d *decoder) rowField(row int) string {
	if d.lone {
		return d.root
	}
	return d.root + "." + strconv.Itoa(row)
}

// fieldOf names a feature of a row, or with levels above 0 one of its values.
func (d *decoder) fieldOf(row int, f *policy.Feature, levels int) string {
	b := []byte(d.rowField(row))
	if d.contract.Named {
		b = append(append(b, '.'), f.Name...)
	}
	for _, i := range d.index[:levels] {
		b = strconv.AppendInt(append(b, '.'), int64(i), 10)
	}
	return string(b)
}

// outside notes a number that is not finite as a float32 or out of range.
func (d *decoder) outside(row int, f *policy.Feature, levels int, v float64, text []byte) {
	field, x := d.fieldOf(row, f, levels), float32(v)
	switch {
	case v > math.MaxFloat32 || v < -math.MaxFloat32:
		d.violate(field, kindFinite, "expected a number that a float32 can hold, got "+clip(text))
	case x < float32(f.Low):
		d.violate(field, kindLow, "expected "+f.Range()+", got "+clip(text))
	case x > float32(f.High):
		d.violate(field, kindHigh, "expected "+f.Range()+", got "+clip(text))
	default: // a bound that is no number
		d.violate(field, kindValue, "expected "+f.Range()+", got "+clip(text))
	}
}

// clip shortens a client's text for a message.
func clip(text []byte) string {
	const most = 32
	if len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(text)
}

// full reports whether no more violations are looked for.
func (r *refusal) full() bool { return len(r.violations) == maxViolations }

// violate notes a violation. The first of a body are kept, the others counted.
func (r *refusal) violate(field, kind, message string) {
	r.count++
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, violation{field: field, message: message, kind: kind})
	}
}

// wrongKind notes a value of another kind than expected and reads past it.
func (d *decoder) wrongKind(field, kind, expected string, depth int) bool {
	got := d.kindAt()
	if !d.skip(depth) {
		return false
	}
	d.violate(field, kind, "expected "+expected+", got "+got)
	return true
}

// sized notes an array of the wrong length.
func (r *refusal) sized(field string, want, got int, what string) {
	kind := kindShort
	if got > want {
		kind = kindLong
	}
	r.violate(field, kind, fmt.Sprintf("expected %d %s, got %d", want, what, got))
}

// missing notes the features that a row has not given.
func (d *decoder) missing(row int) {
	for i := range d.contract.Features {
		if f := &d.contract.Features[i]; d.seen[i] != d.stamp && !d.full() {
			what := "a number"
			if len(f.Shape) > 0 {
				what = "an array of " + sizeWords(f.Shape)
			}
			d.violate(d.rowField(row)+"."+f.Name, kindMissing, "expected "+what+", got nothing")
		}
	}
}

// width notes that a row has the features of the contract and another number
// of values, which is what a policy of another version looks like.
func (d *decoder) width(row, got int) {
	want := 0
	for i := range d.contract.Features {
		want += d.contract.Features[i].Size
	}
	if got != want {
		d.violate(d.rowField(row), kindValue, fmt.Sprintf("expected %d values in all, got %d", want, got))
	}
}

// unknown notes a member that the contract does not know.
func (r *refusal) unknown(field string, name []byte, known []string) bool {
	message := "expected one of " + strings.Join(known, ", ") + ", got " + strconv.QuoteToASCII(clip(name))
	if s := spelling.Nearest(string(name), known); s != "" {
		message += "; did you mean \"" + s + "\"?"
	}
	r.violate(field+"."+clip(name), kindUnknown, message)
	return true
}

func (d *decoder) featureNames() []string {
	names := make([]string, len(d.contract.Features))
	for i := range names {
		names[i] = d.contract.Features[i].Name
	}
	return names
}

func (d *decoder) names() string { return strings.Join(d.featureNames(), ", ") }

// rowWords describes one row of the contract.
func (d *decoder) rowWords() string {
	if d.contract.Named {
		return "an array of objects with " + d.names()
	}
	return "an array of arrays of " + sizeWords([]int{d.contract.Features[0].Size})
}

// sizeWords describes a shape: "5 numbers", "4 x 3 numbers".
func sizeWords(shape []int) string {
	if len(shape) == 0 {
		return "1 number"
	}
	parts := make([]string, len(shape))
	for i, n := range shape {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, " x ") + " numbers"
}

// malformed is the error of a body that is no JSON.
func (d *decoder) malformed() error {
	return explain(faultMalformed, "the body is not well-formed JSON: %s, at byte %d", d.problem, d.at)
}

// refused is the error of a body that does not fit the contract.
func (r *refusal) refused() error {
	first := r.violations[0]
	message := strings.TrimPrefix(first.field, "body.") + ": " + first.message
	switch {
	case r.full():
		message += fmt.Sprintf(" (and at least %d more)", r.count-1)
	case r.count > 1:
		message += fmt.Sprintf(" (and %d more)", r.count-1)
	}
	details := []byte(`"validation_errors":[`)
	for i, v := range r.violations {
		if i > 0 {
			details = append(details, ',')
		}
		details = append(details, `{"field":`...)
		details = appendString(details, v.field)
		details = append(details, `,"message":`...)
		details = appendString(details, v.message)
		details = append(details, `,"type":`...)
		details = appendString(details, v.kind)
		details = append(details, '}')
	}
	return &detailed{fault: faultContract, message: message, details: append(details, `],`...)}
}
