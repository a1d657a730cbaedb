package plan

import "github.com/carla-rl/carla-rl-serving/internal/kernel"

// rowChain is what takes the place of the steps to the last, whose result is
// out, in a run of one row.
type rowChain struct {
	chain     *kernel.Chain
	last, out int
}

// chains finds dense layers one behind the other, each of which alone reads
// what the one before wrote, and prepares them for runs of one row: the calls
// and the way through memory cost as much as the products of a small policy.
// split is as for kernel.NewChain.
func (p *Plan) chains(split bool) {
	if !p.impl.Chains() {
		return
	}
	reads := make([]int, len(p.slots))
	for i := range p.steps {
		for _, s := range p.steps[i].reads() {
			reads[s]++
		}
	}
	for i := 0; i < len(p.steps); {
		var layers []*kernel.Matrix
		var acts []kernel.Unary
		for j := i; j < len(p.steps) && p.steps[j].chainable(); j++ {
			s := &p.steps[j]
			if j > i && (s.a != p.steps[j-1].out || p.slots[s.a].kind != slotTemp || reads[s.a] != 1) {
				break
			}
			layers, acts = append(layers, s.matrix), append(acts, s.unary)
		}
		if len(layers) == 0 {
			i++
			continue
		}
		c := kernel.NewChain(layers, acts, split)
		last := i + c.Len() - 1
		p.steps[i].chain = &rowChain{c, last, p.steps[last].out}
		p.scratch = max(p.scratch, c.Room())
		i = last + 1
	}
}

// chainable reports whether a run of one row gives the step one row, of a
// product that a chain may have.
func (s *step) chainable() bool {
	return s.op == stepLinear && s.count.at(1) == 1 && kernel.CanChain(s.matrix, s.unary)
}
