package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Array is a numpy array or scalar, its values in row-major order. A scalar
// has no dimensions.
type Array struct {
	Kind   byte // 'f', 'i', 'u' or 'b', as numpy has them
	Shape  []int
	Values []float64 // exact: integers beyond 2^53 are refused
}

// NumpyGlobals are the names that pickles of numpy arrays, scalars and types
// use, in numpy 1 and 2.
func NumpyGlobals() []string {
	return []string{
		"_codecs.encode", // how protocol 2 writes the bytes
		"numpy.dtype",
		"numpy.ndarray",
		"numpy.core.multiarray._reconstruct",
		"numpy.core.multiarray.scalar",
		"numpy.core.numeric._frombuffer",
		"numpy._core.multiarray._reconstruct",
		"numpy._core.multiarray.scalar",
		"numpy._core.numeric._frombuffer",
	}
}

// NumpyRandomGlobals are the names of the random states that spaces and
// wrappers carry along. They are read as inert objects and not used.
func NumpyRandomGlobals() []string {
	return []string{
		"numpy.random._pickle.__randomstate_ctor",
		"numpy.random._pickle.__generator_ctor",
		"numpy.random._pickle.__bit_generator_ctor",
		"numpy.random._mt19937.MT19937",
		"numpy.random._pcg64.PCG64",
		"numpy.random._pcg64.PCG64DXSM",
		"numpy.random._philox.Philox",
		"numpy.random._sfc64.SFC64",
		"numpy.random.bit_generator.SeedSequence",
		"numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
	}
}

// maxExact is the largest integer below which all have a float64.
const maxExact = 1 << 53

// maxDims is numpy's own maximum of dimensions.
const maxDims = 64

// IsArray reports whether v is a numpy array or scalar.
func IsArray(v Value) bool {
	o, ok := v.(*Object)
	return ok && arrayForm(o.Class) != ""
}

// arrayForm returns the function by which an array is written, without the
// module, whose name changed in numpy 2.
func arrayForm(g Global) string {
	module := strings.Replace(g.Module, "numpy._core.", "numpy.core.", 1)
	switch full := module + "." + g.Name; full {
	case "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer":
		return g.Name
	}
	return ""
}

// NumpyArray reads a numpy array or scalar.
func NumpyArray(v Value) (*Array, error) {
	o, ok := v.(*Object)
	if !ok {
		return nil, fmt.Errorf("a %s, a numpy array was wanted", TypeName(v))
	}
	switch arrayForm(o.Class) {
	case "_reconstruct":
		return reconstructArray(o)
	case "_frombuffer":
		return bufferArray(o)
	case "scalar":
		return scalarArray(o)
	}
	return nil, fmt.Errorf("a %s, a numpy array was wanted", TypeName(v))
}

// reconstructArray reads (ndarray, (0,), b'b') with the state (version, shape,
// dtype, is Fortran, data). Versions before 1 of the state have no number.
func reconstructArray(o *Object) (*Array, error) {
	if len(o.Args) == 0 || o.Args[0] != (Global{"numpy", "ndarray"}) {
		return nil, errors.New("numpy: an array of another class than ndarray")
	}
	state, ok := o.State.(Tuple)
	if ok && len(state) == 5 {
		state = state[1:]
	}
	if !ok || len(state) != 4 {
		return nil, errors.New("numpy: an array whose state is not (version, shape, dtype, order, data)")
	}
	fortran, ok := state[2].(bool)
	if !ok {
		return nil, fmt.Errorf("numpy: an array whose order is a %s", TypeName(state[2]))
	}
	return newArray(state[0], state[1], fortran, state[3])
}

// bufferArray reads (bytes, dtype, shape, order), the form of protocol 5.
func bufferArray(o *Object) (*Array, error) {
	if len(o.Args) != 4 || o.Args[3] != "C" && o.Args[3] != "F" {
		return nil, errors.New("numpy: an array that is not (bytes, dtype, shape, order)")
	}
	return newArray(o.Args[2], o.Args[1], o.Args[3] == "F", o.Args[0])
}

