package format

import (
	"errors"
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// onnxNetwork is an ONNX model.
type onnxNetwork struct {
	m      *onnx.Model
	data   []byte
	beside func(name string) ([]byte, error)
}

func decodeONNX(data []byte, beside func(name string) ([]byte, error)) (Network, error) {
	m, err := onnx.Decode(data, beside)
	if err != nil {
		return nil, err
	}
	return &onnxNetwork{m, data, beside}, nil
}

// Lower makes the graph of the model.
func (n *onnxNetwork) Lower(o LowerOptions) (*graph.Graph, error) {
	if o.Method != "" && o.Method != "forward" {
		return nil, fmt.Errorf("method %q: an ONNX model has only forward", o.Method)
	}
	options := onnx.Options{InputShapes: o.InputShapes, Rows: o.Rows}
	g, err := n.m.Lower(options)
	if o.Whole && errors.Is(err, ErrUnsupported) && !errors.Is(err, graph.ErrMixesRows) {
		return n.m.Whole(n.data, n.beside, options, err)
	}
	return g, err
}

// Describe tells what the file holds.
func (n *onnxNetwork) Describe() Description {
	d := Description{
		Format:      "onnx",
		Producer:    n.m.Producer,
		Methods:     []string{"forward"},
		HasSampling: slices.ContainsFunc(n.m.Ops, func(op string) bool { return op == "RandomNormalLike" || op == "RandomNormal" }),
		Recurrent:   len(n.m.States()) > 0,
		Layers:      n.m.Ops,
		Notes:       []string{fmt.Sprintf("The operators are those of set %d.", n.m.Opset)},
	}
	for _, in := range n.m.Inputs {
		d.Inputs = append(d.Inputs, InputDescription{in.Name, in.DType, in.Shape})
	}
	for _, s := range n.m.States() {
		d.Notes = append(d.Notes, fmt.Sprintf("The input %s and the output %s carry the state of the network from step to step.", s.Input, s.Output))
	}
	tensors := make([]torch.NamedTensor, 0, len(n.m.Tensors))
	for _, t := range n.m.Tensors {
		tensors = append(tensors, torch.NamedTensor(t))
	}
	describeTensors(&d, tensors)
	return d
}
