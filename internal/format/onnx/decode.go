// Package onnx reads ONNX models and lowers them into a graph.
//
// The bytes of a file enter; a Model leaves, which lists inputs, nodes and
// initializers, and which Lower turns into a graph. The protocol buffers are
// read by hand, against hard limits, and nothing is allocated for a length
// that is only claimed. Tensors outside the file are asked of a function that
// the caller confines to the artifact; a name that could lead out of it is
// refused before the call. The package imports torchscript for the calls of
// which lowerings are made, torch, pickle and graph, and nothing else of this
// module.
package onnx

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The maxima of a file.
const (
	maxBytes      = 1 << 31 // of a message, as protocol buffers have it
	maxDepth      = 64      // messages inside each other
	maxBodies     = 12      // graphs inside each other
	maxFunctions  = 4096
	maxName       = 4096 // bytes
	maxNodes      = graph.MaxNodes
	maxTensors    = 100_000
	maxOperands   = graph.MaxOperands
	maxAttributes = 256
	maxNumbers    = 1 << 16 // of one attribute
	maxPorts      = graph.MaxPorts
	maxHeld       = graph.MaxConstantBytes
)

// The operator sets that are read.
const (
	minOpset = 7
	maxOpset = 25
)

// Model is a decoded file.
type Model struct {
	Producer string
	IR       int64
	Opset    int64 // of the operators of ONNX itself
	Inputs   []Input
	Outputs  []string
	Tensors  []NamedTensor // the initializers, in the order of the file
	Ops      []string      // of the nodes in their order, those of graphs inside too

	body      *body
	functions map[string]*function
	opsets    map[string]int64 // by domain
	metadata  map[string]string
	states    []statePair
}

// NamedTensor is an initializer.
type NamedTensor struct {
	Name   string
	Tensor *graph.Tensor
}

// Input is an input of the model.
type Input struct {
	Name  string
	DType graph.DType
	// Shape has graph.Batch where the file leaves the first such dimension
	// open, and graph.Batch in more than one place where it leaves more open;
	// it is nil where the file has none.
	Shape []int

	dims []string // the names of open dimensions, in their places
}

// body is a graph of the file: the model's, or one in an attribute.
type body struct {
	name    string
	inputs  []Input
	outputs []Input
	tensors []NamedTensor
	nodes   []node
}

// function is an operator that the file brings along, made of others.
type function struct {
	in, out  []string
	defaults map[string]attribute
	body     *body
	opset    int64 // of the operators of ONNX itself, 0 for that of the model
}

// node is one node of a graph.
type node struct {
	name, op, domain string
	in, out          []string
	attrs            map[string]attribute
}

// attribute is an attribute of a node. What no operator that is read has is
// not kept.
type attribute struct {
	f       float64
	i       int64
	s       string
	t       *graph.Tensor
	g       *body
	ints    []int64
	floats  []float64
	strings []string
	ref     string // the attribute of the function that it stands for
}

// Is reports whether data begins as a ModelProto does: its first field is the
// version of the IR, a small number, and another known field follows.
func Is(data []byte) bool {
	if len(data) < 4 || data[0] != 0x08 || data[1] == 0 || data[1] > 0x40 {
		return false
	}
	switch data[2] {
	case 0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72:
		return true
	}
	return false
}

// Decode reads a model. Tensors whose data is in another file are read with
// external, which gets a plain name without separators; nil refuses them.
// Errors are *FormatError, or match errors.ErrUnsupported.
func Decode(data []byte, external func(name string) ([]byte, error)) (*Model, error) {
	d := &decoder{external: external, files: map[string][]byte{}}
	m, err := d.model(data)
	if err == nil {
		d.at, d.path = -1, nil
		err = d.check(m)
	}
	if err != nil {
		var refused *unsupportedError
		if errors.As(err, &refused) && len(d.path) > 0 {
			return nil, unsupportedf("%s in %s", refused.what, strings.Join(d.path, "."))
		}
		if refused != nil {
			return nil, err
		}
		return nil, &FormatError{Offset: d.at, Path: strings.Join(d.path, "."), Err: err}
	}
	return m, nil
}

func (d *decoder) model(data []byte) (*Model, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, len(data), maxBytes)
	}
	m := &Model{functions: map[string]*function{}, opsets: map[string]int64{}, metadata: map[string]string{}}
	mess := message{data: data}
	for {
		f, ok, err := mess.next()
		if err != nil {
			d.at = mess.at
			return nil, err
		}
		if !ok {
			break
		}
		d.at = f.base
		if err := d.modelField(m, f); err != nil {
			return nil, err
		}
	}
	if m.body == nil {
		return nil, errors.New("there is no graph: the file is no ONNX model, or it is cut off")
	}
	m.Opset = m.opsets[""]
	if _, other := m.opsets["ai.onnx.ml"]; other && m.Opset == 0 {
		m.Opset = maxOpset // none of which it has
	}
	m.Tensors = m.body.tensors
	return m, nil
}

func (d *decoder) modelField(m *Model, f field) (err error) {
	var b []byte
	switch f.number {
	case 7, 8, 14, 25:
		if b, err = f.bytes(); err != nil {
			return err
		}
	}
	switch f.number {
	case 1:
		m.IR, err = f.int()
	case 2, 3:
		var s string
		s, err = f.text()
		m.Producer = strings.TrimSpace(m.Producer + " " + s)
	case 7:
		if m.body != nil {
			return errors.New("there are two graphs")
		}
		m.body = &body{}
		err = d.graph(m.body, "graph", b, f.base)
	case 8:
		err = d.opset(m.opsets, b, f.base)
	case 14:
		err = d.pair(m.metadata, b, f.base)
	case 25:
		err = d.function(m, b, f.base)
	}
	return err
}

// opset reads an operator set. ONNX itself has two names.
func (d *decoder) opset(to map[string]int64, data []byte, base int) error {
	domain, version := "", int64(0)
	err := d.each("opset_import", data, base, func(f field) (err error) {
		switch f.number {
		case 1:
			domain, err = f.text()
		case 2:
			version, err = f.int()
		}
		return err
	})
	if domain == "ai.onnx" {
		domain = ""
	}
	to[domain] = version
	return err
}

// pair reads a key and a value, of which only those of this program matter.
func (d *decoder) pair(to map[string]string, data []byte, base int) error {
	var key string
	var value []byte
	err := d.each("metadata_props", data, base, func(f field) (err error) {
		switch f.number {
		case 1:
			key, err = f.text()
		case 2:
			value, err = f.bytes()
		}
		return err
	})
	if err == nil && key == metaStates {
		to[key] = string(value)
	}
	return err
}

func quoted(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return strconv.Quote(s)
}

// unsupportedError is a refusal of a sound file. Its message is complete.
type unsupportedError struct{ what string }

func (e *unsupportedError) Error() string        { return "unsupported: " + e.what }
func (e *unsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

func unsupportedf(format string, args ...any) error {
	return &unsupportedError{fmt.Sprintf(format, args...)}
}

func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
