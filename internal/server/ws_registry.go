package server

import (
	"context"
	"sync"
	"time"
)

// streamRegistry holds the streams that are open: to bound them, and to end
// them when the server stops, since neither fasthttp nor net/http knows them
// once they are upgraded.
type streamRegistry struct {
	max int

	mu       sync.Mutex // guards what follows
	open     map[*stream]struct{}
	draining bool
	empty    chan struct{} // closed when the last one ends while draining
}

func (r *streamRegistry) init(most int) {
	r.max, r.open, r.empty = most, map[*stream]struct{}{}, make(chan struct{})
}

func (r *streamRegistry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

// enter counts a stream, or returns the fault that refuses it.
func (r *streamRegistry) enter(st *stream) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining:
		return faultDraining
	case len(r.open) >= r.max:
		return faultStreams
	}
	r.open[st] = struct{}{}
	return nil
}

// leave is called once for each stream that has entered.
func (r *streamRegistry) leave(st *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, st)
	if r.draining && len(r.open) == 0 {
		r.close()
	}
}

func (r *streamRegistry) close() {
	select {
	case <-r.empty:
	default:
		close(r.empty)
	}
}

// begin runs start, which nothing that interrupts or cuts streams runs beside,
// and reports whether the server is stopping.
func (r *streamRegistry) begin(start func()) (stopping bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start()
	return r.draining
}

// drain tells every stream to end behind the answer that is under way, and
// lets none begin.
func (r *streamRegistry) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	for st := range r.open {
		st.interrupt()
	}
	if len(r.open) == 0 {
		r.close()
	}
}

// wait waits for the streams to end; those that have not when the context ends
// are cut off.
func (r *streamRegistry) wait(ctx context.Context) error {
	select {
	case <-r.empty:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	left := len(r.open)
	for st := range r.open {
		st.cut()
	}
	r.mu.Unlock()
	if left == 0 {
		return nil
	}
	// What is cut off ends at once; nothing that runs is left behind.
	select {
	case <-r.empty:
	case <-time.After(time.Second):
	}
	return ctx.Err()
}
