package serving

import (
	"context"
	"errors"
	"runtime"
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
	// sliceTime is how long a slice is to take, or twice what a single row takes
	// where that is more: the longest that a request of control waits for it.
	sliceTime = time.Millisecond
	// controlTime is up to when a request of control is not cut, unless a lane is
	// free for a part of it.
	controlTime = 10 * sliceTime
	// shareTime is from when on it pays to have other lanes take a part: waking
	// a goroutine on another core takes some ten microseconds.
	shareTime = 200 * time.Microsecond
	// sliceAlign is what the number of rows of a shared part is a multiple of, so
	// that kernels which take rows in groups have full ones.
	sliceAlign = 8
	// breathEvery is how often who runs slices lets others have the processor,
	// and breath for how long it sleeps then.
	breathEvery = time.Millisecond
	breath      = 20 * time.Microsecond
)

// breather keeps slices from shutting out the network. While every processor is
// busy with them, the runtime looks for what has arrived only every ten
// milliseconds, or where a processor has nothing to run. So between slices
// first all that is ready runs, then the processor has nothing, and then what
// the network had runs: a goroutine that wakes is ahead of all that is ready,
// and one that yields is behind.
type breather struct{ last time.Time }

func (b *breather) breathe(q *queue, now time.Time) {
	if now.Sub(b.last) < breathEvery {
		return
	}
	if q.lanes >= runtime.GOMAXPROCS(0) && q.spares() == 0 { // Else a processor is left.
		runtime.Gosched()
		time.Sleep(breath)
		runtime.Gosched()
	}
	b.last = time.Now()
}

// sliceRows is the number of rows of a slice of a policy. It is learnt by
// doubling: a network whose weights do not fit into a cache takes hardly longer
// for eight rows than for one, another takes eight times as long.
func sliceRows(p *policy.Pace) int { return p.Within(max(sliceTime, 2*p.Expect(1))) }

// whole tells whether a request of many rows runs in one call: one of control
// gives its lane to nobody, so that slices would only cost time.
func (s *Service) whole(p *policy.Pace, req *Request) bool {
	took := p.Estimate(req.Rows)
	if sliceRows(p) < req.Rows && (req.Priority != PriorityControl || took == 0 || took > controlTime) {
		return false
	}
	return took < shareTime || s.queue.spares() == 0
}

// expect is how long a request of so many rows takes on one lane, as far as is
// known.
func expect(p *policy.Pace, rows int) time.Duration {
	if rows > 1 {
		if each := sliceRows(p); each < rows {
			return p.Bound(each) * time.Duration(rows) / time.Duration(each)
		}
	}
	return p.Bound(rows)
}

// division is one request that is run in slices.
type division struct {
	s   *Service
	p   *policy.Policy
	req *Request

	next    atomic.Int64 // row that nobody has begun
	stopped atomic.Bool  // no other slice is to begin
	helpers sync.WaitGroup

	mu       sync.Mutex // guards what follows
	first    bool       // one of the slices compiled
	failed   int        // first row of the slice of err
	err      error
	panicked *PanicError
	found    []envelope.Intervention // their rows are those of the request
	held     time.Duration           // of the envelope
}

// take returns the rows of the next slice, 0 of them where none is left.
func (d *division) take() (base, rows int) {
	for !d.stopped.Load() {
		from := d.next.Load()
		left := d.req.Rows - int(from)
		if left <= 0 {
			return 0, 0
		}
		rows = min(left, sliceRows(d.p.Pace()))
		if spare := d.s.queue.spares(); spare > 0 && rows > sliceAlign && left < 2*rows {
			rows = min(rows, (left/(1+spare)+sliceAlign-1)/sliceAlign*sliceAlign)
		}
		if d.next.CompareAndSwap(from, from+int64(rows)) {
			return int(from), rows
		}
	}
	return 0, 0
}

// left tells how many rows nobody has begun.
func (d *division) left() int { return d.req.Rows - int(d.next.Load()) }

