//go:build e2e

package hostile_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// header is what an archive says of a member, in one of the two places.
type header struct {
	flags, method, disk uint16
	crc                 uint32
	packed, size        uint32
	name                string
	extra               []byte
	comment             string
}

// entry is a member with both of its headers, which may lie.
type entry struct {
	data           []byte // what it holds
	local, central header
	body           []byte // as it lies in the file
	behind         []byte // after the body: sizes, or what does not belong there
	before         []byte // bytes that belong to no member
	at             int64  // where the directory says that it begins; -1 is the truth
}

// archive is a zip of which everything can be said wrongly.
type archive struct {
	prefix, suffix []byte
	entries        []*entry
	listed         []*entry // in the directory; nil is all
	shift          uint32   // added to all offsets, as behind a prefix
	comment        string
	wide           bool           // with the 64-bit end of the directory
	end            func(e []byte) // changes the end of the directory
	end64          func(e, locator []byte)
}

var le = binary.LittleEndian

const (
	stored   = 0
	deflated = 8
)

// add adds a sound member.
func (a *archive) add(name string, data []byte, method uint16, later bool) *entry {
	h := header{method: method, crc: crc32.ChecksumIEEE(data), size: uint32(len(data)), name: name, flags: 1 << 11}
	e := &entry{data: data, body: data, at: -1}
	if method == deflated {
		e.body = deflate(data)
	}
	h.packed = uint32(len(e.body))
	e.central = h
	if later {
		h.flags |= 1 << 3
		e.central.flags = h.flags
		e.behind = append([]byte("PK\x07\x08"), le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, h.crc), h.packed), h.size)...)
		h.crc, h.packed, h.size = 0, 0, 0
	}
	e.local = h
	a.entries = append(a.entries, e)
	return e
}

var fast, _ = flate.NewWriter(nil, flate.BestSpeed)

func deflate(data []byte) []byte { return deflateBy(fast, data) }

func deflateBy(w *flate.Writer, data []byte) []byte {
	var b bytes.Buffer
	w.Reset(&b)
	_, _ = w.Write(data) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// bytes puts the archive together.
func (a *archive) bytes() []byte {
	b := append([]byte(nil), a.prefix...)
	where := map[*entry]uint32{}
	for _, e := range a.entries {
		b = append(b, e.before...)
		where[e] = uint32(len(b)) - uint32(len(a.prefix)) + a.shift
		h := &e.local
		b = append(b, "PK\x03\x04\x14\x00"...)
		b = le.AppendUint16(le.AppendUint16(b, h.flags), h.method)
		b = append(b, 0, 0, 0x21, 0)
		b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, h.crc), h.packed), h.size)
		b = le.AppendUint16(le.AppendUint16(b, uint16(len(h.name))), uint16(len(h.extra)))
		b = append(append(append(append(b, h.name...), h.extra...), e.body...), e.behind...)
	}
	listed := a.listed
	if listed == nil {
		listed = a.entries
	}
	dir := len(b)
	for _, e := range listed {
		h := &e.central
		b = append(b, "PK\x01\x02\x14\x03\x14\x00"...)
		b = le.AppendUint16(le.AppendUint16(b, h.flags), h.method)
		b = append(b, 0, 0, 0x21, 0)
		b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, h.crc), h.packed), h.size)
		b = le.AppendUint16(le.AppendUint16(le.AppendUint16(b, uint16(len(h.name))), uint16(len(h.extra))), uint16(len(h.comment)))
		b = le.AppendUint16(b, h.disk)
		b = append(b, make([]byte, 6)...)
		at := where[e]
		if e.at >= 0 {
			at = uint32(e.at)
		}
		b = le.AppendUint32(b, at)
		b = append(append(append(b, h.name...), h.extra...), h.comment...)
	}
	size := len(b) - dir
	from := uint32(dir-len(a.prefix)) + a.shift
	if a.wide {
		at := len(b)
		e := append([]byte("PK\x06\x06"), le.AppendUint64(nil, 44)...)
		e = append(e, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		for _, v := range []uint64{uint64(len(listed)), uint64(len(listed)), uint64(size), uint64(from)} {
			e = le.AppendUint64(e, v)
		}
		l := append([]byte("PK\x06\x07\x00\x00\x00\x00"), le.AppendUint64(nil, uint64(at-len(a.prefix))+uint64(a.shift))...)
		l = append(l, 1, 0, 0, 0)
		if a.end64 != nil {
			a.end64(e, l)
		}
		b = append(append(b, e...), l...)
	}
	end := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	le.PutUint16(end[8:], uint16(len(listed)))
	le.PutUint16(end[10:], uint16(len(listed)))
	le.PutUint32(end[12:], uint32(size))
	le.PutUint32(end[16:], from)
	le.PutUint16(end[20:], uint16(len(a.comment)))
	if a.end != nil {
		a.end(end)
	}
	return append(append(append(b, end...), a.comment...), a.suffix...)
}

// pack makes a sound archive of members that are stored: name, content, name,
// content.
func pack(members ...any) []byte {
	var a archive
	for i := 0; i < len(members); i += 2 {
		data, ok := members[i+1].([]byte)
		if !ok {
			data = []byte(members[i+1].(string))
		}
		a.add(members[i].(string), data, stored, false)
	}
	return a.bytes()
}
