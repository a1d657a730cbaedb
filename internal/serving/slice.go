package serving

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// A request of many rows runs in slices. Between two of them its lane goes to
// requests of control that wait, and as long as nobody else waits every lane
// that is free takes slices too. The answer is that of one call: rows do not
// know of each other, draws are keyed by the number of the row, and a request
// that fails leaves state and histories as they were.

const (
	// sliceTime is how long a slice is to take, which is the longest that a
	// request of control waits for it.
	sliceTime = time.Millisecond
	// shareTime is from when on it pays to have other lanes take a part: waking
	// a goroutine on another core takes some ten microseconds.
	shareTime = 200 * time.Microsecond
	// sliceUnknown is the number of rows of a slice where nothing is known of
	// the policy.
	sliceUnknown = 32
	// sliceAlign is what the number of rows is a multiple of where it is larger,
	// so that kernels which take rows in groups have full ones.
	sliceAlign = 8
	// breathEvery and breath let the network in: while every processor is busy
	// with slices, the runtime looks for requests that have arrived only every
	// ten milliseconds, unless a goroutine sleeps.
	breathEvery = 2 * time.Millisecond
	breath      = 20 * time.Microsecond
)

// slice returns the number of rows that a request is to be run in at a time, rows
// itself where it is to be run whole.
func (s *Service) slice(p *policy.Policy, rows int) int {
	took, n := p.Pace().Estimate(rows), 1
	switch {
	case took == 0:
		n = (rows + sliceUnknown - 1) / sliceUnknown
	case took >= shareTime:
		n = max(int((took+sliceTime-1)/sliceTime), min(1+s.queue.spares(), s.queue.lanes))
	}
	each := (rows + n - 1) / n
	if each > sliceAlign {
		each = (each + sliceAlign - 1) / sliceAlign * sliceAlign
	}
	return min(each, rows)
}

// division is one request that is run in slices.
type division struct {
	s    *Service
	p    *policy.Policy
	req  *Request
	each int // rows of a slice, of the last one maybe fewer
	n    int // slices

	next    atomic.Int64 // slice that nobody has begun
	stopped atomic.Bool  // no other slice is to begin
	helpers sync.WaitGroup

	mu       sync.Mutex    // guards what follows
	busy     time.Duration // all slices together
	first    bool          // one of them compiled
	failed   int           // slice of err
	err      error
	panicked *PanicError
	found    []envelope.Intervention // their rows are those of the request
	held     time.Duration           // of the envelope
}

// part is the memory of one who runs slices.
type part struct {
	call              policy.Call
	in, state, extras [][]float32
	found             []envelope.Intervention
}

var parts = sync.Pool{New: func() any { return &part{} }}

// runDivided runs a request that has a lane in slices of so many rows, and gives
// the lane back.
func (s *Service) runDivided(ctx context.Context, lane int, p *policy.Policy, req *Request, each int, running time.Time) error {
	s.counts.divided.Add(1)
	req.prepare(p.Contract())
	d := &division{s: s, p: p, req: req, each: each, n: (req.Rows + each - 1) / each, found: req.Interventions[:0]}
	undo := req.snapshot()
	waited := d.own(ctx, lane)
	d.helpers.Wait()
	req.Infer = time.Since(running) - waited
	req.Queue += waited
	req.call.First = d.first
	if d.panicked != nil {
		undo()
		panic(d.panicked)
	}
	if d.err != nil {
		undo()
		return d.err
	}
	if !d.first {
		p.Pace().Note(req.Rows, running, d.busy, false)
	}
	slices.SortStableFunc(d.found, func(a, b envelope.Intervention) int { return a.Row - b.Row })
	req.Interventions, req.Enveloping = d.found, d.held
	return nil
}

// own runs slices on the lane of the request, and returns how long it stood in
// the queue between them.
func (d *division) own(ctx context.Context, lane int) (waited time.Duration) {
	q := d.s.queue
	pt := parts.Get().(*part)
	defer parts.Put(pt)
	breathed := time.Now()
	for {
		d.recruit()
		if !d.run(lane, pt) {
			break
		}
		if int(d.next.Load()) >= d.n {
			break
		}
		if q.urgent.Load() > 0 {
			d.s.counts.yields.Add(1)
			q.release(lane)
			began := time.Now()
			var err error
			lane, err = q.again(ctx, d.p, d.req, d.until(ctx))
			breathed = time.Now()
			waited += breathed.Sub(began)
			if err != nil {
				d.fail(d.n, d.s.turnedAway(err, d.p, d.req, breathed), nil)
				return waited
			}
			continue
		}
		if now := time.Now(); now.Sub(breathed) >= breathEvery {
			if late := d.req.Deadline; !late.IsZero() && now.After(late) {
				d.fail(d.n, d.s.refused(refusedSlow, d.p, d.req, now), nil)
				break
			}
			if q.spares() == 0 {
				time.Sleep(breath)
			}
			breathed = time.Now()
		}
	}
	q.release(lane)
	return waited
}

