package policy

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Pace is how long calls of a policy have taken, by their number of rows. It is
// safe for use by many goroutines and allocates nothing.
//
// The rows are counted in classes of powers of two. Each class keeps a moving
// average of what its calls took, in which a call counts for one part in eight,
// and one that took much longer than those before (the process was held up) for
// no more than four times their average. The first call of a class may have
// found memory that had to grow, or a busy machine, and tells nothing until there
// is a second one: the average begins as the faster of the two. Refusing all that
// follows because of a single slow call would take a hundred times as long to
// find out (Try) as making one more.
type Pace struct {
	classes [paceClasses]paceClass
}

// paceClasses are enough for a million rows; more are of the last one.
const paceClasses = 21

type paceClass struct {
	mean atomic.Int64 // nanoseconds, 0 before the first call, after it what that took, negated
	dev  atomic.Int64 // mean distance of a call from the mean, in nanoseconds
	high atomic.Int64 // what one call in two hundred or so is above, in nanoseconds
	last atomic.Int64 // when a call last began, in nanoseconds since 1970
}

const (
	paceWeight = 8   // calls that the average is of
	paceSpike  = 4   // times the average that a call may count for
	paceTrial  = 100 // times the average between two trials: at most 1 % of a lane is lost to them
)

// Pace returns that of the policy.
func (p *Policy) Pace() *Pace { return &p.pace }

func (p *Pace) class(rows int) int {
	return min(bits.Len(uint(max(rows, 1)-1)), paceClasses-1)
}

// Expect returns how long a call of so many rows is expected to take: the
// average of its class or, where it has none yet, of the largest below; 0 where
// nothing is known.
func (p *Pace) Expect(rows int) time.Duration {
	for i := p.class(rows); i >= 0; i-- {
		if mean := p.classes[i].mean.Load(); mean > 0 {
			return time.Duration(mean)
		}
	}
	return 0
}

// Bound returns Expect, and as much more as nearly all calls stay below: six
// times their mean distance from it, but no more than three times the average.
// Who begins what just fits on the average is late every other time, and where a
// queue is full of requests with deadlines, each of them just fits.
func (p *Pace) Bound(rows int) time.Duration {
	for i := p.class(rows); i >= 0; i-- {
		if mean := p.classes[i].mean.Load(); mean > 0 {
			return time.Duration(mean + min(3*mean, 6*p.classes[i].dev.Load()))
		}
	}
	return 0
}

// Hiccup returns how much longer than Bound says one call in two hundred or so
// takes: mostly the process was held up by others on the machine. Nothing can be
// done in time that begins within it of the last moment, which is no reason to
// refuse it, but one not to let it wait until then.
func (p *Pace) Hiccup(rows int) time.Duration {
	for i := p.class(rows); i >= 0; i-- {
		c := &p.classes[i]
		if mean := c.mean.Load(); mean > 0 {
			return time.Duration(max(0, c.high.Load()-mean-min(3*mean, 6*c.dev.Load())))
		}
	}
	return 0
}

// Within returns how many rows a call may have to take no longer than a time, as
// far as is known: a power of two of which it is known, or the first one of which
// it is not, so that a caller who asks again and again finds out. It is 1 at
// least.
func (p *Pace) Within(limit time.Duration) int {
	rows := 1
	for i := range p.classes {
		mean := p.classes[i].mean.Load()
		if mean > int64(limit) {
			break
		}
		if rows = 1 << i; mean <= 0 {
			break
		}
	}
	return rows
}

// Estimate returns Expect, but where the class has no average it is that of the
// largest below, for as many times its rows: rows that run together take no
// longer than one after another. 0 where nothing is known.
func (p *Pace) Estimate(rows int) time.Duration {
	for i := p.class(rows); i >= 0; i-- {
		if mean := p.classes[i].mean.Load(); mean > 0 {
			if i < p.class(rows) {
				mean = mean * int64(rows) >> i
			}
			return time.Duration(mean)
		}
	}
	return 0
}

// Note takes what a call of so many rows took that began at a time. A trial
// (Try) that was faster than what is expected stands for itself: what was learnt
// is of another time.
func (p *Pace) Note(rows int, began time.Time, took time.Duration, trial bool) {
	c := &p.classes[p.class(rows)]
	c.last.Store(began.UnixNano())
	mean, x := c.mean.Load(), max(1, int64(took))
	switch {
	case mean == 0:
		mean = -x
	case mean < 0:
		mean = min(-mean, x)
	case trial && x < mean:
		mean = x
		c.dev.Store(0)
	default:
		// Up by a half for each call above it, down by a part in 512 for each other:
		// the two are in balance where one in two hundred is above.
		if high := c.high.Load(); x > high {
			c.high.Store(min(x, high+max(high, mean)/2))
		} else {
			c.high.Store(high - high>>9)
		}
		off := min(x, paceSpike*mean) - mean
		dev := c.dev.Load()
		c.dev.Store(dev + (max(off, -off)-dev)/paceWeight)
		mean += off / paceWeight
	}
	c.mean.Store(mean)
}

// Due reports whether Try may say yes.
func (p *Pace) Due(rows int, now time.Time) bool {
	since := now.UnixNano() - p.classes[p.class(rows)].last.Load()
	return since < 0 || since >= paceTrial*int64(p.Expect(rows))
}

// Try reports whether a call that is expected to be late should be made all the
// same, to learn whether it still would be: where nobody made one of its class
// for a hundred times the time that it takes. Only one caller is told so.
func (p *Pace) Try(rows int, now time.Time) bool {
	c := &p.classes[p.class(rows)]
	last := c.last.Load()
	return p.Due(rows, now) && c.last.CompareAndSwap(last, now.UnixNano())
}
