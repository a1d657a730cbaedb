package plan

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// subRunner is the memory of a step that runs plans of its own.
type subRunner struct {
	runners []*Runner
	in, out [][]float32

	// Of a loop: the next condition, and the carried values of the turns in
	// turn.
	again   [1]float32
	carried [2][][]float32
}

func newSubRunner(c *control) subRunner {
	s := subRunner{in: make([][]float32, len(c.in)), out: make([][]float32, len(c.outs))}
	for _, p := range c.plans {
		s.runners = append(s.runners, p.NewRunner())
	}
	if c.limit == 0 {
		return s
	}
	s.out = make([][]float32, 1+len(c.outs))
	body := c.plans[0]
	for i := range s.carried {
		memory := kernel.Aligned(c.carried)
		for k := range c.outs {
			n := body.InputWidth(k)
			s.carried[i] = append(s.carried[i], memory[:n:n])
			memory = memory[roundUp(n):]
		}
	}
	return s
}

// choose runs the plan of an if that the condition names.
func (sub *subRunner) choose(r *Runner, s *step, st running) error {
	for i, slot := range s.control.in {
		sub.in[i] = r.slots[slot]
	}
	for i, slot := range s.control.outs {
		sub.out[i] = r.slots[slot]
	}
	which := sub.runners[1]
	if r.slots[s.a][0] != 0 {
		which = sub.runners[0]
	}
	which.bind(0, 1, sub.in, sub.out)
	return which.run(1, st)
}

// loop runs the plan of a body while its condition holds. What a turn carries
// out is what the next one reads; two sets of memory take turns.
func (sub *subRunner) loop(r *Runner, s *step, st running) error {
	c := s.control
	for i, slot := range c.in {
		sub.in[i] = r.slots[slot]
	}
	body, turn := sub.runners[0], st
	again := r.slots[s.a][0] != 0
	for i := 0; again; i++ {
		*st.budget -= c.cost
		if i == c.limit || *st.budget < 0 {
			return fmt.Errorf("plan: loop: %w: in turn %d", graph.ErrStepBudget, i)
		}
		if body.plan.draws {
			turn.key = st.key.Turn(i)
		}
		next := sub.carried[i%2]
		sub.out[0] = sub.again[:]
		copy(sub.out[1:], next)
		body.bind(0, 1, sub.in, sub.out)
		if err := body.run(1, turn); err != nil {
			return err
		}
		copy(sub.in, next)
		again = sub.again[0] != 0
	}
	for i, slot := range c.outs {
		copy(r.slots[slot], sub.in[i])
	}
	return nil
}
