package torch_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

// member is a file to be archived.
type member struct {
	name    string
	data    []byte
	deflate bool
	later   bool // checksum and sizes behind the data, as torch writes them
}

// archive is a zip file with the places in it that tests damage.
type archive struct {
	b       []byte
	local   []int // of each member: its header,
	body    []int // its data,
	central []int // and its directory entry
	dir     int
	end     int
}

var le = binary.LittleEndian

// build writes a correct archive.
func build(members ...member) *archive {
	a := &archive{}
	var dir []byte
	for _, m := range members {
		raw, method := m.data, uint16(0)
		if m.deflate {
			raw, method = deflated(m.data), 8
		}
		crc, flags := crc32.ChecksumIEEE(m.data), uint16(0x800)
		sums := le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, crc), uint32(len(raw))), uint32(len(m.data)))
		localSums := sums
		if m.later {
			flags |= 8
			localSums = make([]byte, 12)
		}
		a.local = append(a.local, len(a.b))
		head := append(le.AppendUint16(le.AppendUint16(nil, flags), method), 0, 0, 0, 0)
		a.b = append(append(append(a.b, "PK\x03\x04\x00\x00"...), head...), localSums...)
		a.b = append(le.AppendUint16(le.AppendUint16(a.b, uint16(len(m.name))), 0), m.name...)
		a.body = append(a.body, len(a.b))
		a.b = append(a.b, raw...)
		if m.later {
			a.b = append(append(a.b, "PK\x07\x08"...), sums...)
		}
		a.central = append(a.central, len(dir))
		dir = append(append(append(dir, "PK\x01\x02\x00\x00\x00\x00"...), head...), sums...)
		dir = le.AppendUint16(dir, uint16(len(m.name)))
		dir = append(dir, make([]byte, 12)...)
		dir = append(le.AppendUint32(dir, uint32(a.local[len(a.local)-1])), m.name...)
	}
	a.dir = len(a.b)
	for i := range a.central {
		a.central[i] += a.dir
	}
	a.b = append(a.b, dir...)
	a.end = len(a.b)
	a.b = append(a.b, "PK\x05\x06\x00\x00\x00\x00"...)
	a.b = le.AppendUint16(le.AppendUint16(a.b, uint16(len(members))), uint16(len(members)))
	a.b = append(le.AppendUint32(le.AppendUint32(a.b, uint32(len(dir))), uint32(a.dir)), 0, 0)
	return a
}

func deflated(data []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	if _, err := w.Write(data); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (a *archive) put16(at int, v uint16) { le.PutUint16(a.b[at:], v) }

func (a *archive) put32(at int, v uint32) { le.PutUint32(a.b[at:], v) }

// insert adds bytes and leaves all the offsets in the archive as they were.
func (a *archive) insert(at int, s string) {
	a.b = append(a.b[:at:at], append([]byte(s), a.b[at:]...)...)
}

// text is the pickled form of a text.
func text(s string) string {
	return "X" + string(le.AppendUint32(nil, uint32(len(s)))) + s
}

// shape is the pickled form of a tuple of integers.
func shape(dims ...int64) string {
	var b strings.Builder
	b.WriteByte('(')
	for _, d := range dims {
		fmt.Fprintf(&b, "L%dL\n", d)
	}
	return b.String() + "t"
}

// view is a pickled tensor.
type view struct {
	class, key   string
	elements     int64
	offset       int64
	size, stride string
}

// floats is a view of a storage of float32 as a matrix of 2 rows.
func floats(key string) view {
	return view{"FloatStorage", key, 6, 0, shape(2, 3), shape(3, 1)}
}

func (v view) String() string { return v.pickled("") }

// pickled returns the calls by which torch writes the tensor; more is what the
// id of its storage has in legacy files.
func (v view) pickled(more string) string {
	id := "(" + text("storage") + "ctorch\n" + v.class + "\n" + text(v.key) + text("cpu") + fmt.Sprintf("L%dL\n", v.elements) + more + "tQ"
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + id + fmt.Sprintf("L%dL\n", v.offset) + v.size + v.stride + "I00\nccollections\nOrderedDict\n)RtR"
}

// dict is the pickled form of an OrderedDict of texts and pickled values.
func dict(items ...string) string {
	s := "ccollections\nOrderedDict\n)R("
	for i := 0; i < len(items); i += 2 {
		s += text(items[i]) + items[i+1]
	}
	return s + "u"
}

func float32s(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = le.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

var six = float32s(1, 2, 3, 4, 5, 6)

// saved returns a torch.save archive of a pickled value and storages "0", "1",
// ... Members are written as torch does.
func saved(object string, storages ...[]byte) *archive {
	members := []member{
		{name: "archive/data.pkl", data: []byte("\x80\x02" + object + "."), later: true},
		{name: "archive/byteorder", data: []byte("little"), later: true},
	}
	for i, s := range storages {
		members = append(members, member{name: fmt.Sprintf("archive/data/%d", i), data: s, later: true})
	}
	return build(append(members, member{name: "archive/version", data: []byte("3\n"), later: true})...)
}

// legacy returns the container before the zip.
func legacy(object string, keys string, storages ...[]byte) []byte {
	b := []byte("\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}(" + text("protocol_version") + "M\xe9\x03" + text("little_endian") + "\x88u.")
	b = append(b, "\x80\x02"+object+".\x80\x02"+keys+"."...)
	for _, s := range storages {
		b = append(b, s...)
	}
	return b
}
