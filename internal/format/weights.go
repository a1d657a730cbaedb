package format

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// weightsNetwork is a file of tensors without a computation: a state_dict or a
// checkpoint.
type weightsNetwork struct {
	file *torch.File
	dict torch.StateDict
}

// Lower refuses: nothing in the file says how the tensors are used.
func (n *weightsNetwork) Lower(LowerOptions) (*graph.Graph, error) {
	return nil, &unsupportedError{"unsupported: weights only: the file holds tensors and no computation. " +
		"Either say in the model card how they are used (architecture: ..., `carla-rl inspect` prints one to edit), " +
		"or export the whole network: torch.jit.trace(model, example).save(\"model.pt\"), or ONNX"}
}

// Describe lists the tensors and, where they make a chain of layers, an
// architecture to edit.
func (n *weightsNetwork) Describe() Description {
	d := Description{Format: "torch weights", WeightsOnly: true}
	switch n.file.Kind {
	case torch.KindLegacy:
		d.Producer = "torch before 1.6, or with its old serialization"
	default:
		d.Producer = "torch 1.6 or later"
	}
	describeTensors(&d, n.dict)
	chains := linearChains(n.dict)
	if len(chains) > 0 {
		best := chains[0]
		for _, c := range chains[1:] {
			if len(c) > len(best) {
				best = c
			}
		}
		d.Architecture = architecture(best)
		d.Notes = append(d.Notes, "Activations are not in the file: those in the architecture are a guess to be checked.")
		if len(chains) > 1 {
			d.Notes = append(d.Notes, fmt.Sprintf("The weights make %d chains of layers; the architecture is that of the longest.", len(chains)))
		}
	}
	return d
}

// linearLayer is a weight [outputs, inputs], with or without a bias.
type linearLayer struct {
	prefix  string // network.0
	parent  string // network
	index   int    // 0; -1 where the last part is no number
	in, out int
}

// linearChains groups linear layers by their parent and keeps the groups in
// which each layer takes what the one before gives.
func linearChains(dict torch.StateDict) [][]linearLayer {
	var order []string
	groups := map[string][]linearLayer{}
	for _, t := range dict {
		prefix, ok := strings.CutSuffix(t.Name, ".weight")
		if !ok || len(t.Tensor.Shape) != 2 || !t.Tensor.DType.IsFloat() {
			continue
		}
		l := linearLayer{prefix: prefix, index: -1, out: t.Tensor.Shape[0], in: t.Tensor.Shape[1]}
		if i := strings.LastIndexByte(prefix, '.'); i >= 0 {
			l.parent = prefix[:i]
			if n, err := strconv.Atoi(prefix[i+1:]); err == nil {
				l.index = n
			}
		}
		if _, seen := groups[l.parent]; !seen {
			order = append(order, l.parent)
		}
		groups[l.parent] = append(groups[l.parent], l)
	}
	var chains [][]linearLayer
	for _, parent := range order {
		if g := groups[parent]; isChain(g) {
			chains = append(chains, g)
		}
	}
	return chains
}

func isChain(layers []linearLayer) bool {
	for i := 1; i < len(layers); i++ {
		if layers[i].in != layers[i-1].out {
			return false
		}
	}
	return true
}

// architecture prints a chain with a guess of the activations: one wherever
// the numbers of the layers leave room for a module without weights, or
// between all layers where they have no numbers.
func architecture(chain []linearLayer) string {
	var parts []string
	for i, l := range chain {
		if i > 0 && (l.index < 0 || chain[i-1].index < 0 || l.index-chain[i-1].index > 1) {
			parts = append(parts, "relu")
		}
		parts = append(parts, "{linear: "+l.prefix+"}")
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
