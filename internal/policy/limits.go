package policy

import (
	"errors"
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// MaxNodes is the greatest number of nodes that a policy may have, and the
// default of Options.MaxNodes.
const MaxNodes = graph.MaxNodes

// ErrNodes is the refusal of a policy with more nodes than Options.MaxNodes.
var ErrNodes = errors.New("the graph is too large")

// IsLimit reports whether a policy was refused for going beyond a maximum of the
// readers of files, of graphs or of the plan, which no option changes.
func IsLimit(err error) bool {
	return errors.Is(err, pickle.ErrLimit) || errors.Is(err, graph.ErrLimit) || errors.Is(err, plan.ErrLimit)
}

// checkNodes holds the graphs that were composed to the number of nodes.
func (p *Policy) checkNodes(most int) error {
	for _, f := range p.forms {
		if f == nil || f.graph == nil {
			continue
		}
		if n := nodesOf(f.graph); most > 0 && n > most {
			return fmt.Errorf("%w: %d nodes, and %d are allowed (model.max_graph_nodes)", ErrNodes, n, most)
		}
	}
	return nil
}

// nodesOf counts the nodes of a graph and of those inside it.
func nodesOf(g *graph.Graph) int {
	n := len(g.Nodes)
	for _, node := range g.Nodes {
		for _, a := range node.Attrs {
			if inner, ok := a.(*graph.Graph); ok {
				n += nodesOf(inner)
			}
		}
	}
	return n
}
