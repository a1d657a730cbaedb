package graph

import "math"

var randomSpecs = map[Op]spec{
	OpNormal: {min: 1, max: 1, infer: inferNormal, eval: evalNormal, attrs: []attr{{name: "stream", kind: kindInt}}},
	OpBeta:   {min: 2, max: 2, infer: inferBeta, eval: evalBeta, attrs: []attr{{name: "stream", kind: kindInt}}},
}

// inferBeta: the operands have one shape and floating point type, those of the
// result, and the batch axis of OpNormal's.
func inferBeta(n *Node) ([]typ, error) {
	if err := n.sameFloat(2); err != nil {
		return nil, err
	}
	if !n.In[0].Shape.Equal(n.In[1].Shape) {
		return nil, n.shapeError("the concentrations must have the same shape")
	}
	return inferNormal(n)
}

// inferNormal: the operand gives shape and floating point type, its elements
// are not used. Its batch axis, if any, is the first dimension and exactly
// the number of rows, so that each element belongs to one row.
func inferNormal(n *Node) ([]typ, error) {
	if s := n.Attrs.Int("stream"); s < 0 || s > math.MaxInt32 {
		return nil, n.fail(ErrAttribute, "stream is %d, must be 0 to %d", s, math.MaxInt32)
	}
	if a := n.In[0].Shape.BatchAxis(); a > 0 || a == 0 && n.In[0].Shape[0] != Batch {
		return nil, n.shapeError("the batch axis must be the first dimension and one row each")
	}
	return inferActivation(n)
}

func evalNormal(c *evalCall) {
	c.eachDraw(func(i int, key NormalKey, stream uint32, row uint64, element uint32) float32 {
		return Normal(key, stream, row, element)
	})
}

func evalBeta(c *evalCall) {
	c.eachDraw(func(i int, key NormalKey, stream uint32, row uint64, element uint32) float32 {
		return Beta(key, stream, row, element, c.in[0].At(i), c.in[1].At(i))
	})
}

// eachDraw fills the result with draws by their keys.
func (c *evalCall) eachDraw(f func(i int, key NormalKey, stream uint32, row uint64, element uint32) float32) {
	out := c.out[0]
	perRow := out.Len()
	if !c.n.In[0].Shape.Fixed() {
		perRow /= max(c.run.rows, 1)
	}
	first := c.run.row
	if c.n.In[0].Shape.Fixed() {
		first = c.run.fixedRow
	}
	stream := uint32(c.n.Attrs.Int("stream"))
	for i := range out.Len() {
		out.set(i, float64(f(i, c.run.key, stream, first+uint64(i/perRow), uint32(i%perRow))))
	}
}
