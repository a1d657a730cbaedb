package graph

import "slices"

// simplifyControl does without what a graph of an if or a loop need not decide
// or take, and then runs all passes on the graphs inside. An if with a constant
// condition becomes the nodes of its graph, a loop that never turns goes, a
// value that a loop carries around unchanged is captured, constants that are
// captured go inside, and captured values that nothing uses go. It is exact.
func simplifyControl(g *Graph) (bool, error) {
	c := control{g: g, subst: map[*Value]*Value{}}
	nodes := g.Nodes
	g.Nodes = make([]*Node, 0, len(nodes))
	for _, n := range nodes {
		for i, v := range n.In {
			if w, ok := c.subst[v]; ok {
				n.In[i] = w
			}
		}
		if err := c.node(n); err != nil {
			return false, err
		}
	}
	for i, o := range g.Outputs {
		if w, ok := c.subst[o.Value]; ok {
			g.Outputs[i].Value = w
		}
	}
	return c.changed, nil
}

type control struct {
	g       *Graph
	subst   map[*Value]*Value
	changed bool
}

func (c *control) node(n *Node) error {
	switch {
	case n.Op == OpIf && n.In[0].Const != nil:
		return c.choose(n)
	case n.Op == OpLoop && n.In[0].Const != nil && n.In[0].Const.I64[0] == 0:
		for i, v := range n.Out {
			c.subst[v] = n.In[1+i]
		}
		c.changed = true
		return nil
	case n.Op == OpLoop:
		c.captureUnchanged(n)
		c.moveInside(n, 1+n.Attrs.Int("carried"))
	case n.Op == OpIf:
		c.moveInside(n, 1)
	}
	c.g.Nodes = append(c.g.Nodes, n)
	for _, sub := range n.Graphs() {
		for _, p := range passes() {
			changed, err := p.run(sub)
			if err != nil {
				return err
			}
			c.changed = c.changed || changed
		}
	}
	return nil
}

// choose puts the nodes of one graph in place of an if. Streams stay as they
// are: those of the other graph go with it.
func (c *control) choose(n *Node) error {
	name := "else"
	if n.In[0].Const.I64[0] != 0 {
		name = "then"
	}
	sub := n.Attrs.Graph(name)
	in := inliner{dst: c.g, values: map[*Value]*Value{}, taken: map[int]bool{}}
	for i, v := range sub.Inputs {
		in.values[v] = n.In[1+i]
	}
	outs, err := in.graph(sub)
	if err != nil {
		return err
	}
	for i, v := range n.Out {
		c.subst[v] = outs[i]
	}
	c.changed = true
	return nil
}

// captureUnchanged captures what a loop carries and its body gives back as it
// came. One value stays carried, as a loop must.
func (c *control) captureUnchanged(n *Node) {
	body := n.Attrs.Graph("body")
	for i := n.Attrs.Int("carried") - 1; i >= 0 && n.Attrs.Int("carried") > 1; i-- {
		if body.Outputs[1+i].Value != body.Inputs[i] {
			continue
		}
		c.subst[n.Out[i]] = n.In[1+i]
		n.In = append(slices.Delete(slices.Clone(n.In), 1+i, 2+i), n.In[1+i])
		body.Inputs = append(slices.Delete(slices.Clone(body.Inputs), i, i+1), body.Inputs[i])
		body.Outputs = slices.Delete(body.Outputs, 1+i, 2+i)
		n.Out = slices.Delete(n.Out, i, i+1)
		n.Attrs["carried"] = n.Attrs.Int("carried") - 1
		c.changed = true
	}
}

// moveInside makes captured constants, which begin at operand first, constants
// of the graphs inside, and drops what none of these uses.
func (c *control) moveInside(n *Node, first int) {
	subs := n.Graphs()
	for i := len(n.In) - 1; i >= first; i-- {
		used := false
		for _, sub := range subs {
			used = used || sub.uses(sub.Inputs[i-1])
		}
		if used && n.In[i].Const == nil {
			continue
		}
		for _, sub := range subs {
			if in := sub.Inputs[i-1]; sub.uses(in) {
				sub.replace(in, sub.Constant(n.In[i].Name, n.In[i].Const))
			}
			sub.Inputs = slices.Delete(sub.Inputs, i-1, i)
		}
		n.In = slices.Delete(n.In, i, i+1)
		c.changed = true
	}
}

// uses reports whether a node or an output takes the value.
func (g *Graph) uses(v *Value) bool {
	return slices.ContainsFunc(g.Nodes, func(n *Node) bool { return slices.Contains(n.In, v) }) ||
		slices.ContainsFunc(g.Outputs, func(o Output) bool { return o.Value == v })
}

// replace lets w stand where v does.
func (g *Graph) replace(v, w *Value) {
	for _, n := range g.Nodes {
		for i, x := range n.In {
			if x == v {
				n.In[i] = w
			}
		}
	}
	for i, o := range g.Outputs {
		if o.Value == v {
			g.Outputs[i].Value = w
		}
	}
}
