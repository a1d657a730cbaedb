package experience

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

const (
	// mostSteps and mostBytes bound what is written at a time, so that the
	// ring is given back in parts.
	mostSteps = 8192
	mostBytes = 4 << 20
	// calmSteps is mostSteps of a thread that gives way: what it has begun it
	// ends, with a tenth of the time of others where these take all of it.
	calmSteps = 2048
	// retryEvery is how long a write that failed waits for the next attempt.
	retryEvery = time.Second
	// rest is how long the writer lets others run between the steps of a long
	// write. What it takes is mostly the time to fall asleep and to wake: long
	// enough for a request to be read and answered, which would otherwise wait
	// for some thousand steps where there is one processor for all.
	rest = 10 * time.Microsecond
	// defaultPruneEvery is how often old steps are looked for, and pruneSteps
	// how many are deleted between two writes.
	defaultPruneEvery = 30 * time.Second
	pruneSteps        = 4000
)

// writer is the one goroutine that writes.
type writer struct {
	r       *Recorder
	decoder decoder
	batch   Batch
	told    []*telling // of the batch
	pending bool       // the batch was not written
	next    uint64     // sequence before the next step
	seen    [lostKinds]uint64
	tried   time.Time
	pruned  time.Time
	more    bool // Prune left some
	calm    bool // write is on a thread that gives way
	giveUp  atomic.Bool
}

// run writes until the recorder is closed. Where nobody waits for what is
// written, it gives way to those that answer, as long as there is room.
func (w *writer) run() {
	if w.r.o.Mode == Durable {
		w.loop()
		return
	}
	w.calm = true
	machine.Background(w.loop)
}

// urgent tells that half of the buffer is full, or that someone waits.
func (w *writer) urgent() bool {
	return w.r.ring.used() > len(w.r.ring.mem)/2 || len(w.r.outcomes) > 0
}

// drain writes all that there is.
func (w *writer) drain() {
	for more := true; more; {
		if !w.calm || !w.urgent() {
			more = w.write()
			continue
		}
		// On another thread, which is as those of requests.
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.calm = false
			for more = w.write(); more && w.urgent(); {
				more = w.write()
			}
			w.calm = true
		}()
		<-done
	}
}

// loop writes until the recorder is closed.
func (w *writer) loop() {
	r := w.r
	defer close(r.done)
	flush := time.NewTicker(r.o.Flush)
	defer flush.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		stopping := false
		select {
		case <-r.wake:
		case <-flush.C:
		case <-retry.C:
		case <-r.stop:
			stopping = true
		}
		if w.pending && !stopping && time.Since(w.tried) < retryEvery {
			retry.Reset(retryEvery)
			continue
		}
		w.drain()
		if w.pending {
			retry.Reset(retryEvery)
		}
		if stopping {
			w.finish()
			return
		}
		w.prune()
	}
}

// finish writes until all is written, or cannot be.
func (w *writer) finish() {
	for {
		w.drain()
		if !w.pending || w.giveUp.Load() || w.r.state.Load() == int32(StateFailed) {
			return
		}
		time.Sleep(min(retryEvery/10, w.r.o.Flush))
	}
}

// unwritten is the error of a recorder that has ended with steps that are not
// written.
func (w *writer) unwritten() error {
	if n := w.r.counts.total() - w.r.stats.settled.Load(); n > 0 {
		_, why := w.r.State()
		return fmt.Errorf("%d steps were not written: %w", n, errors.Join(why))
	}
	return nil
}

// write writes one batch, and reports whether there may be more.
func (w *writer) write() bool {
	r := w.r
	if r.state.Load() == int32(StateFailed) {
		w.discard()
		return false
	}
	if !w.pending {
		w.collect()
		if w.batch.Empty() {
			return false
		}
	}
	began := time.Now()
	w.tried = began
	reached("before writing")
	err := r.store.Append(context.Background(), &w.batch)
	if err != nil {
		w.pending = true
		w.fail(err)
		return false
	}
	w.pending = false
	reached("before settling")
	r.o.Wrote(len(w.batch.Steps), time.Since(began))
	w.settle()
	if t, ok := r.store.(interface{ Tend() error }); ok {
		if err := t.Tend(); err != nil {
			w.fail(err)
			return false
		}
	}
	w.recovered()
	return true
}

