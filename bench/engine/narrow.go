package main

import (
	"errors"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// narrowKinds are the words of -weights. Those of the other engines are float32
// always.
var narrowKinds = map[string]graph.DType{"float32": graph.Float32, "bf16": graph.BFloat16, "int8": graph.Int8}

// errNothingNarrow is a network whose weights stay float32.
var errNothingNarrow = errors.New("no dense layer is large enough for narrow weights")

// narrow rounds the weights of the plan's network, and returns the bytes that
// its constants then have.
func (b *bench) narrow(g *graph.Graph) (bytes int, err error) {
	if !b.narrows() {
		return 0, nil
	}
	layers, _, err := graph.NarrowWeights(g, b.weights)
	if err != nil {
		return 0, err
	}
	if layers == 0 {
		return 0, errNothingNarrow
	}
	seen := map[*graph.Tensor]bool{}
	for _, n := range g.Nodes {
		for _, v := range n.In {
			if v.Const != nil && !seen[v.Const] {
				seen[v.Const] = true
				bytes += v.Const.HeldBytes()
			}
		}
	}
	return bytes, nil
}

func (b *bench) narrows() bool { return b.weights != graph.Invalid && b.weights != graph.Float32 }
