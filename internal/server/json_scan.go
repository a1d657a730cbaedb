package server

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep the arrays and objects of a body nest.
const maxDepth = 32

// scanner walks a JSON text by RFC 8259 and nothing beyond: no byte order
// mark, no text after the value, no NaN, no bytes that are not UTF-8, no lone
// surrogates. Its methods report false once the text is broken, and keep where
// and why in problem and at.
type scanner struct {
	data    []byte
	pos     int
	problem string
	at      int
	scratch []byte // of the last string that held an escape
}

func (s *scanner) begin(data []byte) {
	s.data, s.pos, s.problem, s.at = data, 0, "", 0
}

// broken notes why the text is no JSON. The first note stands.
func (s *scanner) broken(problem string) bool {
	if s.problem == "" {
		s.problem, s.at = problem, s.pos
	}
	return false
}

// ends reports whether nothing but white space is left, and otherwise says so.
func (s *scanner) ends() bool {
	s.next()
	return s.pos == len(s.data) || s.expected("the end of the body")
}

// expected is broken for an unexpected byte.
func (s *scanner) expected(what string) bool {
	if s.problem != "" {
		return false
	}
	if s.pos >= len(s.data) {
		return s.broken("expected " + what + ", got the end of the body")
	}
	c := s.data[s.pos]
	if c > ' ' && c < 0x7f {
		return s.broken(fmt.Sprintf("expected %s, got %q", what, c))
	}
	return s.broken(fmt.Sprintf("expected %s, got the byte 0x%02x", what, c))
}

// next skips white space and returns the byte after it, 0 at the end.
func (s *scanner) next() byte {
	data := s.data
	for i := s.pos; i < len(data); i++ {
		if c := data[i]; c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			s.pos = i
			return c
		}
	}
	s.pos = len(data)
	return 0
}

// more decides what follows a member or element: true with a comma, false with
// the closing byte, both consumed.
func (s *scanner) more(closing byte) (more, ok bool) {
	switch s.next() {
	case ',':
		s.pos++
		return true, true
	case closing:
		s.pos++
		return false, true
	}
	if closing == '}' {
		return false, s.expected("',' or '}'")
	}
	return false, s.expected("',' or ']'")
}

// empty consumes an opening byte, and the closing one where it follows at
// once.
func (s *scanner) empty(closing byte) bool {
	s.pos++
	if s.next() == closing {
		s.pos++
		return true
	}
	return false
}

// key reads the name of a member and its colon. The name is valid until the
// next string is read.
func (s *scanner) key() (name []byte, ok bool) {
	if s.next() != '"' {
		return nil, s.expected("a quoted name")
	}
	if name, ok = s.text(); !ok {
		return nil, false
	}
	if s.next() != ':' {
		return nil, s.expected("':'")
	}
	s.pos++
	return name, true
}

// text reads the string that begins at pos and returns what it says.
func (s *scanner) text() ([]byte, bool) {
	data := s.data
	start := s.pos + 1
	ascii := true
	for i := start; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			s.pos = i + 1
			if !ascii && !utf8.Valid(data[start:i]) {
				s.pos = start
				return nil, s.broken("a string is not UTF-8")
			}
			return data[start:i], true
		case c == '\\':
			return s.escapedText(start, i)
		case c < ' ':
			s.pos = i
			return nil, s.broken("a string holds a control character")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.pos = len(data)
	return nil, s.broken("a string has no end")
}

// escapedText is text for a string whose first escape is at i.
func (s *scanner) escapedText(start, i int) ([]byte, bool) {
	data := s.data
	out := append(s.scratch[:0], data[start:i]...)
	for i < len(data) {
		c := data[i]
		switch {
		case c == '"':
			s.pos = i + 1
			s.scratch = out
			if !utf8.Valid(out) {
				s.pos = start
				return nil, s.broken("a string is not UTF-8")
			}
			return out, true
		case c < ' ':
			s.pos = i
			return nil, s.broken("a string holds a control character")
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		s.pos = i
		if i+1 == len(data) {
			break
		}
		i += 2
		switch e := data[i-1]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, n := unicodeEscape(data[i-2:])
			if n == 0 {
				return nil, s.broken("a string holds a bad \\u escape")
			}
			out = utf8.AppendRune(out, r)
			i += n - 2
		default:
			return nil, s.broken("a string holds an escape that JSON does not have")
		}
	}
	s.pos = len(data)
	return nil, s.broken("a string has no end")
}

// unicodeEscape reads \uXXXX, or two of them for a rune beyond the first
// plane. It returns the bytes read, 0 for a bad escape or half a pair.
func unicodeEscape(b []byte) (rune, int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if !ok {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 reads \uXXXX.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case digit(c):
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// literal reads true, false or null.
func (s *scanner) literal(word string) bool {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.expected("a JSON value")
	}
	s.pos += len(word)
	return true
}

// skip reads one value of any kind that stands depth levels deep.
func (s *scanner) skip(depth int) bool {
	switch c := s.next(); c {
	case '{':
		if depth >= maxDepth {
			return s.broken("the body nests too deep")
		}
		if s.empty('}') {
			return true
		}
		for {
			if _, ok := s.key(); !ok || !s.skip(depth+1) {
				return false
			}
			if more, ok := s.more('}'); !more {
				return ok
			}
		}
	case '[':
		if depth >= maxDepth {
			return s.broken("the body nests too deep")
		}
		if s.empty(']') {
			return true
		}
		for {
			if !s.skip(depth + 1) {
				return false
			}
			if more, ok := s.more(']'); !more {
				return ok
			}
		}
	case '"':
		_, ok := s.text()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		_, end := scanNumber(s.data, s.pos)
		if end < 0 {
			return s.expected("a JSON value")
		}
		s.pos = end
		return true
	}
}

// kindAt says what kind of value begins at pos, in words for messages.
func (s *scanner) kindAt() string {
	switch c := s.next(); c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
