package torchscript

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// expr reads one expression: the conditional form binds weakest.
func (p *parser) expr() (expr, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.shallower()
	pos := p.pos()
	if p.isName("lambda") {
		return nil, p.errorf("lambda is not part of serialized code")
	}
	x, err := p.binary(0)
	if err != nil || !p.isName("if") {
		return x, err
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	cond, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	if err := p.expect("else"); err != nil {
		return nil, err
	}
	y, err := p.expr()
	return &condExpr{pos, cond, x, y}, err
}

// levels are the binary operators, weakest first. Level 2 is `not`, level 3
// the comparisons.
var levels = [][]string{
	{"or"}, {"and"}, {"not"},
	{"==", "!=", "<", "<=", ">", ">=", "in", "is"},
	{"|"}, {"^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "//", "%", "@"},
}

const (
	levelNot     = 2
	levelCompare = 3
)

func (p *parser) binary(level int) (expr, error) {
	if level == len(levels) {
		return p.unary()
	}
	pos := p.pos()
	if level == levelNot {
		if !p.isName("not") {
			return p.binary(level + 1)
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer p.shallower()
		x, err := p.binary(level)
		return &unaryExpr{pos, "not", x}, err
	}
	x, err := p.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		op, err := p.operator(level)
		if err != nil || op == "" {
			return x, err
		}
		if level == levelCompare && n > 0 {
			return nil, p.errorf("comparisons in a chain are not part of serialized code")
		}
		// A long chain leans to the left and would be walked recursively.
		if n >= maxDepth {
			return nil, &FormatError{Member: p.lex.file, Err: limitf("more than %d operators in a row", maxDepth)}
		}
		y, err := p.binary(level + 1)
		if err != nil {
			return nil, err
		}
		x = &binaryExpr{pos, op, x, y}
	}
}

// operator accepts a binary operator of the level; empty if none follows.
func (p *parser) operator(level int) (string, error) {
	if p.tok.kind != tokPunct && p.tok.kind != tokName {
		return "", nil
	}
	if level == levelCompare && p.isName("not") {
		if err := p.advance(); err != nil {
			return "", err
		}
		return "not in", p.expect("in")
	}
	for _, op := range levels[level] {
		if p.tok.text != op {
			continue
		}
		if err := p.advance(); err != nil {
			return "", err
		}
		if op == "is" {
			ok, err := p.accept("not")
			if ok {
				op = "is not"
			}
			return op, err
		}
		return op, nil
	}
	return "", nil
}

func (p *parser) unary() (expr, error) {
	pos := p.pos()
	for _, op := range []string{"-", "+", "~"} {
		if !p.isPunct(op) {
			continue
		}
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer p.shallower()
		if err := p.advance(); err != nil {
			return nil, err
		}
		if op == "-" && p.tok.kind == tokInt { // -9223372036854775808 has no positive twin
			return p.integer("-")
		}
		x, err := p.unary()
		if err != nil {
			return nil, err
		}
		if lit, ok := x.(*litExpr); ok && op == "-" {
			if f, ok := lit.val.(float64); ok {
				return &litExpr{pos, -f}, nil
			}
		}
		return &unaryExpr{pos, op, x}, nil
	}
	x, err := p.postfix()
	if err != nil || !p.isPunct("**") {
		return x, err
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.shallower()
	if err := p.advance(); err != nil {
		return nil, err
	}
	y, err := p.unary()
	return &binaryExpr{pos, "**", x, y}, err
}

// draws are the names of functions that draw random numbers.
var draws = map[string]bool{
	"randn": true, "randn_like": true, "normal": true, "normal_": true, "rand": true, "rand_like": true,
	"bernoulli": true, "bernoulli_": true, "multinomial": true, "uniform_": true, "exponential_": true,
	"randint": true, "randint_like": true, "poisson": true, "_sample_dirichlet": true, "_standard_gamma": true,
}

// postfix reads an atom and the attributes, calls and subscripts behind it.
func (p *parser) postfix() (expr, error) {
	x, err := p.atom()
	for n := 0; err == nil; n++ {
		if n > maxDepth {
			return nil, &FormatError{Member: p.lex.file, Err: limitf("more than %d operators in a row", maxDepth)}
		}
		pos := p.pos()
		switch {
		case p.isPunct("."):
			if err = p.advance(); err != nil {
				return nil, err
			}
			var t token
			if t, err = p.expectKind(tokName, "a name"); err == nil {
				x = &attrExpr{pos, x, t.text}
				p.samples = p.samples || draws[t.text]
			}
		case p.isPunct("("):
			x, err = p.call(x)
		case p.isPunct("["):
			x, err = p.index(x)
		default:
			return x, nil
		}
	}
	return nil, err
}

func (p *parser) call(fn expr) (expr, error) {
	c := &callExpr{pos: fn.exprPos(), fn: fn}
	if err := p.advance(); err != nil {
		return nil, err
	}
	for !p.isPunct(")") {
		x, err := p.expr()
		if err != nil {
			return nil, err
		}
		if n, ok := x.(*nameExpr); ok && p.isPunct("=") {
			if err := p.advance(); err != nil {
				return nil, err
			}
			v, err := p.expr()
			if err != nil {
				return nil, err
			}
			c.kws = append(c.kws, keyword{n.name, v})
		} else {
			if len(c.kws) > 0 {
				return nil, &SyntaxError{Pos: x.exprPos(), Msg: "positional argument after a keyword argument"}
			}
			c.args = append(c.args, x)
		}
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	return c, p.expect(")")
}

func (p *parser) index(x expr) (expr, error) {
	e := &indexExpr{pos: x.exprPos(), x: x}
	if err := p.advance(); err != nil {
		return nil, err
	}
	for !p.isPunct("]") {
		i, err := p.expr()
		if err != nil {
			return nil, err
		}
		e.idx = append(e.idx, i)
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	if len(e.idx) == 0 {
		return nil, p.errorf("subscript without an index")
	}
	return e, p.expect("]")
}

func (p *parser) atom() (expr, error) {
	pos := p.pos()
	switch p.tok.kind {
	case tokInt:
		return p.integer("")
	case tokFloat:
		v, err := strconv.ParseFloat(p.tok.text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return nil, p.errorf("invalid number %s", p.tok.text)
		}
		return &litExpr{pos, v}, p.advance()
	case tokString:
		var b strings.Builder
		for p.tok.kind == tokString { // neighbours join, as in Python
			b.WriteString(p.tok.text)
			if b.Len() > maxStringBytes {
				return nil, &FormatError{Member: p.lex.file, Err: limitf("string of more than %d bytes", maxStringBytes)}
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		return &litExpr{pos, b.String()}, nil
	case tokName:
		return p.nameOrConstant(pos)
	case tokPunct:
		switch p.tok.text {
		case "(":
			return p.parenthesis(pos)
		case "[":
			elems, _, err := p.elements("]")
			return &listExpr{pos, elems}, err
		case "{":
			return p.dict(pos)
		}
	}
	return nil, p.errorf("expected an expression, found %s", p.tok)
}

func (p *parser) integer(sign string) (expr, error) {
	pos := p.pos()
	v, err := strconv.ParseInt(sign+p.tok.text, 10, 64)
	if err != nil {
		return nil, p.errorf("integer %s%s does not fit 64 bits", sign, p.tok.text)
	}
	return &litExpr{pos, v}, p.advance()
}

func (p *parser) nameOrConstant(pos Position) (expr, error) {
	name := p.tok.text
	var val value
	switch name {
	case "None":
	case "True":
		val = true
	case "False":
		val = false
	case "inf":
		val = math.Inf(1)
	case "nan":
		val = math.NaN()
	default:
		if keywords[name] {
			return nil, p.errorf("expected an expression, found %q", name)
		}
		return &nameExpr{pos, name}, p.advance()
	}
	return &litExpr{pos, val}, p.advance()
}

// parenthesis reads `(x)`, `()`, `(x,)` or `(x, y)`.
func (p *parser) parenthesis(pos Position) (expr, error) {
	elems, trailing, err := p.elements(")")
	if err != nil {
		return nil, err
	}
	if len(elems) == 1 && !trailing {
		return elems[0], nil
	}
	return &tupleExpr{pos, elems}, nil
}

// elements reads expressions up to the closing bracket, after the opening one.
func (p *parser) elements(closing string) (elems []expr, trailing bool, err error) {
	if err := p.advance(); err != nil {
		return nil, false, err
	}
	for !p.isPunct(closing) {
		e, err := p.expr()
		if err != nil {
			return nil, false, err
		}
		elems, trailing = append(elems, e), false
		ok, err := p.accept(",")
		if err != nil {
			return nil, false, err
		}
		if !ok {
			break
		}
		trailing = true
	}
	return elems, trailing, p.expect(closing)
}

func (p *parser) dict(pos Position) (expr, error) {
	d := &dictExpr{pos: pos}
	if err := p.advance(); err != nil {
		return nil, err
	}
	for !p.isPunct("}") {
		k, err := p.expr()
		if err != nil {
			return nil, err
		}
		if err := p.expect(":"); err != nil {
			return nil, err
		}
		v, err := p.expr()
		if err != nil {
			return nil, err
		}
		d.keys, d.vals = append(d.keys, k), append(d.vals, v)
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	return d, p.expect("}")
}
