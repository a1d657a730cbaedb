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
	// ErrDeadline says that no lane came free in time. The request was not
	// started.
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
}

// New returns a service with o's limits. Lanes below 1 is one lane.
func New(o Options) *Service {
	return &Service{
		queue:    newQueue(max(1, o.Lanes), max(0, o.MaxQueue)),
		recorder: o.Recorder,
	}
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
// is not started. The errors are ErrQueueFull, ErrDeadline, the context's
// and those of policy.Runner.Act.
func (s *Service) Act(ctx context.Context, p *policy.Policy, req *Request) error {
	start := time.Now()
	lane, err := s.queue.acquire(ctx, &req.wait, start)
	if err != nil {
		req.Queue, req.Infer = time.Since(start), 0
		return err
	}
	running := time.Now()
	req.Queue = running.Sub(start)
	err = s.run(lane, p, req)
	req.Infer = time.Since(running)
	if err == nil && s.recorder != nil {
		s.recorder.Record(p, req)
	}
	return err
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
	req.Interventions = req.call.Interventions
	return err
}
