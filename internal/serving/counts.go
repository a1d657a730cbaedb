package serving

import (
	"sync/atomic"
	"time"
)

// counts are what a service has done beside running one request after another.
type counts struct {
	batches, joined, rerun  atomic.Uint64
	divided, slices, yields atomic.Uint64
}

// Stats is what a service has done, and what waits in it now.
type Stats struct {
	// Batches are calls of several requests, Joined the requests in them, Rerun
	// those calls that failed, after which each of their requests ran alone.
	Batches, Joined, Rerun uint64
	// Divided are requests that ran in slices, Slices those slices, Yields how
	// often such a request gave its lane to one of control between two of them.
	Divided, Slices, Yields uint64

	// Waiting and Oldest are, by class, the requests that wait for a lane and how
	// long the first of them has waited.
	Waiting [priorities]int
	Oldest  [priorities]time.Duration

	// Hits and Misses are the requests that were looked up among the answers
	// kept, Bypassed those that were not, because their policy is no slower than
	// the look-up or its observations do not recur. Evicted are answers that were
	// given up for others; Kept and KeptBytes what there is.
	Hits, Misses, Bypassed, Evicted uint64
	Kept                            int
	KeptBytes                       int64
}

// Stats returns what the service has done since it was made.
func (s *Service) Stats() Stats {
	c := &s.counts
	st := Stats{
		Batches: c.batches.Load(), Joined: c.joined.Load(), Rerun: c.rerun.Load(),
		Divided: c.divided.Load(), Slices: c.slices.Load(), Yields: c.yields.Load(),
	}
	now := time.Now()
	s.queue.mu.Lock()
	for class := range s.queue.lists {
		l := &s.queue.lists[class]
		if st.Waiting[class] = l.n; l.n > 0 {
			st.Oldest[class] = max(0, now.Sub(l.head.since))
		}
	}
	s.queue.mu.Unlock()
	if s.cache != nil {
		s.cache.count(&st)
	}
	return st
}
