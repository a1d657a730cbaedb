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
	maxDepth      = 16
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
	Ops      []string      // of the nodes, in their order

	nodes   []node
	tensors map[string]*graph.Tensor
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
}

// node is one node of the model.
type node struct {
	name, op, domain string
	in, out          []string
	attrs            map[string]attribute
}

// attribute is an attribute of a node. Graphs and strings in lists are not
// kept: the operators that have them are refused.
type attribute struct {
	f      float64
	i      int64
	s      string
	t      *graph.Tensor
	ints   []int64
	floats []float64
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
	m := &Model{tensors: map[string]*graph.Tensor{}}
	graphs := 0
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
		switch f.number {
		case 1:
			m.IR, err = f.int()
		case 2, 3:
			var s string
			s, err = f.text()
			m.Producer = strings.TrimSpace(m.Producer + " " + s)
		case 7:
			if graphs++; graphs > 1 {
				return nil, errors.New("there are two graphs")
			}
			var b []byte
			if b, err = f.bytes(); err == nil {
				err = d.graph(m, b, f.base)
			}
		case 8:
			var b []byte
			if b, err = f.bytes(); err == nil {
				err = d.opset(m, b, f.base)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if graphs == 0 {
		return nil, errors.New("there is no graph: the file is no ONNX model, or it is cut off")
	}
	return m, nil
}

func (d *decoder) opset(m *Model, data []byte, base int) error {
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
	if err == nil && (domain == "" || domain == "ai.onnx") {
		m.Opset = version
	}
	return err
}

func (d *decoder) graph(m *Model, data []byte, base int) error {
	return d.each("graph", data, base, func(f field) error {
		switch f.number {
		case 1, 5, 11, 12, 15:
		default:
			return nil
		}
		b, err := f.bytes()
		if err != nil {
			return err
		}
		switch f.number {
		case 1:
			err = d.node(m, b, f.base)
		case 5:
			err = d.initializer(m, b, f.base)
		case 15:
			err = unsupportedf("sparse initializers")
		default:
			err = d.port(m, b, f.base, f.number == 11)
		}
		return err
	})
}

func (d *decoder) initializer(m *Model, data []byte, base int) error {
	if len(m.Tensors) >= maxTensors {
		return fmt.Errorf("%w: more than %d initializers", ErrLimit, maxTensors)
	}
	name, t, err := d.tensor("initializer["+strconv.Itoa(len(m.Tensors))+"]", "initializer", data, base)
	if err != nil {
		return err
	}
	if _, twice := m.tensors[name]; twice || name == "" {
		return fmt.Errorf("the initializer %.80q is without a name or there twice", name)
	}
	m.tensors[name] = t
	m.Tensors = append(m.Tensors, NamedTensor{name, t})
	return nil
}

func (d *decoder) node(m *Model, data []byte, base int) error {
	if len(m.nodes) >= maxNodes {
		return fmt.Errorf("%w: more than %d nodes", ErrLimit, maxNodes)
	}
	n := node{attrs: map[string]attribute{}}
	count := 0
	err := d.each("node["+strconv.Itoa(len(m.nodes))+"]", data, base, func(f field) (err error) {
		switch f.number {
		case 1, 2:
			to := &n.in
			if f.number == 2 {
				to = &n.out
			}
			if len(*to) >= maxOperands {
				return fmt.Errorf("%w: more than %d operands", ErrLimit, maxOperands)
			}
			var s string
			s, err = f.text()
			*to = append(*to, s)
		case 3:
			n.name, err = f.text()
		case 4:
			n.op, err = f.text()
		case 5:
			var b []byte
			if count++; count > maxAttributes {
				return fmt.Errorf("%w: more than %d attributes", ErrLimit, maxAttributes)
			}
			if b, err = f.bytes(); err == nil {
				err = d.attribute(n.attrs, b, f.base)
			}
		case 7:
			n.domain, err = f.text()
		}
		return err
	})
	if n.domain == "ai.onnx" {
		n.domain = ""
	}
	m.nodes = append(m.nodes, n)
	op := n.op
	if n.domain != "" {
		op = n.domain + "." + op
	}
	m.Ops = append(m.Ops, op)
	return err
}

func (d *decoder) attribute(to map[string]attribute, data []byte, base int) error {
	var a attribute
	var name string
	err := d.each("attribute["+strconv.Itoa(len(to))+"]", data, base, func(f field) (err error) {
		switch f.number {
		case 1:
			if name, err = f.text(); err == nil {
				d.label("attribute[" + quoted(name) + "]")
			}
		case 2:
			a.f, err = f.float()
		case 3:
			a.i, err = f.int()
		case 4:
			a.s, err = f.text()
		case 5:
			var b []byte
			if b, err = f.bytes(); err == nil {
				_, a.t, err = d.tensor("t", "t", b, f.base)
			}
		case 7:
			var b []byte
			b, err = f.fixed(nil, wire32)
			if len(a.floats)+len(b)/4 > maxNumbers {
				return fmt.Errorf("%w: more than %d numbers", ErrLimit, maxNumbers)
			}
			for i := 0; i+4 <= len(b); i += 4 {
				a.floats = append(a.floats, float64(float32At(b[i:])))
			}
		case 8:
			a.ints, err = f.ints(a.ints, maxNumbers)
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, twice := to[name]; twice || name == "" {
		return fmt.Errorf("the attribute %.80q is without a name or there twice", name)
	}
	to[name] = a
	return nil
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

// check holds the model to static single assignment: every value is made once
// and before it is used, which a cycle is not.
func (d *decoder) check(m *Model) error {
	switch {
	case m.Opset == 0:
		return errors.New("the operator set is not named")
	case m.Opset < minOpset || m.Opset > maxOpset:
		return unsupportedf("operator set %d, %d to %d are read", m.Opset, minOpset, maxOpset)
	case len(m.Outputs) == 0:
		return errors.New("the graph has no outputs")
	}
	known := map[string]bool{}
	for _, t := range m.Tensors {
		known[t.Name] = true
	}
	inputs := m.Inputs[:0]
	seen := map[string]bool{}
	for _, in := range m.Inputs {
		if seen[in.Name] {
			return fmt.Errorf("the input %.80q is there twice", in.Name)
		}
		seen[in.Name] = true
		if !known[in.Name] { // before IR 4, initializers are inputs too
			inputs = append(inputs, in)
		}
		known[in.Name] = true
	}
	m.Inputs = inputs
	for i, n := range m.nodes {
		for _, in := range n.in {
			if in != "" && !known[in] {
				d.path = []string{"graph", "node[" + strconv.Itoa(i) + "]"}
				return fmt.Errorf("%s takes %s, which nothing before it makes: the nodes are out of order or make a cycle", short(n.op), quoted(in))
			}
		}
		for _, out := range n.out {
			if out != "" && known[out] {
				d.path = []string{"graph", "node[" + strconv.Itoa(i) + "]"}
				return fmt.Errorf("the value %s is made twice", quoted(out))
			}
			known[out] = true
		}
	}
	for _, out := range m.Outputs {
		if !known[out] {
			return fmt.Errorf("the output %s is made by no node", quoted(out))
		}
	}
	return nil
}

func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
