package msgpack

import (
	"math"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
)

// Keys of the maps by which msgpack-numpy, and openpi with it, says arrays and
// scalars of numpy. They come as bytes; from some encoders as strings.
const (
	keyArray   = "__ndarray__"
	keyGeneric = "__npgeneric__"
	keyData    = "data"
	keyDType   = "dtype"
	keyShape   = "shape"
)

// maxDims bounds the shape of an array.
const maxDims = 16

// Array is an array of numpy, or a scalar. Its parts are those of the text.
type Array struct {
	Data  []byte // of an array
	DType string // as numpy calls it: "float32"; or as it came where that is none of a number
	// Swapped tells that the numbers are big-endian, of Size bytes each.
	Swapped bool
	Size    int
	Shape   []int

	Scalar bool
	Value  float64 // of a scalar

	dims [maxDims]int
}

// IsArray reports whether the map that comes next is an array or a scalar of
// numpy. It reads nothing.
func (r *Reader) IsArray() bool {
	look := *r
	if n, ok := look.Map(0); !ok || n != 3 && n != 4 {
		return false
	}
	key, ok := look.Key()
	return ok && (string(key) == keyArray || string(key) == keyGeneric)
}

// Array reads an array or scalar of numpy into a, whose keys come in any order
// behind the first.
func (r *Reader) Array(a *Array, depth int) bool {
	n, ok := r.Map(depth)
	if !ok {
		return false
	}
	a.Data, a.DType, a.Swapped, a.Size, a.Shape, a.Scalar, a.Value = nil, "", false, 0, nil, false, 0
	var seen [4]bool
	for range n {
		key, ok := r.Key()
		if !ok {
			return false
		}
		part := 0
		switch string(key) {
		case keyArray, keyGeneric:
			a.Scalar = string(key) == keyGeneric
			var is bool
			if is, ok = r.Bool(); ok && !is {
				return r.Broken("expected true for " + keyArray)
			}
		case keyData:
			part = 1
			ok = r.arrayData(a)
		case keyDType:
			part = 2
			var name []byte
			if name, ok = r.Key(); ok {
				a.setDType(name)
			}
		case keyShape:
			part = 3
			ok = r.arrayShape(a, depth+1)
		default:
			return r.Broken("an array of numpy has data, dtype and shape, got " + strconv.QuoteToASCII(string(key[:min(len(key), 32)])))
		}
		if !ok {
			return false
		}
		if seen[part] {
			return r.Broken("an array of numpy says one thing twice")
		}
		seen[part] = true
	}
	if seen != [4]bool{true, true, true, !a.Scalar} || a.Scalar == (a.Data != nil) {
		return r.Broken("an array of numpy has data, dtype and shape")
	}
	return true
}

// arrayData reads the bytes of an array, or the number of a scalar.
func (r *Reader) arrayData(a *Array) (ok bool) {
	switch r.Kind() {
	case Bytes:
		a.Data, ok = r.Bytes()
		if a.Data == nil {
			a.Data = []byte{}
		}
		return ok
	case Bool:
		var v bool
		if v, ok = r.Bool(); v {
			a.Value = 1
		}
		return ok
	}
	a.Value, ok = r.Number()
	return ok
}

func (r *Reader) arrayShape(a *Array, depth int) bool {
	n, ok := r.List(depth)
	if !ok {
		return false
	}
	if n > maxDims {
		return r.Broken("an array has too many dimensions")
	}
	for i := range n {
		v, whole, ok := r.Integer()
		if !ok {
			return false
		}
		if !whole || v > math.MaxInt32 {
			return r.Broken("the shape of an array has what is no size")
		}
		a.dims[i] = int(v)
	}
	a.Shape = a.dims[:n]
	return true
}

// codes are the kinds and sizes of numpy's numbers.
var codes = map[string]*dtype.Type{
	"f2": dtype.Float16, "f4": dtype.Float32, "f8": dtype.Float64,
	"i1": dtype.Int8, "i2": dtype.Int16, "i4": dtype.Int32, "i8": dtype.Int64,
	"u1": dtype.Uint8, "u2": dtype.Uint16, "u4": dtype.Uint32, "u8": dtype.Uint64,
	"b1": dtype.Bool,
}

// setDType reads a dtype as numpy writes it: "<f4", "|u1", ">i2".
func (a *Array) setDType(text []byte) {
	if len(text) == 3 && (text[0] == '<' || text[0] == '>' || text[0] == '|' || text[0] == '=') {
		if t := codes[string(text[1:])]; t != nil {
			a.DType, a.Size = t.Name, t.Bytes
			a.Swapped = text[0] == '>' && t.Bytes > 1
			return
		}
	}
	a.DType = string(text[:min(len(text), 64)])
}

// Little returns the data with its numbers little-endian, in buf where they
// came otherwise.
func (a *Array) Little(buf []byte) []byte {
	if !a.Swapped || len(a.Data)%a.Size != 0 {
		return a.Data
	}
	buf = append(buf[:0], a.Data...)
	for at := 0; at < len(buf); at += a.Size {
		for i, j := at, at+a.Size-1; i < j; i, j = i+1, j-1 {
			buf[i], buf[j] = buf[j], buf[i]
		}
	}
	return buf
}
