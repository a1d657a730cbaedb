package torchscript

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Maxima of the code of one archive.
const (
	maxCodeBytes   = 4 << 20 // all code files together
	maxTokens      = 300_000 // all code files together; an archive of a large vision model has 60,000
	maxIndentDepth = 100     // nested blocks
	maxStringBytes = 1 << 16 // one string literal
)

// kind is the kind of a token.
type kind uint8

const (
	tokEOF kind = iota
	tokNewline
	tokIndent
	tokDedent
	tokName
	tokInt
	tokFloat
	tokString
	tokPunct // operators and brackets; the text says which
)

// token is one token. For strings text is the decoded value.
type token struct {
	kind kind
	text string
	line int
	col  int
}

// lexer cuts one code file into tokens. Newlines within brackets are blanks,
// and indentation becomes tokens, as in Python.
type lexer struct {
	file    string
	src     string
	off     int
	line    int
	lineOff int // offset of the first byte of the line

	brackets    int
	indents     []int
	pending     int // dedents (negative) still to be given
	atLineStart bool
	budget      *int // tokens left for the whole archive
	done        bool
}

func newLexer(file, src string, budget *int) *lexer {
	return &lexer{file: file, src: src, line: 1, indents: []int{0}, atLineStart: true, budget: budget}
}

