package experience

import "sync/atomic"

// recorderStats are the counts that only the recorder keeps.
type recorderStats struct {
	written, gaps, outcomes, pruned atomic.Uint64
	settled                         atomic.Uint64 // steps written, and losses whose gap is
	discarded                       atomic.Uint64 // steps that were in the buffer when the store failed
	failures, unconfirmed, refused  atomic.Uint64
	lostBefore                      atomic.Uint64
}

// RecorderStats is how a recorder fares. All but the last four are counted
// from its beginning.
type RecorderStats struct {
	Recorded    uint64            // steps that were put into the buffer
	Written     uint64            // steps that are durable
	Lost        map[string]uint64 // steps by reason; those of LostCrash are of earlier runs
	Gaps        uint64            // gap records
	Outcomes    uint64
	Pruned      uint64
	Failures    uint64 // writes that failed
	Unconfirmed uint64 // answers that left, or were refused, before their step was durable
	Refused     uint64 // requests that were refused because they could not be recorded

	Queued      uint64 // steps that are not written yet
	BufferUsed  int    // bytes
	BufferBytes int
	State       State
}

// Stats tells how the recorder fares.
func (r *Recorder) Stats() RecorderStats {
	st, c := &r.stats, r.counts
	written, discarded := st.written.Load(), st.discarded.Load()
	taken := c.taken.Load()
	out := RecorderStats{
		Recorded: taken, Written: written, Gaps: st.gaps.Load(), Outcomes: st.outcomes.Load(), Pruned: st.pruned.Load(),
		Failures: st.failures.Load(), Unconfirmed: st.unconfirmed.Load(), Refused: st.refused.Load(),
		Queued: taken - min(taken, written+discarded), BufferUsed: r.ring.used(), BufferBytes: len(r.ring.mem), State: State(r.state.Load()),
		Lost: map[string]uint64{LostCrash: st.lostBefore.Load()},
	}
	for kind, name := range lostNames {
		out.Lost[name] = c.lost[kind].Load()
	}
	out.Lost[LostFailed] += discarded
	return out
}
