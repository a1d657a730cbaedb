package artifact

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pair is one entry of a mapping.
type pair struct {
	name  string
	key   *yaml.Node
	value *yaml.Node
}

func find(m []pair, name string) (pair, bool) {
	i := slices.IndexFunc(m, func(p pair) bool { return p.name == name })
	if i < 0 {
		return pair{}, false
	}
	return m[i], true
}

// mapping returns the entries of a mapping in the order of the file.
func (r *cardReader) mapping(n *yaml.Node, field string) []pair {
	if n.Kind != yaml.MappingNode {
		r.fail(n, field, "want a mapping of keys to values, got %s", kindName(n))
		return nil
	}
	out := make([]pair, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, pair{n.Content[i].Value, n.Content[i], n.Content[i+1]})
	}
	return out
}

// sequence returns the entries of a list of at most limit.
func (r *cardReader) sequence(n *yaml.Node, field string, limit int) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, field, "want a list, got %s", kindName(n))
		return nil
	}
	if len(n.Content) > limit {
		r.fail(n, field, "want at most %d entries, got %d", limit, len(n.Content))
		return nil
	}
	return n.Content
}

// text returns the text of a scalar. A number is taken as it is written, so
// that framework_version: 2.1 means what it says.
func (r *cardReader) text(n *yaml.Node, field string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!bool" {
		r.fail(n, field, "want text, got %s", kindName(n))
		return ""
	}
	if len(n.Value) > maxTextBytes {
		r.fail(n, field, "want at most %d bytes of text, got %d", maxTextBytes, len(n.Value))
		return ""
	}
	return n.Value
}

func (r *cardReader) number(n *yaml.Node, field string) float64 {
	if n.Kind == yaml.ScalarNode {
		switch n.Tag {
		case "!!int", "!!float":
			if v, ok := parseNumber(n.Value); ok {
				return v
			}
		case "!!str":
			// The parser takes 1e-5 for text because YAML 1.1 wants a point
			// before the exponent. A quoted number stays text.
			if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
				if v, ok := parseNumber(n.Value); ok {
					return v
				}
			}
		}
	}
	r.fail(n, field, "want a number, got %s", kindName(n))
	return 0
}

func parseNumber(s string) (float64, bool) {
	text := strings.ToLower(strings.ReplaceAll(s, "_", ""))
	switch strings.TrimPrefix(text, "+") {
	case ".inf":
		return math.Inf(1), true
	case "-.inf":
		return math.Inf(-1), true
	case ".nan":
		return math.NaN(), true
	}
	if strings.ContainsAny(text, "xpino") { // hexadecimal, octal, inf, nan, infinity
		i, err := strconv.ParseInt(text, 0, 64)
		return float64(i), err == nil
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil
}

func (r *cardReader) finite(n *yaml.Node, field string) float64 {
	before := len(r.problems)
	v := r.number(n, field)
	if len(r.problems) == before && (math.IsNaN(v) || math.IsInf(v, 0)) {
		r.fail(n, field, "want a finite number, got %s", n.Value)
		return 0
	}
	return v
}

func (r *cardReader) integer(n *yaml.Node, field string, low, high int) int {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		v, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
		if err == nil && v >= int64(low) && v <= int64(high) {
			return int(v)
		}
		r.fail(n, field, "want a whole number from %d to %d, got %s", low, high, quote(n.Value))
		return 0
	}
	r.fail(n, field, "want a whole number, got %s", kindName(n))
	return 0
}

func (r *cardReader) boolean(n *yaml.Node, field string) bool {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		return strings.EqualFold(n.Value, "true")
	}
	r.fail(n, field, "want true or false, got %s", kindName(n))
	return false
}

// shape reads dimensions. With batch, a first dimension of -1 or null stands
// for the batch axis and is dropped.
func (r *cardReader) shape(n *yaml.Node, field string, batch bool) []int {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		return []int{r.integer(n, field, 1, maxShapeSize)}
	}
	items := r.sequence(n, field, maxShapeDims)
	if batch && len(items) > 0 && (items[0].Tag == "!!null" || items[0].Value == "-1") {
		items = items[1:]
	}
	shape := make([]int, 0, len(items))
	size := 1
	for i, item := range items {
		before := len(r.problems)
		d := r.integer(item, field+"["+strconv.Itoa(i)+"]", 1, maxShapeSize)
		if len(r.problems) > before {
			return nil
		}
		// Both factors are at most 2^24: the product cannot overflow.
		if size *= d; size > maxShapeSize {
			r.fail(n, field, "want at most %d values, got more", maxShapeSize)
			return nil
		}
		shape = append(shape, d)
	}
	return shape
}

// kindName says what a node is, for messages that tell expected and got.
func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.DocumentNode:
		if len(n.Content) > 0 {
			return kindName(n.Content[0])
		}
		return "nothing"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "nothing"
		case "!!str":
			return "the text " + quote(n.Value)
		}
		return quote(n.Value)
	}
	return "nothing"
}
