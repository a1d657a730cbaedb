package format

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// NamedTensor is a tensor of a file with its data, which must not be changed.
type NamedTensor struct {
	Name   string
	Tensor *graph.Tensor
}

// Tensors returns the tensors that Description.Tensors lists, with their data,
// for tools that compare files.
func Tensors(n Network) []NamedTensor {
	var out []NamedTensor
	dict := func(tensors []torch.NamedTensor) []NamedTensor {
		for _, t := range tensors {
			out = append(out, NamedTensor(t))
		}
		return out
	}
	switch n := n.(type) {
	case *weightsNetwork:
		return dict(n.dict)
	case *assembledNetwork:
		return dict(n.weights.dict)
	case *agentNetwork:
		return dict(n.p.Weights)
	case *moduleNetwork:
		return dict(n.m.Tensors())
	case *programNetwork:
		return dict(n.p.Tensors)
	case *scriptNetwork:
		for _, t := range n.m.Tensors() {
			out = append(out, NamedTensor(t))
		}
	case *onnxNetwork:
		for _, t := range n.m.Tensors {
			out = append(out, NamedTensor(t))
		}
	}
	return out
}
