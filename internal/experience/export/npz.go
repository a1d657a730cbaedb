package export

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// numPyWriter writes an archive of NumPy arrays, one a column, with the steps
// along the first axis, and the layout as JSON in an array "layout". How many
// steps there are is in the head of every array, so that columns wait in files of
// their own until all have come.
type numPyWriter struct {
	out     *bufio.Writer
	table   *table
	columns []numPyColumn
	rows    int
}

type numPyColumn struct {
	f    *os.File
	w    *bufio.Writer
	most int // characters of the longest text
}

// numPyBuffer is the memory of each column.
const numPyBuffer = 64 << 10

func newNumPyWriter(out *bufio.Writer, t *table, dir string) (*numPyWriter, error) {
	n := &numPyWriter{out: out, table: t}
	for range t.columns {
		f, err := os.CreateTemp(dir, ".carla-rl-column-*")
		if err != nil {
			return nil, errors.Join(err, n.discard())
		}
		n.columns = append(n.columns, numPyColumn{f: f, w: bufio.NewWriterSize(f, numPyBuffer)})
	}
	return n, nil
}

// discard deletes what waits.
func (n *numPyWriter) discard() (err error) {
	for i := range n.columns {
		f := n.columns[i].f
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	n.columns = nil
	return err
}

func (n *numPyWriter) write(r *record) error {
	var v cell
	var b []byte
	for i := range n.table.columns {
		c, out := &n.table.columns[i], &n.columns[i]
		b = b[:0]
		switch c.value(r, &v); c.kind {
		case boolean:
			b = append(b, 0)
			if v.bool {
				b[0] = 1
			}
		case integer, unsigned, moment:
			b = binary.LittleEndian.AppendUint64(b, uint64(v.int))
		case single:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v.float)))
		case double:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.float))
		case text:
			s := strings.ToValidUTF8(v.text, "\uFFFD")
			out.most = max(out.most, utf8.RuneCountInString(s))
			b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		case list:
			for _, x := range v.list {
				if c.whole {
					b = binary.LittleEndian.AppendUint64(b, uint64(int64(x)))
				} else {
					b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
				}
			}
		}
		if _, err := out.w.Write(b); err != nil {
			return err
		}
	}
	n.rows++
	return nil
}

// close puts the archive together.
func (n *numPyWriter) close() (err error) {
	defer func() { err = errors.Join(err, n.discard()) }()
	z := zip.NewWriter(n.out)
	for i := range n.columns {
		if err := n.array(z, i); err != nil {
			return err
		}
	}
	if l := n.table.layout; l != nil {
		doc, err := json.Marshal(l)
		if err != nil {
			return err
		}
		w, err := n.entry(z, "layout", fmt.Sprintf("<U%d", utf8.RuneCount(doc)), "()")
		if err != nil {
			return err
		}
		if _, err := w.Write(utf32(nil, string(doc), utf8.RuneCount(doc))); err != nil {
			return err
		}
	}
	return z.Close()
}

// array writes the array of a column.
func (n *numPyWriter) array(z *zip.Writer, i int) error {
	c, from := &n.table.columns[i], &n.columns[i]
	if err := from.w.Flush(); err != nil {
		return err
	}
	if _, err := from.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	dtype := map[kind]string{boolean: "|b1", integer: "<i8", unsigned: "<u8", single: "<f4", double: "<f8", moment: "<M8[us]", list: "<f4"}[c.kind]
	switch {
	case c.whole:
		dtype = "<i8"
	case c.kind == text:
		dtype = fmt.Sprintf("<U%d", max(1, from.most))
	}
	shape := fmt.Appendf(nil, "(%d,", n.rows)
	for _, d := range c.shape {
		shape = fmt.Appendf(shape, " %d,", d)
	}
	w, err := n.entry(z, c.name, dtype, string(shape)+")")
	if err != nil {
		return err
	}
	if c.kind != text {
		_, err = io.Copy(w, from.f)
		return err
	}
	in := bufio.NewReaderSize(from.f, numPyBuffer)
	var head [4]byte
	var s, b []byte
	for range n.rows {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		size := int(binary.LittleEndian.Uint32(head[:]))
		s = append(s[:0], make([]byte, size)...)
		if _, err := io.ReadFull(in, s); err != nil {
			return err
		}
		b = utf32(b[:0], string(s), max(1, from.most))
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// entry begins an array in the archive: NumPy's format, version 1.0, is a magic
// number, the length of the head, and the head as text of Python, padded so that
// the data begin at a multiple of 64.
func (n *numPyWriter) entry(z *zip.Writer, name, dtype, shape string) (io.Writer, error) {
	w, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Deflate, Modified: time.Unix(0, 0).UTC()})
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", dtype, shape)
	const before = 10 // magic, version and length
	head += strings.Repeat(" ", 63-(before+len(head))%64) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), byte(len(head)>>8))
	_, err = w.Write(append(b, head...))
	return w, err
}

// utf32 appends a text as NumPy keeps it: so many characters of four bytes,
// filled up with zeros.
func utf32(b []byte, s string, most int) []byte {
	n := 0
	for _, r := range s {
		b = binary.LittleEndian.AppendUint32(b, uint32(r))
		n++
	}
	return append(b, make([]byte, 4*(most-n))...)
}
