package graph

import (
	"cmp"
	"maps"
	"slices"
)

// Stats are figures of a graph, for people to read.
type Stats struct {
	Nodes         int
	Parameters    int64     // elements of all constants, each tensor once
	ConstantBytes int64     // of all constants in their own types, each tensor once
	MultiplyAdds  int64     // of linear, matmul and conv, in a run of one row
	Ops           []OpCount // most frequent first, then by name
	Stochastic    bool      // whether an output depends on random draws
}

// OpCount is how often an operator is in a graph.
type OpCount struct {
	Op    Op
	Count int
}

// Stats counts the graph's parts and those of the graphs inside it, the body of
// a loop once. The graph must verify.
func (g *Graph) Stats() Stats { return g.stats(map[*Tensor]bool{}) }

func (g *Graph) stats(seen map[*Tensor]bool) Stats {
	s := Stats{Nodes: len(g.Nodes)}
	count := func(v *Value) {
		if t := v.Const; t != nil && !seen[t] {
			seen[t] = true
			s.Parameters += int64(t.Len())
			s.ConstantBytes += int64(t.Len()) * int64(t.DType.Bytes())
		}
	}
	ops := map[Op]int{}
	random := map[*Value]bool{}
	for _, n := range g.Nodes {
		ops[n.Op]++
		s.MultiplyAdds += n.multiplyAdds()
		drawn := n.Op.draws()
		for _, sub := range n.Graphs() {
			in := sub.stats(seen)
			s.Nodes += in.Nodes
			s.Parameters += in.Parameters
			s.ConstantBytes += in.ConstantBytes
			s.MultiplyAdds += in.MultiplyAdds
			for _, c := range in.Ops {
				ops[c.Op] += c.Count
			}
			drawn = drawn || sub.Draws()
		}
		for _, v := range n.In {
			count(v)
			drawn = drawn || random[v]
		}
		for _, v := range n.Out {
			random[v] = drawn
		}
	}
	for _, o := range g.Outputs {
		count(o.Value)
		s.Stochastic = s.Stochastic || random[o.Value]
	}
	for _, op := range slices.Sorted(maps.Keys(ops)) {
		s.Ops = append(s.Ops, OpCount{op, ops[op]})
	}
	slices.SortStableFunc(s.Ops, func(a, b OpCount) int { return cmp.Compare(b.Count, a.Count) })
	return s
}

func (n *Node) multiplyAdds() int64 {
	switch n.Op {
	case OpLinear:
		return int64(n.Out[0].Shape.RowElements()) * int64(n.In[1].Shape[1])
	case OpMatMul:
		a := n.In[0].Shape
		return int64(n.Out[0].Shape.RowElements()) * int64(a[len(a)-1])
	case OpConv:
		return int64(n.Out[0].Shape.RowElements()) * int64(n.In[1].Shape[1:].RowElements())
	case OpConvTranspose:
		return int64(n.In[0].Shape.RowElements()) * int64(n.In[1].Shape[1:].RowElements())
	default:
		return 0
	}
}
