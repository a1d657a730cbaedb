package graph

import (
	"fmt"
	"strconv"
	"strings"
)

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
