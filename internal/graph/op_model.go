package graph

import (
	"fmt"
	"strconv"
)

// OpModel runs a model of another format as a whole: what its inputs take ->
// what its outputs give. No package of ours computes it; an engine that knows
// the format does. Ops does not list it, and Parse does not read it.
const OpModel Op = "model" // model *Model

// Model is a model that is not made of our operators. It must not change.
type Model struct {
	Format  string // "onnx"
	Data    []byte // the file, complete in itself
	Inputs  []Port // in the order of the node's operands
	Outputs []Port // in the order of the node's results
	Reason  error  // why it is not made of our operators
}

// Port is an input or output of a Model.
type Port struct {
	Name  string
	DType DType
	Shape Shape
}

// String is the value of the attribute in the text form.
func (m *Model) String() string { return strconv.Quote(m.Format) }

var modelSpecs = map[Op]spec{
	OpModel: {min: 0, max: -1, infer: inferModel, eval: evalModel, attrs: []attr{{name: "model", kind: kindModel}}},
}

// inferModel: the operands are what the model takes.
func inferModel(n *Node) ([]typ, error) {
	m := n.Attrs["model"].(*Model)
	if len(n.In) != len(m.Inputs) {
		return nil, n.fail(ErrOperands, "got %d, the model takes %d", len(n.In), len(m.Inputs))
	}
	if len(m.Outputs) == 0 {
		return nil, n.fail(ErrAttribute, "the model has no output")
	}
	for i, p := range m.Inputs {
		if v := n.In[i]; v.DType != p.DType || !v.Shape.Equal(p.Shape) {
			return nil, n.shapeError("input %q of the model is %v%v", p.Name, p.DType, p.Shape)
		}
	}
	types := make([]typ, len(m.Outputs))
	for i, p := range m.Outputs {
		types[i] = typ{p.DType, p.Shape}
	}
	return types, nil
}

func evalModel(c *evalCall) {
	m := c.n.Attrs["model"].(*Model)
	c.err = fmt.Errorf("graph: %w: the model is %s as a whole: %w", ErrUnsupportedOp, m.Format, m.Reason)
}
