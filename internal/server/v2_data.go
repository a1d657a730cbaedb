package server

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/dtype"
)

// datatype is an element type under the protocol's name. Every value becomes a
// float32, as it does on /predict.
type datatype struct {
	name string
	*dtype.Type
	noJSON bool
}

var le = binary.LittleEndian

var datatypes = [...]datatype{
	{name: "FP32", Type: dtype.Float32},
	{name: "FP64", Type: dtype.Float64},
	{name: "FP16", Type: dtype.Float16, noJSON: true},
	{name: "INT8", Type: dtype.Int8},
	{name: "INT16", Type: dtype.Int16},
	{name: "INT32", Type: dtype.Int32},
	{name: "INT64", Type: dtype.Int64},
	{name: "UINT8", Type: dtype.Uint8},
	{name: "UINT16", Type: dtype.Uint16},
	{name: "UINT32", Type: dtype.Uint32},
	{name: "UINT64", Type: dtype.Uint64},
	{name: "BOOL", Type: dtype.Bool},
}

func datatypeNames() string {
	names := make([]string, len(datatypes))
	for i := range datatypes {
		names[i] = datatypes[i].name
	}
	return strings.Join(names, ", ")
}

// fill reads the data that begins at pos: flat, or nested as the shape says.
func (d *inferDecoder) fill() bool {
	t := &d.t
	if t.datatype.noJSON {
		d.violate(d.tensorField(".datatype"), kindValue, "expected binary data with this datatype: JSON has no form of it")
		return d.skip(3)
	}
	if d.next() == '[' && d.opening() == 1 {
		return d.numbers(d.rows*t.feature.Size, 0, 3)
	}
	return d.nest(t.dims, 0, 3)
}

// nest reads arrays nested to dims, whose first value is the tensor's k-th.
func (d *inferDecoder) nest(dims []int, k, depth int) bool {
	if d.next() != '[' {
		return d.wrongKind(d.tensorField(".data"), kindList, "an array, flat or nested to "+dimWords(d.t.dims), depth)
	}
	if len(dims) == 1 {
		return d.numbers(dims[0], k, depth)
	}
	if depth >= maxDepth {
		return d.broken("the body nests too deep")
	}
	size := 1
	for _, n := range dims[1:] {
		size *= n
	}
	n := 0
	if !d.empty(']') {
		for {
			if n < dims[0] && !d.full() {
				if !d.nest(dims[1:], k+n*size, depth+1) {
					return false
				}
			} else if !d.skip(depth + 1) {
				return false
			}
			n++
			more, ok := d.more(']')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	if n != dims[0] {
		d.sized(d.tensorField(".data"), dims[0], n, "arrays")
	}
	return true
}

// numbers reads an array of size values, the first of them the tensor's k-th.
func (d *inferDecoder) numbers(size, k, depth int) bool {
	if depth >= maxDepth {
		return d.broken("the body nests too deep")
	}
	n := 0
	if !d.empty(']') {
		for {
			if d.full() {
				if !d.skip(depth + 1) {
					return false
				}
			} else if !d.value(k+n, n < size, depth+1) {
				return false
			}
			n++
			more, ok := d.more(']')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	if n != size {
		d.sized(d.tensorField(".data"), size, n, "values")
	}
	return true
}

// value reads one value and where wanted stores it as the tensor's k-th.
func (d *inferDecoder) value(k int, wanted bool, depth int) bool {
	t := d.t.datatype
	c := d.next()
	if t.name == "BOOL" {
		var v bool
		if c != 't' && c != 'f' {
			return d.wrongKind(d.valueField(k), kindBool, "true or false", depth)
		}
		if !d.boolAt("", &v, depth) {
			return false
		}
		if wanted && v {
			d.store(k, 1, nil)
		} else if wanted {
			d.store(k, 0, nil)
		}
		return true
	}
	start := d.pos
	v, end := scanNumber(d.data, start)
	if end < 0 {
		return d.wrongKind(d.valueField(k), kindNumber, "a number", depth)
	}
	d.pos = end
	if !wanted {
		return true
	}
	text := d.data[start:end]
	if t.Integer && !t.holds(v, text) {
		d.violate(d.valueField(k), kindValue, "expected an integer that "+t.name+" can hold, got "+clip(text))
		return true
	}
	d.store(k, v, text)
	return true
}

// holds reports whether the number v, written as text, is an integer of the
// type. A float64 does not tell the ends of 64 bits from what is beyond them.
func (t *datatype) holds(v float64, text []byte) bool {
	var err error
	switch {
	case v != math.Trunc(v) || v < t.Low || v > t.High:
		return false
	case t.atEnd(v) && t.Low < 0:
		_, err = strconv.ParseInt(string(text), 10, 64)
	case t.atEnd(v):
		_, err = strconv.ParseUint(string(text), 10, 64)
	}
	return err == nil
}

// atEnd reports whether v may be an integer of 64 bits or the next one beyond.
func (t *datatype) atEnd(v float64) bool {
	return t.Bytes == 8 && v != 0 && (v == t.Low || v == t.High)
}

func (d *inferDecoder) valueField(k int) string {
	return d.tensorField(".data." + strconv.Itoa(k))
}

// store puts the tensor's k-th value in its place.
func (d *inferDecoder) store(k int, v float64, text []byte) {
	f := d.t.feature
	width := d.contract.Inputs[f.Input].Width
	x := float32(v)
	d.req.Inputs[f.Input][k/f.Size*width+f.Offset+k%f.Size] = x
	if x >= float32(f.Low) && x <= float32(f.High) && v >= -math.MaxFloat32 && v <= math.MaxFloat32 || d.full() {
		if problem := notOneOf(f, k%f.Size, x); problem != "" && !d.full() {
			d.violate(d.valueField(k), kindValue, problem)
		}
		return
	}
	if text == nil {
		text = strconv.AppendFloat(nil, v, 'g', -1, 64)
	}
	switch {
	case !(v >= -math.MaxFloat32 && v <= math.MaxFloat32):
		d.violate(d.valueField(k), kindFinite, "expected a number that a float32 can hold, got "+clip(text))
	default:
		d.violate(d.valueField(k), kindValue, "expected "+f.Range()+", got "+clip(text))
	}
}

// fillBinary reads the values behind the JSON text.
func (d *inferDecoder) fillBinary() {
	t := &d.t
	want := d.rows * t.feature.Size * t.datatype.Bytes
	if t.size != want {
		d.violate(d.tensorField(".parameters.binary_data_size"), kindValue, fmt.Sprintf("expected %d, got %d", want, t.size))
		return
	}
	if len(d.body)-d.blob < want {
		d.violate(d.tensorField(".parameters.binary_data_size"), kindShort,
			fmt.Sprintf("expected %d bytes of binary data after the JSON text, got %d", want, len(d.body)-d.blob))
		return
	}
	b := d.body[d.blob:][:want]
	for k := 0; len(b) > 0 && !d.full(); k++ {
		d.store(k, t.datatype.Value(b), nil)
		b = b[t.datatype.Bytes:]
	}
}
