package artifact

import (
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var (
	featureKeys = []string{"name", "shape", "unit", "low", "high"}
	actionKeys  = []string{"name", "shape", "unit", "low", "high", "discrete"}
)

// observation reads the list of features. A feature may be only a name.
func (r *cardReader) observation(n *yaml.Node, field string) []FeatureSpec {
	var out []FeatureSpec
	seen := map[string]bool{}
	for i, item := range r.sequence(n, field, maxFeatures) {
		at := field + "[" + strconv.Itoa(i) + "]"
		var f FeatureSpec
		if item.Kind == yaml.ScalarNode {
			f.Name = r.label(item, at)
		} else {
			for _, p := range r.mapping(item, at) {
				sub := dotted(at, p.name)
				switch p.name {
				case "name":
					f.Name = r.label(p.value, sub)
				case "shape":
					f.Shape = r.shape(p.value, sub, false)
				case "unit":
					f.Unit = r.text(p.value, sub)
				case "low":
					f.Low = r.bound(p.value, sub)
				case "high":
					f.High = r.bound(p.value, sub)
				default:
					r.unknown(p.key, sub, featureKeys, false)
				}
			}
		}
		r.named(item, at, f.Name, f.Low, f.High, seen)
		out = append(out, f)
	}
	return out
}

// action reads the list of outputs. An output may be only a name.
func (r *cardReader) action(n *yaml.Node, field string) []ActionSpec {
	var out []ActionSpec
	seen := map[string]bool{}
	for i, item := range r.sequence(n, field, maxFeatures) {
		at := field + "[" + strconv.Itoa(i) + "]"
		var a ActionSpec
		if item.Kind == yaml.ScalarNode {
			a.Name = r.label(item, at)
		} else {
			for _, p := range r.mapping(item, at) {
				sub := dotted(at, p.name)
				switch p.name {
				case "name":
					a.Name = r.label(p.value, sub)
				case "shape":
					a.Shape = r.shape(p.value, sub, false)
				case "unit":
					a.Unit = r.text(p.value, sub)
				case "low":
					a.Low = r.bound(p.value, sub)
				case "high":
					a.High = r.bound(p.value, sub)
				case "discrete":
					a.Discrete = r.boolean(p.value, sub)
				default:
					r.unknown(p.key, sub, actionKeys, false)
				}
			}
		}
		r.named(item, at, a.Name, a.Low, a.High, seen)
		out = append(out, a)
	}
	return out
}

// named checks what features and outputs have in common.
func (r *cardReader) named(n *yaml.Node, at, name string, low, high *float64, seen map[string]bool) {
	switch {
	case name == "":
		r.fail(n, at+".name", "this key is required and is not there")
	case seen[name]:
		r.fail(n, at+".name", "the name %s is given twice", quote(name))
	}
	seen[name] = true
	if low != nil && high != nil && *low > *high {
		r.fail(n, at, "low is above high: %v > %v", *low, *high)
	}
}

// label reads a name that appears as a key of requests and answers: any
// printable text of at most 64 bytes.
func (r *cardReader) label(n *yaml.Node, field string) string {
	s := r.text(n, field)
	if len(s) > maxNameBytes || !utf8.ValidString(s) {
		r.fail(n, field, "want at most %d bytes of text, got %s", maxNameBytes, quote(s))
		return ""
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			r.fail(n, field, "want printable text, got %s", quote(s))
			return ""
		}
	}
	return s
}

