package plan

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// control is what a step needs that runs plans of its own.
type control struct {
	in    []int // slots of the operands behind the condition
	outs  []int // slots of the results
	plans []*Plan

	// Of a loop.
	limit   int // most turns
	cost    int // of one turn
	carried int // floats of the carried values together
}

// floats is what the plans take of the memory between the steps, with the two
// sets of carried values of a loop.
func (c *control) floats() int {
	n := 2 * c.carried
	for _, p := range c.plans {
		n += p.allFixed()
	}
	return n
}

// control lowers an operator that runs graphs: each becomes a plan.
func (c *compiler) control(n *graph.Node) error {
	a, err := c.operand(n.In[0])
	if err != nil {
		return err
	}
	k := &control{limit: n.Attrs.Int("limit")}
	for _, v := range n.In[1:] {
		s, err := c.operand(v)
		if err != nil {
			return err
		}
		k.in = append(k.in, s)
	}
	for _, g := range n.Graphs() {
		p, err := compile(g, c.options)
		if err != nil {
			return err
		}
		c.plan.draws = c.plan.draws || p.draws
		k.plans = append(k.plans, p)
	}
	for _, v := range n.Out {
		c.of[v] = c.temp(v.Shape)
		k.outs = append(k.outs, c.of[v])
	}
	s := step{op: stepIf, a: a, out: k.outs[0], n: c.plan.subs, control: k, note: string(n.Op)}
	if n.Op == graph.OpLoop {
		s.op = stepLoop
		k.cost = n.Attrs.Graph("body").Cost()
		for _, v := range n.Out {
			k.carried += roundUp(v.Shape.RowElements())
		}
	}
	c.plan.subs++
	c.step(s)
	return nil
}
