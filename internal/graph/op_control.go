package graph

import "fmt"

// Operators that run a graph of their own.
var controlSpecs = map[Op]spec{
	OpIf: {min: 1, max: -1, infer: inferIf, attrs: []attr{
		{name: "then", kind: kindGraph},
		{name: "else", kind: kindGraph},
	}},
	OpLoop: {min: 2, max: -1, infer: inferLoop, attrs: []attr{
		{name: "carried", kind: kindInt},
		{name: "limit", kind: kindInt, def: DefaultLoopLimit},
		{name: "body", kind: kindGraph},
	}},
}

func init() {
	// The evaluators run graphs, which run operators: the table cannot name
	// them where it is made.
	for op, eval := range map[Op]func(c *evalCall){OpIf: evalIf, OpLoop: evalLoop} {
		s := specs[op]
		s.eval = eval
		specs[op] = s
	}
}

// Graphs returns the graphs in the node's attributes, in the order of the
// text form.
func (n *Node) Graphs() []*Graph {
	var subs []*Graph
	for _, a := range specs[n.Op].attrs {
		if sub := n.Attrs.Graph(a.name); sub != nil {
			subs = append(subs, sub)
		}
	}
	return subs
}

// Walk calls f for each node, those of the graphs inside too, until f returns
// false. It reports whether it came to the end.
func (g *Graph) Walk(f func(n *Node) bool) bool {
	for _, n := range g.Nodes {
		if !f(n) {
			return false
		}
		for _, sub := range n.Graphs() {
			if !sub.Walk(f) {
				return false
			}
		}
	}
	return true
}

// Draws tells whether the graph or one inside it draws random numbers.
func (g *Graph) Draws() bool {
	return !g.Walk(func(n *Node) bool { return !n.Op.draws() })
}

// draws tells whether an operator's result depends on the noise of the run. It
// has a stream then, unique in the graph and those inside it.
func (op Op) draws() bool { return op == OpNormal || op == OpBeta }

// costElements and costProducts are the numbers of elements and of
// multiplications that count as one step: as much as calling a node costs. An
// element may be a power or a sine, of which a plan computes some ten in the
// time of a node.
const (
	costElements = 16
	costProducts = 256
)

// Cost is what one run of the graph counts against StepBudget as the body of a
// loop: one for itself and one for each node, and one more for each 16 elements
// of its results, or that it reduces to one, and each 256 multiplications. Of the graphs of an if the dearer one counts;
// the bodies of loops inside count when they run.
func (g *Graph) Cost() int {
	cost := 1
	for _, n := range g.Nodes {
		cost++
		elements := int64(0)
		for _, v := range n.Out {
			elements += int64(v.Shape.RowElements())
		}
		if _, reduces := reduceSpecs[n.Op]; reduces {
			elements += int64(n.In[0].Shape.RowElements())
		}
		cost += int(min(n.multiplyAdds()/costProducts+elements/costElements, StepBudget))
		if n.Op == OpIf {
			cost += max(n.Attrs.Graph("then").Cost(), n.Attrs.Graph("else").Cost())
		}
		cost = min(cost, StepBudget+1) // dearer than any budget
	}
	return cost
}

// condition checks the first operand of a node and that no operand has a batch
// axis.
func (n *Node) condition() error {
	if c := n.In[0]; !isCondition(c) {
		return n.fail(ErrDType, "the condition is %v%v, must be one bool", c.DType, c.Shape)
	}
	for i, v := range n.In {
		if !v.Shape.Fixed() {
			return n.fail(ErrMixesRows, "operand %d has a batch axis, and rows may go different ways", i)
		}
	}
	return nil
}

func isCondition(v *Value) bool {
	return v != nil && v.DType == Bool && v.Shape.Fixed() && v.Shape.RowElements() == 1
}

// takes checks that the inputs of a graph in an attribute are of the operands'
// types and shapes.
func (n *Node) takes(name string, args []*Value) error {
	sub := n.Attrs.Graph(name)
	if len(sub.Inputs) != len(args) {
		return n.fail(ErrAttribute, "%s has %d inputs, there are %d operands for it", name, len(sub.Inputs), len(args))
	}
	for i, in := range sub.Inputs {
		if in == nil || in.DType != args[i].DType || !in.Shape.Equal(args[i].Shape) {
			return n.fail(ErrAttribute, "input %d of %s is %s, its operand %s", i, name, typeText(in), typeText(args[i]))
		}
	}
	return nil
}

