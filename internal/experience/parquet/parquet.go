// Package parquet writes Apache Parquet files: flat columns and lists of them,
// each value in its plain encoding, pages compressed with Zstandard.
//
// What enters are columns and their values, row after row; what leaves is a file
// of format version 1 with data pages of version 1, which every reader knows. The
// format is that of https://parquet.apache.org/docs/file-format/. There is no
// reader here; a test holds the files to others' readers. The package imports
// nothing of this module.
package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

// Kind is what a column holds.
type Kind int

// The kinds of columns.
const (
	Bool Kind = iota
	Int64
	Uint64
	Float32
	Float64
	String
	Time // microseconds since 1970, UTC
)

// Column is one column of a file.
type Column struct {
	Name string
	Kind Kind
	// Optional columns may have nulls, and List columns hold lists of values,
	// which are not null. A column is one of the two at most.
	Optional, List bool
}

// Meta is a pair of the file's own metadata.
type Meta struct{ Key, Value string }

// Limits of what is held in memory until it is written.
const (
	rowsOfGroup  = 64 << 10
	bytesOfGroup = 32 << 20
)

const magic = "PAR1"

// Writer writes a file.
type Writer struct {
	w       io.Writer
	at      int64
	columns []column
	meta    []Meta
	rows    int64 // of the group that is not written yet
	groups  []group
	codec   *zstd.Encoder
	err     error
}

// column is a column and the values of the present group.
type column struct {
	Column
	data   []byte
	bits   int // of Bool
	count  int // values and nulls
	def    levels
	rep    levels
	filled bool // in this row
}

type group struct {
	rows   int64
	bytes  int64
	chunks []chunk
}

// chunk is a column of a group, as it was written.
type chunk struct {
	at, packed, plain int64
	values            int
}

// NewWriter begins a file. Close ends it.
func NewWriter(w io.Writer, columns []Column, meta ...Meta) (*Writer, error) {
	codec, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	p := &Writer{w: w, codec: codec, meta: meta}
	names := map[string]bool{}
	for _, c := range columns {
		if names[c.Name] || c.Name == "" || c.Optional && c.List {
			return nil, fmt.Errorf("column %q: a name that is there already or empty, or both optional and a list", c.Name)
		}
		names[c.Name] = true
		p.columns = append(p.columns, column{Column: c})
	}
	return p, p.write([]byte(magic))
}

func (p *Writer) write(b []byte) error {
	if p.err != nil {
		return p.err
	}
	n, err := p.w.Write(b)
	p.at += int64(n)
	p.err = err
	return err
}

// The values of a row, by the number of their column. Each column takes one call
// in a row, of the method of its kind; the last thing of a row is EndRow.

// Bool gives a column its value.
func (p *Writer) Bool(i int, v bool) {
	c := p.one(i)
	if c.bits%8 == 0 {
		c.data = append(c.data, 0)
	}
	if v {
		c.data[len(c.data)-1] |= 1 << (c.bits % 8)
	}
	c.bits++
}

// Int gives a column of Int64, Uint64 or Time its value.
func (p *Writer) Int(i int, v int64) {
	c := p.one(i)
	c.data = binary.LittleEndian.AppendUint64(c.data, uint64(v))
}

// Float gives a column of Float32 or Float64 its value.
func (p *Writer) Float(i int, v float64) {
	c := p.one(i)
	if c.Kind == Float32 {
		c.data = binary.LittleEndian.AppendUint32(c.data, math.Float32bits(float32(v)))
	} else {
		c.data = binary.LittleEndian.AppendUint64(c.data, math.Float64bits(v))
	}
}

// Text gives a column of String its value.
func (p *Writer) Text(i int, v string) {
	c := p.one(i)
	c.data = binary.LittleEndian.AppendUint32(c.data, uint32(len(v)))
	c.data = append(c.data, v...)
}

// Null gives an optional column none.
func (p *Writer) Null(i int) {
	c := &p.columns[i]
	c.def.add(0, 1)
	c.count++
	c.filled = true
}

