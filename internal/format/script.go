package format

import (
	"errors"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// scriptNetwork is a TorchScript archive.
type scriptNetwork struct{ m *torchscript.Module }

// Lower makes the graph of a method.
func (n *scriptNetwork) Lower(o LowerOptions) (*graph.Graph, error) {
	return n.m.Lower(torchscript.LowerOptions{Method: o.Method, Deterministic: o.Deterministic, InputShapes: o.InputShapes, InputTypes: o.InputTypes, Rows: o.Rows})
}

// Describe tells what the archive holds.
func (n *scriptNetwork) Describe() Description {
	d := Description{
		Format:      "torchscript",
		Producer:    n.m.Producer(),
		Methods:     n.m.Methods(),
		HasSampling: n.m.HasSampling(),
		Layers:      n.m.Layers(),
		Notes:       []string{"The module is a " + n.m.Kind() + "."},
	}
	facts := n.m.Facts(torchscript.LowerOptions{Deterministic: true})
	d.Recurrent = len(facts.States) > 0
	if d.Recurrent {
		d.Notes = append(d.Notes, "It keeps state between calls: "+strings.Join(facts.States, ", ")+".")
	} else if errors.Is(facts.Err, graph.ErrMixesRows) {
		d.Notes = append(d.Notes, "Rows are computed one after another.")
	}
	for _, in := range facts.Inputs {
		d.Inputs = append(d.Inputs, InputDescription{in.Name, in.DType, in.Shape})
	}
	var named []torch.NamedTensor
	for _, t := range n.m.Tensors() {
		named = append(named, torch.NamedTensor(t))
	}
	describeTensors(&d, named)
	return d
}

// describeTensors lists tensors and counts their values, tied ones once.
func describeTensors(d *Description, tensors []torch.NamedTensor) {
	counted := map[*graph.Tensor]bool{}
	for _, t := range tensors {
		d.Tensors = append(d.Tensors, TensorDescription{t.Name, t.Tensor.DType, t.Tensor.Shape})
		if !counted[t.Tensor] {
			counted[t.Tensor] = true
			d.Parameters += int64(t.Tensor.Len())
		}
	}
	d.NonFinite = torch.NonFinite(tensors)
}
