package graph

import "slices"

// removeDead removes nodes that no output needs.
func removeDead(g *Graph) (bool, error) {
	needed := map[*Value]bool{}
	for _, o := range g.Outputs {
		needed[o.Value] = true
	}
	kept := make([]*Node, 0, len(g.Nodes))
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Out, func(v *Value) bool { return needed[v] }) {
			continue
		}
		kept = append(kept, n)
		for _, v := range n.In {
			needed[v] = true
		}
	}
	slices.Reverse(kept)
	changed := len(kept) != len(g.Nodes)
	g.Nodes = kept
	return changed, nil
}
