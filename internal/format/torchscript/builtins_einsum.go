package torchscript

import (
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// term is an operand of an einsum: a letter for each dimension.
type term struct {
	v       *graph.Value
	letters []byte
}

// einsum is torch.einsum, operand by operand from the left: letters that
// neither the result nor a later operand has are summed.
func einsum(c *call) value {
	in := c.in
	equation := strings.ReplaceAll(c.str(0, ""), " ", "")
	lhs, rhs, explicit := strings.Cut(equation, "->")
	parts := strings.Split(lhs, ",")
	vs := c.values(1)
	if len(parts) != len(vs) {
		in.errorf("einsum of %d operands with %q", len(vs), equation)
	}
	dots := 0 // dimensions that the longest ellipsis stands for
	for i, p := range parts {
		if head, tail, ok := strings.Cut(p, "..."); ok {
			dots = max(dots, len(vs[i].Shape)-len(head)-len(tail))
		}
	}
	terms := make([]term, len(vs))
	for i, p := range parts {
		terms[i] = term{vs[i], in.letters(p, len(vs[i].Shape), dots, equation)}
	}
	if !explicit {
		rhs = implicitResult(parts)
	}
	out := in.letters(rhs, strings.Count(rhs, "...")*dots+len(strings.ReplaceAll(rhs, "...", "")), dots, equation)
	acc := in.summed(terms[0], needed(out, terms[1:]))
	for i, t := range terms[1:] {
		keep := needed(out, terms[i+2:])
		acc = in.contract(acc, in.summed(t, append(slices.Clone(keep), acc.letters...)), keep)
	}
	return newTensor(in.ordered(in.summed(acc, out), out, equation))
}

// letters gives every dimension a letter; those of an ellipsis are digits,
// counted from the last.
func (in *interp) letters(p string, rank, dots int, equation string) []byte {
	head, tail, ok := strings.Cut(p, "...")
	var out []byte
	out = append(out, head...)
	if ok {
		n := rank - len(head) - len(tail)
		if n < 0 || dots > 9 {
			in.errorf("einsum %q of a tensor of %d dimensions", equation, rank)
		}
		for i := range n {
			out = append(out, byte('0'+dots-n+i))
		}
	}
	out = append(out, tail...)
	if len(out) != rank {
		in.errorf("einsum %q of a tensor of %d dimensions", equation, rank)
	}
	for i, l := range out {
		if slices.Contains(out[:i], l) {
			in.unsupported("torch.einsum %q, which takes a diagonal", equation)
		}
	}
	return out
}

// implicitResult are the letters that appear once, in alphabetical order.
func implicitResult(parts []string) string {
	all := strings.ReplaceAll(strings.Join(parts, ""), "...", "")
	var out []byte
	for i := range len(all) {
		if strings.Count(all, all[i:i+1]) == 1 {
			out = append(out, all[i])
		}
	}
	slices.Sort(out)
	if strings.Contains(strings.Join(parts, ""), "...") {
		return "..." + string(out)
	}
	return string(out)
}

// needed are the letters of the result and of the operands still to come.
func needed(out []byte, rest []term) []byte {
	keep := slices.Clone(out)
	for _, t := range rest {
		keep = append(keep, t.letters...)
	}
	return keep
}

// summed sums the dimensions whose letters are not to be kept.
func (in *interp) summed(t term, keep []byte) term {
	var axes []int
	var left []byte
	for i, l := range t.letters {
		if slices.Contains(keep, l) {
			left = append(left, l)
		} else {
			axes = append(axes, i)
		}
	}
	if len(axes) == 0 {
		return t
	}
	return term{in.reduce(graph.OpSum, t.v, axes, false), left}
}

// contract is the product of two operands, summed over the letters that both
// have and that are not to be kept.
func (in *interp) contract(a, b term, keep []byte) term {
	var batch, left, right, inner []byte
	for _, l := range a.letters {
		switch {
		case !slices.Contains(b.letters, l):
			left = append(left, l)
		case slices.Contains(keep, l):
			batch = append(batch, l)
		default:
			inner = append(inner, l)
		}
	}
	for _, l := range b.letters {
		if !slices.Contains(a.letters, l) {
			right = append(right, l)
		}
	}
	if len(inner) == 0 { // no sum: a product that broadcasts
		all := slices.Concat(batch, left, right)
		return term{in.add(graph.OpMul, nil, in.spread(a, all), in.spread(b, all)), all}
	}
	x := in.grouped(a, batch, left, inner)
	y := in.grouped(b, batch, inner, right)
	p := in.add(graph.OpMatMul, nil, x, y)
	shape := append(graph.Shape{}, p.Shape[:len(batch)]...)
	for _, l := range left {
		shape = append(shape, a.v.Shape[slices.Index(a.letters, l)])
	}
	for _, l := range right {
		shape = append(shape, b.v.Shape[slices.Index(b.letters, l)])
	}
	return term{in.reshape(p, shape), slices.Concat(batch, left, right)}
}

// spread gives a term a dimension for each of the letters, of 1 where it has
// none of its own.
func (in *interp) spread(t term, all []byte) *graph.Value {
	var own []byte
	shape := graph.Shape{}
	for _, l := range all {
		i := slices.Index(t.letters, l)
		if i < 0 {
			shape = append(shape, 1)
			continue
		}
		own, shape = append(own, l), append(shape, t.v.Shape[i])
	}
	return in.reshape(in.ordered(t, own, ""), shape)
}

// grouped orders the dimensions and joins those of each of two groups.
func (in *interp) grouped(t term, batch, m, n []byte) *graph.Value {
	v := in.ordered(t, slices.Concat(batch, m, n), "")
	shape := append(graph.Shape{}, v.Shape[:len(batch)]...)
	at := len(batch)
	for _, g := range [][]byte{m, n} {
		d := 1
		for range g {
			d *= v.Shape[at]
			at++
		}
		shape = append(shape, d)
	}
	return in.reshape(v, shape)
}

// ordered brings the dimensions into the order of letters.
func (in *interp) ordered(t term, letters []byte, equation string) *graph.Value {
	perm := make([]int, len(letters))
	for i, l := range letters {
		if perm[i] = slices.Index(t.letters, l); perm[i] < 0 {
			in.errorf("einsum %q: no operand has the dimension %c", equation, l)
		}
	}
	return in.transpose(t.v, perm)
}
