// Package architecture reads and applies the `architecture:` of a model card,
// which says how the tensors of a file of weights are used.
//
// A [Spec] enters, from YAML or made of the tensors by [Suggest]; with the
// tensors of a file it leaves as a graph. A spec is a list of layers in the
// names of the graph's operators, each with the prefix of its parameters:
//
//	[{linear: network.0}, relu, {linear: network.2}, tanh]
//
// A layer is a word, or a mapping whose first key is the operator: its value
// is the prefix of the parameters, the operands, or the attributes. Beside it
// stand attributes, `from:` for the value that the layer takes where that is
// not the one before, and `as:` to name its result. With several inputs or
// outputs the list is under `layers:`:
//
//	inputs: {image: [3, 64, 64], state: [4]}
//	layers:
//	  - {conv: cnn.0, stride: 2, from: image}
//	  - relu
//	  - {flatten: , as: features}
//	  - {concat: [features, state]}
//	  - {linear: head, as: out}
//	outputs: [out]
//
// The package imports torch, torchscript and graph and nothing else of this
// module.
package architecture

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The maxima of a spec.
const (
	maxLayers   = 4096
	maxOperands = 64
	maxName     = 1024 // bytes
)

// ErrSpec is wrapped by every error that says what is wrong with a spec.
var ErrSpec = errors.New("architecture")

// Spec says how the tensors of a file are used.
type Spec struct {
	Inputs  []Input  // none: one, of the name "obs"
	Layers  []Layer  // in order; at least one
	Outputs []Output // none: the result of the last layer, of the name "out"
}

// Input is an input of the network.
type Input struct {
	Name string
	// Shape is that of one observation, without the batch axis; nil where the
	// weights tell it.
	Shape []int
	// DType is graph.Invalid where it is that of the weights.
	DType graph.DType
}

// Output is a value that leaves under a name.
type Output struct {
	Name string
	Of   string // the name of a layer's result or of an input
}

// Layer is one layer.
type Layer struct {
	Op string
	// Key is the prefix of the layer's parameters, for operators that have
	// some: network.0 for network.0.weight and network.0.bias.
	Key   string
	Args  []Operand      // of operators that take several values
	Attrs map[string]any // int64, float64, bool, string or []int64
	From  string         // the value it takes; empty for that of the layer before
	As    string         // the name of its result; may be empty

	order []string // of the attributes
}

// Operand is a value by its name, a tensor of the file by its key, or a
// number.
type Operand struct {
	Name   string
	Number any // int64 or float64; nil where there is a name
}

// String prints a layer as it stands in a card.
func (l *Layer) String() string {
	value := ""
	switch k := kinds[l.Op]; {
	case k.keyed:
		value = quoteKey(l.Key)
	case len(l.Args) == 1:
		value = l.Args[0].String()
	case len(l.Args) > 1:
		parts := make([]string, len(l.Args))
		for i, a := range l.Args {
			parts[i] = a.String()
		}
		value = "[" + strings.Join(parts, ", ") + "]"
	case len(l.Attrs) == 0 && l.From == "" && l.As == "":
		return l.Op
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{%s: %s", l.Op, value)
	for _, name := range l.order {
		fmt.Fprintf(&b, ", %s: %s", name, formatAttr(l.Attrs[name]))
	}
	if l.From != "" {
		fmt.Fprintf(&b, ", from: %s", quote(l.From))
	}
	if l.As != "" {
		fmt.Fprintf(&b, ", as: %s", quote(l.As))
	}
	return b.String() + "}"
}

// String prints an operand as it stands in a card.
func (o Operand) String() string {
	if o.Number != nil {
		return formatAttr(o.Number)
	}
	return quote(o.Name)
}

// set adds an attribute.
func (l *Layer) set(name string, v any) *Layer {
	if l.Attrs == nil {
		l.Attrs = map[string]any{}
	}
	if _, ok := l.Attrs[name]; !ok {
		l.order = append(l.order, name)
	}
	l.Attrs[name] = v
	return l
}

// String prints the spec as the value of `architecture:` on one line, which
// Parse reads back.
func (s *Spec) String() string {
	layers := make([]string, len(s.Layers))
	for i := range s.Layers {
		layers[i] = s.Layers[i].String()
	}
	list := "[" + strings.Join(layers, ", ") + "]"
	if len(s.Inputs) == 0 && len(s.Outputs) == 0 {
		return list
	}
	var parts []string
	if len(s.Inputs) > 0 {
		ins := make([]string, len(s.Inputs))
		for i, in := range s.Inputs {
			ins[i] = in.String()
		}
		parts = append(parts, "inputs: {"+strings.Join(ins, ", ")+"}")
	}
	parts = append(parts, "layers: "+list)
	if len(s.Outputs) > 0 {
		outs := make([]string, len(s.Outputs))
		for i, o := range s.Outputs {
			outs[i] = quote(o.Name) + ": " + quote(o.Of)
		}
		parts = append(parts, "outputs: {"+strings.Join(outs, ", ")+"}")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// String prints an input as it stands in a card.
func (in Input) String() string {
	shape := ""
	if in.Shape != nil {
		shape = formatInts(in.Shape)
	}
	if in.DType == graph.Invalid {
		return quote(in.Name) + ": " + shape
	}
	value := "dtype: " + in.DType.String()
	if shape != "" {
		value = "shape: " + shape + ", " + value
	}
	return quote(in.Name) + ": {" + value + "}"
}

func formatInts[T int | int64](v []T) string {
	return strings.ReplaceAll(fmt.Sprint(v), " ", ", ")
}

func formatAttr(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0" // so that it reads back as a float
		}
		return s
	case []int64:
		return formatInts(v)
	}
	return fmt.Sprint(v)
}

// quoteKey prints a prefix, which is read as it stands: 0 is one.
func quoteKey(s string) string {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.') {
			return quote(s)
		}
	}
	if s == "" || strings.EqualFold(s, "null") {
		return strconv.Quote(s)
	}
	return s
}

// quote prints a text as a YAML scalar, with quotes where it could be taken
// for something else.
func quote(s string) string {
	plain := s != ""
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || !(r >= '0' && r <= '9' || r == '.' || r == '-')) {
			plain = false
		}
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf":
		plain = false
	}
	if plain {
		return s
	}
	return strconv.Quote(s)
}
