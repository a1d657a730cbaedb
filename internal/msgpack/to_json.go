package msgpack

import (
	"encoding/base64"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
)

// ToJSON makes JSON of MessagePack: maps become objects, a key of bytes a name,
// bytes a string of base64, and an array of numpy the object
//
//	{"base64":"...","dtype":"float32","shape":[2,3]}
//
// or a number where it has no dimensions, as scalars of numpy do. What JSON
// cannot say is said so that no reader takes it for a number that it could use:
// NaN is null and an infinity 1e999.
type ToJSON struct {
	NaN, Infinite, Nil bool // what came

	r      Reader
	array  Array
	little []byte
}

// Append appends the JSON form of text. It reports false for a text that is
// broken, and Problem says why.
func (c *ToJSON) Append(b, text []byte) ([]byte, bool) {
	c.NaN, c.Infinite, c.Nil = false, false, false
	c.r.Begin(text)
	b, ok := c.value(b, 0)
	return b, ok && c.r.End()
}

// Release lets go of the text that was read, and of memory beyond most bytes.
func (c *ToJSON) Release(most int) {
	c.r.Begin(nil)
	c.array.Data = nil
	if cap(c.little) > most {
		c.little = nil
	}
}

// Problem says what is wrong with the text, and at which byte.
func (c *ToJSON) Problem() (string, int) { return c.r.Problem() }

func (c *ToJSON) value(b []byte, depth int) ([]byte, bool) {
	r := &c.r
	switch r.Kind() {
	case Nil:
		c.Nil = true
		return append(b, "null"...), r.Nil()
	case Bool:
		v, ok := r.Bool()
		return strconv.AppendBool(b, v), ok
	case Number:
		return c.number(b)
	case Text:
		v, ok := r.Text()
		return appendQuoted(b, v), ok
	case Bytes:
		v, ok := r.Bytes()
		return appendBase64(b, v), ok
	case List:
		return c.list(b, depth)
	case Map:
		if r.IsArray() {
			return c.numpy(b, depth)
		}
		return c.object(b, depth)
	}
	return b, r.Skip(depth)
}

func (c *ToJSON) number(b []byte) ([]byte, bool) {
	look := c.r
	if n, whole, ok := look.Integer(); ok && whole {
		c.r = look
		return strconv.AppendUint(b, n, 10), true
	}
	v, ok := c.r.Number()
	return c.float(b, v), ok
}

func (c *ToJSON) float(b []byte, v float64) []byte {
	switch {
	case v != v:
		c.NaN = true
		return append(b, "null"...)
	case math.IsInf(v, 1):
		c.Infinite = true
		return append(b, "1e999"...)
	case math.IsInf(v, -1):
		c.Infinite = true
		return append(b, "-1e999"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

func (c *ToJSON) list(b []byte, depth int) ([]byte, bool) {
	n, ok := c.r.List(depth)
	b = append(b, '[')
	for i := range n {
		if !ok {
			return b, false
		}
		if i > 0 {
			b = append(b, ',')
		}
		b, ok = c.value(b, depth+1)
	}
	return append(b, ']'), ok
}

func (c *ToJSON) object(b []byte, depth int) ([]byte, bool) {
	n, ok := c.r.Map(depth)
	b = append(b, '{')
	for i := range n {
		if !ok {
			return b, false
		}
		if i > 0 {
			b = append(b, ',')
		}
		var key []byte
		if key, ok = c.r.Key(); !ok {
			return b, false
		}
		b = append(appendQuoted(b, key), ':')
		b, ok = c.value(b, depth+1)
	}
	return append(b, '}'), ok
}

// numpy appends an array or a scalar of numpy.
func (c *ToJSON) numpy(b []byte, depth int) ([]byte, bool) {
	a := &c.array
	if !c.r.Array(a, depth) {
		return b, false
	}
	if a.Scalar {
		return c.float(b, a.Value), true
	}
	c.little = append(c.little[:0], a.Data...)
	data := a.Little(c.little)
	if t := dtype.Of(a.DType); t != nil && len(a.Shape) == 0 && len(data) == t.Bytes {
		return c.float(b, t.Value(data)), true
	}
	b = append(b, `{"base64":`...)
	b = appendBase64(b, data)
	b = append(b, `,"dtype":`...)
	b = appendQuoted(b, []byte(a.DType))
	b = append(b, `,"shape":[`...)
	for i, n := range a.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return append(b, "]}"...), true
}

// appendQuoted appends a string. What is not UTF-8, in a key of bytes, becomes
// U+FFFD.
func appendQuoted(b, text []byte) []byte {
	for _, ch := range text {
		if ch < ' ' || ch >= 0x7f || ch == '"' || ch == '\\' {
			b, _ = jsontext.AppendQuote(b, text) // what is not UTF-8 is told as U+FFFD
			return b
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}