// scalarArray reads (dtype, bytes).
func scalarArray(o *Object) (*Array, error) {
	if len(o.Args) != 2 {
		return nil, errors.New("numpy: a scalar that is not (dtype, bytes)")
	}
	return newArray(Tuple{}, o.Args[0], false, o.Args[1])
}

func newArray(shape, dtype Value, fortran bool, data Value) (*Array, error) {
	items, ok := shape.(Tuple)
	if !ok {
		return nil, fmt.Errorf("numpy: a shape that is a %s", TypeName(shape))
	}
	dims := make([]int, 0, min(len(items), maxDims))
	for _, item := range items {
		d, ok := Int(item)
		if !ok || d < 0 || d > math.MaxInt32 || len(dims) == maxDims {
			return nil, errors.New("numpy: a shape that is not a tuple of sizes")
		}
		dims = append(dims, int(d))
	}
	descr, err := dtypeDescr(dtype)
	if err != nil {
		return nil, err
	}
	switch data := data.(type) {
	case []byte:
		return ArrayOf(descr, dims, fortran, data)
	case string: // of Python 2
		return ArrayOf(descr, dims, fortran, []byte(data))
	}
	return nil, fmt.Errorf("numpy: array data in a %s", TypeName(data))
}

// dtypeDescr returns the description of a pickled dtype, "<f8": its arguments
// give kind and size, its state the byte order.
func dtypeDescr(v Value) (string, error) {
	o, ok := v.(*Object)
	if !ok || o.Class != (Global{"numpy", "dtype"}) || len(o.Args) == 0 {
		return "", fmt.Errorf("numpy: a type that is a %s", TypeName(v))
	}
	descr, ok := o.Args[0].(string)
	if !ok {
		return "", fmt.Errorf("numpy: a type named by a %s", TypeName(o.Args[0]))
	}
	if o.State == nil {
		return descr, nil
	}
	state, ok := o.State.(Tuple)
	if !ok || len(state) < 5 {
		return "", errors.New("numpy: a type whose state is not (version, order, ...)")
	}
	order, ok := state[1].(string)
	if !ok {
		return "", errors.New("numpy: a type whose byte order is no text")
	}
	for _, part := range state[2:5] { // subarray, names, fields
		if part != (None{}) {
			return "", fmt.Errorf("numpy: structured type %s is not read", quote(descr))
		}
	}
	return order + strings.TrimLeft(descr, "<>|="), nil
}

// ArrayOf reads the bytes of an array of a type ("<f8", "|b1", ">i4") and
// shape, in column-major order where fortran is set.
func ArrayOf(descr string, shape []int, fortran bool, data []byte) (*Array, error) {
	var order binary.ByteOrder = binary.LittleEndian
	kindSize := descr
	if descr != "" && strings.IndexByte("<>|=", descr[0]) >= 0 {
		kindSize = descr[1:]
		if descr[0] == '>' {
			order = binary.BigEndian
		}
	}
	read, size := elementReader(kindSize, order)
	if read == nil {
		return nil, fmt.Errorf("numpy: type %s is not read, only floating point, integers and bool", quote(descr))
	}
	n := 1
	for _, d := range shape {
		if d < 0 || d != 0 && n > len(data)/d {
			return nil, fmt.Errorf("numpy: %d bytes are not an array of shape %v of %s", len(data), shape, descr)
		}
		n *= d
	}
	if n > len(data) || n*size != len(data) {
		return nil, fmt.Errorf("numpy: %d bytes are not an array of shape %v of %s", len(data), shape, descr)
	}
	a := &Array{Kind: kindSize[0], Shape: shape, Values: make([]float64, n)}
	step := strides(shape, fortran)
	index := make([]int, len(shape))
	at := 0
	for i := range a.Values {
		v, ok := read(data[at*size:])
		if !ok {
			return nil, fmt.Errorf("numpy: an integer beyond 2^53 in an array of %s", descr)
		}
		a.Values[i] = v
		for d := len(shape) - 1; d >= 0; d-- {
			at += step[d]
			if index[d]++; index[d] < shape[d] {
				break
			}
			at -= shape[d] * step[d]
			index[d] = 0
		}
	}
	return a, nil
}

