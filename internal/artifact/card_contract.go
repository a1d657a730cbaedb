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

// GoldenVector is one observation with its action.
type GoldenVector struct {
	Observation   Values
	Action        Values
	Deterministic bool // true unless the card says otherwise
	Line          int  // of the card
}

// Values is an observation or an action as the card writes it: either named
// or a row, each flattened in row-major order.
type Values struct {
	Named []NamedValues // in the order of the card; nil for a row
	Row   []float64
}

// NamedValues is one named part of Values.
type NamedValues struct {
	Name   string
	Values []float64
}

// Lookup returns the values of the part with the name.
func (v Values) Lookup(name string) ([]float64, bool) {
	for _, n := range v.Named {
		if n.Name == name {
			return n.Values, true
		}
	}
	return nil, false
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

func (r *cardReader) values(n *yaml.Node, field string) Values {
	if n.Kind != yaml.MappingNode {
		return Values{Row: r.flatten(n, field, nil)}
	}
	out := Values{Named: []NamedValues{}}
	for _, p := range r.mapping(n, field) {
		sub := dotted(field, p.name)
		out.Named = append(out.Named, NamedValues{Name: p.name, Values: r.flatten(p.value, sub, nil)})
	}
	return out
}

// flatten appends the numbers of nested lists in row-major order. Lists side
// by side must have the same length. The depth was bounded by checkTree.
func (r *cardReader) flatten(n *yaml.Node, field string, dst []float64) []float64 {
	if n.Kind != yaml.SequenceNode {
		return append(dst, r.finite(n, field))
	}
	for i, item := range n.Content {
		at := field + "[" + strconv.Itoa(i) + "]"
		if item.Kind != n.Content[0].Kind || item.Kind == yaml.SequenceNode && len(item.Content) != len(n.Content[0].Content) {
			r.fail(item, at, "the lists are not of the same length")
			return dst
		}
		if len(dst) >= maxGoldenWidth {
			r.fail(item, field, "want at most %d values, got more", maxGoldenWidth)
			return dst
		}
		dst = r.flatten(item, at, dst)
	}
	return dst
}
