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
	// ErrQueueFull says that as many requests wait as may wait.
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
	// Recorder is told of each step that was answered; nil records nothing.
	Recorder Recorder
	// Refused is told of each request that was not started because of its
	// deadline, and why: "passed" where it had passed before, "queue" where no
	// lane came free in time, "slow" where its policy takes longer than what
	// was left. Nil tells nobody.
	Refused func(reason string)
}

// Recorder keeps what a policy saw and did. Record must not block and must
// not keep the request, which is reused.
type Recorder interface {
	Record(p *policy.Policy, req *Request)
}

// Service runs requests on a fixed number of lanes. It is safe for use by many
// goroutines.
type Service struct {
	queue    *queue
	recorder Recorder
	refuse   func(reason string)
}

// New returns a service with o's limits. Lanes below 1 is one lane.
func New(o Options) *Service {
	s := &Service{
		queue:    newQueue(max(1, o.Lanes), max(0, o.MaxQueue)),
		recorder: o.Recorder,
		refuse:   o.Refused,
	}
	if s.refuse == nil {
		s.refuse = func(string) {}
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

// Act runs the request on the first lane that is free and fills in its
// actions and times. A request that finds no lane before the context's deadline
// is not started, and neither is one that is expected to end after its own. The
// errors are ErrQueueFull, ErrDeadline, the context's and those of
// policy.Runner.Act.
func (s *Service) Act(ctx context.Context, p *policy.Policy, req *Request) error {
	start := time.Now()
	req.Queue, req.Infer, req.Enveloping = 0, 0, 0
	until, err := s.admit(ctx, p, req, start)
	if err != nil {
		return err
	}
	lane, err := s.queue.acquire(ctx, &req.wait, start, until)
	running := time.Now()
	req.Queue = running.Sub(start)
	if errors.Is(err, ErrDeadline) {
		err = s.refused(refusedQueue, p, req, running)
	}
	if err != nil {
		return err
	}
	trial := false
	if !req.Deadline.IsZero() {
		if trial, err = s.start(p, req, running); err != nil {
			s.queue.release(lane)
			return err
		}
	}
	err = s.run(lane, p, req)
	req.Infer = time.Since(running)
	if err != nil {
		return err
	}
	if !req.call.First { // What it took to compile is of no other call.
		p.Pace().Note(req.Rows, running, req.Infer, trial)
	}
	if s.recorder != nil {
		s.recorder.Record(p, req)
	}
	return nil
}

// run holds the lane for as long as the policy runs, also when it panics.
func (s *Service) run(lane int, p *policy.Policy, req *Request) error {
	defer s.queue.release(lane)
	req.Actions = sized(req.Actions, req.Rows*p.Contract().ActionWidth())
	req.Extras = req.Extras[:0]
	if req.WantExtras {
		req.wantExtras(p.Contract())
	}
	req.call = policy.Call{
		Rows: req.Rows, In: req.Inputs, Actions: req.Actions, Deterministic: req.Deterministic,
		Seed: req.Seed, Step: req.Step, Row: req.Row,
		State: req.State, Masks: req.Masks, Histories: req.Histories, Interventions: req.Interventions[:0],
	}
	if req.WantExtras {
		req.call.Extras = req.Extras
	}
	err := p.Runner(lane).Act(&req.call)
	req.Interventions, req.Enveloping = req.call.Interventions, req.call.Enveloping
	return err
}
