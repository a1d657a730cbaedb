package msgpack

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tinylib/msgp/msgp"
)

// AppendFromJSON appends the MessagePack form of a JSON text that a program of ours
// has written: objects become maps, numbers with a point or an exponent
// float64, others integers. Of a text that is no JSON it makes something.
func AppendFromJSON(b, text []byte) []byte {
	c := converter{text: text}
	return c.value(b)
}

type converter struct {
	text []byte
	pos  int
}

// next skips white space, commas and colons, and returns the byte after it, 0 at the end.
func (c *converter) next() byte {
	for ; c.pos < len(c.text); c.pos++ {
		if ch := c.text[c.pos]; ch > ' ' && ch != ',' && ch != ':' {
			return ch
		}
	}
	return 0
}

func (c *converter) value(b []byte) []byte {
	switch c.next() {
	case '{':
		return c.many(b, '}')
	case '[':
		return c.many(b, ']')
	case '"':
		return c.quoted(b)
	case 't':
		c.pos += len("true")
		return msgp.AppendBool(b, true)
	case 'f':
		c.pos += len("false")
		return msgp.AppendBool(b, false)
	case 'n':
		c.pos += len("null")
		return msgp.AppendNil(b)
	case 0:
		return b
	}
	return c.number(b)
}

// many appends an array, or the members of an object one after another. How
// many there are is known at the end only: the head is made long, and where it
// may be short what follows moves up.
func (c *converter) many(b []byte, end byte) []byte {
	const long, short = 5, 15
	c.pos++
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0)
	n := 0
	for ; ; n++ {
		if next := c.next(); next == end || next == 0 {
			break
		}
		before := c.pos
		if b = c.value(b); c.pos == before {
			break // no JSON
		}
	}
	c.pos++
	first := byte(0xdd)
	fix := byte(0x90)
	if end == '}' {
		n /= 2
		first, fix = 0xdf, 0x80
	}
	if n <= short {
		b[at] = fix | byte(n)
		return append(b[:at+1], b[at+long:]...)
	}
	b[at] = first
	binary.BigEndian.PutUint32(b[at+1:], uint32(n))
	return b
}

// tens are the powers of ten that a float64 holds exactly.
var tens = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

func (c *converter) number(b []byte) []byte {
	start := c.pos
	whole, plain := true, true
	mantissa, digits, places := uint64(0), 0, 0
	for ; c.pos < len(c.text); c.pos++ {
		ch := c.text[c.pos]
		if ch-'0' <= 9 {
			mantissa = mantissa*10 + uint64(ch-'0')
			digits++
			if !whole {
				places++
			}
			continue
		}
		switch ch {
		case '.':
			whole = false
			continue
		case 'e', 'E':
			whole, plain = false, false
			continue
		case '-', '+':
			plain = plain && c.pos == start
			continue
		}
		break
	}
	// Few digits and few places are one exact division (Clinger's fast path).
	if !whole && plain && digits <= 15 && places < len(tens) {
		v := float64(mantissa) / tens[places]
		if c.text[start] == '-' {
			v = -v
		}
		return msgp.AppendFloat64(b, v)
	}
	text := unsafe.String(unsafe.SliceData(c.text[start:]), c.pos-start)
	if whole {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return msgp.AppendUint64(b, n)
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return msgp.AppendInt64(b, n)
		}
	}
	v, _ := strconv.ParseFloat(text, 64) // too large is infinite
	return msgp.AppendFloat64(b, v)
}

// quoted appends a string.
func (c *converter) quoted(b []byte) []byte {
	c.pos++
	start := c.pos
	n := bytes.IndexByte(c.text[start:], '"')
	if n < 0 {
		n = len(c.text) - start // no JSON
	}
	if escape := bytes.IndexByte(c.text[start:start+n], '\\'); escape >= 0 {
		c.pos = start + escape
		return c.escaped(b, start)
	}
	c.pos = start + n + 1
	return msgp.AppendStringFromBytes(b, c.text[start:start+n])
}

// escaped is quoted for a string with an escape at pos.
func (c *converter) escaped(b []byte, start int) []byte {
	for c.pos < len(c.text) && c.text[c.pos] != '"' {
		if c.text[c.pos] == '\\' {
			c.pos++ // what it escapes is no end
		}
		c.pos++
	}
	c.pos = min(c.pos+1, len(c.text))
	text, _ := jsontext.AppendUnquote(nil, c.text[start-1:c.pos]) // of no JSON, something
	return msgp.AppendStringFromBytes(b, text)
}