// bound reads low or high; null and infinity mean that there is none.
func (r *cardReader) bound(n *yaml.Node, field string) *float64 {
	if n.Tag == "!!null" {
		return nil
	}
	v := r.number(n, field)
	if math.IsNaN(v) {
		r.fail(n, field, "want a number, got %s", n.Value)
		return nil
	}
	if math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// Golden is a set of observations with the actions that the trainer's own
// framework gives for them.
type Golden struct {
	Atol, Rtol float64
	Vectors    []GoldenVector
}

// GoldenVector is one observation with its action. Each is as the card writes
// it: a float64, a []float64, a []any of such lists where they nest, or a
// map[string]any of any of these by name. Every number is finite, and lists
// side by side have the same length.
type GoldenVector struct {
	Observation   any
	Action        any
	Deterministic bool // true unless the card says otherwise
	Line          int  // of the card
}

// The tolerance of golden vectors where the card gives none, and the bounds
// of what they may hold.
const (
	defaultAtol    = 1e-5
	defaultRtol    = 1e-5
	maxGolden      = 1024
	maxGoldenWidth = 1 << 18
)

var (
	goldenKeys = []string{"atol", "rtol", "vectors"}
	vectorKeys = []string{"observation", "action", "deterministic"}
)

func (r *cardReader) golden(n *yaml.Node, field string) *Golden {
	g := &Golden{Atol: defaultAtol, Rtol: defaultRtol}
	for _, p := range r.mapping(n, field) {
		sub := dotted(field, p.name)
		switch p.name {
		case "atol":
			g.Atol = r.tolerance(p.value, sub)
		case "rtol":
			g.Rtol = r.tolerance(p.value, sub)
		case "vectors":
			for i, item := range r.sequence(p.value, sub, maxGolden) {
				g.Vectors = append(g.Vectors, r.vector(item, fmt.Sprintf("%s[%d]", sub, i)))
			}
		default:
			r.unknown(p.key, sub, goldenKeys, false)
		}
	}
	if len(g.Vectors) == 0 {
		r.fail(n, field+".vectors", "want at least one vector, got none")
	}
	return g
}

func (r *cardReader) tolerance(n *yaml.Node, field string) float64 {
	v := r.finite(n, field)
	if v < 0 || v > 1 {
		r.fail(n, field, "want a tolerance from 0 to 1, got %s", n.Value)
	}
	return v
}

func (r *cardReader) vector(n *yaml.Node, field string) GoldenVector {
	v := GoldenVector{Deterministic: true, Line: n.Line}
	m := r.mapping(n, field)
	for _, p := range m {
		sub := dotted(field, p.name)
		switch p.name {
		case "observation":
			v.Observation = r.values(p.value, sub)
		case "action":
			v.Action = r.values(p.value, sub)
		case "deterministic":
			v.Deterministic = r.boolean(p.value, sub)
		default:
			r.unknown(p.key, sub, vectorKeys, false)
		}
	}
	for _, name := range vectorKeys[:2] {
		if _, ok := find(m, name); !ok {
			r.fail(n, dotted(field, name), "this key is required and is not there")
		}
	}
	return v
}

// values reads an observation or an action.
func (r *cardReader) values(n *yaml.Node, field string) any {
	width := 0
	if n.Kind != yaml.MappingNode {
		return r.numbers(n, field, &width)
	}
	out := make(map[string]any, len(n.Content)/2)
	for _, p := range r.mapping(n, field) {
		out[p.name] = r.numbers(p.value, dotted(field, p.name), &width)
	}
	return out
}

// numbers reads a number or nested lists of numbers; width counts them. The
// depth was bounded by checkTree.
func (r *cardReader) numbers(n *yaml.Node, field string, width *int) any {
	if n.Kind != yaml.SequenceNode {
		*width++
		return r.finite(n, field)
	}
	if *width > maxGoldenWidth {
		r.fail(n, field, "want at most %d values, got more", maxGoldenWidth)
		return nil
	}
	flat := make([]float64, 0, len(n.Content))
	var nested []any
	for i, item := range n.Content {
		at := field + "[" + strconv.Itoa(i) + "]"
		first := n.Content[0]
		if item.Kind != first.Kind || item.Kind == yaml.SequenceNode && len(item.Content) != len(first.Content) {
			r.fail(item, at, "the lists are not of the same length")
			return nil
		}
		switch v := r.numbers(item, at, width).(type) {
		case float64:
			flat = append(flat, v)
		default:
			nested = append(nested, v)
		}
	}
	if nested != nil {
		return nested
	}
	return flat
}
