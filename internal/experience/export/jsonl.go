package export

import (
	"bufio"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonWriter writes a JSON object a line. Columns with a dot in their name are
// members of an object of what is before it; what is not there is null.
type jsonWriter struct {
	out   *bufio.Writer
	table *table
	b     []byte
}

func (j *jsonWriter) write(r *record) error {
	b := append(j.b[:0], '{')
	var v cell
	group := ""
	for i := range j.table.columns {
		c := &j.table.columns[i]
		outer, inner, nested := strings.Cut(c.name, ".")
		if group != "" && (!nested || outer != group) {
			b = append(b, '}')
			group = ""
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		switch {
		case nested && group == "":
			b = append(appendString(b, outer), `:{`...)
			group = outer
			b = appendString(b, inner)
		case nested:
			b = appendString(b, inner)
		default:
			b = appendString(b, c.name)
		}
		b = append(b, ':')
		c.value(r, &v)
		b = appendCell(b, c, &v)
	}
	if group != "" {
		b = append(b, '}')
	}
	j.b = append(b, '}', '\n')
	_, err := j.out.Write(j.b)
	return err
}

func appendCell(b []byte, c *column, v *cell) []byte {
	switch c.kind {
	case boolean:
		return strconv.AppendBool(b, v.bool)
	case integer:
		return strconv.AppendInt(b, v.int, 10)
	case unsigned:
		return strconv.AppendUint(b, uint64(v.int), 10)
	case single:
		return appendNumber(b, v.float, 32)
	case double:
		if math.IsNaN(v.float) {
			return append(b, "null"...)
		}
		return appendNumber(b, v.float, 64)
	case moment:
		return appendString(b, timestamp(v.int))
	case text:
		switch {
		case v.text == "":
			return append(b, "null"...)
		case c.name == "interventions" || c.name == "info":
			return append(b, v.text...) // JSON already
		}
		return appendString(b, v.text)
	}
	shape := c.shape
	if len(shape) == 0 {
		shape = []int{len(v.list)}
	}
	b, _ = appendList(b, v.list, shape)
	return b
}

// appendList appends values nested by their shape, and returns those behind.
func appendList(b []byte, x []float32, shape []int) ([]byte, []float32) {
	b = append(b, '[')
	for i := range shape[0] {
		if i > 0 {
			b = append(b, ',')
		}
		if len(shape) > 1 {
			b, x = appendList(b, x, shape[1:])
			continue
		}
		b = appendNumber(b, float64(x[0]), 32)
		x = x[1:]
	}
	return append(b, ']'), x
}

func appendString(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	b, _ = jsontext.AppendQuote(b, s) // never fails for UTF-8
	return b
}

func (j *jsonWriter) close() error { return nil }
