package architecture

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Parse reads the value of `architecture:`. The node must hold no alias, as
// package artifact sees to. Errors wrap ErrSpec and begin with the place.
func Parse(n *yaml.Node) (*Spec, error) {
	p := parser{}
	s, err := p.spec(n)
	if err != nil {
		return nil, fmt.Errorf("%w: %s%w", ErrSpec, p.at, err)
	}
	return s, nil
}

// ParseText reads the value of `architecture:` as text, for files that hold
// nothing else and for tests.
func ParseText(text string) (*Spec, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpec, err)
	}
	if len(doc.Content) != 1 {
		return nil, fmt.Errorf("%w: there is nothing", ErrSpec)
	}
	return Parse(doc.Content[0])
}

// parser knows what it reads, for messages.
type parser struct {
	at string // "layer 3: "
}

func (p *parser) spec(n *yaml.Node) (*Spec, error) {
	s := &Spec{}
	if n.Kind == yaml.SequenceNode {
		return s, p.layers(s, n)
	}
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("a %s, a list of layers was wanted", kindName(n))
	}
	err := pairs(n, func(key string, v *yaml.Node) error {
		switch key {
		case "inputs":
			p.at = "inputs: "
			return p.inputs(s, v)
		case "layers":
			return p.layers(s, v)
		case "outputs":
			p.at = "outputs: "
			return p.outputs(s, v)
		}
		p.at = ""
		return fmt.Errorf("an unknown key %.40q; there are inputs, layers and outputs", key)
	})
	if err != nil {
		return nil, err
	}
	p.at = ""
	if len(s.Layers) == 0 {
		return nil, fmt.Errorf("there are no layers")
	}
	return s, nil
}

// pairs calls f for each key of a mapping, none of which may be there twice.
func pairs(n *yaml.Node, f func(key string, v *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("a %s, a mapping was wanted", kindName(n))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || len(k.Value) > maxName {
			return fmt.Errorf("a key that is a %s or longer than %d bytes", kindName(k), maxName)
		}
		if seen[k.Value] {
			return fmt.Errorf("the key %q is there twice", k.Value)
		}
		seen[k.Value] = true
		if err := f(k.Value, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "list"
	case yaml.MappingNode:
		return "mapping"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "null"
		case "!!int", "!!float":
			return "number"
		case "!!bool":
			return "boolean"
		}
		return "text"
	case yaml.AliasNode:
		return "alias"
	}
	return "document"
}

func text(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Value == "" || len(n.Value) > maxName {
		return "", fmt.Errorf("a %s, a name of 1 to %d bytes was wanted", kindName(n), maxName)
	}
	return n.Value, nil
}

