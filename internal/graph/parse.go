package graph

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Parse reads the text form that String writes and verifies the graph. Blank
// lines and what follows a # outside of quotes are skipped; the type at the
// end of a node's line may be left out, and is checked where it is there;
// values may have any names of letters, digits, dots and underscores after
// the %. A constant must have its data in the text.
//
// The error names the line and wraps ErrSyntax, ErrLimit or the error of
// AddNode or Verify.
func Parse(text string) (*Graph, error) {
	if len(text) > MaxTextBytes {
		return nil, fmt.Errorf("graph: text of %d bytes: %w: at most %d", len(text), ErrLimit, MaxTextBytes)
	}
	p := &parser{values: map[string]*Value{}}
	number := 0
	for line := range strings.Lines(text) {
		number++
		p.rest = strings.TrimSpace(line)
		if p.rest == "" || p.rest[0] == '#' {
			continue
		}
		if err := p.line(); err != nil {
			return nil, fmt.Errorf("graph: line %d: %w", number, err)
		}
	}
	if p.g == nil {
		return nil, fmt.Errorf("graph: %w: no graph line", ErrSyntax)
	}
	if err := p.g.Verify(); err != nil {
		return nil, err
	}
	return p.g, nil
}

type parser struct {
	g      *Graph
	values map[string]*Value
	rest   string // of the line
}

func (p *parser) line() error {
	if p.g == nil {
		if !p.word("graph") {
			return p.bad(`the first line must be graph "name"`)
		}
		name, err := p.quoted()
		if err != nil {
			return err
		}
		p.g = New(name)
		return p.end()
	}
	if p.word("output") {
		return p.output()
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
	t, err := p.typ()
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return p.bad("a constant has one name")
	}
	if strings.HasPrefix(p.rest, "sha256:") {
		return p.bad("the constant's data is not in the text")
	}
	items, err := p.list('{', '}')
	if err != nil {
		return err
	}
	if err := t.shape.Check(); err != nil {
		return err
	}
	if !t.shape.Fixed() || t.shape.RowElements() != len(items) {
		return p.bad("%d elements for the shape %v", len(items), t.shape)
	}
	tensor := newTensor(t.dtype, t.shape)
	for i, item := range items {
		if err := tensor.parseElement(i, item); err != nil {
			return p.bad("element %d: %v", i, err)
		}
	}
	p.values[names[0]] = p.g.Constant(name, tensor)
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
			if a.name == name {
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

// bad is a syntax error.
func (p *parser) bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))
}

// end checks that nothing but a comment follows.
func (p *parser) end() error {
	if p.rest != "" && p.rest[0] != '#' {
		return p.bad("%.40q is left over", p.rest)
	}
	return nil
}

// lit takes a literal and the blanks after it.
func (p *parser) lit(s string) bool {
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = strings.TrimLeft(rest, " \t")
	}
	return ok
}

// word takes a keyword that a blank follows.
func (p *parser) word(s string) bool {
	if len(p.rest) <= len(s) || p.rest[len(s)] != ' ' {
		return false
	}
	return p.lit(s)
}

// ident takes a name of letters, digits, dots and underscores.
func (p *parser) ident() (string, bool) {
	n := 0
	for n < len(p.rest) && isIdent(p.rest[n]) {
		n++
	}
	name := p.rest[:n]
	p.rest = strings.TrimLeft(p.rest[n:], " \t")
	return name, n > 0
}

func isIdent(c byte) bool {
	return c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *parser) name() (string, error) {
	if rest, ok := strings.CutPrefix(p.rest, "%"); ok {
		p.rest = rest
		if name, ok := p.ident(); ok {
			return name, nil
		}
	}
	return "", p.bad("no %%name at %.40q", p.rest)
}

func (p *parser) ref() (*Value, error) {
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	v, ok := p.values[name]
	if !ok {
		return nil, p.bad("value %%%s is not defined", name)
	}
	return v, nil
}

func (p *parser) quoted() (string, error) {
	q, err := strconv.QuotedPrefix(p.rest)
	if err != nil || q[0] != '"' {
		return "", p.bad("no quoted name at %.40q", p.rest)
	}
	p.lit(q)
	return strconv.Unquote(q)
}

// list takes items between brackets, separated by commas.
func (p *parser) list(open, shut byte) ([]string, error) {
	if p.rest == "" || p.rest[0] != open {
		return nil, p.bad("no %q at %.40q", open, p.rest)
	}
	end := strings.IndexByte(p.rest, shut)
	if end < 0 {
		return nil, p.bad("no %q", shut)
	}
	inner := strings.TrimSpace(p.rest[1:end])
	p.rest = strings.TrimLeft(p.rest[end+1:], " \t")
	if inner == "" {
		return nil, nil
	}
	items := strings.Split(inner, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items, nil
}

// shape takes [B,3,2B].
func (p *parser) shape() (Shape, error) {
	items, err := p.list('[', ']')
	if err != nil {
		return nil, err
	}
	shape := make(Shape, len(items))
	for i, item := range items {
		digits, batch := strings.CutSuffix(item, "B")
		if batch && digits == "" {
			digits = "1"
		}
		d, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || batch && d == 0 {
			return nil, p.bad("no dimension %q", item)
		}
		shape[i] = int(d)
		if batch {
			shape[i] = -int(d)
		}
	}
	return shape, nil
}

func (p *parser) typ() (typ, error) {
	word, _ := p.ident()
	dt, ok := ParseDType(word)
	if !ok {
		return typ{}, p.bad("no element type %q", word)
	}
	shape, err := p.shape()
	return typ{dt, shape}, err
}
