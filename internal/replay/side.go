package replay

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// batchRows is how many rows a lane runs together. A row has the same bits in
// every batch, so that it may be any number; at 256 the calls themselves cost
// nothing any more.
const batchRows = 256

// side is one version that replays.
type side struct {
	policy   *policy.Policy
	contract *policy.Contract
	index    int   // of its outcome and its states
	from     []int // where its observations are in those of the chunk; nil where they are the same
	width    int   // of an action
	carries  bool
	history  bool // a stream has one
	lanes    []*lane
	raw      bool
	rows     int // of a call, at most

	order   []int // rows of the chunk, sorted for their calls
	counts  []int
	batches [][]int
	out     *outcome
}

func newSide(p *policy.Policy, index int, o *Options) *side {
	c := p.Contract()
	s := &side{policy: p, contract: c, index: index, width: c.ActionWidth(), carries: c.Carries(), history: c.NeedsHistory(), raw: o.Raw, rows: batchRows}
	if o.Alone {
		s.rows = 1
	}
	n := max(1, o.Lanes)
	p.Prepare(n)
	for i := range n {
		s.lanes = append(s.lanes, newLane(s, p.Runner(i)))
	}
	return s
}

// streamFloats is how many values a stream keeps for the version.
func (s *side) streamFloats() int {
	n := 0
	for i := range s.contract.State {
		n += 2 * s.contract.State[i].Width
	}
	if s.history {
		n += 4 * s.width
	}
	return n
}

// act fills in what the version does with the rows of a chunk.
func (s *side) act(c *chunk) error {
	s.out = &c.sides[s.index]
	s.out.actions = slices.Grow(s.out.actions[:0], len(c.rows)*s.width)[:len(c.rows)*s.width]
	s.sortByWave(c)
	for from := 0; from < len(s.order); {
		wave := s.waveOf(&c.rows[s.order[from]])
		to := from
		for to < len(s.order) && s.waveOf(&c.rows[s.order[to]]) == wave {
			to++
		}
		s.cut(c, s.order[from:to])
		if err := s.run(c); err != nil {
			return err
		}
		from = to
	}
	slices.SortFunc(s.out.refused, func(a, b refusal) int { return a.row - b.row })
	return nil
}

// waveOf is when a row may run: behind the step before it in its stream.
func (s *side) waveOf(r *row) int {
	if !s.carries || r.stream == nil {
		return 0
	}
	return r.wave
}

// sortByWave puts the rows in the order of their waves, and keeps theirs within
// each.
func (s *side) sortByWave(c *chunk) {
	n := len(c.rows)
	s.order = slices.Grow(s.order[:0], n)[:n]
	if !s.carries || c.waves <= 1 {
		for i := range s.order {
			s.order[i] = i
		}
		return
	}
	s.counts = slices.Grow(s.counts[:0], c.waves+1)[:c.waves+1]
	clear(s.counts)
	for i := range c.rows {
		s.counts[s.waveOf(&c.rows[i])+1]++
	}
	for w := range c.waves {
		s.counts[w+1] += s.counts[w]
	}
	for i := range c.rows {
		w := s.waveOf(&c.rows[i])
		s.order[s.counts[w]] = i
		s.counts[w]++
	}
}

// cut makes batches of rows that may be one call: of the same form and, where
// they draw, of one seed and step, and following rows of it.
func (s *side) cut(c *chunk, rows []int) {
	s.batches = s.batches[:0]
	for from := 0; from < len(rows); {
		first := &c.rows[rows[from]]
		to := from + 1
		for ; to < len(rows) && to-from < s.rows; to++ {
			r := &c.rows[rows[to]]
			if r.masked != first.masked || s.draws(r) != s.draws(first) ||
				s.draws(r) && (r.seed != first.seed || r.step != first.step || r.draw != first.draw+uint64(to-from)) {
				break
			}
		}
		s.batches = append(s.batches, rows[from:to])
		from = to
	}
}

// draws tells whether a row's action is drawn.
func (s *side) draws(r *row) bool { return s.contract.Stochastic && !r.deterministic }

// run runs the batches on all lanes, each in turn on the first that is free.
func (s *side) run(c *chunk) error {
	lanes := min(len(s.lanes), len(s.batches))
	for _, l := range s.lanes {
		l.err, l.marks, l.refused = nil, l.marks[:0], l.refused[:0]
	}
	if lanes <= 1 {
		s.lanes[0].runAll(c, s.batches, 0, 1)
	} else {
		var running sync.WaitGroup
		for i := range lanes {
			running.Go(func() { s.lanes[i].runAll(c, s.batches, i, lanes) })
		}
		running.Wait()
	}
	for _, l := range s.lanes[:max(1, lanes)] {
		if l.err != nil {
			return l.err
		}
		s.out.marks = append(s.out.marks, l.marks...)
		s.out.refused = append(s.out.refused, l.refused...)
	}
	return nil
}

// lane runs batches on a runner of its own.
type lane struct {
	side      *side
	runner    *policy.Runner
	call      policy.Call
	state     [][]float32
	histories []*envelope.History

	marks   []mark
	refused []refusal
	err     error
}

func newLane(s *side, r *policy.Runner) *lane {
	l := &lane{side: s, runner: r, call: policy.Call{In: make([][]float32, len(s.contract.Inputs))}}
	l.state = make([][]float32, len(s.contract.State))
	return l
}

func (l *lane) runAll(c *chunk, batches [][]int, from, step int) {
	for i := from; i < len(batches) && l.err == nil; i += step {
		l.err = l.runBatch(c, batches[i])
	}
}

