package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// dtypeNumbers are the numbers of element types in a TensorProto.
var dtypeNumbers = func() map[graph.DType]int64 {
	m := map[graph.DType]int64{}
	for n, dt := range dtypes {
		m[dt] = n
	}
	return m
}()

// The numbers of AttributeProto.AttributeType.
const (
	attrFloat  = 1
	attrInt    = 2
	attrString = 3
	attrGraph  = 5
	attrInts   = 7
)

func appendInt(b []byte, field int, n int64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|wireVarint), uint64(n))
}

func appendHead(b []byte, field, length int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|wireBytes), uint64(length))
}

func appendBytes(b []byte, field int, data []byte) []byte {
	return append(appendHead(b, field, len(data)), data...)
}

func appendText(b []byte, field int, s string) []byte {
	return append(appendHead(b, field, len(s)), s...)
}

// model writes the whole file. Tensors are by far the largest part of it and
// are written once, into a buffer of the right size.
func (e *encoder) model(metadata map[string]string) ([]byte, error) {
	var heads [][]byte
	nodes := e.graph(e.name0())
	length := len(nodes)
	for _, t := range e.shared.tensors {
		size := t.Tensor.Len() * t.Tensor.DType.Bytes()
		var head []byte
		for _, d := range t.Tensor.Shape {
			head = appendInt(head, 1, int64(d))
		}
		head = appendInt(head, 2, dtypeNumbers[t.Tensor.DType])
		head = appendText(head, 8, t.Name)
		head = appendHead(head, 9, size)
		head = append(appendHead(nil, 5, len(head)+size), head...)
		heads = append(heads, head)
		if length += len(head) + size; length > maxBytes-1<<20 {
			return nil, fmt.Errorf("onnx: %w: a model of more than %d bytes", ErrLimit, maxBytes)
		}
	}
	b := make([]byte, 0, length+256+len(e.o.Producer))
	b = appendInt(b, 1, encodeIR)
	if e.o.Producer != "" {
		b = appendText(b, 2, e.o.Producer)
	}
	b = append(appendHead(b, 7, length), nodes...)
	for i, t := range e.shared.tensors {
		b = append(b, heads[i]...)
		b = appendTensor(b, t.Tensor)
	}
	b = appendBytes(b, 8, appendInt(appendText(nil, 1, ""), 2, encodeOpset))
	for _, key := range []string{metaStates} {
		if value, ok := metadata[key]; ok {
			b = appendBytes(b, 14, appendText(appendText(nil, 1, key), 2, value))
		}
	}
	return b, nil
}

// name0 is the name of the graph, which must not be empty.
func (e *encoder) name0() string {
	if e.g.Name == "" {
		return "graph"
	}
	return e.g.Name
}

// graph is a GraphProto without its tensors.
func (e *encoder) graph(name string) []byte {
	var b []byte
	for _, n := range e.nodes {
		b = appendBytes(b, 1, n.proto())
	}
	b = appendText(b, 2, name)
	for _, p := range e.inputs {
		b = appendBytes(b, 11, p.proto())
	}
	for _, p := range e.outs {
		b = appendBytes(b, 12, p.proto())
	}
	return b
}

func (p encodedPort) proto() []byte {
	var dims []byte
	for _, d := range p.shape {
		var dim []byte
		switch {
		case d >= 0:
			dim = appendInt(nil, 1, int64(d))
		case d == graph.Batch:
			dim = appendText(nil, 2, "batch")
		default:
			dim = appendText(nil, 2, "batch_"+strconv.Itoa(-d))
		}
		dims = appendBytes(dims, 1, dim)
	}
	typ := appendBytes(appendInt(nil, 1, dtypeNumbers[p.dtype]), 2, dims)
	return appendBytes(appendText(nil, 1, p.name), 2, appendBytes(nil, 1, typ))
}

func (n encodedNode) proto() []byte {
	var b []byte
	for _, s := range n.in {
		b = appendText(b, 1, s)
	}
	for _, s := range n.out {
		b = appendText(b, 2, s)
	}
	b = appendText(b, 4, n.op)
	for _, a := range n.attrs {
		b = appendBytes(b, 5, a.proto())
	}
	return b
}

func (a encodedAttr) proto() []byte {
	b := appendText(nil, 1, a.name)
	switch v := a.value.(type) {
	case int:
		return appendInt(appendInt(b, 3, int64(v)), 20, attrInt)
	case float64:
		b = binary.AppendUvarint(b, 2<<3|wire32)
		return appendInt(binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v))), 20, attrFloat)
	case string:
		return appendInt(appendText(b, 4, v), 20, attrString)
	case []int:
		for _, x := range v {
			b = appendInt(b, 8, int64(x))
		}
		return appendInt(b, 20, attrInts)
	case *encoder:
		return appendInt(appendBytes(b, 6, v.graph(a.name)), 20, attrGraph)
	}
	panic(fmt.Sprintf("onnx: attribute %s of type %T", a.name, a.value))
}

// appendTensor writes the elements in the encoding of their type.
func appendTensor(b []byte, t *graph.Tensor) []byte {
	le := binary.LittleEndian
	switch t.DType {
	case graph.Float64:
		for _, x := range t.F64 {
			b = le.AppendUint64(b, math.Float64bits(x))
		}
	case graph.Float32:
		for _, x := range t.F32 {
			b = le.AppendUint32(b, math.Float32bits(x))
		}
	case graph.Float16, graph.BFloat16:
		for _, x := range t.F32 {
			b = le.AppendUint16(b, narrowHalf(t.DType, x))
		}
	case graph.Int64:
		for _, x := range t.I64 {
			b = le.AppendUint64(b, uint64(x))
		}
	case graph.Int32:
		for _, x := range t.I64 {
			b = le.AppendUint32(b, uint32(x))
		}
	case graph.Int16:
		for _, x := range t.I64 {
			b = le.AppendUint16(b, uint16(x))
		}
	default:
		for _, x := range t.I64 {
			b = append(b, byte(x))
		}
	}
	return b
}

// narrowHalf is the opposite of graph.WidenHalf, for numbers that the type
// holds. The payload of a NaN may be cut.
func narrowHalf(d graph.DType, x float32) uint16 {
	bits := math.Float32bits(x)
	if d == graph.BFloat16 {
		return uint16(bits >> 16)
	}
	sign, exp, frac := uint16(bits>>16)&0x8000, int(bits>>23)&0xff, bits&0x7fffff
	switch {
	case exp == 0xff && frac != 0:
		return sign | 0x7c00 | uint16(frac>>13) | 1
	case exp == 0xff:
		return sign | 0x7c00
	case exp == 0:
		return sign
	case exp >= 113: // normal: the exponent of 2^-14 and above
		return sign | uint16(exp-112)<<10 | uint16(frac>>13)
	}
	return sign | uint16((frac|1<<23)>>(126-exp)) // denormal: multiples of 2^-24
}
