package experience

import (
	"sync"
	"sync/atomic"
	"time"
)

// waiters are requests whose answers leave when their steps are durable. Those
// that wait at the same time are let go together.
type waiters struct {
	durable atomic.Uint64 // position of the ring
	now     atomic.Pointer[generation]
	failed  atomic.Pointer[error]
	timers  sync.Pool
}

// generation ends with the next commit.
type generation struct{ ended chan struct{} }

func (w *waiters) init() { w.now.Store(&generation{make(chan struct{})}) }

// wait returns when a position is durable, or why that cannot be said.
func (w *waiters) wait(pos uint64, limit time.Duration) error {
	var timer *time.Timer
	for {
		g := w.now.Load()
		switch why := w.failed.Load(); {
		case w.durable.Load() >= pos:
			w.putTimer(timer)
			return nil
		case why != nil:
			w.putTimer(timer)
			return *why
		}
		if timer == nil {
			timer = w.timer(limit)
		}
		select {
		case <-g.ended:
		case <-timer.C:
			return errCommitTimeout
		}
	}
}

func (w *waiters) timer(limit time.Duration) *time.Timer {
	if t, ok := w.timers.Get().(*time.Timer); ok {
		t.Reset(limit)
		return t
	}
	return time.NewTimer(limit)
}

func (w *waiters) putTimer(t *time.Timer) {
	if t != nil {
		t.Stop()
		w.timers.Put(t)
	}
}

// settle lets those go who wait for less than a position.
func (w *waiters) settle(pos uint64) {
	w.durable.Store(pos)
	w.next()
}

// fail lets all go who wait, now and later.
func (w *waiters) fail(err error) {
	w.failed.CompareAndSwap(nil, &err)
	w.next()
}

func (w *waiters) next() { close(w.now.Swap(&generation{make(chan struct{})}).ended) }