// collect makes the next batch of what is in the ring, of what was lost and of
// what was told.
func (w *writer) collect() {
	r := w.r
	b := &w.batch
	*b = Batch{Layouts: b.Layouts[:0], Gaps: b.Gaps[:0], Outcomes: b.Outcomes[:0]}
	w.told = w.told[:0]
	w.decoder.reset()
	bytes, most := 0, mostSteps
	if w.calm {
		most = calmSteps
	}
	for len(w.decoder.steps) < most && bytes < mostBytes {
		record := r.ring.take()
		if record == nil {
			break
		}
		bytes += len(record)
		v := r.versions.at((*recordHead)(unsafe.Pointer(unsafe.SliceData(record))).version)
		if !v.written {
			b.Layouts = append(b.Layouts, v.layout)
			v.written = true
		}
		w.decoder.add(record, v, w.next+1+uint64(len(w.decoder.steps)))
	}
	b.Steps = w.decoder.steps
	w.next += uint64(len(b.Steps))
	now := time.Now()
	for kind := range w.seen {
		if n := r.counts.lost[kind].Load(); n > w.seen[kind] {
			lost := n - w.seen[kind]
			b.Gaps = append(b.Gaps, Gap{Run: r.o.Run, First: w.next + 1, Last: w.next + lost, Reason: lostNames[kind], Time: now})
			w.next += lost
			w.seen[kind] = n
		}
	}
	for {
		select {
		case t := <-r.outcomes:
			b.Outcomes = append(b.Outcomes, t.outcome)
			w.told = append(w.told, t)
			continue
		default:
		}
		break
	}
}

// settle gives back what was written, and lets those go who waited for it.
func (w *writer) settle() {
	r, b := w.r, &w.batch
	r.last.add(b.Steps)
	r.waiters.settle(r.ring.next)
	r.ring.free()
	for _, t := range w.told {
		t.done <- nil
	}
	st := &r.stats
	st.written.Add(uint64(len(b.Steps)))
	st.gaps.Add(uint64(len(b.Gaps)))
	st.outcomes.Add(uint64(len(b.Outcomes)))
	settled := uint64(len(b.Steps))
	for i := range b.Gaps {
		settled += b.Gaps[i].Count()
	}
	st.settled.Add(settled)
	for i := range b.Layouts {
		b.Layouts[i] = Layout{}
	}
}

// fail notes that a write failed: for good, or until it is tried again.
func (w *writer) fail(err error) {
	r := w.r
	r.stats.failures.Add(1)
	was := State(r.state.Load())
	state := StateRetrying
	if errors.Is(err, ErrFailed) {
		state = StateFailed
	}
	r.trouble.Store(&err)
	r.state.Store(int32(state))
	if state == StateFailed {
		r.counts.failed.Store(1)
		r.waiters.fail(err)
		for _, t := range w.told {
			t.done <- err
		}
		w.told = w.told[:0]
		w.discard()
	}
	if was != state {
		consequence := "requests are answered, and steps beyond the buffer are lost and counted"
		switch {
		case r.o.OnFailure == Stop:
			consequence = "requests are refused until it can be written"
		case state == StateFailed:
			consequence = "requests are answered, and their steps are lost and counted"
		}
		r.o.Logger.Error("the experience log cannot be written", "event_type", "experience", "state", state.String(), "error", err, "consequence", consequence)
	}
}

// recovered notes that a write succeeded.
func (w *writer) recovered() {
	r := w.r
	if r.state.CompareAndSwap(int32(StateRetrying), int32(StateOK)) {
		r.trouble.Store(nil)
		r.o.Logger.Info("the experience log is written again", "event_type", "experience")
	}
}

// discard throws away what a store that failed will never take.
func (w *writer) discard() {
	r := w.r
	if w.pending {
		r.stats.discarded.Add(uint64(len(w.batch.Steps)))
		w.pending = false
	}
	for record := r.ring.take(); record != nil; record = r.ring.take() {
		r.stats.discarded.Add(uint64((*recordHead)(unsafe.Pointer(unsafe.SliceData(record))).rows))
	}
	r.ring.free()
	_, why := r.State()
	for {
		select {
		case t := <-r.outcomes:
			t.done <- why
			continue
		default:
		}
		return
	}
}

// prune deletes what is older or more than is kept.
func (w *writer) prune() {
	r := w.r
	if r.o.MaxAge <= 0 && r.o.MaxBytes <= 0 || r.state.Load() != int32(StateOK) || !w.more && time.Since(w.pruned) < r.o.pruneEvery {
		return
	}
	p := Prune{Bytes: r.o.MaxBytes, Limit: pruneSteps}
	if r.o.MaxAge > 0 {
		p.Before = time.Now().Add(-r.o.MaxAge)
	}
	out, err := r.store.Prune(context.Background(), p)
	w.pruned, w.more = time.Now(), out.More
	r.stats.pruned.Add(out.Steps)
	if err != nil {
		w.fail(err)
	}
}