// runBatch runs rows together and, where there is one that the version refuses,
// each alone.
func (l *lane) runBatch(c *chunk, rows []int) error {
	l.gather(c, rows)
	err := l.side.contract.Check(len(rows), l.call.In)
	if err == nil {
		err = l.runner.Act(&l.call)
	}
	var bad *policy.InputError
	var unusable *policy.ActionError
	switch {
	case err == nil:
		l.scatter(c, rows)
		return nil
	case !errors.As(err, &bad) && !errors.As(err, &unusable):
		return err
	case len(rows) > 1:
		for _, row := range rows {
			if err := l.runBatch(c, []int{row}); err != nil {
				return err
			}
		}
		return nil
	}
	l.refused = append(l.refused, refusal{rows[0], refusalText(bad, unusable)})
	l.beginRefused(&c.rows[rows[0]])
	return nil
}

// beginRefused begins an episode whose first step was refused, so that the next
// step goes on from its beginning and not from the episode before.
func (l *lane) beginRefused(r *row) {
	s := l.side
	if !s.carries || r.stream == nil || r.begins != initial && r.begins != episode {
		return
	}
	st := &r.stream.states[s.index]
	for p := range s.contract.State {
		from := s.carried(st, r.begins, p)
		copy(st.before[p], from)
		copy(st.now[p], from)
	}
}

// refusalText says what was refused without saying in which row.
func refusalText(bad *policy.InputError, unusable *policy.ActionError) string {
	if bad != nil {
		field := bad.Field
		if field == "" {
			field = "the observation"
		}
		return fmt.Sprintf("observation: %s: expected %s", field, bad.Expected)
	}
	switch {
	case unusable.Err != nil:
		return "action: " + unusable.Err.Error()
	case unusable.Value-unusable.Value != 0:
		return fmt.Sprintf("action: %s is not finite", unusable.Action)
	}
	return fmt.Sprintf("action: %s is outside its contract of %v to %v", unusable.Action, unusable.Low, unusable.High)
}

// gather makes the call of some rows.
func (l *lane) gather(c *chunk, rows []int) {
	s, first := l.side, &c.rows[rows[0]]
	call := &l.call
	base := 0
	for i := range s.contract.Inputs {
		w := s.contract.Inputs[i].Width
		x := slices.Grow(call.In[i][:0], len(rows)*w)
		for _, row := range rows {
			obs := c.obs[row*c.width:][:c.width]
			if s.from == nil {
				x = append(x, obs[base:base+w]...)
				continue
			}
			for _, at := range s.from[base : base+w] {
				x = append(x, obs[at])
			}
		}
		call.In[i] = x
		base += w
	}
	call.Rows, call.Deterministic = len(rows), !s.draws(first)
	call.Seed, call.Step, call.Row = first.seed, first.step, first.draw
	call.Actions = slices.Grow(call.Actions[:0], len(rows)*s.width)[:len(rows)*s.width]
	call.Masks = call.Masks[:0]
	if n := s.contract.Masks; first.masked {
		for _, row := range rows {
			call.Masks = append(call.Masks, c.masks[row*n:][:n]...)
		}
	} else {
		call.Masks = nil
	}
	l.gatherStreams(c, rows)
}

// gatherStreams gives each row what it goes on from.
func (l *lane) gatherStreams(c *chunk, rows []int) {
	s := l.side
	if !s.carries {
		return
	}
	for i := range l.state {
		l.state[i] = l.state[i][:0]
	}
	l.histories = l.histories[:0]
	for _, at := range rows {
		r := &c.rows[at]
		var st *streamState
		if r.stream != nil {
			st = &r.stream.states[s.index]
			st.begin(s, r.begins)
		}
		for i := range s.contract.State {
			l.state[i] = append(l.state[i], s.carried(st, r.begins, i)...)
		}
		var h *envelope.History
		if st != nil {
			h = st.history
		}
		l.histories = append(l.histories, h)
	}
	l.call.State = l.state
	if s.history {
		l.call.Histories = l.histories
	}
}

// carried is part i of the state that a step goes on from.
func (s *side) carried(st *streamState, b beginning, i int) []float32 {
	spec := &s.contract.State[i]
	switch {
	case b == episode:
		return spec.Reset
	case b == initial:
		return spec.Initial
	case b == again:
		return st.before[i]
	}
	return st.now[i]
}

// begin makes the memory of a state ready for a step that begins so: the
// history is that of before the step, and past becomes a copy of it.
func (st *streamState) begin(s *side, b beginning) {
	if !st.ready {
		st.ready = true
		st.now, st.before = s.contract.NewState(1), s.contract.NewState(1)
		if s.history {
			st.history, st.past = envelope.NewHistory(s.width), envelope.NewHistory(s.width)
		}
	}
	if !s.history {
		return
	}
	switch b {
	case again:
		st.history.Copy(st.past)
	case initial, episode:
		st.history.Reset()
		st.past.Copy(st.history)
	default:
		st.past.Copy(st.history)
	}
}

// scatter takes the answer of a call to where it belongs.
func (l *lane) scatter(c *chunk, rows []int) {
	s, call := l.side, &l.call
	for i, row := range rows {
		copy(s.out.actions[row*s.width:][:s.width], call.Actions[i*s.width:])
	}
	for i := range call.Interventions {
		v := &call.Interventions[i]
		row := rows[v.Row]
		l.marks = append(l.marks, mark{row, v.Value, string(v.Kind)})
		if s.raw {
			s.out.actions[row*s.width+v.Value] = v.From
		}
	}
	if !s.carries {
		return
	}
	for i, row := range rows {
		r := &c.rows[row]
		if r.stream == nil {
			continue
		}
		st := &r.stream.states[s.index]
		for p := range s.contract.State {
			if r.begins != again {
				copy(st.before[p], s.carried(st, r.begins, p))
			}
			w := s.contract.State[p].Width
			copy(st.now[p], call.State[p][i*w:][:w])
		}
	}
}
