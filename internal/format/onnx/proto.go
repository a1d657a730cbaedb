package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// FormatError says what is wrong with a file and where.
type FormatError struct {
	Offset int    // position in the bytes; negative where there is none
	Path   string // graph.node[3].attribute["alpha"]; may be empty
	Err    error
}

// Error returns the message with the position: `onnx: graph.node[3]: at byte
// 0x1f: ...`.
func (e *FormatError) Error() string {
	s := "onnx: "
	if e.Path != "" {
		s += e.Path + ": "
	}
	if e.Offset >= 0 {
		s += fmt.Sprintf("at byte 0x%x: ", e.Offset)
	}
	return s + e.Err.Error()
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// ErrLimit is the refusal of a file that goes beyond a maximum.
var ErrLimit = pickle.ErrLimit

// The kinds of fields of protocol buffers. Groups are long gone and refused.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// message is a part of the file that is being read.
type message struct {
	data []byte // of this message
	at   int    // position in data
	base int    // position of data in the file
}

// field is one field of a message.
type field struct {
	number int
	wire   int
	n      uint64 // of a varint or a fixed width
	b      []byte // of bytes
	base   int    // position of the value in the file
}

var errTruncated = errors.New("the message ends within a field")

// next reads one field; false at the end of the message.
func (m *message) next() (f field, ok bool, err error) {
	if m.at == len(m.data) {
		return field{}, false, nil
	}
	key, err := m.varint()
	if err != nil {
		return field{}, false, err
	}
	if key>>3 == 0 || key>>3 > 1<<29-1 {
		return field{}, false, fmt.Errorf("field number %d", key>>3)
	}
	f = field{number: int(key >> 3), wire: int(key & 7), base: m.base + m.at}
	switch f.wire {
	case wireVarint:
		f.n, err = m.varint()
	case wire64, wire32:
		width := 8
		if f.wire == wire32 {
			width = 4
		}
		if len(m.data)-m.at < width {
			return f, false, errTruncated
		}
		for i := range width {
			f.n |= uint64(m.data[m.at+i]) << (8 * i)
		}
		m.at += width
	case wireBytes:
		var n uint64
		if n, err = m.varint(); err != nil {
			break
		}
		if n > uint64(len(m.data)-m.at) {
			return f, false, fmt.Errorf("a field of %d bytes, %d are left", n, len(m.data)-m.at)
		}
		f.base = m.base + m.at
		f.b = m.data[m.at : m.at+int(n)]
		m.at += int(n)
	default:
		err = fmt.Errorf("field %d is of wire type %d", f.number, f.wire)
	}
	return f, err == nil, err
}

func (m *message) varint() (uint64, error) {
	n, size := binary.Uvarint(m.data[m.at:])
	switch {
	case size == 0:
		return 0, errTruncated
	case size < 0:
		return 0, errors.New("a number of more than 64 bits")
	}
	m.at += size
	return n, nil
}

// decoder is the state of one decoding. The path leads to the message that is
// looked at, for messages.
type decoder struct {
	path     []string
	at       int // position in the file
	external func(name string) ([]byte, error)
	files    map[string][]byte
	held     int // bytes of tensors
	depth    int // of graphs
	nodes    int
	tensors  int // initializers
}

// each calls f for each field of a message that the file holds at a place.
// The path has the place while f runs; label may change as the name is read.
func (d *decoder) each(place string, data []byte, base int, f func(field) error) error {
	if len(d.path) >= maxDepth {
		d.at = base
		return fmt.Errorf("%w: messages within messages, deeper than %d", ErrLimit, maxDepth)
	}
	d.path = append(d.path, place)
	m := message{data: data, base: base}
	for {
		fld, ok, err := m.next()
		if err != nil {
			d.at = m.base + m.at
			return err
		}
		if !ok {
			break
		}
		d.at = fld.base
		if err := f(fld); err != nil {
			return err
		}
	}
	d.at = base
	d.path = d.path[:len(d.path)-1]
	return nil
}

// label names the message that is being read: attribute["alpha"].
func (d *decoder) label(s string) { d.path[len(d.path)-1] = s }

// text is the value of a string field.
func (f field) text() (string, error) {
	if f.wire != wireBytes {
		return "", f.mistyped("text")
	}
	if len(f.b) > maxName {
		return "", fmt.Errorf("%w: a name of %d bytes, at most %d", ErrLimit, len(f.b), maxName)
	}
	return string(f.b), nil
}

func (f field) bytes() ([]byte, error) {
	if f.wire != wireBytes {
		return nil, f.mistyped("bytes")
	}
	return f.b, nil
}

func (f field) int() (int64, error) {
	if f.wire != wireVarint {
		return 0, f.mistyped("a number")
	}
	return int64(f.n), nil
}

func (f field) float() (float64, error) {
	if f.wire != wire32 {
		return 0, f.mistyped("a float")
	}
	return float64(math.Float32frombits(uint32(f.n))), nil
}

func (f field) mistyped(want string) error {
	return fmt.Errorf("field %d is of wire type %d, %s was expected", f.number, f.wire, want)
}

// ints appends the numbers of a repeated field, packed or not.
func (f field) ints(to []int64, most int) ([]int64, error) {
	if f.wire == wireVarint {
		if len(to) >= most {
			return nil, fmt.Errorf("%w: more than %d numbers", ErrLimit, most)
		}
		return append(to, int64(f.n)), nil
	}
	if f.wire != wireBytes {
		return nil, f.mistyped("numbers")
	}
	m := message{data: f.b}
	for m.at < len(m.data) {
		n, err := m.varint()
		if err != nil {
			return nil, err
		}
		if len(to) >= most {
			return nil, fmt.Errorf("%w: more than %d numbers", ErrLimit, most)
		}
		to = append(to, int64(n))
	}
	return to, nil
}

// fixed appends the bytes of numbers of fixed width, packed or not.
func (f field) fixed(to []byte, wire int) ([]byte, error) {
	width := 4
	if wire == wire64 {
		width = 8
	}
	switch f.wire {
	case wire:
		for i := range width {
			to = append(to, byte(f.n>>(8*i)))
		}
		return to, nil
	case wireBytes:
		if len(f.b)%width != 0 {
			return nil, fmt.Errorf("%d bytes of numbers of %d", len(f.b), width)
		}
		if to == nil {
			return slices.Clip(f.b), nil // what is appended later goes elsewhere
		}
		return append(to, f.b...), nil
	}
	return nil, f.mistyped("numbers of fixed width")
}
