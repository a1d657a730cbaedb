package parquet_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/carla-rl/carla-rl-serving/internal/experience/parquet"
)

var columns = []parquet.Column{
	{Name: "b", Kind: parquet.Bool}, {Name: "i", Kind: parquet.Int64}, {Name: "u", Kind: parquet.Uint64}, {Name: "f", Kind: parquet.Float32, Optional: true},
	{Name: "d", Kind: parquet.Float64}, {Name: "s.x", Kind: parquet.String}, {Name: "o", Kind: parquet.String, Optional: true}, {Name: "t", Kind: parquet.Time},
	{Name: "l", Kind: parquet.Float32, List: true}, {Name: "k", Kind: parquet.Int64, List: true},
}

// rows is more than fit one group.
const rows = 70_000

func file(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := parquet.NewWriter(&b, columns, parquet.Meta{Key: "a", Value: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		w.Bool(0, i%3 == 0)
		w.Int(1, int64(-i))
		w.Int(2, -1)
		if i%5 == 0 {
			w.Null(3)
		} else {
			w.Float(3, float64(i))
		}
		w.Float(4, float64(i)/4)
		w.Text(5, "süß")
		if i%2 == 0 {
			w.Null(6)
		} else {
			w.Text(6, "")
		}
		w.Int(7, int64(1_795_000_000_000_000+i))
		w.Floats(8, []float32{1, 2, 3}[:i%4])
		w.Floats(9, []float32{float32(i), -2})
		if err := w.EndRow(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFileReadsBack reads a file by the format's documents. That others read it
// too is shown by the Python client's tests, with pyarrow.
func TestFileReadsBack(t *testing.T) {
	b := file(t)
	n := len(b)
	if string(b[:4]) != "PAR1" || string(b[n-4:]) != "PAR1" {
		t.Fatal("no magic number")
	}
	size := int(binary.LittleEndian.Uint32(b[n-8:]))
	foot := (&compact{b: b[n-8-size : n-8]}).structure()
	if foot[1] != int64(1) || foot[3] != int64(rows) || foot[6] != "carla-rl" {
		t.Errorf("version %v, rows %v, made by %v", foot[1], foot[3], foot[6])
	}
	if pair := foot[5].([]any)[0].(map[int]any); pair[1] != "a" || pair[2] != "b" {
		t.Errorf("metadata %v", pair)
	}
	var names []string
	for _, e := range foot[2].([]any)[1:] {
		names = append(names, e.(map[int]any)[4].(string))
	}
	if want := []string{"b", "i", "u", "f", "d", "s.x", "o", "t", "l", "list", "element", "k", "list", "element"}; !slices.Equal(names, want) {
		t.Errorf("schema %v, want %v", names, want)
	}
	groups := foot[4].([]any)
	if len(groups) != 2 {
		t.Fatalf("%d groups", len(groups))
	}
	at := 0
	for _, g := range groups {
		group := g.(map[int]any)
		count := int(group[3].(int64))
		for c := range columns {
			meta := group[1].([]any)[c].(map[int]any)[3].(map[int]any)
			check(t, b, c, meta, at, count)
		}
		at += count
	}
	if at != rows {
		t.Errorf("%d rows in groups", at)
	}
}

// check holds the values of a column of a group to those that were written.
func check(t *testing.T, b []byte, c int, meta map[int]any, first, count int) {
	t.Helper()
	r := &compact{b: b[meta[9].(int64):]}
	head := r.structure()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	page, err := d.DecodeAll(r.b[:head[3].(int64)], nil)
	if err != nil || int64(len(page)) != head[2] {
		t.Fatalf("column %d: %d bytes, %v", c, len(page), err)
	}
	values := int(head[5].(map[int]any)[1].(int64))
	if int64(values) != meta[5] {
		t.Errorf("column %d: %d values in the page, %v in the footer", c, values, meta[5])
	}
	var rep, def []byte
	if columns[c].List {
		rep, page = levels(page, values)
	}
	if columns[c].List || columns[c].Optional {
		def, page = levels(page, values)
	}
	word := func() uint64 {
		v := binary.LittleEndian.Uint64(page)
		page = page[8:]
		return v
	}
	half := func() uint32 {
		v := binary.LittleEndian.Uint32(page)
		page = page[4:]
		return v
	}
	text := func() string {
		n := half()
		s := string(page[:n])
		page = page[n:]
		return s
	}
	v := 0
	for i := first; i < first+count; i++ {
		ok := true
		switch c {
		case 0:
			ok = page[(i-first)/8]>>((i-first)%8)&1 == map[bool]byte{true: 1}[i%3 == 0]
		case 1:
			ok = int64(word()) == int64(-i)
		case 2:
			ok = word() == math.MaxUint64
		case 3:
			if ok = (def[v] == 0) == (i%5 == 0); ok && def[v] == 1 {
				ok = math.Float32frombits(half()) == float32(i)
			}
			v++
		case 4:
			ok = math.Float64frombits(word()) == float64(i)/4
		case 5:
			ok = text() == "süß"
		case 6:
			if ok = (def[v] == 0) == (i%2 == 0); ok && def[v] == 1 {
				ok = text() == ""
			}
			v++
		case 7:
			ok = int64(word()) == int64(1_795_000_000_000_000+i)
		case 8:
			n := 0
			for {
				ok = ok && (rep[v] == 1) == (n > 0)
				if def[v] == 1 {
					n++
					ok = ok && math.Float32frombits(half()) == float32(n)
				}
				v++
				if v == values || rep[v] == 0 {
					break
				}
			}
			ok = ok && n == i%4
		case 9:
			ok = rep[v] == 0 && rep[v+1] == 1 && int64(word()) == int64(i) && int64(word()) == -2
			v += 2
		}
		if !ok {
			t.Fatalf("column %d, row %d is another", c, i)
		}
	}
}

// levels reads runs of levels of one bit.
func levels(page []byte, n int) (list, rest []byte) {
	size := binary.LittleEndian.Uint32(page)
	runs, rest := page[4:4+size], page[4+size:]
	for len(list) < n {
		count, used := binary.Uvarint(runs)
		for range count >> 1 {
			list = append(list, runs[used])
		}
		runs = runs[used+1:]
	}
	return list, rest
}

// compact reads Thrift's compact protocol.
type compact struct{ b []byte }

func (c *compact) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	c.b = c.b[n:]
	return v
}

func (c *compact) varint() int64 {
	v, n := binary.Varint(c.b)
	c.b = c.b[n:]
	return v
}

// structure reads fields by their numbers.
func (c *compact) structure() map[int]any {
	fields, last := map[int]any{}, 0
	for {
		head := c.b[0]
		c.b = c.b[1:]
		if head == 0 {
			return fields
		}
		if d := int(head >> 4); d != 0 {
			last += d
		} else {
			last = int(c.varint())
		}
		fields[last] = c.value(head & 15)
	}
}

func (c *compact) value(kind byte) any {
	switch kind {
	case 1, 2:
		return kind == 1
	case 3:
		v := c.b[0]
		c.b = c.b[1:]
		return v
	case 5, 6:
		return c.varint()
	case 8:
		n := c.uvarint()
		s := string(c.b[:n])
		c.b = c.b[n:]
		return s
	case 9:
		head := c.b[0]
		c.b = c.b[1:]
		n := int(head >> 4)
		if n == 15 {
			n = int(c.uvarint())
		}
		list := make([]any, n)
		for i := range list {
			list[i] = c.value(head & 15)
		}
		return list
	}
	return c.structure()
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	for _, list := range [][]parquet.Column{
		{{Name: "a"}, {Name: "a"}}, {{Name: ""}}, {{Name: "a", List: true, Optional: true}},
	} {
		if _, err := parquet.NewWriter(&bytes.Buffer{}, list); err == nil {
			t.Errorf("%+v: no error", list)
		}
	}
	w, err := parquet.NewWriter(&bytes.Buffer{}, []parquet.Column{{Name: "a", Kind: parquet.Int64}, {Name: "b", Kind: parquet.Int64}})
	if err != nil {
		t.Fatal(err)
	}
	w.Int(0, 1)
	if err := w.EndRow(); err == nil {
		t.Error("a row without a value: no error")
	}
}
