package graph

// maxFoldWork bounds what foldConstants computes for one node, in elements
// made or multiplied: some tenths of a second in the reference evaluator.
const maxFoldWork = 1 << 24

// maxFoldGrowth bounds, in elements for a whole pass, by how much what is
// computed may be larger than what it is computed of.
const maxFoldGrowth = 1 << 20

// foldConstants computes the nodes whose operands are all constant. Random
// draws stay, and so does what would take long to compute or would be much
// larger than what it is made of.
func foldConstants(g *Graph) (bool, error) {
	budget, growth := int64(2*maxFoldWork), maxFoldGrowth
	return rewrite(g, func(r *rewriter, n *Node) (*Value, error) {
		out := n.Out[0]
		if n.Op.draws() || len(n.Graphs()) > 0 || !out.Shape.Fixed() {
			return nil, nil
		}
		from := 0
		for _, v := range n.In {
			if v.Const == nil {
				return nil, nil
			}
			from += v.Const.Len()
		}
		made := out.Shape.RowElements()
		work := int64(from+made) + n.multiplyAdds()
		grown := max(made-from, 0)
		if work > maxFoldWork || work > budget || grown > growth || made > max(4*from, 4096) {
			return nil, nil
		}
		budget, growth = budget-work, growth-grown
		values := map[*Value]*Tensor{}
		if err := (&evalRun{rows: 1}).node(n, values); err != nil {
			return nil, err
		}
		name := "" // A weight that is only cast or turned keeps its name.
		if len(n.In) == 1 {
			name = n.In[0].Name
		}
		return g.Constant(name, values[out]), nil
	})
}
