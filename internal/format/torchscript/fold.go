package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// numberOf returns the Python number that a tensor of one element holds, where
// it does not depend on the inputs.
func (in *interp) numberOf(t *tensor) (value, bool) {
	if t.num != nil {
		_, data := t.num.(*scalar)
		return t.num, !data
	}
	if t.pending {
		return nil, false
	}
	c := in.folded(in.read(t))
	if c == nil || c.Len() != 1 {
		return nil, false
	}
	switch {
	case c.DType == graph.Bool:
		return c.I64[0] != 0, true
	case c.I64 != nil:
		return c.I64[0], true
	}
	return c.At(0), true
}

// numberNeeded is numberOf where the code cannot go on without it.
func (in *interp) numberNeeded(t *tensor) value {
	n, ok := in.numberOf(t)
	if !ok {
		in.unsupported("a number that depends on the data of a tensor")
	}
	return n
}

// folded computes a value that depends on constants only; nil where it depends
// on an input or on a draw. The values it looked at are noted: the lowering
// depends on them.
func (in *interp) folded(v *graph.Value) *graph.Tensor {
	if v.Const != nil {
		in.decided[v] = true
		return v.Const
	}
	if !v.Shape.Fixed() || in.fromData(v) {
		return nil
	}
	home := in.home(v)
	given := map[*graph.Value]*graph.Tensor{}
	needed := map[*graph.Node]bool{}
	var consts []*graph.Value
	walk := []*graph.Value{v}
	for len(walk) > 0 {
		w := walk[len(walk)-1]
		walk = walk[:len(walk)-1]
		switch {
		case w.Const != nil:
			consts = append(consts, w)
			continue
		case given[w] != nil:
			continue
		case home.from[w] != nil:
			if given[w] = in.folded(home.from[w]); given[w] == nil {
				return nil
			}
			continue
		case w.Def == nil || w.Def.Op == graph.OpIf || w.Def.Op == graph.OpLoop || w.Def.Op == graph.OpNormal || w.Def.Op == graph.OpBeta || w.Shape.RowElements() > maxFolded || !w.Shape.Fixed():
			return nil
		case needed[w.Def]:
			continue
		}
		needed[w.Def] = true
		walk = append(walk, w.Def.In...)
	}
	in.cost(100 * len(needed))
	sub := graph.New("")
	for _, n := range home.g.Nodes {
		if needed[n] {
			sub.Nodes = append(sub.Nodes, n)
			for _, o := range n.Out {
				in.cost(o.Shape.RowElements() / 16)
			}
		}
	}
	var inputs []*graph.Tensor
	for w, t := range given {
		sub.Inputs, inputs = append(sub.Inputs, w), append(inputs, t)
	}
	sub.Output("v", v)
	out, err := graph.Evaluate(sub, 1, inputs, graph.Noise{})
	if err != nil {
		in.fail(&RunError{Pos: in.pos, Err: err})
	}
	for _, c := range consts {
		in.decided[c] = true
	}
	return out[0]
}

// fromData reports whether a value depends on an input, on a draw or on what
// is not computed while lowering. What was found out is kept, so that a long
// computation is not gone through again at every decision.
func (in *interp) fromData(v *graph.Value) bool {
	for walk := []*graph.Value{v}; len(walk) > 0; {
		w := walk[len(walk)-1]
		if _, known := in.ofData[w]; known {
			walk = walk[:len(walk)-1]
			continue
		}
		var before []*graph.Value
		switch from := in.home(w).from[w]; {
		case w.Const != nil:
		case from != nil:
			before = []*graph.Value{from}
		case w.Def == nil || w.Def.Op == graph.OpIf || w.Def.Op == graph.OpLoop || w.Def.Op == graph.OpNormal || w.Def.Op == graph.OpBeta || w.Shape.RowElements() > maxFolded || !w.Shape.Fixed():
			in.ofData[w] = true
			continue
		default:
			before = w.Def.In
		}
		data, open := false, false
		for _, o := range before {
			known, ok := in.ofData[o]
			data = data || known
			if !ok {
				open = true
				walk = append(walk, o)
			}
		}
		if data || !open {
			in.ofData[w] = data
		}
	}
	return in.ofData[v]
}
