package torchscript

import (
	"fmt"
	"strconv"
)

// maxDepth bounds nested expressions and blocks, and operators in a row, which
// nest to the left. Printed code stays below 50.
const maxDepth = 200

// parser reads one code file. It accepts what the TorchScript printer writes,
// and the neighbouring Python that files made by hand hold.
type parser struct {
	lex   *lexer
	tok   token
	depth int
	mod   string // qualified name of the module, __torch__.pkg.mod

	samples bool // a function that draws random numbers was named
}

// parseFile parses one code file. Budget is the number of tokens left for all
// files of the archive, and is reduced.
func parseFile(file, module, src string, budget *int) (*sourceFile, error) {
	p := &parser{lex: newLexer(file, src, budget), mod: module}
	if err := p.advance(); err != nil {
		return nil, err
	}
	f := &sourceFile{name: file}
	for p.tok.kind != tokEOF {
		if err := p.topLevel(f); err != nil {
			return nil, err
		}
	}
	f.samples = p.samples
	return f, nil
}

func (p *parser) topLevel(f *sourceFile) error {
	switch {
	case p.tok.kind == tokNewline:
		return p.advance()
	case p.isName("class"):
		c, err := p.class()
		if err != nil {
			return err
		}
		f.classes = append(f.classes, c)
		return nil
	case p.isName("def"):
		fn, err := p.function()
		if err != nil {
			return err
		}
		f.funcs = append(f.funcs, fn)
		return nil
	case p.tok.kind == tokName:
		// Old archives begin with `op_version_set = 1`.
		_, err := p.simpleStatement()
		return err
	}
	return p.errorf("expected a class or a function, found %s", p.tok)
}

// String describes the token for an error message.
func (t token) String() string {
	switch t.kind {
	case tokEOF:
		return "end of file"
	case tokNewline:
		return "end of line"
	case tokIndent:
		return "deeper indentation"
	case tokDedent:
		return "end of block"
	case tokString:
		return "a string"
	}
	return strconv.Quote(t.text)
}

func (p *parser) pos() Position {
	return Position{File: p.lex.file, Line: p.tok.line, Col: p.tok.col}
}

func (p *parser) errorf(format string, args ...any) error {
	return &SyntaxError{Pos: p.pos(), Msg: fmt.Sprintf(format, args...)}
}

func (p *parser) advance() error {
	t, err := p.lex.next()
	if err != nil {
		return err
	}
	p.tok = t
	return nil
}

// deeper enters a nested expression or block, and shallower leaves it.
func (p *parser) deeper() error {
	if p.depth++; p.depth > maxDepth {
		return &FormatError{Member: p.lex.file, Err: limitf("expressions or blocks nested more than %d deep", maxDepth)}
	}
	return nil
}

func (p *parser) shallower() { p.depth-- }

func (p *parser) isName(s string) bool  { return p.tok.kind == tokName && p.tok.text == s }
func (p *parser) isPunct(s string) bool { return p.tok.kind == tokPunct && p.tok.text == s }

// accept skips the punctuation or keyword s if it is next.
func (p *parser) accept(s string) (bool, error) {
	if (p.tok.kind == tokPunct || p.tok.kind == tokName) && p.tok.text == s {
		return true, p.advance()
	}
	return false, nil
}

func (p *parser) expect(s string) error {
	ok, err := p.accept(s)
	if err == nil && !ok {
		err = p.errorf("expected %q, found %s", s, p.tok)
	}
	return err
}

func (p *parser) expectKind(k kind, what string) (token, error) {
	t := p.tok
	if t.kind != k {
		return t, p.errorf("expected %s, found %s", what, t)
	}
	return t, p.advance()
}

// keywords cannot be names of variables.
var keywords = map[string]bool{
	"and": true, "assert": true, "break": true, "class": true, "continue": true, "def": true, "elif": true,
	"else": true, "for": true, "if": true, "in": true, "is": true, "lambda": true, "not": true, "or": true,
	"pass": true, "raise": true, "return": true, "while": true, "with": true, "yield": true, "import": true,
	"from": true, "global": true, "nonlocal": true, "try": true, "except": true, "finally": true, "del": true,
	"async": true, "await": true, "None": true, "True": true, "False": true,
}

func (p *parser) identifier() (string, error) {
	if p.tok.kind != tokName || keywords[p.tok.text] {
		return "", p.errorf("expected a name, found %s", p.tok)
	}
	s := p.tok.text
	return s, p.advance()
}