// until is when the request is of no use any more.
func (d *division) until(ctx context.Context) time.Time {
	end, _ := ctx.Deadline()
	return earliest(end, d.req.Deadline)
}

// recruit has every lane that nobody needs take slices of what is left.
func (d *division) recruit() {
	for int(d.next.Load())+1 < d.n && !d.stopped.Load() {
		lane, ok := d.s.queue.spare()
		if !ok {
			return
		}
		d.helpers.Add(1)
		go d.help(lane)
	}
}

// help runs slices on a lane until none is left or somebody waits.
func (d *division) help(lane int) {
	defer d.helpers.Done()
	defer d.s.queue.release(lane)
	pt := parts.Get().(*part)
	defer parts.Put(pt)
	for d.run(lane, pt) && d.s.queue.waiting() == 0 {
	}
}

// run runs the next slice, and tells whether there may be another.
func (d *division) run(lane int, pt *part) bool {
	if d.stopped.Load() {
		return false
	}
	i := int(d.next.Add(1)) - 1
	if i >= d.n {
		return false
	}
	base := i * d.each
	rows := min(d.each, d.req.Rows-base)
	pt.cut(d.req, d.p.Contract(), base, rows)
	began := time.Now()
	panicked, err := try(func() error { return d.p.Runner(lane).Act(&pt.call) })
	took := time.Since(began)
	pt.found = pt.call.Interventions[:0]
	d.s.counts.slices.Add(1)
	if err != nil || panicked != nil {
		d.fail(i, shifted(err, base), panicked)
		pt.forget()
		return false
	}
	if !pt.call.First {
		d.p.Pace().Note(rows, began, took, false)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy += took
	d.held += pt.call.Enveloping
	d.first = d.first || pt.call.First
	for _, one := range pt.call.Interventions {
		one.Row += base
		d.found = append(d.found, one)
	}
	pt.forget()
	return true
}

// fail stops the division because of slice i. Of several that failed, the first
// is told, as by one call of all rows.
func (d *division) fail(i int, err error, panicked *PanicError) {
	d.stopped.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	if panicked != nil && d.panicked == nil {
		d.panicked = panicked
	}
	if err != nil && (d.err == nil || i < d.failed) {
		d.err, d.failed = err, i
	}
}

// shifted is an error of a slice as one of the request.
func shifted(err error, base int) error {
	var action *policy.ActionError
	if errors.As(err, &action) {
		action.Row += base
	}
	var input *policy.InputError
	if errors.As(err, &input) {
		input.Row += base
	}
	return err
}

// cut makes the call of some rows of a request that is prepared.
func (pt *part) cut(r *Request, c *policy.Contract, base, rows int) {
	whole := &r.call
	width := c.ActionWidth()
	pt.call = *whole
	pt.call.Rows, pt.call.Row = rows, whole.Row+uint64(base)
	pt.call.Actions = whole.Actions[base*width:][:rows*width]
	pt.in = pt.in[:0]
	for i := range whole.In {
		w := c.Inputs[i].Width
		pt.in = append(pt.in, whole.In[i][base*w:(base+rows)*w])
	}
	pt.call.In = pt.in
	if whole.State != nil {
		pt.state = pt.state[:0]
		for i := range whole.State {
			w := c.State[i].Width
			pt.state = append(pt.state, whole.State[i][base*w:(base+rows)*w])
		}
		pt.call.State = pt.state
	}
	if whole.Extras != nil {
		pt.extras = pt.extras[:0]
		for i := range whole.Extras {
			w := c.Extras[i].Width
			pt.extras = append(pt.extras, whole.Extras[i][base*w:(base+rows)*w])
		}
		pt.call.Extras = pt.extras
	}
	if whole.Masks != nil {
		pt.call.Masks = whole.Masks[base*c.Masks : (base+rows)*c.Masks]
	}
	if whole.Histories != nil {
		pt.call.Histories = whole.Histories[base : base+rows]
	}
	pt.call.Interventions = pt.found[:0]
}

// forget lets go of the memory of the request.
func (pt *part) forget() {
	pt.call = policy.Call{}
	clear(pt.in)
	clear(pt.state)
	clear(pt.extras)
}

// snapshot returns what makes state and histories those of now again.
func (r *Request) snapshot() (undo func()) {
	if len(r.State) == 0 && r.Histories == nil {
		return func() {}
	}
	state := make([][]float32, len(r.State))
	for i := range state {
		state[i] = slices.Clone(r.State[i])
	}
	histories := make([]*envelope.History, len(r.Histories))
	for i, h := range r.Histories {
		if h != nil {
			histories[i] = envelope.NewHistory(h.Width())
			histories[i].Copy(h)
		}
	}
	return func() {
		for i := range state {
			copy(r.State[i], state[i])
		}
		for i, h := range histories {
			if h != nil {
				r.Histories[i].Copy(h)
			}
		}
	}
}
