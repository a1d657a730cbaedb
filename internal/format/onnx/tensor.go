package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// dtypes are the element types by their number in a TensorProto.
var dtypes = map[int64]graph.DType{
	1: graph.Float32, 2: graph.Uint8, 3: graph.Int8, 5: graph.Int16, 6: graph.Int32, 7: graph.Int64, 9: graph.Bool,
	10: graph.Float16, 11: graph.Float64, 16: graph.BFloat16,
}

// dtypeNames are the types of elements that are not read.
var dtypeNames = map[int64]string{
	4: "uint16", 8: "string", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
	19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
}

func dtypeOf(n int64) (graph.DType, error) {
	if dt, ok := dtypes[n]; ok {
		return dt, nil
	}
	if name, ok := dtypeNames[n]; ok {
		return 0, unsupportedf("elements of type %s", name)
	}
	return 0, fmt.Errorf("elements of type %d", n)
}

// rawTensor is a TensorProto as it is read.
type rawTensor struct {
	name    string
	dims    []int64
	dtype   int64
	raw     []byte
	hasRaw  bool
	floats  []byte
	doubles []byte
	ints    []int64 // of int32_data and int64_data
	where   map[string]string
	outside bool
}

// tensor reads a TensorProto.
func (d *decoder) tensor(place, kind string, data []byte, base int) (string, *graph.Tensor, error) {
	var r rawTensor
	depth := len(d.path)
	err := d.each(place, data, base, func(f field) (err error) {
		switch f.number {
		case 1:
			r.dims, err = f.ints(r.dims, graph.MaxRank)
		case 2:
			r.dtype, err = f.int()
		case 4:
			r.floats, err = f.fixed(r.floats, wire32)
		case 5, 7:
			r.ints, err = f.ints(r.ints, graph.MaxRowElements)
		case 8:
			if r.name, err = f.text(); err == nil && kind != "t" {
				d.label(kind + "[" + quoted(r.name) + "]")
			}
		case 9:
			r.raw, err = f.bytes()
			r.hasRaw = true
		case 10:
			r.doubles, err = f.fixed(r.doubles, wire64)
		case 13:
			var b []byte
			if b, err = f.bytes(); err == nil {
				err = d.entry(&r, b, f.base)
			}
		case 14:
			var n int64
			n, err = f.int()
			r.outside = n == 1
		case 3:
			err = unsupportedf("tensors in segments")
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	d.path = append(d.path, place)
	if kind != "t" {
		d.label(kind + "[" + quoted(r.name) + "]")
	}
	t, err := d.build(&r)
	if err != nil {
		return "", nil, err
	}
	d.path = d.path[:depth]
	return r.name, t, nil
}

// entry reads one key and value of external_data.
func (d *decoder) entry(r *rawTensor, data []byte, base int) error {
	var key, value string
	err := d.each("external_data", data, base, func(f field) (err error) {
		switch f.number {
		case 1:
			key, err = f.text()
		case 2:
			value, err = f.text()
		}
		return err
	})
	if err != nil {
		return err
	}
	if r.where == nil {
		r.where = map[string]string{}
	}
	if _, twice := r.where[key]; twice {
		return fmt.Errorf("external_data has %s twice", quoted(key))
	}
	r.where[key] = value
	return nil
}

// build checks that there are as many values as the shape takes before it
// allocates anything.
func (d *decoder) build(r *rawTensor) (*graph.Tensor, error) {
	dt, err := dtypeOf(r.dtype)
	if err != nil {
		return nil, err
	}
	n, shape := 1, make(graph.Shape, len(r.dims))
	for i, dim := range r.dims {
		if dim < 0 || dim > graph.MaxRowElements || dim > 0 && n > graph.MaxRowElements/int(dim) {
			return nil, fmt.Errorf("%w: dimensions %v, a tensor has at most %d elements", ErrLimit, r.dims, graph.MaxRowElements)
		}
		n *= int(dim)
		shape[i] = int(dim)
	}
	raw, packed := r.raw, r.hasRaw
	if r.outside {
		if raw, err = d.outside(r, n*dt.Bytes()); err != nil {
			return nil, err
		}
		packed = true
	}
	if !packed && dt == graph.Float32 {
		raw, packed = r.floats, true
	}
	if !packed && dt == graph.Float64 {
		raw, packed = r.doubles, true
	}
	switch {
	case packed && len(raw) != n*dt.Bytes():
		return nil, fmt.Errorf("%d bytes for %s%v, which takes %d", len(raw), dt, shape, n*dt.Bytes())
	case !packed && len(r.ints) != n:
		return nil, fmt.Errorf("%d values for %s%v, which takes %d", len(r.ints), dt, shape, n)
	}
	if d.held += n * dt.Bytes(); d.held > maxHeld {
		return nil, fmt.Errorf("%w: tensors of more than %d bytes", ErrLimit, maxHeld)
	}
	t := &graph.Tensor{DType: dt, Shape: shape}
	if packed {
		t.Fill(raw, n)
		return t, nil
	}
	return t, fillInts(t, r.ints)
}

// outside returns the bytes of a tensor in another file.
func (d *decoder) outside(r *rawTensor, want int) ([]byte, error) {
	name := r.where["location"]
	plain := strings.TrimPrefix(name, "./")
	if plain == "" || plain == "." || plain == ".." || strings.ContainsAny(plain, "/\\:\x00") || path.IsAbs(name) {
		return nil, fmt.Errorf("external data in %s: a file beside the model was expected, without a folder in its name", quoted(name))
	}
	data, ok := d.files[plain]
	if !ok {
		if d.external == nil {
			return nil, fmt.Errorf("external data in %s: the file was not given with the model; it belongs beside it", quoted(name))
		}
		var err error
		if data, err = d.external(plain); err != nil {
			return nil, fmt.Errorf("external data in %s: %w", quoted(name), err)
		}
		d.files[plain] = data
	}
	number := func(key string, def int) (int, error) {
		s, ok := r.where[key]
		if !ok {
			return def, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("external data in %s: %s is %s", quoted(name), key, quoted(s))
		}
		return n, nil
	}
	offset, err := number("offset", 0)
	if err != nil {
		return nil, err
	}
	if offset > len(data) {
		return nil, fmt.Errorf("external data in %s: offset %d of a file of %d bytes", quoted(name), offset, len(data))
	}
	length, err := number("length", want)
	if err != nil {
		return nil, err
	}
	if length > len(data)-offset {
		return nil, fmt.Errorf("external data in %s: %d bytes from %d on of a file of %d bytes", quoted(name), length, offset, len(data))
	}
	return data[offset : offset+length], nil
}

func float32At(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// fillInts reads elements that are held as numbers; those of half precision
// are their bits.
func fillInts(t *graph.Tensor, ints []int64) error {
	if t.DType.IsFloat() {
		t.F32 = make([]float32, len(ints))
		for i, x := range ints {
			if x < 0 || x > math.MaxUint16 {
				return fmt.Errorf("value %d is %d, the bits of a %v were expected", i, x, t.DType)
			}
			t.F32[i] = graph.WidenHalf(t.DType, uint16(x))
		}
		return nil
	}
	least, most := integerRange(t.DType)
	for i, x := range ints {
		if x < least || x > most {
			return fmt.Errorf("value %d is %d, which no %v is", i, x, t.DType)
		}
	}
	t.I64 = ints
	if ints == nil {
		t.I64 = []int64{}
	}
	return nil
}

func integerRange(dt graph.DType) (least, most int64) {
	switch dt {
	case graph.Bool:
		return 0, 1
	case graph.Uint8:
		return 0, math.MaxUint8
	case graph.Int64:
		return math.MinInt64, math.MaxInt64
	}
	bits := 8 * dt.Bytes()
	return -1 << (bits - 1), 1<<(bits-1) - 1
}

// port reads a ValueInfoProto: an input or an output of a graph.
func (d *decoder) port(list []Input, place string, data []byte, base int) ([]Input, error) {
	if len(list) >= maxPorts+maxTensors {
		return nil, fmt.Errorf("%w: more than %d of them", ErrLimit, maxPorts)
	}
	var in Input
	err := d.each(place+"["+strconv.Itoa(len(list))+"]", data, base, func(f field) (err error) {
		switch f.number {
		case 1:
			in.Name, err = f.text()
		case 2:
			return d.each("type", f.b, f.base, func(f field) error {
				if f.number != 1 {
					if f.number == 6 || place == "output" { // denotation
						return nil
					}
					return unsupportedf("an input that is not a tensor")
				}
				return d.tensorType(&in, place, f)
			})
		}
		return err
	})
	if err == nil && in.Name == "" {
		err = errors.New("an input or output without a name")
	}
	return append(list, in), err
}

func (d *decoder) tensorType(in *Input, place string, f field) error {
	return d.each("tensor_type", f.b, f.base, func(f field) error {
		switch f.number {
		case 1:
			n, err := f.int()
			if err == nil {
				in.DType, err = dtypeOf(n)
			}
			if place == "output" && errors.Is(err, errors.ErrUnsupported) {
				return nil // whether something makes it is seen later
			}
			return err
		case 2:
			in.Shape = []int{}
			return d.each("shape", f.b, f.base, func(f field) error {
				if f.number != 1 {
					return nil
				}
				if len(in.Shape) >= graph.MaxRank {
					return fmt.Errorf("%w: more than %d dimensions", ErrLimit, graph.MaxRank)
				}
				dim, name := int64(graph.Batch), ""
				err := d.each("dim", f.b, f.base, func(f field) (err error) {
					switch f.number {
					case 1:
						if dim, err = f.int(); err == nil && dim <= 0 {
							dim = graph.Batch
						}
					case 2:
						name, err = f.text()
					}
					return err
				})
				in.dims = append(in.dims, name)
				if dim > graph.MaxRowElements {
					return fmt.Errorf("%w: a dimension of %d", ErrLimit, dim)
				}
				in.Shape = append(in.Shape, int(dim))
				return err
			})
		}
		return nil
	})
}
