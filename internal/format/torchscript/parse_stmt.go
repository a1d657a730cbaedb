package torchscript

import "strings"

func (p *parser) statement() (stmt, error) {
	if p.tok.kind == tokName {
		switch p.tok.text {
		case "if":
			return p.ifStatement()
		case "while":
			return p.whileStatement()
		case "for":
			return p.forStatement()
		case "with":
			return p.withStatement()
		}
	}
	return p.simpleStatement()
}

func (p *parser) ifStatement() (stmt, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.shallower()
	s := &ifStmt{pos: p.pos()}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	if s.cond, err = p.expr(); err != nil {
		return nil, err
	}
	if s.then, err = p.suite(); err != nil {
		return nil, err
	}
	switch {
	case p.isName("elif"):
		alt, err := p.ifStatement()
		if err != nil {
			return nil, err
		}
		s.alts = []stmt{alt}
	case p.isName("else"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		if s.alts, err = p.suite(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (p *parser) whileStatement() (stmt, error) {
	s := &whileStmt{pos: p.pos()}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	if s.cond, err = p.expr(); err != nil {
		return nil, err
	}
	s.body, err = p.suite()
	return s, err
}

func (p *parser) withStatement() (stmt, error) {
	s := &withStmt{pos: p.pos()}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	if s.x, err = p.expr(); err != nil {
		return nil, err
	}
	if p.isName("as") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		target, err := p.postfix()
		if err != nil {
			return nil, err
		}
		name, ok := target.(*nameExpr)
		if !ok {
			return nil, p.errorf("expected a name after as")
		}
		s.as = name.name
	}
	s.body, err = p.suite()
	return s, err
}

func (p *parser) forStatement() (stmt, error) {
	s := &forStmt{pos: p.pos()}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	// Targets are read below the comparison level, or `in` would belong to them.
	for {
		t, err := p.postfix()
		if err != nil {
			return nil, err
		}
		s.targets = append(s.targets, t)
		ok, err := p.accept(",")
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		s.unpack = true
		if p.isName("in") {
			break
		}
	}
	if len(s.targets) == 1 && !s.unpack {
		s.targets, s.unpack = flattenTarget(s.targets[0])
	}
	if err := checkTargets(s.targets); err != nil {
		return nil, err
	}
	if err := p.expect("in"); err != nil {
		return nil, err
	}
	if s.iter, err = p.exprOrTuple(); err != nil {
		return nil, err
	}
	s.body, err = p.suite()
	return s, err
}

func (p *parser) simpleStatement() (stmt, error) {
	pos := p.pos()
	if p.tok.kind == tokName {
		switch p.tok.text {
		case "pass", "break", "continue":
			word := p.tok.text
			if err := p.advance(); err != nil {
				return nil, err
			}
			return map[string]stmt{
				"pass": &passStmt{pos}, "break": &breakStmt{pos}, "continue": &continueStmt{pos},
			}[word], p.endOfLine()
		case "return":
			return p.returnStatement(pos)
		case "raise":
			if err := p.advance(); err != nil {
				return nil, err
			}
			v, err := p.expr()
			if err != nil {
				return nil, err
			}
			return &raiseStmt{pos, v}, p.endOfLine()
		case "assert":
			return p.assertStatement(pos)
		}
	}
	return p.exprStatement(pos)
}

func (p *parser) returnStatement(pos Position) (stmt, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind == tokNewline || p.tok.kind == tokDedent || p.tok.kind == tokEOF {
		return &returnStmt{pos: pos}, p.endOfLine()
	}
	v, err := p.exprOrTuple()
	if err != nil {
		return nil, err
	}
	return &returnStmt{pos, v}, p.endOfLine()
}

func (p *parser) assertStatement(pos Position) (stmt, error) {
	s := &assertStmt{pos: pos}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	if s.cond, err = p.expr(); err != nil {
		return nil, err
	}
	if ok, err := p.accept(","); err != nil {
		return nil, err
	} else if ok {
		if s.msg, err = p.expr(); err != nil {
			return nil, err
		}
	}
	return s, p.endOfLine()
}

// exprStatement reads an assignment of any form, or an expression alone.
func (p *parser) exprStatement(pos Position) (stmt, error) {
	left, trailing, err := p.exprList()
	if err != nil {
		return nil, err
	}
	if p.tok.kind == tokPunct && len(p.tok.text) > 1 && strings.HasSuffix(p.tok.text, "=") {
		switch p.tok.text {
		case "+=", "-=", "*=", "/=", "//=", "%=", "**=":
			return p.augAssign(pos, left)
		}
	}
	s := &assignStmt{pos: pos, targets: left, unpack: len(left) > 1 || trailing}
	if ok, err := p.accept(":"); err != nil { // `a : Type = v`; the type says nothing new
		return nil, err
	} else if ok {
		if _, err := p.expr(); err != nil {
			return nil, err
		}
		if !p.isPunct("=") { // a declaration
			return &passStmt{pos}, p.endOfLine()
		}
	}
	ok, err := p.accept("=")
	if err != nil {
		return nil, err
	}
	if !ok {
		if len(left) != 1 || trailing {
			return &exprStmt{pos, &tupleExpr{pos, left}}, p.endOfLine()
		}
		return &exprStmt{pos, left[0]}, p.endOfLine()
	}
	if len(left) == 1 && !trailing {
		s.targets, s.unpack = flattenTarget(left[0])
	}
	if err := checkTargets(s.targets); err != nil {
		return nil, err
	}
	values, comma, err := p.exprList()
	if err != nil {
		return nil, err
	}
	s.values = values
	if len(values) > 1 || comma {
		if !s.unpack {
			s.values = []expr{&tupleExpr{pos, values}}
		} else if len(values) != len(s.targets) {
			return nil, &SyntaxError{Pos: pos, Msg: "as many values as targets are needed"}
		} else {
			s.unpack = false
		}
	}
	return s, p.endOfLine()
}

func (p *parser) augAssign(pos Position, left []expr) (stmt, error) {
	if len(left) != 1 {
		return nil, p.errorf("one target is needed")
	}
	if err := checkTargets(left); err != nil {
		return nil, err
	}
	s := &augAssignStmt{pos: pos, target: left[0], op: strings.TrimSuffix(p.tok.text, "=")}
	err := p.advance()
	if err != nil {
		return nil, err
	}
	if s.value, err = p.exprOrTuple(); err != nil {
		return nil, err
	}
	return s, p.endOfLine()
}

// flattenTarget turns `(a, b)` or `[a, b]` on the left of an assignment into
// its names.
func flattenTarget(e expr) (targets []expr, unpack bool) {
	switch e := e.(type) {
	case *tupleExpr:
		return e.elems, true
	case *listExpr:
		return e.elems, true
	}
	return []expr{e}, false
}

func checkTargets(targets []expr) error {
	for _, t := range targets {
		switch t.(type) {
		case *nameExpr, *attrExpr, *indexExpr:
		default:
			return &SyntaxError{Pos: t.exprPos(), Msg: "cannot assign to this"}
		}
	}
	return nil
}

// exprList reads expressions with commas between them and tells whether a
// comma followed the last.
func (p *parser) exprList() (list []expr, trailing bool, err error) {
	for {
		e, err := p.expr()
		if err != nil {
			return nil, false, err
		}
		list = append(list, e)
		ok, err := p.accept(",")
		if err != nil || !ok {
			return list, false, err
		}
		if p.isPunct("=") || p.tok.kind == tokNewline || p.tok.kind == tokEOF || p.isPunct(")") {
			return list, true, nil
		}
	}
}

// exprOrTuple reads an expression, or a tuple without brackets.
func (p *parser) exprOrTuple() (expr, error) {
	pos := p.pos()
	list, trailing, err := p.exprList()
	if err != nil {
		return nil, err
	}
	if len(list) == 1 && !trailing {
		return list[0], nil
	}
	return &tupleExpr{pos, list}, nil
}
