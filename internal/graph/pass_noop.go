package graph

import "slices"

// dropNoOps removes nodes that give back what they take, joins two of a kind
// that follow each other, and lets operators that broadcast do without the
// expand before them. It is exact.
func dropNoOps(g *Graph) (bool, error) {
	return rewrite(g, func(r *rewriter, n *Node) (*Value, error) {
		switch n.Op {
		case OpReshape, OpExpand:
			return dropReshape(r, n)
		case OpTranspose:
			return dropTranspose(r, n)
		case OpCast:
			return dropCast(r, n)
		case OpSlice:
			if x := n.In[0]; n.Attrs.Int("step") == 1 && x.Shape.Equal(n.Out[0].Shape) {
				return x, nil
			}
		case OpConcat:
			if len(n.In) == 1 {
				return n.In[0], nil
			}
		case OpSum, OpMean, OpAmax, OpAmin:
			if len(n.Attrs.Ints("axes")) == 0 && n.Out[0].DType == n.In[0].DType {
				return n.In[0], nil
			}
		case OpFloor, OpCeil, OpRound, OpTrunc:
			if n.In[0].DType.IsInt() {
				return n.In[0], nil
			}
		case OpAdd, OpSub, OpMul, OpDiv, OpPow, OpMinimum, OpMaximum, OpFmod, OpRemainder, OpFloorDiv, OpAtan2, OpWhere,
			OpEq, OpNe, OpLt, OpLe, OpGt, OpGe, OpAnd, OpOr:
			return skipExpand(r, n)
		}
		return nil, nil
	})
}

// dropReshape: to the same shape, or of a value that was reshaped (or
// stretched) itself.
func dropReshape(r *rewriter, n *Node) (*Value, error) {
	x := n.In[0]
	if d := x.Def; d != nil && d.Op == n.Op {
		x = d.In[0]
	}
	switch {
	case x.Shape.Equal(n.Out[0].Shape):
		return x, nil
	case x != n.In[0]:
		return r.add(n.Op, n.Attrs, x)
	default:
		return nil, nil
	}
}

func dropTranspose(r *rewriter, n *Node) (*Value, error) {
	x, perm := n.In[0], n.Attrs.Ints("perm")
	if d := x.Def; d != nil && d.Op == OpTranspose {
		first, both := d.Attrs.Ints("perm"), make([]int, len(perm))
		for i, p := range perm {
			both[i] = first[p]
		}
		x, perm = d.In[0], both
	}
	switch {
	case slices.IsSorted(perm):
		return x, nil
	case x != n.In[0]:
		return r.add(OpTranspose, Attrs{"perm": perm}, x)
	default:
		return nil, nil
	}
}

// dropCast: to the type it has, or of a value that was cast to a type that
// holds every number of its own.
func dropCast(r *rewriter, n *Node) (*Value, error) {
	x, to := n.In[0], n.Attrs.DType("dtype")
	if d := x.Def; d != nil && d.Op == OpCast && widens(d.In[0].DType, x.DType) {
		x = d.In[0]
	}
	switch {
	case x.DType == to:
		return x, nil
	case x != n.In[0]:
		return r.add(OpCast, Attrs{"dtype": to}, x)
	default:
		return nil, nil
	}
}

// widens reports whether each number of type a is a number of type b.
func widens(a, b DType) bool {
	switch a {
	case Bool:
		return true
	case Uint8, Int8:
		return b != Uint8 && b != Int8 && b != Bool
	case Int16:
		return b == Int32 || b == Int64 || b == Float32 || b == Float64
	case Int32:
		return b == Int64 || b == Float64
	case Float16, BFloat16:
		return b == Float32 || b == Float64
	case Float32:
		return b == Float64
	default:
		return false
	}
}

// skipExpand takes operands from before an expand where the result keeps its
// type and shape.
func skipExpand(r *rewriter, n *Node) (*Value, error) {
	for i, v := range n.In {
		d := v.Def
		if d == nil || d.Op != OpExpand {
			continue
		}
		in := slices.Clone(n.In)
		in[i] = d.In[0]
		try := Node{Op: n.Op, In: in}
		types, err := try.resolve()
		if err == nil && types[0].dtype == n.Out[0].DType && types[0].shape.Equal(n.Out[0].Shape) {
			return r.add(n.Op, nil, in...)
		}
	}
	return nil, nil
}