func typeText(v *Value) string {
	if v == nil {
		return "nothing"
	}
	return v.DType.String() + v.Shape.String()
}

// inferIf: both graphs take the operands behind the condition and give results
// of the same types and shapes.
func inferIf(n *Node) ([]typ, error) {
	if err := n.condition(); err != nil {
		return nil, err
	}
	for _, name := range []string{"then", "else"} {
		if err := n.takes(name, n.In[1:]); err != nil {
			return nil, err
		}
	}
	then, other := n.Attrs.Graph("then").Outputs, n.Attrs.Graph("else").Outputs
	if len(then) == 0 || len(then) != len(other) {
		return nil, n.fail(ErrAttribute, "then has %d outputs and else %d; both must have the same, one at least", len(then), len(other))
	}
	types := make([]typ, len(then))
	for i, o := range then {
		v, w := o.Value, other[i].Value
		if v == nil || w == nil || v.DType != w.DType || !v.Shape.Equal(w.Shape) {
			return nil, n.fail(ErrAttribute, "output %d of then is %s, of else %s", i, typeText(v), typeText(w))
		}
		types[i] = typ{v.DType, v.Shape}
	}
	return types, nil
}

// inferLoop: the body takes the operands behind the condition and gives a
// condition and values of the types and shapes of those carried.
func inferLoop(n *Node) ([]typ, error) {
	if err := n.condition(); err != nil {
		return nil, err
	}
	carried, limit := n.Attrs.Int("carried"), n.Attrs.Int("limit")
	if carried < 1 || carried > len(n.In)-1 {
		return nil, n.fail(ErrAttribute, "carried is %d, must be 1 to %d", carried, len(n.In)-1)
	}
	if limit < 1 || limit > DefaultLoopLimit {
		return nil, n.fail(ErrAttribute, "limit is %d, must be 1 to %d", limit, DefaultLoopLimit)
	}
	if err := n.takes("body", n.In[1:]); err != nil {
		return nil, err
	}
	outs := n.Attrs.Graph("body").Outputs
	if len(outs) != 1+carried {
		return nil, n.fail(ErrAttribute, "body has %d outputs, must have a condition and %d carried values", len(outs), carried)
	}
	if !isCondition(outs[0].Value) {
		return nil, n.fail(ErrAttribute, "the condition of body is %s, must be one bool", typeText(outs[0].Value))
	}
	types := make([]typ, carried)
	for i, o := range outs[1:] {
		v, w := o.Value, n.In[1+i]
		if v == nil || v.DType != w.DType || !v.Shape.Equal(w.Shape) {
			return nil, n.fail(ErrAttribute, "carried value %d begins as %s, body gives %s", i, typeText(w), typeText(v))
		}
		types[i] = typ{v.DType, v.Shape}
	}
	return types, nil
}

func evalIf(c *evalCall) {
	name := "else"
	if c.in[0].I64[0] != 0 {
		name = "then"
	}
	c.out, c.err = c.run.graph(c.n.Attrs.Graph(name), c.in[1:])
}

// evalLoop runs the body while its condition holds. The draws of each turn
// have a key of their own.
func evalLoop(c *evalCall) {
	carried, limit, body := c.n.Attrs.Int("carried"), c.n.Attrs.Int("limit"), c.n.Attrs.Graph("body")
	cost := body.Cost()
	values := append([]*Tensor{}, c.in[1:]...)
	turn := *c.run
	for i := 0; c.in[0].I64[0] != 0; i++ {
		*c.run.budget -= cost
		if i == limit || *c.run.budget < 0 {
			c.err = fmt.Errorf("graph: loop: %w: in turn %d", ErrStepBudget, i)
			return
		}
		turn.key = c.run.key.Turn(i)
		outs, err := turn.graph(body, values)
		if err != nil {
			c.err = err
			return
		}
		c.in[0] = outs[0]
		copy(values, outs[1:])
	}
	c.out = values[:carried]
}
