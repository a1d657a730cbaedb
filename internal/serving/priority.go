package serving

import "time"

// Priority is the class of a request in the queue.
type Priority uint8

// Classes. A request of control that waits goes before every one of batch, and
// takes the place of the newest of those where the queue is full.
const (
	PriorityControl Priority = iota // a robot waits for it
	PriorityBatch                   // many rows, or work that can wait

	priorities = 2
)

// Priorities are the classes by name, the first to be served first.
var Priorities = [priorities]string{"control", "batch"}

func (p Priority) String() string { return Priorities[min(p, PriorityBatch)] }

// leaving is how fast requests leave a list in which others stand, from which
// follows how long one at its end will wait. It begins anew with each time that
// the list is not empty, and keeps what it learnt in those before.
type leaving struct {
	stood time.Time     // since when the list was never empty
	last  time.Time     // that one left, or that the first one came
	mean  time.Duration // between two that leave
}

// Weights of the mean. It falls faster than it rises: whoever comes while it is
// too high is refused and has no second chance, and whoever comes while it is
// too low is refused by its own clock a little later.
const (
	leavingRise  = 8
	leavingFall  = 2
	leavingSpike = 4 // times the mean that one may count for
)

// standingSlack is for how many times the wait that is expected a request must
// have time where the list was not empty for longer than the request may wait:
// that is no burst, which would be over by then, but more than can be done. A list
// that is filled up to what can just be done has every request run at the last
// moment: whoever is held up for a moment then has all that follow run in vain, and
// each of them waited for as long as it could. Half as long a list keeps the lanes
// as busy.
const standingSlack = 2

func (l *leaving) begin(now time.Time) { l.stood, l.last = now, now }

// late tells whether one that comes at a time, behind n others, and may wait for
// some time is expected to wait for longer.
func (l *leaving) late(n int, now time.Time, left time.Duration) bool {
	wait := l.expect(n)
	if now.Sub(l.stood) > left {
		wait *= standingSlack
	}
	return wait > left
}

// note takes that n requests left together.
func (l *leaving) note(now time.Time, n int) {
	x := max(0, now.Sub(l.last)) / time.Duration(n)
	l.last = now
	switch {
	case l.mean == 0:
		l.mean = x
	case x < l.mean:
		l.mean -= (l.mean - x) / leavingFall
	default:
		l.mean += (min(x, leavingSpike*l.mean) - l.mean) / leavingRise
	}
}

// expect is how long one behind n others waits until it is the first, 0 where
// it is not known. That one is never refused: what it finds out keeps the mean
// from being wrong for ever.
func (l *leaving) expect(n int) time.Duration { return l.mean * time.Duration(n) }
