package graph

// Comparisons, logic and choice. Results of the first two are Bool; a number
// is true where it is not zero, which NaN is not.
var logicSpecs = map[Op]spec{
	OpEq: comparison(func(a, b float64) bool { return a == b }, func(a, b int64) bool { return a == b }),
	OpNe: comparison(func(a, b float64) bool { return a != b }, func(a, b int64) bool { return a != b }),
	OpLt: comparison(func(a, b float64) bool { return a < b }, func(a, b int64) bool { return a < b }),
	OpLe: comparison(func(a, b float64) bool { return a <= b }, func(a, b int64) bool { return a <= b }),
	OpGt: comparison(func(a, b float64) bool { return a > b }, func(a, b int64) bool { return a > b }),
	OpGe: comparison(func(a, b float64) bool { return a >= b }, func(a, b int64) bool { return a >= b }),

	OpAnd: comparison(func(a, b float64) bool { return a != 0 && b != 0 }, func(a, b int64) bool { return a != 0 && b != 0 }),
	OpOr:  comparison(func(a, b float64) bool { return a != 0 || b != 0 }, func(a, b int64) bool { return a != 0 || b != 0 }),
	OpNot: {min: 1, max: 1, infer: inferNot, eval: evalNot},

	OpWhere: {min: 3, max: 3, infer: inferWhere, eval: evalWhere},
}

func comparison(f func(a, b float64) bool, i func(a, b int64) bool) spec {
	return spec{min: 2, max: 2, infer: inferComparison, eval: func(c *evalCall) {
		evalBinary(c,
			func(a, b float64) float64 { return float64(truth(f(a, b))) },
			func(a, b int64) int64 { return truth(i(a, b)) })
	}}
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func inferComparison(n *Node) ([]typ, error) {
	t, err := inferAdd(n)
	if err == nil {
		t[0].dtype = Bool
	}
	return t, err
}

func inferNot(n *Node) ([]typ, error) { return one(Bool, n.In[0].Shape) }

func evalNot(c *evalCall) {
	for i := range c.out[0].Len() {
		c.out[0].setInt(i, truth(c.in[0].At(i) == 0))
	}
}

// inferWhere: a Bool condition and two values of promoted type; all three
// broadcast.
func inferWhere(n *Node) ([]typ, error) {
	if n.In[0].DType != Bool {
		return nil, n.fail(ErrDType, "the condition is %v, must be bool", n.In[0].DType)
	}
	shape, ok := Broadcast(n.In[1].Shape, n.In[2].Shape)
	if ok {
		shape, ok = Broadcast(shape, n.In[0].Shape)
	}
	if !ok {
		return nil, n.shapeError("the shapes do not broadcast")
	}
	return one(promoteAll(n.In[1:]), shape)
}

func evalWhere(c *evalCall) {
	out := c.out[0]
	cs := c.in[0].Shape.broadcastStrides(out.Shape)
	var st [2][]int
	for k := range st {
		st[k] = c.in[1+k].Shape.broadcastStrides(out.Shape)
	}
	eachIndex(out.Shape, func(at int, index []int) {
		k := 1
		if c.in[0].I64[dot(index, cs)] != 0 {
			k = 0
		}
		out.copyFrom(at, c.in[1+k], dot(index, st[k]))
	})
}