// part is the memory of one who runs slices.
type part struct {
	call              policy.Call
	in, state, extras [][]float32
	found             []envelope.Intervention
}

var parts = sync.Pool{New: func() any { return &part{} }}

// runDivided runs a request that has a lane in slices, and gives the lane back.
func (s *Service) runDivided(ctx context.Context, lane int, p *policy.Policy, req *Request, running time.Time) error {
	s.counts.divided.Add(1)
	req.prepare(p.Contract())
	d := &division{s: s, p: p, req: req, found: req.Interventions[:0]}
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
	slices.SortStableFunc(d.found, func(a, b envelope.Intervention) int { return a.Row - b.Row })
	req.Interventions, req.Enveloping = d.found, d.held
	return nil
}

// own runs slices on the lane of the request, and returns how long it stood in
// the queue between them. One of control goes on to its end: those that wait
// behind it are no more urgent, and taking turns would have all of them late.
func (d *division) own(ctx context.Context, lane int) (waited time.Duration) {
	q := d.s.queue
	pt := parts.Get().(*part)
	defer parts.Put(pt)
	b := breather{time.Now()}
	for {
		base, rows := d.take()
		if rows == 0 {
			break
		}
		d.recruit()
		if !d.run(lane, pt, base, rows) || d.left() <= 0 {
			break
		}
		now := time.Now()
		if late := d.req.Deadline; !late.IsZero() && now.After(late) {
			d.fail(d.req.Rows, d.s.refused(refusedSlow, d.p, d.req, now), nil)
			break
		}
		b.breathe(q, now) // Who has arrived meanwhile may be urgent.
		if d.req.Priority != PriorityControl && q.urgent.Load() > 0 {
			d.s.counts.yields.Add(1)
			q.release(lane)
			began := time.Now()
			var err error
			lane, err = q.again(ctx, d.p, d.req, d.until(ctx))
			ended := time.Now()
			waited += ended.Sub(began)
			if err != nil {
				d.fail(d.req.Rows, d.s.turnedAway(err, d.p, d.req, ended), nil)
				return waited
			}
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
	for d.left() > 0 && !d.stopped.Load() {
		lane, ok := d.s.queue.spare()
		if !ok {
			return
		}
		d.helpers.Add(1)
		go d.help(lane)
		if d.p.Pace().Expect(d.left()) < shareTime { // It is enough for one.
			return
		}
	}
}

// help runs slices on a lane until none is left or somebody waits.
func (d *division) help(lane int) {
	defer d.helpers.Done()
	defer d.s.queue.release(lane)
	pt := parts.Get().(*part)
	defer parts.Put(pt)
	b := breather{time.Now()}
	for d.s.queue.waiting() == 0 {
		base, rows := d.take()
		if rows == 0 || !d.run(lane, pt, base, rows) {
			return
		}
		b.breathe(d.s.queue, time.Now())
	}
}

// run runs a slice, and tells whether there may be another.
func (d *division) run(lane int, pt *part, base, rows int) bool {
	pt.cut(d.req, d.p.Contract(), base, rows)
	began := time.Now()
	panicked, err := try(func() error { return d.p.Runner(lane).Act(&pt.call) })
	took := time.Since(began)
	pt.found = pt.call.Interventions[:0]
	d.s.counts.slices.Add(1)
	if err != nil || panicked != nil {
		d.fail(base, shifted(err, base), panicked)
		pt.forget()
		return false
	}
	if !pt.call.First {
		d.p.Pace().Note(rows, began, took, false)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held += pt.call.Enveloping
	d.first = d.first || pt.call.First
	for _, one := range pt.call.Interventions {
		one.Row += base
		d.found = append(d.found, one)
	}
	pt.forget()
	return true
}

// fail stops the division because of the slice that begins with a row. Of several that failed, the first
// is told, as by one call of all rows.
func (d *division) fail(row int, err error, panicked *PanicError) {
	d.stopped.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	if panicked != nil && d.panicked == nil {
		d.panicked = panicked
	}
	if err != nil && (d.err == nil || row < d.failed) {
		d.err, d.failed = err, row
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
