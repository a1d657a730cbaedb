package serving

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Requests that wait for the same policy run together: whoever is handed a lane
// takes those along that could be rows of the same call, runs all of them, and
// gives each its part. Nobody waits for company unless Options.MaxDelay says so,
// and a request that finds a lane free does not come here at all.
//
// Each request keeps what is its own: inputs, masks, state, histories, extras,
// deadline, its error and its panic. Requests that draw are not joined, because
// a call has one key for the draws of all its rows.

const (
	// joinTime is how long a call of joined requests may take, as far as that is
	// known, or twice what the first of them takes alone where that is longer:
	// the first has waited longest and waits for the last of them now.
	joinTime = time.Millisecond
	// maxJoinFloats bounds what a lane keeps for the rows of joined requests.
	maxJoinFloats = 1 << 18
	// maxJoinScan is how many requests are looked at for each row that may be
	// joined, with the queue's lock held.
	maxJoinScan = 4
)

// PanicError is the panic of a call that ran on another goroutine than that of
// its request, where Act panics with it.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that ran it
}

func (e *PanicError) Error() string { return fmt.Sprintf("%v\n%s", e.Value, e.Stack) }

// joinable tells whether a request may be some rows of a larger call.
func joinable(p *policy.Policy, req *Request) bool {
	return p.Joins(req.Deterministic, req.Masks != nil) && req.fits(p.Contract())
}

// fits tells whether the memory of a request has all its rows. One that does
// not is told so by a call of its own.
func (r *Request) fits(c *policy.Contract) bool {
	if len(r.Inputs) != len(c.Inputs) || len(r.State) != len(c.State) {
		return false
	}
	for i := range c.Inputs {
		if len(r.Inputs[i]) < r.Rows*c.Inputs[i].Width {
			return false
		}
	}
	for i := range c.State {
		if len(r.State[i]) < r.Rows*c.State[i].Width {
			return false
		}
	}
	return (r.Masks == nil || len(r.Masks) >= r.Rows*c.Masks) && (r.Histories == nil || len(r.Histories) == r.Rows)
}

// alike tells whether two requests that may be joined may be so with each
// other. Rows without a history have no other one's: they may stand beside rows
// that have one.
func alike(a, b *waiter) bool {
	return a.policy == b.policy && b.joins && a.req.Deterministic == b.req.Deterministic &&
		(a.req.Masks == nil) == (b.req.Masks == nil) && a.req.WantExtras == b.req.WantExtras &&
		(a.req.Histories == nil) == (b.req.Histories == nil)
}

// join takes those out of the queue that are to run together with the request of
// w, which has a lane.
func (q *queue) join(w *waiter, now time.Time, to []*waiter) []*waiter {
	pace := w.policy.Pace()
	rows, latest := w.req.Rows, w.req.Deadline
	limit := max(joinTime, 2*pace.Expect(rows))
	most := min(q.maxRows, maxJoinFloats/max(1, rowFloats(w.policy.Contract())))
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &q.lists[w.class]
	scan := maxJoinScan * q.maxRows
	for x := l.head; x != nil && rows < most && scan > 0; scan-- {
		next := x.next
		if alike(w, x) && rows+x.req.Rows <= most {
			first := earliest(latest, x.req.Deadline)
			took := pace.Estimate(rows + x.req.Rows)
			if took <= limit && (first.IsZero() || !now.Add(max(took, expect(pace, rows+x.req.Rows))).After(first)) {
				q.remove(x)
				rows, latest, to = rows+x.req.Rows, first, append(to, x)
			}
		}
		x = next
	}
	l.leaving.note(now, 1+len(to))
	return to
}

// ripen ends the wait for company of those that may be joined with w once they
// are as many as may run together.
func (q *queue) ripen(w *waiter) {
	rows := 0
	l := &q.lists[w.class]
	for x := l.head; x != nil; x = x.next {
		if alike(w, x) {
			rows += x.req.Rows
		}
	}
	if rows < q.maxRows {
		return
	}
	for x := l.head; x != nil; x = x.next {
		if alike(w, x) {
			x.hold = time.Time{}
		}
	}
}

// earliest is the first of two deadlines, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// rowFloats is how many values a row of a policy takes in.
func rowFloats(c *policy.Contract) int {
	n := c.Masks
	for i := range c.Inputs {
		n += c.Inputs[i].Width
	}
	for i := range c.State {
		n += c.State[i].Width
	}
	return n
}

// joint is the memory of a lane for requests that run together.
type joint struct {
	members []*waiter
	call    policy.Call

	in, state, extras [][]float32
	actions, masks    []float32
	histories         []*envelope.History
	interventions     []envelope.Intervention
}