// strides returns the steps in elements of a contiguous array.
func strides(shape []int, fortran bool) []int {
	step := make([]int, len(shape))
	n := 1
	for i := range shape {
		d := i
		if !fortran {
			d = len(shape) - 1 - i
		}
		step[d] = n
		n *= shape[d]
	}
	return step
}

// elementReader returns how an element of a type is read, which is false for
// integers that no float64 holds, and its size; nil for types that are not
// read.
func elementReader(kindSize string, order binary.ByteOrder) (func([]byte) (float64, bool), int) {
	exact := func(n int64) (float64, bool) { return float64(n), n >= -maxExact && n <= maxExact }
	switch kindSize {
	case "f8":
		return func(b []byte) (float64, bool) { return math.Float64frombits(order.Uint64(b)), true }, 8
	case "f4":
		return func(b []byte) (float64, bool) { return float64(math.Float32frombits(order.Uint32(b))), true }, 4
	case "f2":
		return func(b []byte) (float64, bool) { return half(order.Uint16(b)), true }, 2
	case "i8":
		return func(b []byte) (float64, bool) { return exact(int64(order.Uint64(b))) }, 8
	case "i4":
		return func(b []byte) (float64, bool) { return exact(int64(int32(order.Uint32(b)))) }, 4
	case "i2":
		return func(b []byte) (float64, bool) { return exact(int64(int16(order.Uint16(b)))) }, 2
	case "i1":
		return func(b []byte) (float64, bool) { return exact(int64(int8(b[0]))) }, 1
	case "u8":
		return func(b []byte) (float64, bool) { n := order.Uint64(b); return float64(n), n <= maxExact }, 8
	case "u4":
		return func(b []byte) (float64, bool) { return exact(int64(order.Uint32(b))) }, 4
	case "u2":
		return func(b []byte) (float64, bool) { return exact(int64(order.Uint16(b))) }, 2
	case "u1", "b1":
		return func(b []byte) (float64, bool) { return exact(int64(b[0])) }, 1
	}
	return nil, 0
}

// half widens an IEEE 754 half.
func half(h uint16) float64 {
	exp, frac := int(h>>10)&0x1f, float64(h&0x3ff)
	var f float64
	switch exp {
	case 0x1f:
		if f = math.Inf(1); frac != 0 {
			return math.NaN()
		}
	case 0:
		f = math.Ldexp(frac, -24)
	default:
		f = math.Ldexp(1024+frac, exp-25)
	}
	if h>>15 != 0 {
		f = -f
	}
	return f
}

// Number returns a Python number or a numpy scalar as a float64.
func Number(v Value) (float64, bool) {
	if f, ok := Float(v); ok {
		return f, true
	}
	if a, err := NumpyArray(v); err == nil && len(a.Values) == 1 {
		return a.Values[0], true
	}
	return 0, false
}

// Numbers returns a list or tuple of numbers, nested evenly, or a numpy array.
func Numbers(v Value) (*Array, error) { return numbers(v, 0) }

// maxNested bounds the levels of lists of numbers.
const maxNested = 8

func numbers(v Value, depth int) (*Array, error) {
	if IsArray(v) {
		return NumpyArray(v)
	}
	if f, ok := Float(v); ok {
		return &Array{Kind: 'f', Values: []float64{f}}, nil
	}
	items, ok := Items(v)
	if !ok {
		return nil, fmt.Errorf("a %s, numbers were wanted", TypeName(v))
	}
	if depth == maxNested {
		return nil, fmt.Errorf("%w: numbers nested deeper than %d lists", ErrLimit, maxNested)
	}
	out := &Array{Kind: 'f', Shape: []int{len(items)}}
	for i, item := range items {
		a, err := numbers(item, depth+1)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
		if i == 0 {
			out.Shape = append(out.Shape, a.Shape...)
		} else if !sameShape(out.Shape[1:], a.Shape) {
			return nil, errors.New("item " + strconv.Itoa(i) + " has another shape than the first")
		}
		out.Values = append(out.Values, a.Values...)
	}
	return out, nil
}

func sameShape(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
