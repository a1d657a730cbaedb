package artifact

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Maxima of a literal.
const (
	maxLiteralBytes = 16 << 10
	maxLiteralDepth = 16
)

var errLiteral = errors.New("not a literal of Python")

// keyword is a key of a literal and its value: of a dict, in either spelling.
type keyword struct {
	key   string
	value any
}

// parseLiteral reads a literal of Python as data: None (nil), True and False,
// numbers (float64), texts, lists and tuples ([]any), and dicts ([]keyword),
// written {'a': 1} or dict(a=1). Nothing else is understood: no name, no other
// call, no operator but a sign.
func parseLiteral(text string) (any, error) {
	if len(text) > maxLiteralBytes {
		return nil, fmt.Errorf("%w: a literal of %d bytes, at most %d are read", ErrLimit, len(text), maxLiteralBytes)
	}
	p := &literalParser{rest: text}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.skip(); p.rest != "" {
		return nil, p.unexpected()
	}
	return v, nil
}

type literalParser struct{ rest string }

func (p *literalParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take consumes a token of punctuation.
func (p *literalParser) take(token string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *literalParser) unexpected() error {
	if p.rest == "" {
		return fmt.Errorf("%w: it ends too early", errLiteral)
	}
	return fmt.Errorf("%w at %s", errLiteral, quote(p.rest))
}

func (p *literalParser) value(depth int) (any, error) {
	if depth > maxLiteralDepth {
		return nil, fmt.Errorf("%w: a literal nested deeper than %d", ErrLimit, maxLiteralDepth)
	}
	p.skip()
	if p.rest == "" {
		return nil, p.unexpected()
	}
	switch c := p.rest[0]; {
	case c == '{':
		p.rest = p.rest[1:]
		return p.dict("}", ":", depth)
	case c == '[':
		p.rest = p.rest[1:]
		return p.list("]", depth)
	case c == '(':
		p.rest = p.rest[1:]
		return p.list(")", depth)
	case c == '\'' || c == '"':
		return p.text()
	case c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+':
		return p.number()
	}
	switch name := p.name(); name {
	case "None":
		return nil, nil
	case "True":
		return true, nil
	case "False":
		return false, nil
	case "dict":
		if p.take("(") {
			return p.dict(")", "=", depth)
		}
		return nil, p.unexpected()
	case "":
		return nil, p.unexpected()
	default:
		return nil, fmt.Errorf("%w: the name %s", errLiteral, quote(name))
	}
}

// dict reads up to its end: pairs of keys, which are texts or names as the
// separator has it, and values.
func (p *literalParser) dict(end, separator string, depth int) (any, error) {
	out := []keyword{}
	for {
		if p.take(end) {
			return out, nil
		}
		var key string
		var err error
		if p.skip(); separator == "=" {
			key = p.name()
		} else if key, err = p.text(); err != nil {
			return nil, err
		}
		if key == "" && separator == "=" || !p.take(separator) {
			return nil, p.unexpected()
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, keyword{key, v})
		if !p.take(",") {
			if !p.take(end) {
				return nil, p.unexpected()
			}
			return out, nil
		}
	}
}

func (p *literalParser) list(end string, depth int) (any, error) {
	out := []any{}
	for {
		if p.take(end) {
			return out, nil
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if !p.take(",") {
			if !p.take(end) {
				return nil, p.unexpected()
			}
			return out, nil
		}
	}
}

func (p *literalParser) name() string {
	n := 0
	for n < len(p.rest) {
		c := p.rest[n]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (n == 0 || c < '0' || c > '9') {
			break
		}
		n++
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name
}

// text reads a text in quotes. Of the escapes only those of the quotes and the
// backslash are understood.
func (p *literalParser) text() (string, error) {
	if p.rest == "" || p.rest[0] != '\'' && p.rest[0] != '"' {
		return "", p.unexpected()
	}
	mark := p.rest[0]
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == mark:
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c == '\n':
			return "", fmt.Errorf("%w: a text that goes over lines", errLiteral)
		case c == '\\':
			if i++; i == len(p.rest) || !strings.ContainsRune(`\'"`, rune(p.rest[i])) {
				return "", fmt.Errorf("%w: an escape in a text", errLiteral)
			}
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("%w: a text without an end", errLiteral)
}

func (p *literalParser) number() (float64, error) {
	n := 0
	for n < len(p.rest) && strings.IndexByte("0123456789.+-eE_", p.rest[n]) >= 0 {
		n++
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(p.rest[:n], "_", ""), 64)
	if err != nil {
		return 0, fmt.Errorf("%w: the number %s", errLiteral, quote(p.rest[:n]))
	}
	p.rest = p.rest[n:]
	return v, nil
}
