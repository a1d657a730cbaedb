package parquet

import "encoding/binary"

// thrift writes structures in Thrift's compact protocol, as
// https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
// tells it. Fields come in the order of their numbers.
type thrift struct {
	b     []byte
	last  int   // number of the field before
	outer []int // those of the structures around
}

// Types of fields and of elements.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftInt    = 5
	thriftLong   = 6
	thriftText   = 8
	thriftList   = 9
	thriftStruct = 12
)

func (t *thrift) field(id, kind int) {
	if d := id - t.last; d > 0 && d < 16 {
		t.b = append(t.b, byte(d<<4|kind))
	} else {
		t.b = append(t.b, byte(kind))
		t.b = binary.AppendVarint(t.b, int64(id))
	}
	t.last = id
}

func (t *thrift) int(id int, v int64) {
	t.field(id, thriftInt)
	t.b = binary.AppendVarint(t.b, v)
}

func (t *thrift) long(id int, v int64) {
	t.field(id, thriftLong)
	t.b = binary.AppendVarint(t.b, v)
}

func (t *thrift) byte(id int, v byte) {
	t.field(id, thriftByte)
	t.b = append(t.b, v)
}

func (t *thrift) bool(id int, v bool) {
	if v {
		t.field(id, thriftTrue)
	} else {
		t.field(id, thriftFalse)
	}
}

func (t *thrift) text(id int, s string) {
	t.field(id, thriftText)
	t.b = binary.AppendUvarint(t.b, uint64(len(s)))
	t.b = append(t.b, s...)
}

// list begins a list of n elements, which follow. Those that are structures are
// ended by next each, and the field's number is to be restored after them.
func (t *thrift) list(id, kind, n int) {
	t.field(id, thriftList)
	if n < 15 {
		t.b = append(t.b, byte(n<<4|kind))
	} else {
		t.b = append(t.b, byte(0xf0|kind))
		t.b = binary.AppendUvarint(t.b, uint64(n))
	}
	if kind == thriftStruct {
		t.last = 0
	}
}

// begin begins a structure that is a field, which end ends.
func (t *thrift) begin(id int) {
	t.field(id, thriftStruct)
	t.outer = append(t.outer, t.last)
	t.last = 0
}

func (t *thrift) end() {
	t.stop()
	t.last = t.outer[len(t.outer)-1]
	t.outer = t.outer[:len(t.outer)-1]
}

// empty writes a union whose one member has no fields.
func (t *thrift) empty(id, member int) {
	t.begin(id)
	t.begin(member)
	t.end()
	t.end()
}

// next ends an element of a list.
func (t *thrift) next() {
	t.stop()
	t.last = 0
}

func (t *thrift) stop() { t.b = append(t.b, 0) }
