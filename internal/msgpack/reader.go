// Package msgpack walks MessagePack texts strictly, and makes them of JSON.
//
// What enters are bytes that anybody may have sent; what leaves are values one
// at a time, in the order of the text. Nothing is allocated for what a text
// claims, nesting is bounded, and extension types are refused: a text says
// nothing that JSON could not say but bytes, and numbers that are not finite.
// The bytes of the single values are read and written by
// github.com/tinylib/msgp. Of our other packages it knows the element
// types of arrays, dtype.
package msgpack

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// MaxDepth bounds how deep the arrays and maps of a text nest.
const MaxDepth = 32

// Kind is what kind of value comes next.
type Kind uint8

// The kinds. Other is everything that is refused: extensions, the one byte that
// is never used, and the end of the text.
const (
	Other Kind = iota
	Nil
	Bool
	Number
	Text
	Bytes
	List
	Map
)

// String says what a value is, in words for messages.
func (k Kind) String() string {
	return [...]string{"what is refused here", "nil", "a boolean", "a number", "a string", "bytes", "an array", "a map"}[k]
}

// Reader walks one text. Its methods report false once the text is broken, and
// keep where and why.
type Reader struct {
	data    []byte
	rest    []byte // of data, not yet read
	problem string
	at      int
}

// errKind stands for what msgp says of a value of another type.
var errKind = errors.New("another kind of value")

// Begin makes the reader walk data.
func (r *Reader) Begin(data []byte) { r.data, r.rest, r.problem, r.at = data, data, "", 0 }

// Problem says what is wrong with the text, and at which byte.
func (r *Reader) Problem() (problem string, at int) { return r.problem, r.at }

// Pos returns how many bytes have been read.
func (r *Reader) Pos() int { return len(r.data) - len(r.rest) }

// Broken notes why the text is refused. The first note stands.
func (r *Reader) Broken(problem string) bool {
	if r.problem == "" {
		r.problem, r.at = problem, r.Pos()
	}
	return false
}

// End reports whether the text is read to its end, and calls it broken
// otherwise.
func (r *Reader) End() bool {
	return len(r.rest) == 0 || r.Broken("expected the end of the text, got more")
}

// Kind returns what comes next.
func (r *Reader) Kind() Kind {
	if len(r.rest) == 0 {
		return Other
	}
	switch msgp.NextType(r.rest) {
	case msgp.NilType:
		return Nil
	case msgp.BoolType:
		return Bool
	case msgp.IntType, msgp.UintType, msgp.Float64Type, msgp.Float32Type:
		return Number
	case msgp.StrType:
		return Text
	case msgp.BinType:
		return Bytes
	case msgp.ArrayType:
		return List
	case msgp.MapType:
		return Map
	}
	return Other
}

// read notes how reading one value went.
func (r *Reader) read(rest []byte, err error) bool {
	if err == nil {
		r.rest = rest
		return true
	}
	switch {
	case errors.Is(err, msgp.ErrShortBytes), len(r.rest) == 0:
		r.rest = r.rest[len(r.rest):]
		return r.Broken("the text ends within a value")
	case r.Kind() == Other:
		return r.Broken(fmt.Sprintf("the byte 0x%02x begins no value that is taken here", r.rest[0]))
	}
	return r.Broken("expected another kind of value, got " + r.Kind().String())
}

// Nil reads nil.
func (r *Reader) Nil() bool { return r.read(msgp.ReadNilBytes(r.rest)) }

// Bool reads a boolean.
func (r *Reader) Bool() (v, ok bool) {
	v, rest, err := msgp.ReadBoolBytes(r.rest)
	return v, r.read(rest, err)
}

// Number reads a number of any type as the nearest float64.
func (r *Reader) Number() (v float64, ok bool) {
	// The two types of which there are many are read here: this is the inner
	// loop of an observation.
	if b := r.rest; len(b) >= 5 && b[0] == 0xca || len(b) >= 9 && b[0] == 0xcb {
		v, r.rest, _ = msgp.ReadFloat64Bytes(b) // it is long enough
		return v, true
	}
	if len(r.rest) == 0 {
		return 0, r.read(nil, msgp.ErrShortBytes)
	}
	switch msgp.NextType(r.rest) {
	case msgp.UintType:
		n, rest, err := msgp.ReadUint64Bytes(r.rest)
		return float64(n), r.read(rest, err)
	case msgp.IntType:
		n, rest, err := msgp.ReadInt64Bytes(r.rest)
		return float64(n), r.read(rest, err)
	}
	v, rest, err := msgp.ReadFloat64Bytes(r.rest)
	return v, r.read(rest, err)
}

