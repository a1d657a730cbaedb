package serving

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// queue hands lanes to requests: those of control before those of batch, each
// in the order in which they came. A request that finds a lane free takes it
// without waiting; the others stand in lists that are threaded through their
// own waiters, so that queueing allocates nothing. While requests stand in it,
// no lane is free, unless all of them wait for others to join them.
type queue struct {
	lanes    int
	maxQueue int
	maxRows  int           // that requests which run together may have; 1 joins none
	window   time.Duration // that a request which may be joined waits for others
	told     func(class Priority, waited time.Duration)

	urgent  atomic.Int32 // requests of control that wait: divided work looks at it between slices
	pressed atomic.Bool  // the queue was full or refused a request, and crowded has not seen it otherwise since

	mu     sync.Mutex // guards what follows and every waiter in the lists
	free   []int
	lists  [priorities]list
	queued int
}

// list is the requests of one class that wait, the oldest at its head.
type list struct {
	head, tail *waiter
	n          int
	leaving    leaving
}

// waiter is the place of one request in the queue.
type waiter struct {
	ready chan struct{} // receives once when outcome has been set
	timer *time.Timer

	in         bool // in a list
	waited     bool // it stood in the queue since acquire was called
	prev, next *waiter

	class   Priority
	policy  *policy.Policy
	req     *Request
	joins   bool      // it may run together with others
	started bool      // a part of it has run: it is not given up for others
	since   time.Time // it stands here
	until   time.Time // it may stand here; zero is for ever
	hold    time.Time // others may still join it; zero where nobody is waited for

	outcome  outcome
	lane     int
	err      error       // of the run, where the outcome is outcomeRun
	panicked *PanicError // likewise
}

// outcome is how a wait ended.
type outcome uint8

const (
	outcomeLane outcome = iota // it has a lane, which it must release
	outcomeRun                 // another request has run it together with its own
	outcomeShed                // it gave up its place to one of control
	outcomeLate                // no lane came free in time
)

// laneNone is in the place of a lane where a request was run by another.
const laneNone = -1

func newQueue(lanes, maxQueue int) *queue {
	q := &queue{lanes: lanes, maxQueue: maxQueue, maxRows: 1, free: make([]int, lanes)}
	for i := range q.free {
		q.free[i] = lanes - 1 - i // lane 0 is the first to be used
	}
	return q
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued
}

func (q *queue) active() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lanes - len(q.free)
}

// acquire returns a lane, which the caller must release, or laneNone where the
// request has been run by another. It waits until a time, the zero time for
// ever, which it keeps itself: a protocol that makes its contexts cheaply need
// not give them a Done channel.
func (q *queue) acquire(ctx context.Context, p *policy.Policy, req *Request, now, until time.Time) (int, error) {
	w := &req.wait
	w.waited = false
	q.mu.Lock()
	if n := len(q.free); n > 0 && q.window == 0 {
		lane := q.free[n-1]
		q.free = q.free[:n-1]
		q.mu.Unlock()
		return lane, nil
	}
	w.begin(p, req, now, until, q.maxRows > 1 && joinable(p, req))
	if n := len(q.free); n > 0 && (!w.joins || q.queued >= q.maxQueue) { // Nobody is refused while a lane is free.
		lane := q.free[n-1]
		q.free = q.free[:n-1]
		q.mu.Unlock()
		return lane, nil
	}
	if err := q.enter(w); err != nil {
		q.mu.Unlock()
		return 0, err
	}
	look := until
	if !w.hold.IsZero() {
		look = w.hold
	}
	q.mu.Unlock()
	return q.wait(ctx, w, now, look)
}

// again returns another lane to a request that has released its own between two
// of its slices. It takes its turn before those of its class that have not
// begun, if that is batch; one of control stands at the end, or a large request
// would hold up the others all the same.
func (q *queue) again(ctx context.Context, p *policy.Policy, req *Request, until time.Time) (int, error) {
	w, now := &req.wait, time.Now()
	q.mu.Lock()
	if n := len(q.free); n > 0 {
		lane := q.free[n-1]
		q.free = q.free[:n-1]
		q.mu.Unlock()
		return lane, nil
	}
	w.begin(p, req, now, until, false)
	w.started = true
	q.push(w, w.class == PriorityBatch)
	q.mu.Unlock()
	return q.wait(ctx, w, now, until)
}

// spare returns a free lane, if there is one.
func (q *queue) spare() (lane int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.free)
	if n == 0 || q.queued > 0 {
		return 0, false
	}
	lane, q.free = q.free[n-1], q.free[:n-1]
	return lane, true
}

func (q *queue) spares() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queued > 0 {
		return 0
	}
	return len(q.free)
}

// begin makes w the place of a request that is about to wait.
func (w *waiter) begin(p *policy.Policy, req *Request, now, until time.Time, joins bool) {
	if w.ready == nil {
		w.ready = make(chan struct{}, 1)
	}
	w.policy, w.req, w.class, w.joins, w.started = p, req, min(req.Priority, PriorityBatch), joins, false
	w.since, w.until, w.hold, w.err, w.panicked = now, until, time.Time{}, nil, nil
}

// crowded reports whether a request that comes now, and can wait for some time,
// is refused whichever class it is of. It is asked before a request is read, so
// that what is not pressed costs one look.
func (q *queue) crowded(now time.Time, wait time.Duration) bool {
	if !q.pressed.Load() {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.free) == 0 {
		if q.queued >= q.maxQueue && q.lists[PriorityBatch].n == 0 { // nobody of batch gives up a place
			return true
		}
		late := true
		for class := range q.lists {
			l := &q.lists[class]
			late = late && l.n > 0 && l.leaving.late(l.n, now, wait)
		}
		if late {
			return true
		}
	}
	q.pressed.Store(false)
	return false
}

