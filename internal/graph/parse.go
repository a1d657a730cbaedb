package graph

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Parse reads the text form that String writes and verifies the graph. Blank
// lines and what follows a # outside of quotes are skipped; the type at the
// end of a node's line may be left out, and is checked where it is there;
// values may have any names of letters, digits, dots and underscores after
// the %. A constant must have its data in the text.
//
// Indentation means nothing; a block of a graph goes to its "end".
//
// The error names the line and wraps ErrSyntax, ErrLimit or the error of
// AddNode or Verify.
func Parse(text string) (*Graph, error) {
	if len(text) > MaxTextBytes {
		return nil, fmt.Errorf("graph: text of %d bytes: %w: at most %d", len(text), ErrLimit, MaxTextBytes)
	}
	next, stop := iter.Pull(strings.Lines(text))
	defer stop()
	src := &source{next: next}
	p := &parser{src: src}
	if err := p.graph("graph", 0); err != nil {
		return nil, fmt.Errorf("graph: line %d: %w", src.number, err)
	}
	if err := p.g.Verify(); err != nil {
		return nil, err
	}
	return p.g, nil
}

// source gives the lines of a text.
type source struct {
	next   func() (string, bool)
	number int // of the last line
}

// line returns the next line that holds something.
func (s *source) line() (string, bool) {
	for {
		line, ok := s.next()
		if !ok {
			return "", false
		}
		s.number++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line, true
		}
	}
}

// parser reads one graph.
type parser struct {
	src    *source
	g      *Graph
	values map[string]*Value
	rest   string // of the line
	depth  int    // 0 for the graph of the text
}

// graph reads a graph that begins with the keyword and its name; one inside
// another goes to its end.
func (p *parser) graph(keyword string, depth int) error {
	p.values, p.depth = map[string]*Value{}, depth
	if depth >= MaxDepth {
		return fmt.Errorf("%w: more than %d graphs inside each other", ErrLimit, MaxDepth)
	}
	line, ok := p.src.line()
	if p.rest = line; !ok || !p.word(keyword) {
		return p.bad(`there must be a line %s "name"`, keyword)
	}
	name, err := p.quoted()
	if err != nil {
		return err
	}
	p.g = New(name)
	if err := p.end(); err != nil {
		return err
	}
	for {
		line, ok := p.src.line()
		switch {
		case !ok && depth == 0:
			return nil
		case !ok:
			return p.bad("the graph of %s has no end", keyword)
		case line == "end" && depth > 0:
			return nil
		}
		p.rest = line
		if err := p.line(); err != nil {
			return err
		}
	}
}

func (p *parser) line() error {
	switch {
	case p.word("output"):
		return p.output()
	case p.word("state"):
		return p.state()
	}
	names, err := p.results()
	if err != nil {
		return err
	}
	switch {
	case p.word("input"):
		return p.input(names)
	case p.word("const"):
		return p.constant(names)
	default:
		return p.node(names)
	}
}

func (p *parser) output() error {
	name, err := p.quoted()
	if err != nil {
		return err
	}
	v, err := p.ref()
	if err != nil {
		return err
	}
	p.g.Output(name, v)
	return p.end()
}

// results reads the names before the equals sign.
func (p *parser) results() ([]string, error) {
	var names []string
	for {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if _, ok := p.values[name]; ok {
			return nil, p.bad("value %%%s is defined twice", name)
		}
		names = append(names, name)
		if p.lit(",") {
			continue
		}
		if p.lit("=") {
			return names, nil
		}
		return nil, p.bad("no equals sign after the names")
	}
}

func (p *parser) input(names []string) error {
	name, err := p.quoted()
	if err != nil {
		return err
	}
	t, err := p.typ()
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return p.bad("an input has one name")
	}
	p.values[names[0]] = p.g.Input(name, t.dtype, t.shape)
	return p.end()
}

func (p *parser) constant(names []string) error {
	name, err := p.quoted()
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return p.bad("a constant has one name")
	}
	tensor, err := p.tensor()
	if err != nil {
		return err
	}
	p.values[names[0]] = p.g.Constant(name, tensor)
	return p.end()
}

// tensor reads a type and the elements.
func (p *parser) tensor() (*Tensor, error) {
	t, err := p.typ()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(p.rest, "sha256:") {
		return nil, p.bad("the constant's data is not in the text")
	}
	items, err := p.list('{', '}')
	if err != nil {
		return nil, err
	}
	if err := t.shape.Check(); err != nil {
		return nil, err
	}
	if !t.shape.Fixed() || t.shape.RowElements() != len(items) {
		return nil, p.bad("%d elements for the shape %v", len(items), t.shape)
	}
	tensor := newTensor(t.dtype, t.shape)
	for i, item := range items {
		if err := tensor.parseElement(i, item); err != nil {
			return nil, p.bad("element %d: %v", i, err)
		}
	}
	return tensor, nil
}

