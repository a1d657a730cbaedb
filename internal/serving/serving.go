// Package serving turns a request into an answer, whatever protocol carried
// it. It holds the one queue of the process: a request waits there for a lane,
// runs its policy on that lane, and leaves with its actions.
//
// What enters is a Request whose inputs a protocol has decoded and checked
// against the policy's contract; what leaves are actions, or one of the errors
// below. The package knows policies and versions and no protocol.
package serving

import (
	"context"
	"errors"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Errors that Act returns besides those of the policy.
var (
	// ErrQueueFull says that as many requests wait as may wait, or as can be
	// answered before the context's deadline.
	ErrQueueFull = errors.New("the request queue is full")
	// ErrDeadline says that the request could not be answered in time: no lane
	// came free, or its policy takes longer than what was left. It was not
	// started. It comes as a *DeadlineError where the request had a deadline
	// of its own.
	ErrDeadline = errors.New("no inference lane came free before the deadline")
)

// Options are the limits of a Service.
type Options struct {
	// Lanes is the number of requests that run at the same time.
	Lanes int
	// MaxQueue is the number of requests that may wait for a lane.
	MaxQueue int
	// MaxBatch is the number of rows that requests which run together may have:
	// those that wait for a lane and could be rows of the same call. 1 or less
	// joins none.
	MaxBatch int
	// MaxDelay is how long a request that may be joined waits for others, unless
	// MaxBatch is reached. 0 is not at all: a request that finds a lane free
	// runs at once, and those run together that had to wait anyway.
	MaxDelay time.Duration
	// CacheEntries and CacheBytes bound the answers that are kept of policies
	// whose answers depend on the observation alone. 0 entries keeps none.
	CacheEntries int
	CacheBytes   int64
	// Recorder is told of each request that was answered; nil records nothing.
	Recorder Recorder
	// Refused is told of each request that was not started because of its
	// deadline, and why: "passed" where it had passed before, "queue" where no
	// lane came free in time, "slow" where its policy takes longer than what
	// was left; and of each that ran and was not over in time: "late". Nil tells
	// nobody.
	Refused func(reason string)
	// Waited is told of each request that waited for its lane and got it, or ran
	// together with one that did. Nil tells nobody.
	Waited func(class Priority, waited time.Duration)
	// Shed is told of each request that was refused because the queue was full,
	// or gave up its place in it to one of control. Nil tells nobody.
	Shed func(class Priority)
}

// Service runs requests on a fixed number of lanes. It is safe for use by many
// goroutines.
type Service struct {
	queue    *queue
	cache    *cache  // nil where no answers are kept
	joints   []joint // by lane, of the one who holds it
	recorder Recorder
	refuse   func(reason string)
	shed     func(class Priority)
	counts   counts
}

// New returns a service with o's limits. Lanes below 1 is one lane.
func New(o Options) *Service {
	s := &Service{
		queue:    newQueue(max(1, o.Lanes), max(0, o.MaxQueue)),
		recorder: o.Recorder,
		refuse:   o.Refused,
		shed:     o.Shed,
		cache:    newCache(o.CacheEntries, o.CacheBytes),
	}
	s.joints = make([]joint, s.queue.lanes)
	if s.queue.maxRows = max(1, o.MaxBatch); s.queue.maxRows > 1 {
		s.queue.window = max(0, o.MaxDelay)
	}
	s.queue.told = o.Waited
	if s.refuse == nil {
		s.refuse = func(string) {}
	}
	if s.shed == nil {
		s.shed = func(Priority) {}
	}
	return s
}

// Lanes returns the number of lanes, for which policies must be prepared
// (policy.Prepare) before they are served.
func (s *Service) Lanes() int { return s.queue.lanes }

// Waiting returns the number of requests that wait for a lane.
func (s *Service) Waiting() int { return s.queue.waiting() }

// Active returns the number of requests that are on a lane.
func (s *Service) Active() int { return s.queue.active() }

// Crowded returns ErrQueueFull where Act would refuse any request that came
// now, of either class, and could wait for some time: whoever is about to read a
// large one need not. It counts that as Act does, as one of control, which a
// request is until it says otherwise. That it returns nil promises nothing.
func (s *Service) Crowded(now time.Time, wait time.Duration) error {
	if s.cache != nil || !s.queue.crowded(now, wait) { // An answer that is kept needs no lane.
		return nil
	}
	s.shed(PriorityControl)
	return ErrQueueFull
}

// Act runs the request on the first lane that is free and fills in its
// actions and times. A request that finds no lane before the context's deadline
// is not started, and neither is one that is expected to end after its own. The
// errors are ErrQueueFull, ErrDeadline, the context's and those of
// policy.Runner.Act and of the recorder.
//
// A request that finds a lane free runs on the caller's goroutine and meets no
// other. One that has to wait may be run together with others, by one of them;
// one of many rows may be run in slices, on every lane that nobody else needs.
func (s *Service) Act(ctx context.Context, p *policy.Policy, req *Request) error {
	start := time.Now()
	req.Queue, req.Infer, req.Enveloping = 0, 0, 0
	if s.recorder != nil {
		if err := s.recorder.Ready(); err != nil {
			return err
		}
	}
	until, err := s.admit(ctx, p, req, start)
	if err != nil {
		return err
	}
	if s.cache != nil {
		if s.cache.answer(p, req, start) {
			return s.record(p, req)
		}
		start = req.kept.asked
	}
	lane, err := s.queue.acquire(ctx, p, req, start, until)
	running := start
	if err != nil || req.wait.waited && lane != laneNone {
		running = time.Now()
		req.Queue = running.Sub(start)
	}
	if err != nil {
		return s.turnedAway(err, p, req, running)
	}
	if lane != laneNone {
		err = s.act(ctx, lane, p, req, running)
	} else if err = req.wait.err; req.wait.panicked != nil {
		panic(req.wait.panicked)
	}
	if err != nil {
		return err
	}
	if s.cache != nil {
		s.cache.keep(p, req)
	}
	return s.record(p, req)
}

// turnedAway counts a request that came to no lane.
func (s *Service) turnedAway(err error, p *policy.Policy, req *Request, now time.Time) error {
	switch {
	case errors.Is(err, ErrDeadline):
		return s.refused(refusedQueue, p, req, now)
	case errors.Is(err, ErrQueueFull):
		s.shed(min(req.Priority, PriorityBatch))
	}
	return err
}

// act runs a request that has a lane, in the way that suits it, and gives the
// lane back.
func (s *Service) act(ctx context.Context, lane int, p *policy.Policy, req *Request, running time.Time) error {
	trial := false
	if !req.Deadline.IsZero() {
		var err error
		if trial, err = s.start(p, req, running); err != nil {
			s.queue.release(lane)
			return err
		}
	}
	if w := &req.wait; w.waited && w.joins {
		j := &s.joints[lane]
		if j.members = s.queue.join(w, running, j.members[:0]); len(j.members) > 0 {
			return s.runJoined(lane, p, req, j, running)
		}
	}
	if req.Rows > 1 && !s.whole(p.Pace(), req) && req.fits(p.Contract()) {
		return s.runDivided(ctx, lane, p, req, running)
	}
	err := s.run(lane, p, req)
	req.Infer = time.Since(running)
	if !req.Deadline.IsZero() && running.Add(req.Infer).After(req.Deadline) {
		s.refuse(computedLate)
	}
	if err == nil && !req.call.First { // What it took to compile is of no other call.
		p.Pace().Note(req.Rows, running, req.Infer, trial)
	}
	return err
}

// run holds the lane for as long as the policy runs, also when it panics.
func (s *Service) run(lane int, p *policy.Policy, req *Request) error {
	defer s.queue.release(lane)
	return s.compute(lane, p, req)
}

// compute runs the policy for the whole request.
func (s *Service) compute(lane int, p *policy.Policy, req *Request) error {
	req.prepare(p.Contract())
	err := p.Runner(lane).Act(&req.call)
	req.Interventions, req.Enveloping = req.call.Interventions, req.call.Enveloping
	return err
}

// prepare makes the call of a request, with room for the answer.
func (r *Request) prepare(c *policy.Contract) {
	r.Actions = sized(r.Actions, r.Rows*c.ActionWidth())
	r.Extras = r.Extras[:0]
	if r.WantExtras {
		r.wantExtras(c)
	}
	r.call = policy.Call{
		Rows: r.Rows, In: r.Inputs, Actions: r.Actions, Deterministic: r.Deterministic,
		Seed: r.Seed, Step: r.Step, Row: r.Row,
		State: r.State, Masks: r.Masks, Histories: r.Histories, Interventions: r.Interventions[:0],
	}
	if r.WantExtras {
		r.call.Extras = r.Extras
	}
}