// class reads `class Name(Base):` and its block.
func (p *parser) class() (*classDef, error) {
	c := &classDef{pos: p.pos(), methods: map[string]*funcDef{}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	name, err := p.identifier()
	if err != nil {
		return nil, err
	}
	c.name = p.mod + "." + name
	if ok, err := p.accept("("); err != nil {
		return nil, err
	} else if ok {
		base, err := p.expr()
		if err != nil {
			return nil, err
		}
		c.base, _ = dotted(base)
		if err := p.expect(")"); err != nil {
			return nil, err
		}
	}
	err = p.block(func() error { return p.classItem(c) })
	return c, err
}

// block reads `:` newline, indentation, items and the end of the block.
func (p *parser) block(item func() error) error {
	if err := p.expect(":"); err != nil {
		return err
	}
	if p.tok.kind != tokNewline { // a block of one line
		return item()
	}
	if err := p.advance(); err != nil {
		return err
	}
	if _, err := p.expectKind(tokIndent, "an indented block"); err != nil {
		return err
	}
	for p.tok.kind != tokDedent && p.tok.kind != tokEOF {
		if err := item(); err != nil {
			return err
		}
	}
	if p.tok.kind == tokEOF {
		return nil
	}
	return p.advance()
}

func (p *parser) classItem(c *classDef) error {
	switch {
	case p.tok.kind == tokNewline:
		return p.advance()
	case p.isPunct("@"): // a decorator such as @staticmethod says nothing that matters here
		for p.tok.kind != tokNewline && p.tok.kind != tokEOF {
			if err := p.advance(); err != nil {
				return err
			}
		}
		return nil
	case p.isName("def"):
		fn, err := p.function()
		if err != nil {
			return err
		}
		if _, dup := c.methods[fn.name]; dup {
			return &SyntaxError{Pos: fn.pos, Msg: fmt.Sprintf("method %s is defined twice", fn.name)}
		}
		c.methods[fn.name] = fn
		c.order = append(c.order, fn.name)
		return nil
	case p.isName("pass"):
		if err := p.advance(); err != nil {
			return err
		}
		return p.endOfLine()
	}
	return p.classField(c)
}

// classField reads `name : Type`, `name : Final[int] = 8`, `name = value` and
// `__annotations__["0"] = Type`.
func (p *parser) classField(c *classDef) error {
	left, err := p.expr()
	if err != nil {
		return err
	}
	f := field{}
	if idx, ok := left.(*indexExpr); ok {
		base, _ := dotted(idx.x)
		lit, isLit := idx.idx[0].(*litExpr)
		var key string
		isString := false
		if isLit {
			key, isString = lit.val.(string)
		}
		if base != "__annotations__" || !isString {
			return &SyntaxError{Pos: left.exprPos(), Msg: "expected an attribute of the class"}
		}
		if err := p.expect("="); err != nil {
			return err
		}
		f.name = key
		if f.typ, err = p.expr(); err != nil {
			return err
		}
		c.fields = append(c.fields, f)
		return p.endOfLine()
	}
	n, ok := left.(*nameExpr)
	if !ok {
		return &SyntaxError{Pos: left.exprPos(), Msg: "expected an attribute of the class"}
	}
	f.name = n.name
	if ok, err := p.accept(":"); err != nil {
		return err
	} else if ok {
		if f.typ, err = p.expr(); err != nil {
			return err
		}
	}
	if ok, err := p.accept("="); err != nil {
		return err
	} else if ok {
		if f.value, err = p.exprOrTuple(); err != nil {
			return err
		}
	}
	c.fields = append(c.fields, f)
	return p.endOfLine()
}

func (p *parser) endOfLine() error {
	if ok, err := p.accept(";"); ok || err != nil {
		return err
	}
	if p.tok.kind == tokEOF || p.tok.kind == tokDedent {
		return nil
	}
	_, err := p.expectKind(tokNewline, "end of line")
	return err
}

// function reads `def name(params) -> Type:` and its block.
func (p *parser) function() (*funcDef, error) {
	fn := &funcDef{pos: p.pos()}
	if err := p.advance(); err != nil {
		return nil, err
	}
	var err error
	if fn.name, err = p.identifier(); err != nil {
		return nil, err
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	for !p.isPunct(")") {
		if ok, err := p.accept("*"); err != nil { // the mark of keyword-only parameters
			return nil, err
		} else if !ok {
			q, err := p.param()
			if err != nil {
				return nil, err
			}
			fn.params = append(fn.params, q)
		}
		if ok, err := p.accept(","); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if ok, err := p.accept("->"); err != nil {
		return nil, err
	} else if ok {
		if fn.result, err = p.expr(); err != nil {
			return nil, err
		}
	}
	fn.body, err = p.suite()
	return fn, err
}

func (p *parser) param() (param, error) {
	var q param
	var err error
	if q.name, err = p.identifier(); err != nil {
		return q, err
	}
	if ok, err := p.accept(":"); err != nil {
		return q, err
	} else if ok {
		if q.typ, err = p.expr(); err != nil {
			return q, err
		}
	}
	if ok, err := p.accept("="); err != nil {
		return q, err
	} else if ok {
		if q.def, err = p.expr(); err != nil {
			return q, err
		}
	}
	return q, nil
}

// suite reads a block of statements.
func (p *parser) suite() ([]stmt, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.shallower()
	var body []stmt
	err := p.block(func() error {
		if p.tok.kind == tokNewline {
			return p.advance()
		}
		s, err := p.statement()
		if err == nil {
			body = append(body, s)
		}
		return err
	})
	return body, err
}
