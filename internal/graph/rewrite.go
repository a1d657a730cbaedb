package graph

import "slices"

// rewriter is the state of a pass that walks the nodes once, in order.
type rewriter struct {
	g     *Graph
	subst map[*Value]*Value // replaced -> what stands for it
	uses  map[*Value]int    // by nodes that are left and by outputs
	user  map[*Value]*Node  // the last node that used the value before the pass
}

// rewrite walks the nodes and calls f for each that has one result. The
// node's operands are already those of the rewritten graph. f returns the
// value that stands for the node's result from then on, having added the
// nodes that make it by r.add, or nil to keep the node. Nodes that lose their
// last use are removed.
func rewrite(g *Graph, f func(r *rewriter, n *Node) (*Value, error)) (changed bool, err error) {
	r := &rewriter{g: g, subst: map[*Value]*Value{}, uses: map[*Value]int{}, user: map[*Value]*Node{}}
	for _, n := range g.Nodes {
		for _, v := range n.In {
			r.uses[v]++
			r.user[v] = n
		}
	}
	for _, o := range g.Outputs {
		r.uses[o.Value]++
	}
	nodes := g.Nodes
	g.Nodes = make([]*Node, 0, len(nodes))
	for _, n := range nodes {
		if len(n.Out) == 1 && r.uses[n.Out[0]] == 0 {
			continue // Lost its last use, or never had one.
		}
		for i, v := range n.In {
			if w, ok := r.subst[v]; ok {
				n.In[i] = w
			}
		}
		if len(n.Out) != 1 {
			g.Nodes = append(g.Nodes, n)
			continue
		}
		v, err := f(r, n)
		if err != nil {
			return false, err
		}
		if v == nil {
			g.Nodes = append(g.Nodes, n)
			continue
		}
		r.replace(n, v)
		changed = true
	}
	for i, o := range g.Outputs {
		if w, ok := r.subst[o.Value]; ok {
			g.Outputs[i].Value = w
		}
	}
	kept := g.Nodes[:0]
	for _, n := range g.Nodes {
		if len(n.Out) != 1 || r.uses[n.Out[0]] > 0 {
			kept = append(kept, n)
		}
	}
	g.Nodes = kept
	return changed, nil
}

// add appends a node and returns its result.
func (r *rewriter) add(op Op, attrs Attrs, in ...*Value) (*Value, error) {
	v, err := r.g.Add(op, attrs, in...)
	if err != nil {
		return nil, err
	}
	for _, x := range in {
		r.uses[x]++
	}
	return v, nil
}

// replace lets v stand for the result of n, which leaves the graph.
func (r *rewriter) replace(n *Node, v *Value) {
	old := n.Out[0]
	r.subst[old] = v
	r.uses[v] += r.uses[old]
	r.user[v] = r.user[old]
	for _, x := range n.In {
		r.release(x)
	}
}

// release takes one use of v away, and those of its operands where it was
// the last.
func (r *rewriter) release(v *Value) {
	for stack := []*Value{v}; len(stack) > 0; {
		x := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if r.uses[x]--; r.uses[x] == 0 && x.Def != nil && len(x.Def.Out) == 1 {
			stack = append(stack, x.Def.In...)
		}
	}
}

// only returns the node that makes v where it has the operator and v has no
// other use, else nil.
func (r *rewriter) only(v *Value, ops ...Op) *Node {
	if v.Def == nil || r.uses[v] != 1 {
		return nil
	}
	if slices.Contains(ops, v.Def.Op) {
		return v.Def
	}
	return nil
}
