package onnx

import (
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Whole makes a graph of one node, which is the model as it is: for an engine
// that reads ONNX, where Lower knows some operator not. data are the bytes of
// the model, external those that Decode was given, and reason is why Lower does
// not do it. The types and shapes of inputs and outputs are those that the file
// tells; where it leaves more open than the number of rows, InputShapes must
// say the rest of an input, and an output is refused.
//
// A model for a fixed number of rows has no batch axis. Without Options.Rows
// that is an error that wraps graph.ErrMixesRows.
func (m *Model) Whole(data []byte, external func(name string) ([]byte, error), o Options, reason error) (*graph.Graph, error) {
	all := &inliner{decoder: &decoder{external: external, files: map[string][]byte{}}}
	complete, err := all.message(modelMessage, data)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	whole := &graph.Model{Format: "onnx", Data: complete, Reason: reason}
	g := graph.New("model")
	var in []*graph.Value
	for _, p := range m.Inputs {
		shape, ok := o.InputShapes[p.Name]
		if !ok {
			shape = oneStep(p)
		}
		port, ok := wholePort(p, shape, o.Rows)
		if !ok {
			return nil, unsupportedf("%v; and the shape of the input %s is not told", reason, quoted(p.Name))
		}
		whole.Inputs = append(whole.Inputs, port)
		in = append(in, g.Input(port.Name, port.DType, port.Shape))
	}
	if o.Rows == 0 && (!g.Batched() || m.chooses()) {
		return nil, fmt.Errorf("%w (as a whole, the model is of a fixed number of rows: %w)", reason, graph.ErrMixesRows)
	}
	for _, p := range m.body.outputs {
		port, ok := wholePort(p, p.Shape, o.Rows)
		if !ok || p.DType == graph.Invalid {
			return nil, unsupportedf("%v; and the type and shape of the output %s are not told", reason, quoted(p.Name))
		}
		whole.Outputs = append(whole.Outputs, port)
	}
	n, err := g.AddNode(graph.OpModel, graph.Attrs{"model": whole}, in...)
	if err != nil {
		return nil, err
	}
	for i, p := range whole.Outputs {
		g.Output(p.Name, n.Out[i])
	}
	return g, m.addStates(g, false)
}

// chooses reports whether the data may decide about what is computed, which is
// then the same for all rows.
func (m *Model) chooses() bool {
	return slices.ContainsFunc(m.Ops, func(op string) bool { return op == "If" || op == "Loop" || op == "Scan" })
}

// wholePort reports false for a shape that is open in more than the number of
// rows.
func wholePort(p Input, shape []int, rows int) (graph.Port, bool) {
	if shape == nil || countOpen(shape) > 1 {
		return graph.Port{}, false
	}
	s := graph.Shape(slices.Clone(shape))
	if rows > 0 {
		s = s.For(rows)
	}
	return graph.Port{Name: p.Name, DType: p.DType, Shape: s}, s.Check() == nil
}

// The messages of a model in which a tensor may be.
const (
	modelMessage = iota
	graphMessage
	nodeMessage
	attributeMessage
	functionMessage
	tensorMessage
)

// inside says of each message in which fields are which others.
var inside = [...]map[int]int{
	modelMessage:     {7: graphMessage, 25: functionMessage},
	graphMessage:     {1: nodeMessage, 5: tensorMessage},
	nodeMessage:      {5: attributeMessage},
	attributeMessage: {5: tensorMessage, 6: graphMessage, 10: tensorMessage, 11: graphMessage},
	functionMessage:  {7: nodeMessage, 11: attributeMessage},
	tensorMessage:    {},
}

// inliner writes a model again with the tensors of other files in it, so that
// whoever reads it opens no file.
type inliner struct {
	*decoder
	depth int
}

func (n *inliner) message(kind int, data []byte) ([]byte, error) {
	if n.depth++; n.depth > maxDepth {
		return nil, fmt.Errorf("%w: messages within messages, deeper than %d", ErrLimit, maxDepth)
	}
	defer func() { n.depth-- }()
	if kind == tensorMessage {
		return n.tensor(data)
	}
	out := make([]byte, 0, len(data))
	m := message{data: data}
	for {
		from := m.at
		f, ok, err := m.next()
		if err != nil || !ok {
			return out, err
		}
		within, nested := inside[kind][f.number]
		if !nested || f.wire != wireBytes {
			out = append(out, data[from:m.at]...)
			continue
		}
		b, err := n.message(within, f.b)
		if err != nil {
			return nil, err
		}
		out = appendBytes(out, f.number, b)
	}
}

// tensor takes the place of a tensor in another file by its elements.
func (n *inliner) tensor(data []byte) ([]byte, error) {
	r := &rawTensor{where: map[string]string{}}
	out := make([]byte, 0, len(data))
	m := message{data: data}
	for {
		from := m.at
		f, ok, err := m.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		switch f.number {
		case 13: // external_data: a key and a value
			if err := n.entry(r, f.b); err != nil {
				return nil, err
			}
			continue
		case 14: // data_location
			r.outside = f.n == 1
			continue
		}
		out = append(out, data[from:m.at]...)
	}
	if !r.outside {
		return data, nil
	}
	size, err := n.size(out)
	if err != nil {
		return nil, err
	}
	raw, err := n.outside(r, size)
	if err != nil {
		return nil, err
	}
	if n.held += len(raw); n.held > maxHeld {
		return nil, fmt.Errorf("%w: tensors of more than %d bytes", ErrLimit, maxHeld)
	}
	return appendBytes(out, 9, raw), nil
}

func (n *inliner) entry(r *rawTensor, data []byte) error {
	var key, value string
	m := message{data: data}
	for {
		f, ok, err := m.next()
		switch {
		case err != nil:
			return err
		case !ok:
			r.where[key] = value
			return nil
		case f.number == 1:
			key = string(f.b)
		case f.number == 2:
			value = string(f.b)
		}
	}
}

// size is the number of bytes of a tensor by its dimensions and type.
func (n *inliner) size(data []byte) (int, error) {
	elements, bytes := 1, 0
	m := message{data: data}
	for {
		f, ok, err := m.next()
		if err != nil {
			return 0, err
		}
		if !ok {
			return elements * bytes, nil
		}
		dims := []uint64{f.n}
		switch {
		case f.number == 2:
			dt, err := dtypeOf(int64(f.n))
			if err != nil {
				return 0, err
			}
			bytes = dt.Bytes()
			continue
		case f.number != 1:
			continue
		case f.wire == wireBytes:
			dims = nil
			for packed := (message{data: f.b}); packed.at < len(packed.data); {
				d, err := packed.varint()
				if err != nil {
					return 0, err
				}
				dims = append(dims, d)
			}
		}
		for _, d := range dims {
			if d > graph.MaxRowElements || d > 0 && elements > graph.MaxRowElements/int(d) {
				return 0, fmt.Errorf("%w: a tensor of more than %d elements", ErrLimit, graph.MaxRowElements)
			}
			elements *= int(d)
		}
	}
}