// runJoined runs a request that has a lane with those that joined it, and ends
// their wait. Where the call of all fails, each runs alone: one that has no
// answer costs the others time and nothing else.
func (s *Service) runJoined(lane int, p *policy.Policy, req *Request, j *joint, running time.Time) error {
	defer s.queue.release(lane)
	j.members = append(j.members, &req.wait)
	s.counts.batches.Add(1)
	s.counts.joined.Add(uint64(len(j.members)))
	for _, m := range j.members {
		m.req.Queue = running.Sub(m.since)
	}
	j.gather(p.Contract())
	panicked, err := try(func() error { return p.Runner(lane).Act(&j.call) })
	if err == nil && panicked == nil {
		took := time.Since(running)
		if !j.call.First {
			p.Pace().Note(j.call.Rows, running, took, false)
		}
		for range j.scatter(p.Contract(), took, running.Add(took)) {
			s.refuse(computedLate)
		}
	} else {
		s.counts.rerun.Add(1)
		for _, m := range j.members {
			m.panicked, m.err = try(func() error { return s.compute(lane, p, m.req) })
			m.req.Infer = time.Since(running)
		}
	}
	for i, m := range j.members {
		j.members[i] = nil
		if m != &req.wait {
			m.settle(outcomeRun)
		}
	}
	j.members = j.members[:0]
	if req.wait.panicked != nil {
		panic(req.wait.panicked)
	}
	return req.wait.err
}

// try runs f and returns its panic, or its error.
func try(f func() error) (panicked *PanicError, err error) {
	defer func() {
		if v := recover(); v != nil {
			panicked = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return nil, f()
}

// gather makes one call of the members' requests.
func (j *joint) gather(c *policy.Contract) {
	first := j.members[0].req
	rows := 0
	j.in, j.state = emptied(j.in, len(c.Inputs)), emptied(j.state, len(c.State))
	j.masks, j.histories = j.masks[:0], j.histories[:0]
	for _, m := range j.members {
		r := m.req
		for i := range c.Inputs {
			j.in[i] = append(j.in[i], r.Inputs[i][:r.Rows*c.Inputs[i].Width]...)
		}
		for i := range c.State {
			j.state[i] = append(j.state[i], r.State[i][:r.Rows*c.State[i].Width]...)
		}
		if r.Masks != nil {
			j.masks = append(j.masks, r.Masks[:r.Rows*c.Masks]...)
		}
		j.histories = append(j.histories, r.Histories...)
		rows += r.Rows
	}
	j.actions = sized(j.actions, rows*c.ActionWidth())
	j.call = policy.Call{
		Rows: rows, In: j.in, Actions: j.actions, Deterministic: first.Deterministic,
		State: j.state, Interventions: j.interventions[:0],
	}
	if first.Masks != nil {
		j.call.Masks = j.masks
	}
	if first.Histories != nil {
		j.call.Histories = j.histories
	}
	if first.WantExtras {
		j.extras = emptied(j.extras, len(c.Extras))
		for i := range c.Extras {
			j.extras[i] = sized(j.extras[i], rows*c.Extras[i].Width)
		}
		j.call.Extras = j.extras
	}
}

// scatter gives each member its part of the answer, and returns how many of them
// had to have it earlier.
func (j *joint) scatter(c *policy.Contract, took time.Duration, ended time.Time) (late int) {
	j.interventions = j.call.Interventions
	found, base, width := j.interventions, 0, c.ActionWidth()
	for _, m := range j.members {
		r := m.req
		r.Actions = append(r.Actions[:0], j.actions[base*width:][:r.Rows*width]...)
		for i := range c.State {
			w := c.State[i].Width
			copy(r.State[i][:r.Rows*w], j.state[i][base*w:])
		}
		r.Extras = r.Extras[:0]
		if r.WantExtras {
			r.wantExtras(c)
			for i := range c.Extras {
				w := c.Extras[i].Width
				copy(r.Extras[i][:r.Rows*w], j.extras[i][base*w:])
			}
		}
		r.Interventions = r.Interventions[:0]
		for len(found) > 0 && found[0].Row < base+r.Rows {
			one := found[0]
			one.Row -= base
			r.Interventions, found = append(r.Interventions, one), found[1:]
		}
		r.Infer, r.Enveloping = took, j.call.Enveloping
		if !r.Deadline.IsZero() && ended.After(r.Deadline) {
			late++
		}
		base += r.Rows
	}
	clear(j.histories)
	return late
}

// emptied returns n slices of no length, with the memory that they had.
func emptied(x [][]float32, n int) [][]float32 {
	for len(x) < n {
		x = append(x, nil)
	}
	x = x[:n]
	for i := range x {
		x[i] = x[i][:0]
	}
	return x
}