// Integer reads a number. whole tells that it was written as an integer, and
// is not negative.
func (r *Reader) Integer() (n uint64, whole, ok bool) {
	if r.Kind() != Number {
		return 0, false, r.read(nil, errKind)
	}
	switch msgp.NextType(r.rest) {
	case msgp.UintType:
		n, rest, err := msgp.ReadUint64Bytes(r.rest)
		return n, err == nil, r.read(rest, err)
	case msgp.IntType:
		n, rest, err := msgp.ReadInt64Bytes(r.rest)
		return uint64(max(0, n)), err == nil && n >= 0, r.read(rest, err)
	}
	_, ok = r.Number()
	return 0, false, ok
}

// Text reads a string, which is UTF-8. It is a part of the text.
func (r *Reader) Text() (v []byte, ok bool) {
	v, rest, err := msgp.ReadStringZC(r.rest)
	if err == nil && !utf8.Valid(v) {
		return nil, r.Broken("a string is not UTF-8")
	}
	return v, r.read(rest, err)
}

// Bytes reads bytes, which are a part of the text.
func (r *Reader) Bytes() (v []byte, ok bool) {
	v, rest, err := msgp.ReadBytesZC(r.rest)
	return v, r.read(rest, err)
}

// Key reads the key of a map: a string or bytes.
func (r *Reader) Key() (v []byte, ok bool) {
	switch r.Kind() {
	case Text:
		return r.Text()
	case Bytes:
		return r.Bytes()
	case Other:
		return nil, r.read(msgp.ReadNilBytes(r.rest))
	}
	return nil, r.Broken("expected a key that is a string, got " + r.Kind().String())
}

// List reads the head of an array and returns how many elements follow. Of what
// it claims nothing is believed that does not come.
func (r *Reader) List(depth int) (n int, ok bool) {
	if depth >= MaxDepth {
		return 0, r.Broken("the text nests too deep")
	}
	count, rest, err := msgp.ReadArrayHeaderBytes(r.rest)
	if err == nil && int64(count) > int64(len(rest)) {
		return 0, r.Broken("an array claims more elements than there are bytes")
	}
	return int(count), r.read(rest, err)
}

// Map reads the head of a map and returns how many members follow.
func (r *Reader) Map(depth int) (n int, ok bool) {
	if depth >= MaxDepth {
		return 0, r.Broken("the text nests too deep")
	}
	count, rest, err := msgp.ReadMapHeaderBytes(r.rest)
	if err == nil && 2*int64(count) > int64(len(rest)) {
		return 0, r.Broken("a map claims more members than there are bytes")
	}
	return int(count), r.read(rest, err)
}

// Skip reads one value of any kind that stands depth levels deep.
func (r *Reader) Skip(depth int) (ok bool) {
	switch r.Kind() {
	case Nil:
		return r.Nil()
	case Bool:
		_, ok = r.Bool()
	case Number:
		_, ok = r.Number()
	case Text:
		_, ok = r.Text()
	case Bytes:
		_, ok = r.Bytes()
	case List:
		n, ok := r.List(depth)
		for range n {
			if !ok || !r.Skip(depth+1) {
				return false
			}
		}
		return ok
	case Map:
		n, ok := r.Map(depth)
		for range n {
			if !ok {
				return false
			}
			if _, ok = r.Key(); !ok || !r.Skip(depth+1) {
				return false
			}
		}
		return ok
	default:
		return r.read(msgp.ReadNilBytes(r.rest))
	}
	return ok
}

// Opening returns how many arrays begin where the reader is, one as the first
// element of the other, and the length of the innermost of them.
func (r *Reader) Opening() (levels, innermost int) {
	b := r.rest
	for levels < MaxDepth && len(b) > 0 && msgp.NextType(b) == msgp.ArrayType {
		count, rest, err := msgp.ReadArrayHeaderBytes(b)
		if err != nil {
			break
		}
		levels, innermost, b = levels+1, int(count), rest
	}
	return levels, innermost
}