// enter puts a request into the queue, or says why it is not worth its wait.
func (q *queue) enter(w *waiter) error {
	l := &q.lists[w.class]
	if l.n > 0 && !w.until.IsZero() && l.leaving.late(l.n, w.since, w.until.Sub(w.since)) {
		q.pressed.Store(true)
		if w.req.Deadline.IsZero() {
			return ErrQueueFull // There is room for it, and no time.
		}
		return ErrDeadline
	}
	if q.queued >= q.maxQueue && (w.class != PriorityControl || !q.displace()) {
		q.pressed.Store(true)
		return ErrQueueFull
	}
	q.push(w, false)
	if q.window > 0 && w.joins {
		if hold := w.since.Add(q.window); w.until.IsZero() || hold.Before(w.until) {
			w.hold = hold
		}
		q.ripen(w)
		q.dispatch(w.since)
	}
	return nil
}

// displace gives up the newest request of batch that has not begun.
func (q *queue) displace() bool {
	w := q.lists[PriorityBatch].tail
	for w != nil && w.started {
		w = w.prev
	}
	if w == nil {
		return false
	}
	q.remove(w)
	w.settle(outcomeShed)
	return true
}

// wait waits for the outcome of a request in the queue, which is to be looked at
// at a time; zero for never.
func (q *queue) wait(ctx context.Context, w *waiter, now, look time.Time) (int, error) {
	w.waited = true
	var expired <-chan time.Time
	if !look.IsZero() {
		if w.timer == nil {
			w.timer = time.NewTimer(look.Sub(now))
		} else {
			w.timer.Reset(look.Sub(now))
		}
		expired = w.timer.C
		defer w.timer.Stop()
	}
	for {
		select {
		case <-w.ready:
			return q.settled(w)
		case <-expired:
			q.mu.Lock()
			if !w.in {
				q.mu.Unlock()
				<-w.ready
				return q.settled(w)
			}
			now := time.Now()
			if !w.until.IsZero() && !now.Before(w.until) {
				q.remove(w)
				q.mu.Unlock()
				return 0, ErrDeadline
			}
			w.hold = time.Time{} // Nobody else is waited for.
			q.dispatch(now)
			q.mu.Unlock()
			if expired = nil; !w.until.IsZero() {
				w.timer.Reset(w.until.Sub(now))
				expired = w.timer.C
			}
		case <-ctx.Done():
			return q.abandon(w, ctx.Err())
		}
	}
}

// settled tells what came of a wait.
func (q *queue) settled(w *waiter) (int, error) {
	switch w.outcome {
	case outcomeRun:
		if q.told != nil {
			q.told(w.class, w.req.Queue)
		}
		return laneNone, nil
	case outcomeShed:
		return 0, ErrQueueFull
	case outcomeLate:
		return 0, ErrDeadline
	}
	if q.told != nil {
		q.told(w.class, time.Since(w.since))
	}
	return w.lane, nil
}

// abandon takes a request that nobody waits for any more out of the queue. A
// lane that was handed to it meanwhile goes on to the next. One that is being
// run by another is waited for, which has its memory.
func (q *queue) abandon(w *waiter, reason error) (int, error) {
	q.mu.Lock()
	if w.in {
		q.remove(w)
		q.mu.Unlock()
		return 0, reason
	}
	q.mu.Unlock()
	<-w.ready
	if w.outcome == outcomeLane {
		q.release(w.lane)
	}
	return 0, reason
}

// release gives a lane to the request whose turn it is, or makes it free.
func (q *queue) release(lane int) {
	q.mu.Lock()
	q.free = append(q.free, lane)
	if q.queued > 0 {
		q.dispatch(time.Now())
	}
	q.mu.Unlock()
}

// dispatch hands the free lanes to requests that wait for nothing else.
func (q *queue) dispatch(now time.Time) {
	for class := range q.lists {
		l := &q.lists[class]
		for w := l.head; w != nil && len(q.free) > 0; {
			next := w.next
			switch {
			case !w.until.IsZero() && !now.Before(w.until):
				q.remove(w)
				w.settle(outcomeLate)
			case w.hold.IsZero() || !now.Before(w.hold):
				q.remove(w)
				n := len(q.free) - 1
				w.lane, q.free = q.free[n], q.free[:n]
				if !w.joins { // Else it tells how many left with it.
					l.leaving.note(now, 1)
				}
				w.settle(outcomeLane)
			}
			w = next
		}
	}
}

// settle ends a wait. The waiter is in no list any more.
func (w *waiter) settle(o outcome) {
	w.outcome = o
	w.ready <- struct{}{} // has room: a wait is settled once
}

func (q *queue) push(w *waiter, first bool) {
	l := &q.lists[w.class]
	w.in, w.prev, w.next = true, l.tail, nil
	switch {
	case l.head == nil:
		l.head, l.tail = w, w
		l.leaving.begin(w.since)
	case first:
		w.prev, w.next = nil, l.head
		l.head.prev, l.head = w, w
	default:
		l.tail.next, l.tail = w, w
	}
	l.n++
	if q.queued++; q.queued >= q.maxQueue {
		q.pressed.Store(true)
	}
	if w.class == PriorityControl {
		q.urgent.Add(1)
	}
}

func (q *queue) remove(w *waiter) {
	l := &q.lists[w.class]
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.in, w.prev, w.next = false, nil, nil
	l.n--
	q.queued--
	if w.class == PriorityControl {
		q.urgent.Add(-1)
	}
}
