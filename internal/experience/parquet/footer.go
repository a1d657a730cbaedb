package parquet

import "encoding/binary"

// Numbers of the format's enumerations, of parquet.thrift.
const (
	typeBoolean   = 0
	typeInt64     = 2
	typeFloat     = 4
	typeDouble    = 5
	typeByteArray = 6

	required = 0
	optional = 1
	repeated = 2

	convertedUTF8   = 0
	convertedList   = 3
	convertedUint64 = 14
	convertedMicros = 10

	logicalString    = 1
	logicalList      = 3
	logicalTimestamp = 8
	logicalInteger   = 10
	unitMicroseconds = 2

	encodingPlain = 0
	encodingRLE   = 3
	codecZstd     = 6
	pageData      = 0
)

var physical = map[Kind]int64{
	Bool: typeBoolean, Int64: typeInt64, Uint64: typeInt64, Float32: typeFloat, Float64: typeDouble,
	String: typeByteArray, Time: typeInt64,
}

// footer is the file's metadata.
func (p *Writer) footer() []byte {
	var t thrift
	rows := int64(0)
	for _, g := range p.groups {
		rows += g.rows
	}
	t.int(1, 1) // version
	elements := 1
	for i := range p.columns {
		if elements++; p.columns[i].List {
			elements += 2
		}
	}
	t.list(2, thriftStruct, elements)
	t.text(4, "schema")
	t.int(5, int64(len(p.columns)))
	t.next()
	for i := range p.columns {
		t.element(&p.columns[i].Column)
	}
	t.last = 2
	t.long(3, rows)
	t.list(4, thriftStruct, len(p.groups))
	for i := range p.groups {
		p.group(&t, &p.groups[i])
	}
	t.last = 4
	if len(p.meta) > 0 {
		t.list(5, thriftStruct, len(p.meta))
		for _, m := range p.meta {
			t.text(1, m.Key)
			t.text(2, m.Value)
			t.next()
		}
		t.last = 5
	}
	t.text(6, "carla-rl")
	t.stop()
	return t.b
}

// element describes a column, a list as its three levels.
func (t *thrift) element(c *Column) {
	repetition, name := int64(required), c.Name
	switch {
	case c.Optional:
		repetition = optional
	case c.List:
		t.int(3, required)
		t.text(4, c.Name)
		t.int(5, 1)
		t.int(6, convertedList)
		t.begin(10)
		t.begin(logicalList)
		t.end()
		t.end()
		t.next()
		t.int(3, repeated)
		t.text(4, "list")
		t.int(5, 1)
		t.next()
		name = "element"
	}
	t.int(1, physical[c.Kind])
	t.int(3, repetition)
	t.text(4, name)
	switch c.Kind {
	case String:
		t.int(6, convertedUTF8)
		t.empty(10, logicalString)
	case Uint64:
		t.int(6, convertedUint64)
		t.begin(10)
		t.begin(logicalInteger)
		t.byte(1, 64)
		t.bool(2, false)
		t.end()
		t.end()
	case Time:
		t.int(6, convertedMicros)
		t.begin(10)
		t.begin(logicalTimestamp)
		t.bool(1, true)
		t.begin(2)
		t.begin(unitMicroseconds)
		t.end()
		t.end()
		t.end()
		t.end()
	}
	t.next()
}

// group describes a group of rows.
func (p *Writer) group(t *thrift, g *group) {
	t.list(1, thriftStruct, len(g.chunks))
	for i, k := range g.chunks {
		c := &p.columns[i]
		t.last = 0
		t.long(2, k.at)
		t.begin(3)
		t.int(1, physical[c.Kind])
		t.list(2, thriftInt, 2)
		t.b = binary.AppendVarint(t.b, encodingPlain)
		t.b = binary.AppendVarint(t.b, encodingRLE)
		path := []string{c.Name}
		if c.List {
			path = append(path, "list", "element")
		}
		t.list(3, thriftText, len(path))
		for _, name := range path {
			t.b = binary.AppendUvarint(t.b, uint64(len(name)))
			t.b = append(t.b, name...)
		}
		t.int(4, codecZstd)
		t.long(5, int64(k.values))
		t.long(6, k.plain)
		t.long(7, k.packed)
		t.long(9, k.at)
		t.end()
		t.next()
	}
	t.last = 1
	t.long(2, g.bytes)
	t.long(3, g.rows)
	t.next()
}