func (l *lexer) errorf(format string, args ...any) error {
	pos := Position{File: l.file, Line: l.line, Col: l.off - l.lineOff + 1}
	return &SyntaxError{Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// next returns the next token.
func (l *lexer) next() (token, error) {
	if *l.budget <= 0 {
		return token{}, &FormatError{Member: l.file, Err: limitf("more than %d tokens of code", maxTokens)}
	}
	*l.budget--
	if l.pending < 0 {
		l.pending++
		return l.token(tokDedent, ""), nil
	}
	if l.atLineStart && l.brackets == 0 {
		t, found, err := l.indentation()
		if err != nil || found {
			return t, err
		}
	}
	l.blanks()
	if l.off >= len(l.src) {
		return l.end()
	}
	c := l.src[l.off]
	switch {
	case c == '\n':
		l.off++
		t := l.token(tokNewline, "")
		l.newline()
		l.atLineStart = true
		return t, nil
	case isNameStart(c):
		start := l.off
		for l.off < len(l.src) && isNamePart(l.src[l.off]) {
			l.off++
		}
		return l.tokenAt(tokName, l.src[start:l.off], start), nil
	case c >= '0' && c <= '9', c == '.' && l.off+1 < len(l.src) && isDigit(l.src[l.off+1]):
		return l.number()
	case c == '"' || c == '\'':
		return l.str()
	default:
		return l.punct()
	}
}

// end gives the newline and the dedents that a file's end implies.
func (l *lexer) end() (token, error) {
	if l.brackets > 0 {
		return token{}, l.errorf("end of file within brackets")
	}
	if !l.done {
		l.done = true
		return l.token(tokNewline, ""), nil
	}
	if len(l.indents) > 1 {
		l.indents = l.indents[:len(l.indents)-1]
		return l.token(tokDedent, ""), nil
	}
	return l.token(tokEOF, ""), nil
}

func (l *lexer) token(k kind, text string) token { return l.tokenAt(k, text, l.off) }

func (l *lexer) tokenAt(k kind, text string, off int) token {
	return token{kind: k, text: text, line: l.line, col: off - l.lineOff + 1}
}

// newline notes that the byte before off ended a line.
func (l *lexer) newline() {
	l.line++
	l.lineOff = l.off
}

// blanks skips blanks and comments, and newlines within brackets.
func (l *lexer) blanks() {
	for l.off < len(l.src) {
		switch c := l.src[l.off]; {
		case c == ' ' || c == '\t' || c == '\r':
			l.off++
		case c == '#':
			l.comment()
		case c == '\\' && l.off+1 < len(l.src) && l.src[l.off+1] == '\n':
			l.off += 2
			l.newline()
		case c == '\n' && l.brackets > 0:
			l.off++
			l.newline()
		default:
			return
		}
	}
}

func (l *lexer) comment() {
	for l.off < len(l.src) && l.src[l.off] != '\n' {
		l.off++
	}
}

// indentation reads the blanks before the first token of a line, skipping
// lines that are empty or hold a comment only.
func (l *lexer) indentation() (token, bool, error) {
	l.atLineStart = false
	width := 0
	for {
		width = 0
		for l.off < len(l.src) && (l.src[l.off] == ' ' || l.src[l.off] == '\t' || l.src[l.off] == '\r') {
			if l.src[l.off] == '\t' {
				width += 8 - width%8
			} else {
				width++
			}
			l.off++
		}
		if l.off < len(l.src) && l.src[l.off] == '#' {
			l.comment()
		}
		if l.off >= len(l.src) || l.src[l.off] != '\n' {
			break
		}
		l.off++
		l.newline()
	}
	if l.off >= len(l.src) {
		return token{}, false, nil
	}
	top := l.indents[len(l.indents)-1]
	switch {
	case width == top:
		return token{}, false, nil
	case width > top:
		if len(l.indents) > maxIndentDepth {
			return token{}, false, &FormatError{Member: l.file, Err: limitf("more than %d nested blocks", maxIndentDepth)}
		}
		l.indents = append(l.indents, width)
		return l.token(tokIndent, ""), true, nil
	}
	n := 0
	for len(l.indents) > 1 && l.indents[len(l.indents)-1] > width {
		l.indents = l.indents[:len(l.indents)-1]
		n++
	}
	if l.indents[len(l.indents)-1] != width {
		return token{}, false, l.errorf("indentation matches no block around it")
	}
	l.pending = -(n - 1)
	return l.token(tokDedent, ""), true, nil
}

// number reads an integer or a float such as 1., 1e-5 or .5.
func (l *lexer) number() (token, error) {
	start, k := l.off, tokInt
	for l.off < len(l.src) && isDigit(l.src[l.off]) {
		l.off++
	}
	if l.off < len(l.src) && l.src[l.off] == '.' {
		k = tokFloat
		l.off++
		for l.off < len(l.src) && isDigit(l.src[l.off]) {
			l.off++
		}
	}
	if l.off < len(l.src) && (l.src[l.off] == 'e' || l.src[l.off] == 'E') {
		at := l.off + 1
		if at < len(l.src) && (l.src[at] == '+' || l.src[at] == '-') {
			at++
		}
		if at < len(l.src) && isDigit(l.src[at]) {
			k = tokFloat
			for l.off = at; l.off < len(l.src) && isDigit(l.src[l.off]); {
				l.off++
			}
		}
	}
	if l.off < len(l.src) && isNameStart(l.src[l.off]) {
		return token{}, l.errorf("number is followed by %q", l.src[l.off])
	}
	if l.off-start > 400 {
		return token{}, l.errorf("number of %d digits", l.off-start)
	}
	return l.tokenAt(k, l.src[start:l.off], start), nil
}

// str reads a string in one or three quotes of either kind.
func (l *lexer) str() (token, error) {
	start, startLine, startCol := l.off, l.line, l.off-l.lineOff+1
	quote := l.src[l.off]
	long := strings.HasPrefix(l.src[l.off:], strings.Repeat(string(quote), 3))
	n := 1
	if long {
		n = 3
	}
	closing := l.src[start : start+n]
	l.off += n
	var b strings.Builder
	for {
		if l.off >= len(l.src) {
			return token{}, l.errorf("string that begins in line %d is not closed", startLine)
		}
		if strings.HasPrefix(l.src[l.off:], closing) {
			l.off += n
			return token{kind: tokString, text: b.String(), line: startLine, col: startCol}, nil
		}
		switch c := l.src[l.off]; {
		case c == '\n' && !long:
			return token{}, l.errorf("newline in string")
		case c == '\n':
			b.WriteByte(c)
			l.off++
			l.newline()
		case c == '\\':
			if err := l.escape(&b); err != nil {
				return token{}, err
			}
		default:
			b.WriteByte(c)
			l.off++
		}
		if b.Len() > maxStringBytes {
			return token{}, &FormatError{Member: l.file, Err: limitf("string of more than %d bytes", maxStringBytes)}
		}
	}
}

var simpleEscapes = map[byte]byte{
	'\\': '\\', '\'': '\'', '"': '"', 'a': '\a', 'b': '\b', 'f': '\f',
	'n': '\n', 'r': '\r', 't': '\t', 'v': '\v',
}

// escape decodes one escape sequence of a string.
func (l *lexer) escape(b *strings.Builder) error {
	l.off++
	if l.off >= len(l.src) {
		return l.errorf("string ends in a backslash")
	}
	c := l.src[l.off]
	if r, ok := simpleEscapes[c]; ok {
		b.WriteByte(r)
		l.off++
		return nil
	}
	digits, base, start := 0, 16, l.off+1
	switch {
	case c == 'x':
		digits = 2
	case c == 'u':
		digits = 4
	case c >= '0' && c <= '7':
		base, start = 8, l.off
		for digits < 3 && start+digits < len(l.src) && l.src[start+digits] >= '0' && l.src[start+digits] <= '7' {
			digits++
		}
	default:
		return l.errorf("unknown escape sequence \\%c in string", c)
	}
	if start+digits > len(l.src) {
		return l.errorf("escape sequence is cut off")
	}
	v, err := strconv.ParseUint(l.src[start:start+digits], base, 32)
	if err != nil {
		return l.errorf("invalid escape sequence in string")
	}
	l.off = start + digits
	if c == 'u' {
		b.Write(utf8.AppendRune(nil, rune(v)))
		return nil
	}
	b.WriteByte(byte(v))
	return nil
}

// puncts are the operators and brackets of more than one byte, longest first.
var puncts = []string{"**=", "//=", "->", "==", "!=", "<=", ">=", "//", "**", "+=", "-=", "*=", "/=", "%=", "<<", ">>"}

func (l *lexer) punct() (token, error) {
	for _, p := range puncts {
		if strings.HasPrefix(l.src[l.off:], p) {
			l.off += len(p)
			return l.tokenAt(tokPunct, p, l.off-len(p)), nil
		}
	}
	c := l.src[l.off]
	switch c {
	case '(', '[', '{':
		l.brackets++
	case ')', ']', '}':
		if l.brackets == 0 {
			return token{}, l.errorf("unexpected %q", c)
		}
		l.brackets--
	case '+', '-', '*', '/', '%', '<', '>', '=', ',', '.', ':', ';', '&', '|', '^', '~', '@':
	default:
		return token{}, l.errorf("unexpected byte %q", c)
	}
	l.off++
	return l.tokenAt(tokPunct, l.src[l.off-1:l.off], l.off-1), nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func isNamePart(c byte) bool { return isNameStart(c) || isDigit(c) }
