//go:build ort && cgo

package main

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
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
	float  = 1
	int64s = 7
)

// model is an ONNX model in the operators that exporters write.
type model struct {
	name  string
	graph message
	last  int
}

func newModel(name string) *model {
	m := &model{name: name}
	m.graph.text(2, name)
	return m
}

// input adds an input; its first dimension is the batch.
func (m *model) input(name string, kind int64, dims ...int) string {
	m.graph.inner(11, valueInfo(name, kind, dims))
	return name
}

func (m *model) output(name string, kind int64) {
	m.graph.inner(12, valueInfo(name, kind, nil))
}

func valueInfo(name string, kind int64, dims []int) message {
	var shape, tensor, typ, info message
	for i, d := range dims {
		var dim message
		if i == 0 {
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

// weights adds parameters drawn by their name, of the size that keeps signals
// as large as they are.
func (m *model) weights(name string, dims ...int) string {
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
	return m.tensor(name, float, raw, dims...)
}

// integers adds constant integers.
func (m *model) integers(name string, v ...int64) string {
	var raw []byte
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(x))
	}
	return m.tensor(name, int64s, raw, len(v))
}

// constant adds one number.
func (m *model) constant(name string, v float64) string {
	return m.tensor(name, float, binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v))))
}

func (m *model) tensor(name string, kind int64, raw []byte, dims ...int) string {
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

// attrs are the attributes of a node: int, float64, string or []int.
type attrs map[string]any

// node adds an operator and returns the name of its first result.
func (m *model) node(op string, a attrs, in ...string) string { return m.nodes(op, a, 1, in...)[0] }

func (m *model) nodes(op string, a attrs, results int, in ...string) []string {
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

// bytes returns the model with the outputs that were named.
func (m *model) bytes() []byte {
	var opset, all message
	opset.text(1, "")
	opset.number(2, 20)
	all.number(1, 9)
	all.text(2, "bench-ort")
	all.inner(7, m.graph)
	all.inner(8, opset)
	return all
}