// Floats gives a list column of Float32 or Int64 its values; those of an Int64
// are whole numbers.
func (p *Writer) Floats(i int, list []float32) {
	c := &p.columns[i]
	c.filled = true
	c.rep.add(0, 1)
	c.count += max(1, len(list))
	if len(list) == 0 {
		c.def.add(0, 1)
		return
	}
	c.rep.add(1, len(list)-1)
	c.def.add(1, len(list))
	for _, v := range list {
		if c.Kind == Int64 {
			c.data = binary.LittleEndian.AppendUint64(c.data, uint64(int64(v)))
		} else {
			c.data = binary.LittleEndian.AppendUint32(c.data, math.Float32bits(v))
		}
	}
}

// one is a column that is given one value.
func (p *Writer) one(i int) *column {
	c := &p.columns[i]
	c.count++
	c.filled = true
	if c.Optional {
		c.def.add(1, 1)
	}
	return c
}

// errRow says that a row lacks a column.
var errRow = errors.New("the row has no value for it")

// EndRow ends a row.
func (p *Writer) EndRow() error {
	size := 0
	for i := range p.columns {
		c := &p.columns[i]
		if !c.filled {
			return fmt.Errorf("column %q: %w", c.Name, errRow)
		}
		c.filled = false
		size += len(c.data)
	}
	if p.rows++; p.rows >= rowsOfGroup || size >= bytesOfGroup {
		return p.flush()
	}
	return p.err
}

// flush writes the group.
func (p *Writer) flush() error {
	if p.rows == 0 {
		return p.err
	}
	g := group{rows: p.rows}
	for i := range p.columns {
		c := &p.columns[i]
		page := append(c.rep.bytes(c.List), c.def.bytes(c.List || c.Optional)...)
		page = append(page, c.data...)
		packed := p.codec.EncodeAll(page, nil)
		var head thrift
		head.int(1, pageData)
		head.int(2, int64(len(page)))
		head.int(3, int64(len(packed)))
		head.begin(5)
		head.int(1, int64(c.count))
		head.int(2, encodingPlain)
		head.int(3, encodingRLE)
		head.int(4, encodingRLE)
		head.end()
		head.stop()
		at := p.at
		if err := p.write(head.b); err != nil {
			return err
		}
		if err := p.write(packed); err != nil {
			return err
		}
		k := chunk{at: at, packed: p.at - at, plain: int64(len(head.b) + len(page)), values: c.count}
		g.bytes += k.plain
		g.chunks = append(g.chunks, k)
		c.data, c.bits, c.count = c.data[:0], 0, 0
		c.def.reset()
		c.rep.reset()
	}
	p.groups = append(p.groups, g)
	p.rows = 0
	return p.err
}

// Close writes what is left and the end of the file. It does not close what the
// file is written to.
func (p *Writer) Close() error {
	if err := p.flush(); err != nil {
		return err
	}
	foot := p.footer()
	foot = binary.LittleEndian.AppendUint32(foot, uint32(len(foot)))
	return errors.Join(p.write(append(foot, magic...)), p.codec.Close())
}

// levels are definition or repetition levels of 0 and 1, in runs.
type levels struct {
	b     []byte
	value byte
	run   int
}

func (l *levels) add(value byte, n int) {
	if n == 0 {
		return
	}
	if l.run > 0 && l.value != value {
		l.flush()
	}
	l.value = value
	l.run += n
}

// flush writes a run: its length shifted left by one, and the value.
func (l *levels) flush() {
	if l.run > 0 {
		l.b = binary.AppendUvarint(l.b, uint64(l.run)<<1)
		l.b = append(l.b, l.value)
	}
	l.run = 0
}

// bytes are the levels as a page has them, with their length before; nothing for
// a column without.
func (l *levels) bytes(has bool) []byte {
	if !has {
		return nil
	}
	l.flush()
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(l.b))), l.b...)
}

func (l *levels) reset() { l.b, l.run = l.b[:0], 0 }
