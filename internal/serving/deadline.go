package serving

import (
	"context"
	"fmt"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Why a request with a deadline is not started, as Options.Refused is told.
const (
	refusedPassed = "passed" // the deadline had passed when it came
	refusedQueue  = "queue"  // it waited for as long as it could
	refusedSlow   = "slow"   // its policy takes longer than what was left
	computedLate  = "late"   // it was started, and took longer than expected
)

// DeadlineError says why a request that had a deadline of its own was not
// started.
type DeadlineError struct {
	Reason string        // "passed", "queue" or "slow"
	Left   time.Duration // until the deadline when it was refused; negative after it
	Expect time.Duration // that the policy takes for such a request; 0 where it is not known
	Queue  time.Duration // that the request had waited
}

func (e *DeadlineError) Error() string {
	switch e.Reason {
	case refusedPassed:
		return fmt.Sprintf("the deadline had passed %v ago when the request was read", round(-e.Left))
	case refusedQueue:
		return fmt.Sprintf("no lane came free in time: the request waited %v, %v are left, and the policy takes about %v", round(e.Queue), round(e.Left), round(e.Expect))
	}
	return fmt.Sprintf("the policy takes about %v for such a request, and %v are left", round(e.Expect), round(e.Left))
}

// Unwrap returns ErrDeadline.
func (e *DeadlineError) Unwrap() error { return ErrDeadline }

func round(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

// admit returns until when the request may wait for a lane, or why it is
// refused at once.
func (s *Service) admit(ctx context.Context, p *policy.Policy, req *Request, now time.Time) (until time.Time, err error) {
	until, bounded := ctx.Deadline()
	if bounded && !now.Before(until) {
		return until, s.refused(refusedPassed, p, req, now)
	}
	if req.Deadline.IsZero() {
		return until, nil
	}
	pace := p.Pace()
	takes := expect(pace, req.Rows)
	latest := req.Deadline.Add(-takes)
	switch {
	case !now.Before(req.Deadline):
		return until, s.refused(refusedPassed, p, req, now)
	case !now.After(latest):
		// Whoever waits to the last moment is late where the process is held up
		// for a moment, so it leaves earlier: by what that takes, but by no more
		// than half of the time that it could wait.
		latest = latest.Add(-min(pace.Hiccup(req.Rows), latest.Sub(now)/2))
	case pace.Due(req.Rows, now): // A trial takes what time there is.
		latest = req.Deadline
	default:
		return until, s.refused(refusedSlow, p, req, now)
	}
	if !bounded || latest.Before(until) {
		until = latest
	}
	return until, nil
}

// start decides, on a lane, whether a request with a deadline of its own runs,
// and whether it does so on trial.
func (s *Service) start(p *policy.Policy, req *Request, now time.Time) (trial bool, err error) {
	left := req.Deadline.Sub(now)
	switch {
	case left <= 0:
		return false, s.refused(refusedQueue, p, req, now)
	case expect(p.Pace(), req.Rows) <= left:
		return false, nil
	case p.Pace().Try(req.Rows, now):
		return true, nil
	}
	return false, s.refused(refusedSlow, p, req, now)
}

// refused counts a request that is not started, and explains it where that is
// about the request's own deadline.
func (s *Service) refused(reason string, p *policy.Policy, req *Request, now time.Time) error {
	s.refuse(reason)
	if req.Deadline.IsZero() {
		return ErrDeadline
	}
	return &DeadlineError{Reason: reason, Left: req.Deadline.Sub(now), Expect: expect(p.Pace(), req.Rows), Queue: req.Queue}
}
