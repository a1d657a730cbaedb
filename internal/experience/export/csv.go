package export

import (
	"bufio"
	"encoding/csv"
	"math"
	"strconv"
	"time"
)

// csvWriter writes CSV by RFC 4180, with a header. A list is a column for each
// of its values, and what is not there is empty.
type csvWriter struct {
	w     *csv.Writer
	table *table
	row   []string
}

func newCSVWriter(out *bufio.Writer, t *table) (*csvWriter, error) {
	c := &csvWriter{w: csv.NewWriter(out), table: t}
	for i := range t.columns {
		col := &t.columns[i]
		if col.kind != list {
			c.row = append(c.row, col.name)
			continue
		}
		for n := range size(col.shape) {
			c.row = append(c.row, col.name+"."+strconv.Itoa(n))
		}
	}
	return c, c.w.Write(c.row)
}

// size is the number of values of a shape.
func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

func (c *csvWriter) write(r *record) error {
	c.row = c.row[:0]
	var v cell
	for i := range c.table.columns {
		col := &c.table.columns[i]
		switch col.value(r, &v); col.kind {
		case boolean:
			c.row = append(c.row, strconv.FormatBool(v.bool))
		case integer:
			c.row = append(c.row, strconv.FormatInt(v.int, 10))
		case unsigned:
			c.row = append(c.row, strconv.FormatUint(uint64(v.int), 10))
		case single:
			c.row = append(c.row, plain(v.float, 32))
		case double:
			text := ""
			if !math.IsNaN(v.float) {
				text = plain(v.float, 64)
			}
			c.row = append(c.row, text)
		case text:
			c.row = append(c.row, v.text)
		case moment:
			c.row = append(c.row, timestamp(v.int))
		case list:
			for _, x := range v.list {
				c.row = append(c.row, plain(float64(x), 32))
			}
		}
	}
	return c.w.Write(c.row)
}

// plain is a number as programs read it from text.
func plain(v float64, bits int) string {
	switch {
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

// timestamp is a time by RFC 3339.
func timestamp(us int64) string {
	return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func (c *csvWriter) close() error {
	c.w.Flush()
	return c.w.Error()
}
