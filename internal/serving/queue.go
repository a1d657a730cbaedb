package serving

import (
	"context"
	"sync"
	"time"
)

// queue hands lanes to requests in the order in which they came. A request
// that finds a lane free takes it without waiting; the others stand in a list
// that is threaded through their own waiters, so that queueing allocates
// nothing.
type queue struct {
	lanes    int
	maxQueue int

	mu         sync.Mutex // guards what follows and every waiter in the list
	free       []int
	head, tail *waiter
	queued     int
}

// waiter is the place of one request in the queue.
type waiter struct {
	ready      chan struct{} // receives once when lane has been set
	timer      *time.Timer
	lane       int
	in         bool // in the list
	prev, next *waiter
}

func newQueue(lanes, maxQueue int) *queue {
	q := &queue{lanes: lanes, maxQueue: maxQueue, free: make([]int, lanes)}
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

// acquire returns a lane, which the caller must release. It waits until a time,
// the zero time for ever, which it keeps itself: a protocol that makes its
// contexts cheaply need not give them a Done channel.
func (q *queue) acquire(ctx context.Context, w *waiter, now, until time.Time) (int, error) {
	bounded := !until.IsZero()
	q.mu.Lock()
	if n := len(q.free); n > 0 {
		lane := q.free[n-1]
		q.free = q.free[:n-1]
		q.mu.Unlock()
		return lane, nil
	}
	if q.queued >= q.maxQueue {
		q.mu.Unlock()
		return 0, ErrQueueFull
	}
	if w.ready == nil {
		w.ready = make(chan struct{}, 1)
	}
	q.push(w)
	q.mu.Unlock()

	var expired <-chan time.Time
	if bounded {
		if w.timer == nil {
			w.timer = time.NewTimer(until.Sub(now))
		} else {
			w.timer.Reset(until.Sub(now))
		}
		expired = w.timer.C
		defer w.timer.Stop()
	}
	select {
	case <-w.ready:
		return w.lane, nil
	case <-expired:
		return q.abandon(w, ErrDeadline)
	case <-ctx.Done():
		return q.abandon(w, ctx.Err())
	}
}

// abandon takes a request that has waited too long out of the queue. A lane
// that was handed to it meanwhile goes on to the next.
func (q *queue) abandon(w *waiter, reason error) (int, error) {
	q.mu.Lock()
	if w.in {
		q.remove(w)
		q.mu.Unlock()
		return 0, reason
	}
	q.mu.Unlock()
	<-w.ready
	q.release(w.lane)
	return 0, reason
}

// release gives a lane to the request that has waited longest, or makes it
// free.
func (q *queue) release(lane int) {
	q.mu.Lock()
	w := q.head
	if w == nil {
		q.free = append(q.free, lane)
		q.mu.Unlock()
		return
	}
	q.remove(w)
	w.lane = lane
	q.mu.Unlock()
	w.ready <- struct{}{} // has room: one lane is handed over per wait
}

func (q *queue) push(w *waiter) {
	w.in, w.prev, w.next = true, q.tail, nil
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
	q.queued++
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.in, w.prev, w.next = false, nil, nil
	q.queued--
}
