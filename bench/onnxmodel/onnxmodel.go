// Package onnxmodel writes the ONNX models of the benchmarks: a graph in the
// operators that exporters write, with parameters drawn by their names. What
// leaves are the bytes of an ONNX file. It imports none of our packages, so that
// what is measured is not what wrote it.
package onnxmodel

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// message is a protobuf message that is being written: the fields of
// onnx.proto3, by number.
type message []byte

func (m *message) number(field int, v int64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3)
	*m = binary.AppendUvarint(*m, uint64(v))
}

func (m *message) float(field int, v float64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|5)
	*m = binary.LittleEndian.AppendUint32(*m, math.Float32bits(float32(v)))
}

func (m *message) text(field int, v string) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|2)
	*m = binary.AppendUvarint(*m, uint64(len(v)))
	*m = append(*m, v...)
}

func (m *message) inner(field int, v message) { m.text(field, string(v)) }

// Element types of ONNX.
const (
	Float  = 1
	Int64s = 7
)

// Model is an ONNX model in the operators that exporters write.
type Model struct {
	name  string
	graph message
	last  int
}

// New begins a model. Its parameters are drawn by this name and their own.
func New(name string) *Model {
	m := &Model{name: name}
	m.graph.text(2, name)
	return m
}

// Batch stands for the number of rows in the dimensions of an input.
const Batch = -1

// Input adds an input. The batch is the dimension Batch, or the first where
// there is none.
func (m *Model) Input(name string, kind int64, dims ...int) string {
	m.graph.inner(11, valueInfo(name, kind, dims))
	return name
}

// Output names a result that leaves the model.
func (m *Model) Output(name string, kind int64) {
	m.graph.inner(12, valueInfo(name, kind, nil))
}

func valueInfo(name string, kind int64, dims []int) message {
	var shape, tensor, typ, info message
	batch := max(0, slices.Index(dims, Batch))
	for i, d := range dims {
		var dim message
		if i == batch {
			dim.text(2, "batch")
		} else {
			dim.number(1, int64(d))
		}
		shape.inner(1, dim)
	}
	tensor.number(1, kind)
	if dims != nil {
		tensor.inner(2, shape)
	}
	typ.inner(1, tensor)
	info.text(1, name)
	info.inner(2, typ)
	return info
}

// Weights adds parameters drawn by their name, of the size that keeps signals
// as large as they are.
func (m *Model) Weights(name string, dims ...int) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.name + name))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	n, fan := 1, 1
	for i, d := range dims {
		n *= d
		if i > 0 {
			fan *= d
		}
	}
	scale := 1 / math.Sqrt(float64(fan))
	raw := make([]byte, 0, 4*n)
	for range n {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32((r.Float64()*2-1)*scale)))
	}
	return m.tensor(name, Float, raw, dims...)
}

// Integers adds constant integers.
func (m *Model) Integers(name string, v ...int64) string {
	var raw []byte
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(x))
	}
	return m.tensor(name, Int64s, raw, len(v))
}

// Floats adds constant numbers.
func (m *Model) Floats(name string, v ...float64) string {
	var raw []byte
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(x)))
	}
	return m.tensor(name, Float, raw, len(v))
}

// Constant adds one number.
func (m *Model) Constant(name string, v float64) string {
	return m.tensor(name, Float, binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v))))
}

func (m *Model) tensor(name string, kind int64, raw []byte, dims ...int) string {
	var t message
	for _, d := range dims {
		t.number(1, int64(d))
	}
	t.number(2, kind)
	t.text(8, name)
	t.text(9, string(raw))
	m.graph.inner(5, t)
	return name
}

// Attrs are the attributes of a node: int, float64, string or []int.
type Attrs map[string]any

// Node adds an operator and returns the name of its first result.
func (m *Model) Node(op string, a Attrs, in ...string) string { return m.Nodes(op, a, 1, in...)[0] }

// Nodes adds an operator of several results and returns their names.
func (m *Model) Nodes(op string, a Attrs, results int, in ...string) []string {
	var n message
	for _, name := range in {
		n.text(1, name)
	}
	out := make([]string, results)
	for i := range out {
		m.last++
		out[i] = "v" + strconv.Itoa(m.last)
		n.text(2, out[i])
	}
	n.text(4, op)
	for name, v := range a {
		var at message
		at.text(1, name)
		switch v := v.(type) {
		case int:
			at.number(3, int64(v))
			at.number(20, 2)
		case float64:
			at.float(2, v)
			at.number(20, 1)
		case string:
			at.text(4, v)
			at.number(20, 3)
		case []int:
			for _, x := range v {
				at.number(8, int64(x))
			}
			at.number(20, 7)
		}
		n.inner(5, at)
	}
	m.graph.inner(1, n)
	return out
}

// Dense is a Gemm as exporters write it.
func (m *Model) Dense(x string, key string, in, out int) string {
	return m.Node("Gemm", Attrs{"transB": 1}, x, m.Weights(key+".weight", out, in), m.Weights(key+".bias", out))
}

// Conv is a convolution of two dimensions with a square kernel, as exporters
// write it.
func (m *Model) Conv(x, key string, in, out, kernel, stride, pad, groups int) string {
	return m.Node("Conv", Attrs{
		"kernel_shape": []int{kernel, kernel}, "strides": []int{stride, stride}, "pads": []int{pad, pad, pad, pad}, "group": groups,
	}, x, m.Weights(key+".weight", out, in/groups, kernel, kernel), m.Weights(key+".bias", out))
}

// Bytes returns the model with the outputs that were named.
func (m *Model) Bytes() []byte {
	var opset, all message
	opset.text(1, "")
	opset.number(2, 20)
	all.number(1, 9)
	all.text(2, "bench-ort")
	all.inner(7, m.graph)
	all.inner(8, opset)
	return all
}