// inputs are a list of names, or a mapping from names to shapes.
func (p *parser) inputs(s *Spec, n *yaml.Node) error {
	add := func(in Input) error {
		if in.Name == "" || slices.ContainsFunc(s.Inputs, func(o Input) bool { return o.Name == in.Name }) {
			return fmt.Errorf("the name %q is empty or there twice", in.Name)
		}
		if len(s.Inputs) >= graph.MaxPorts {
			return fmt.Errorf("more than %d", graph.MaxPorts)
		}
		s.Inputs = append(s.Inputs, in)
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		for _, e := range n.Content {
			name, err := text(e)
			if err != nil {
				return err
			}
			if err := add(Input{Name: name}); err != nil {
				return err
			}
		}
		return nil
	}
	return pairs(n, func(name string, v *yaml.Node) error {
		in := Input{Name: name}
		var err error
		switch {
		case v.ShortTag() == "!!null":
		case v.Kind != yaml.MappingNode:
			in.Shape, err = shape(v)
		default:
			err = pairs(v, func(key string, v *yaml.Node) error {
				switch key {
				case "shape":
					in.Shape, err = shape(v)
				case "dtype":
					in.DType, err = dtype(v)
				default:
					err = fmt.Errorf("an unknown key %.40q; there are shape and dtype", key)
				}
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return add(in)
	})
}

func shape(n *yaml.Node) ([]int, error) {
	v, err := attr("shape", n)
	if err != nil {
		return nil, err
	}
	out := []int{}
	for _, d := range v.([]int64) {
		if d < 1 || d > graph.MaxRowElements {
			return nil, fmt.Errorf("a dimension of %d", d)
		}
		out = append(out, int(d))
	}
	if len(out) >= graph.MaxRank {
		return nil, fmt.Errorf("a shape of %d dimensions, at most %d", len(out), graph.MaxRank-1)
	}
	return out, nil
}

func dtype(n *yaml.Node) (graph.DType, error) {
	long := map[string]string{
		"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16",
		"int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "uint8": "u8",
	}
	name := n.Value
	if short, ok := long[name]; ok {
		name = short
	}
	for dt := graph.Float32; dt <= graph.Bool; dt++ {
		if n.Kind == yaml.ScalarNode && dt.String() == name {
			return dt, nil
		}
	}
	return graph.Invalid, fmt.Errorf("dtype %.20q is not one of float32, float64, float16, bfloat16, int64, int32, int16, int8, uint8, bool", n.Value)
}

// outputs are a list of names of values, or a mapping from the name of the
// output to that of the value.
func (p *parser) outputs(s *Spec, n *yaml.Node) error {
	add := func(name, of string) error {
		if slices.ContainsFunc(s.Outputs, func(o Output) bool { return o.Name == name }) || len(s.Outputs) >= graph.MaxPorts {
			return fmt.Errorf("%q is there twice, or there are more than %d", name, graph.MaxPorts)
		}
		s.Outputs = append(s.Outputs, Output{Name: name, Of: of})
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		for _, e := range n.Content {
			name, err := text(e)
			if err != nil {
				return err
			}
			if err := add(name, name); err != nil {
				return err
			}
		}
		return nil
	}
	return pairs(n, func(name string, v *yaml.Node) error {
		of, err := text(v)
		if err != nil {
			return err
		}
		return add(name, of)
	})
}

func (p *parser) layers(s *Spec, n *yaml.Node) error {
	p.at = ""
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || len(n.Content) > maxLayers {
		return fmt.Errorf("layers are a %s of %d, a list of 1 to %d was wanted", kindName(n), len(n.Content), maxLayers)
	}
	for i, e := range n.Content {
		p.at = "layer " + strconv.Itoa(i+1) + ": "
		l, err := p.layer(e)
		if err != nil {
			return err
		}
		s.Layers = append(s.Layers, *l)
	}
	p.at = ""
	return nil
}

func (p *parser) layer(n *yaml.Node) (*Layer, error) {
	if n.Kind == yaml.ScalarNode {
		l := &Layer{Op: n.Value}
		k, err := known(n.Value)
		if err == nil && k.keyed {
			err = fmt.Errorf("%s has parameters: write {%s: prefix} with the prefix of their names", l.Op, l.Op)
		}
		return l, err
	}
	l := &Layer{}
	err := pairs(n, func(key string, v *yaml.Node) (err error) {
		switch {
		case l.Op == "":
			l.Op = key
			return p.operator(l, v)
		case key == "from":
			l.From, err = text(v)
		case key == "as":
			l.As, err = text(v)
		default:
			return p.attribute(l, key, v)
		}
		return err
	})
	if err == nil && l.Op == "" {
		err = fmt.Errorf("an empty mapping, {operator: ...} was wanted")
	}
	return l, err
}

func known(op string) (kind, error) {
	k, ok := kinds[op]
	switch {
	case ok:
		return k, nil
	case slices.Contains([]string{"lstm", "gru", "rnn", "lstm_cell", "gru_cell"}, op):
		return k, fmt.Errorf("unsupported: %s: recurrent layers are not read from weights; export TorchScript or ONNX", op)
	}
	return k, fmt.Errorf("unsupported: %.40q is no operator; there are %s", op, strings.Join(Operators(), ", "))
}

// operator reads the value of the first key: the prefix of the parameters,
// the operands, or the attributes.
func (p *parser) operator(l *Layer, v *yaml.Node) error {
	k, err := known(l.Op)
	if err != nil {
		return err
	}
	switch {
	case k.keyed:
		if v.Kind != yaml.ScalarNode || len(v.Value) > maxName {
			return fmt.Errorf("%s: a %s, the prefix of its parameters was wanted; attributes stand beside it: {%s: prefix, name: value}", l.Op, kindName(v), l.Op)
		}
		// The text as it stands: a prefix may look like a number.
		l.Key = v.Value
		return nil
	case v.ShortTag() == "!!null":
		return nil
	case v.Kind == yaml.MappingNode:
		return pairs(v, func(key string, v *yaml.Node) error { return p.attribute(l, key, v) })
	case !k.operands:
		return fmt.Errorf("%s: a %s, attributes were wanted: {%s: {name: value}}", l.Op, kindName(v), l.Op)
	case v.Kind == yaml.SequenceNode:
		if len(v.Content) > maxOperands {
			return fmt.Errorf("%s: more than %d operands", l.Op, maxOperands)
		}
		for _, e := range v.Content {
			if err := l.operand(e); err != nil {
				return err
			}
		}
		return nil
	}
	return l.operand(v)
}

func (l *Layer) operand(n *yaml.Node) error {
	if t := n.ShortTag(); n.Kind == yaml.ScalarNode && (t == "!!int" || t == "!!float") {
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return fmt.Errorf("%s: the number %.40q", l.Op, n.Value)
		}
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil && t == "!!int" {
			l.Args = append(l.Args, Operand{Number: i})
			return nil
		}
		l.Args = append(l.Args, Operand{Number: f})
		return nil
	}
	name, err := text(n)
	if err != nil {
		return fmt.Errorf("%s: operand: %w", l.Op, err)
	}
	l.Args = append(l.Args, Operand{Name: name})
	return nil
}

func (p *parser) attribute(l *Layer, name string, n *yaml.Node) error {
	v, err := attr(name, n)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", l.Op, name, err)
	}
	if _, twice := l.Attrs[name]; twice {
		return fmt.Errorf("%s: %s is there twice", l.Op, name)
	}
	l.set(name, v)
	return nil
}

// attr reads the value of an attribute, whose name says its kind.
func attr(name string, n *yaml.Node) (any, error) {
	number := func(n *yaml.Node) (int64, error) {
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || err != nil || i < -1<<40 || i > 1<<40 {
			return 0, fmt.Errorf("%s %.40q, an integer was wanted", kindName(n), n.Value)
		}
		return i, nil
	}
	switch {
	case slices.Contains(intAttrs, name):
		return number(n)
	case slices.Contains(floatAttrs, name):
		f, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || err != nil {
			return nil, fmt.Errorf("%s %.40q, a number was wanted", kindName(n), n.Value)
		}
		return f, nil
	case slices.Contains(intsAttrs, name):
		if name == "padding" && n.Kind == yaml.ScalarNode && (n.Value == "same" || n.Value == "valid") {
			return n.Value, nil
		}
		items := n.Content
		if n.Kind == yaml.ScalarNode {
			items = []*yaml.Node{n}
		}
		if n.Kind == yaml.MappingNode || len(items) > graph.MaxRank {
			return nil, fmt.Errorf("a %s, at most %d integers were wanted", kindName(n), graph.MaxRank)
		}
		list := []int64{}
		for _, e := range items {
			i, err := number(e)
			if err != nil {
				return nil, err
			}
			list = append(list, i)
		}
		return list, nil
	case name == "keepdim" || name == "ceil" || name == "descending" || name == "norm_first":
		b, err := strconv.ParseBool(n.Value)
		if err != nil {
			return nil, fmt.Errorf("%.40q, true or false was wanted", n.Value)
		}
		return b, nil
	case slices.Contains(textAttrs, name):
		return text(n)
	}
	return nil, errors.New("there is no such attribute")
}
