package graph

import "slices"

// fuseAffine turns a chain of sums, differences, products and quotients with
// constants into one product and one sum. A chain that begins with a large
// shift, as (x - mean)/std far from zero, keeps it as a sum before the
// product. What changes nothing goes. Results agree to within 1e-6 of their
// scale; f32 and f64 only.
func fuseAffine(g *Graph) (bool, error) {
	return rewrite(g, func(r *rewriter, n *Node) (*Value, error) {
		x, last, ok := link(n)
		if !ok || r.uses[n.Out[0]] == 1 && continues(r.user[n.Out[0]], n.Out[0]) {
			return nil, nil // Not a link, or not the last of its chain.
		}
		links, old := []affine{last}, []Op{n.Op}
		for x.Def != nil && r.uses[x] == 1 {
			from, f, ok := link(x.Def)
			if !ok {
				break
			}
			links, old = append(links, f), append(old, x.Def.Op)
			x = from
		}
		slices.Reverse(links)
		slices.Reverse(old)
		steps, ok := collapse(links, x)
		if !ok {
			return nil, nil
		}
		ops := make([]Op, len(steps))
		for i, s := range steps {
			ops[i] = s.op
		}
		if slices.Equal(ops, old) {
			return nil, nil
		}
		v := x
		for _, s := range steps {
			var err error
			c := shaped(x.DType, s.c, s.shape)
			if v, err = r.add(s.op, nil, v, g.Constant("", c)); err != nil {
				return nil, err
			}
		}
		return v, nil
	})
}

// continues reports whether the node that uses v is a link of which v is the
// variable operand.
func continues(n *Node, v *Value) bool {
	if n == nil {
		return false
	}
	x, _, ok := link(n)
	return ok && x == v
}

// step is one operation with a constant.
type step struct {
	op    Op
	c     []float64
	shape Shape
}

// collapse returns the fewest steps that compute the links within tolerance.
func collapse(links []affine, x *Value) ([]step, bool) {
	whole := identity()
	for _, f := range links {
		whole = whole.then(f)
	}
	if whole.sound() && whole.steady(x) {
		return whole.steps(), true
	}
	first, rest := links[0], identity()
	if !all(first.s, 1) {
		return nil, false
	}
	for _, f := range links[1:] {
		rest = rest.then(f)
	}
	if !rest.sound() || !rest.steady(x) || !first.sound() {
		return nil, false
	}
	return append(first.steps(), rest.steps()...), true
}

// steps are the product and the sum, without one that changes nothing.
func (f affine) steps() []step {
	var steps []step
	if !all(f.s, 1) {
		steps = append(steps, step{OpMul, f.s, f.shape})
	}
	if !all(f.t, 0) {
		steps = append(steps, step{OpAdd, f.t, f.shape})
	}
	return steps
}
