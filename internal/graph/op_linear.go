package graph

var linearSpecs = map[Op]spec{
	OpLinear: {min: 2, max: 3, infer: inferLinear, eval: evalLinear},
	OpMatMul: {min: 2, max: 2, infer: inferMatMul, eval: evalMatMul},
}

// inferLinear: x[...,I] W[O,I] b[O]? -> [...,O], all of one float type.
func inferLinear(n *Node) ([]typ, error) {
	if err := n.sameFloat(3); err != nil {
		return nil, err
	}
	x, w := n.In[0], n.In[1]
	if len(x.Shape) == 0 {
		return nil, n.shapeError("x has no dimensions, it needs one of features")
	}
	if len(w.Shape) != 2 || !w.Shape.Fixed() {
		return nil, n.shapeError("the weight must be [outputs,inputs]")
	}
	last := len(x.Shape) - 1
	if x.Shape[last] != w.Shape[1] {
		return nil, n.shapeError("x has %s features, the weight takes %d", dimText(x.Shape[last]), w.Shape[1])
	}
	if len(n.In) == 3 && !n.In[2].Shape.Equal(Shape{w.Shape[0]}) {
		return nil, n.shapeError("the bias must be [%d]", w.Shape[0])
	}
	out := append(Shape{}, x.Shape...)
	out[last] = w.Shape[0]
	return one(x.DType, out)
}

func dimText(d int) string {
	t := Shape{d}.String()
	return t[1 : len(t)-1]
}

// inferMatMul: a[...,M,K] b[...,K,N] -> [...,M,N]; leading dimensions
// broadcast.
func inferMatMul(n *Node) ([]typ, error) {
	if err := n.sameFloat(2); err != nil {
		return nil, err
	}
	a, b := n.In[0].Shape, n.In[1].Shape
	if len(a) < 2 || len(b) < 2 {
		return nil, n.shapeError("both operands need at least two dimensions")
	}
	k, kb := a[len(a)-1], b[len(b)-2]
	switch {
	case k != kb:
		return nil, n.shapeError("the inner dimensions are %s and %s", dimText(k), dimText(kb))
	case k < 0:
		return nil, n.fail(ErrMixesRows, "the inner dimension is the batch axis")
	}
	lead, ok := Broadcast(a[:len(a)-2], b[:len(b)-2])
	if !ok {
		return nil, n.shapeError("the leading dimensions do not broadcast")
	}
	return one(n.In[0].DType, append(lead, a[len(a)-2], b[len(b)-1]))
}

func evalLinear(c *evalCall) {
	x, w, out := c.in[0], c.in[1], c.out[0]
	outs, ins := w.Shape[0], w.Shape[1]
	if outs == 0 {
		return
	}
	for r := range out.Len() / outs {
		for o := range outs {
			var sum float64
			for i := range ins {
				sum += x.At(r*ins+i) * w.At(o*ins+i)
			}
			if len(c.in) == 3 {
				sum += c.in[2].At(o)
			}
			out.set(r*outs+o, sum)
		}
	}
}

func evalMatMul(c *evalCall) {
	a, b, out := c.in[0], c.in[1], c.out[0]
	rank := len(out.Shape)
	m, n, k := out.Shape[rank-2], out.Shape[rank-1], a.Shape[len(a.Shape)-1]
	lead := out.Shape[:rank-2]
	as := a.Shape[:len(a.Shape)-2].broadcastStrides(lead)
	bs := b.Shape[:len(b.Shape)-2].broadcastStrides(lead)
	eachIndex(lead, func(at int, index []int) {
		abase, bbase := dot(index, as)*m*k, dot(index, bs)*k*n
		for i := range m {
			for j := range n {
				var sum float64
				for l := range k {
					sum += a.At(abase+i*k+l) * b.At(bbase+l*n+j)
				}
				out.set(at*m*n+i*n+j, sum)
			}
		}
	})
}