// state reads the names of an input and an output, and how the state begins.
func (p *parser) state() error {
	in, err := p.quoted()
	if err != nil {
		return err
	}
	out, err := p.quoted()
	if err != nil {
		return err
	}
	s := State{
		Input:  slices.IndexFunc(p.g.Inputs, func(v *Value) bool { return v.Name == in }),
		Output: slices.IndexFunc(p.g.Outputs, func(o Output) bool { return o.Name == out }),
	}
	if s.Input < 0 || s.Output < 0 {
		return p.bad("the state is of input %q and output %q, of which one is not there", in, out)
	}
	if p.word("initial") {
		if s.Initial, err = p.tensor(); err != nil {
			return err
		}
	}
	if p.word("reset") {
		if s.Reset, err = p.tensor(); err != nil {
			return err
		}
	}
	p.g.States = append(p.g.States, s)
	return p.end()
}

// parseElement stores the number of the text form as element i.
func (t *Tensor) parseElement(i int, item string) error {
	switch {
	case t.DType == Bool:
		b, err := strconv.ParseBool(item)
		t.I64[i] = truth(b)
		return err
	case t.DType.IsFloat():
		bits := 32
		if t.DType == Float64 {
			bits = 64
		}
		x, err := strconv.ParseFloat(item, bits)
		if err != nil {
			return err
		}
		if y := roundTo(t.DType, x); y != x && !math.IsNaN(x) {
			return fmt.Errorf("%s is no %v", item, t.DType)
		}
		t.set(i, x)
		return nil
	default:
		x, err := strconv.ParseInt(item, 10, 64)
		if err == nil && wrap(t.DType, x) != x {
			err = fmt.Errorf("%s is no %v", item, t.DType)
		}
		t.I64[i] = x
		return err
	}
}

func (p *parser) node(names []string) error {
	op, ok := p.ident()
	if !ok || !p.lit("(") {
		return p.bad("no operator with its operands in parentheses")
	}
	var in []*Value
	for !p.lit(")") {
		if len(in) > 0 && !p.lit(",") {
			return p.bad("no comma between operands")
		}
		v, err := p.ref()
		if err != nil {
			return err
		}
		in = append(in, v)
	}
	attrs, err := p.attrs(Op(op))
	if err != nil {
		return err
	}
	rest := p.rest
	for _, a := range specs[Op(op)].attrs {
		if a.kind != kindGraph {
			continue
		}
		block := &parser{src: p.src}
		if err := block.graph(a.name, p.depth+1); err != nil {
			return err
		}
		attrs[a.name] = block.g
	}
	p.rest = rest
	n, err := p.g.AddNode(Op(op), attrs, in...)
	if err != nil {
		return err
	}
	if len(n.Out) != len(names) {
		return p.bad("%d names for %d results", len(names), len(n.Out))
	}
	for i, v := range n.Out {
		p.values[names[i]] = v
	}
	return p.resultTypes(n)
}

// resultTypes compares the types at the end of the line, if any, with those
// inferred.
func (p *parser) resultTypes(n *Node) error {
	if p.rest == "" || p.rest[0] == '#' {
		return nil
	}
	for i, v := range n.Out {
		if i > 0 && !p.lit(",") {
			return p.bad("no comma between types")
		}
		t, err := p.typ()
		if err != nil {
			return err
		}
		if t.dtype != v.DType || !t.shape.Equal(v.Shape) {
			return p.bad("the result is %v%v, not %v%v", v.DType, v.Shape, t.dtype, t.shape)
		}
	}
	return p.end()
}

// attrs reads name=value pairs until what follows is no such pair.
func (p *parser) attrs(op Op) (Attrs, error) {
	s, ok := specs[op]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnsupportedOp, op)
	}
	attrs := Attrs{}
	for {
		before := p.rest
		name, ok := p.ident()
		if !ok || !p.lit("=") {
			p.rest = before
			return attrs, nil
		}
		k, known := kindInt, false
		for _, a := range s.attrs {
			if a.name == name && a.kind != kindGraph {
				k, known = a.kind, true
			}
		}
		if !known || attrs.Has(name) {
			return nil, p.bad("%s has no attribute %q, or has it twice", op, name)
		}
		v, err := p.attr(k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		attrs[name] = v
	}
}

func (p *parser) attr(k kind) (any, error) {
	switch k {
	case kindText:
		return p.quoted()
	case kindShape:
		s, err := p.shape()
		return []int(s), err
	case kindInts:
		items, err := p.list('[', ']')
		ints := make([]int, len(items))
		for i, item := range items {
			n, e := strconv.Atoi(item)
			ints[i], err = n, errors.Join(err, e)
		}
		if err != nil {
			return nil, p.bad("not a list of integers: %v", err)
		}
		return ints, nil
	}
	word := p.rest
	if i := strings.IndexAny(word, " \t"); i >= 0 {
		word = word[:i]
	}
	p.rest = strings.TrimLeft(p.rest[len(word):], " \t")
	var v any
	var err error
	switch k {
	case kindFloat:
		v, err = strconv.ParseFloat(word, 64)
	case kindBool:
		v, err = strconv.ParseBool(word)
	case kindDType:
		d, ok := ParseDType(word)
		if !ok {
			err = fmt.Errorf("no element type %q", word)
		}
		v = d
	default:
		v, err = strconv.Atoi(word)
	}
	if err != nil {
		return nil, p.bad("%v", err)
	}
	return v, nil
}
