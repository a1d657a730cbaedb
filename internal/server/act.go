package server

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// act is one request for actions on its way through the server, whatever
// carried it: POST /predict, an act of a session, a frame of a stream. All of
// them say the same members and are answered by the same, so each is these
// steps, with what its carrier adds between them:
//
//	a.arrive(now)                            // a new act; nothing of the one before is left
//	a.target, err = backend.Resolve(...)
//	err = a.turnedAway(id)                   // where nobody would be answered now; a stream, whose errors name what they are of, reads first
//	err = a.decodeJSON(body, formSession)    // or another decoder that fills a.req and a.options, and ends with a.settle
//	session.Attach(&a.req)                   // state, history, seed and step; /predict has resume for it
//	err = a.run(ctx, id)                     // in time, or a 504
//	out, err = a.appendAnswer(out, extra)    // extra: members of the carrier, each behind a comma
//	a.observe(err, id)                       // metrics and log, also of an act that failed in run or later
//	a.release()                              // buffers that grew large, and what is of another owner
//
// It is reused, and a plain request allocates nothing.
type act struct {
	s       *Server
	target  Target
	req     serving.Request
	options actOptions
	decoder decoder
	pack    *packDecoder // nil until an act comes in MessagePack

	arrived time.Time // when the request was read
	begun   time.Time // when it was handed to the backend
	age     time.Duration
	due     time.Time // by the client's word; zero without a deadline
	anew    bool      // the state was of a version before, and has begun again
	// postprocess is how long it took to hold the actions to their envelope
	// and to encode the answer.
	postprocess time.Duration
	context     requestContext
	origin      serving.Origin // of the request, where acts are recorded

	text []byte // scratch for what is made of JSON

	shard    uint32           // of the counts
	observer *versionObserver // of the act before
	dice     uint32           // that tell whose turn it is to be shown (sample)
}

// arrive begins an act that was read at a time.
func (a *act) arrive(at time.Time) {
	a.arrived, a.begun, a.due, a.age, a.postprocess, a.anew = at, time.Time{}, time.Time{}, 0, 0, false
	a.req.Plain()
	a.options.reset()
	if a.s.o.Recording {
		a.origin.Reset(nil, at)
		a.req.Origin = &a.origin
	}
}

// turnedAway tells why no request would be answered now, if so: where the
// server is asked for more than it can do, what it reads of bodies that it then
// refuses is time that it takes from the others. A body that is broken is
// therefore not told so.
func (a *act) turnedAway(id []byte) error {
	if a.s.crowded == nil {
		return nil
	}
	err := a.s.crowded.Crowded(a.arrived, a.s.limits.RequestTimeout)
	if err != nil {
		a.req.Rows = 0 // of the request before
		a.observe(err, id)
	}
	return err
}

// decodeJSON reads the members of a body by the contract of the target.
func (a *act) decodeJSON(body []byte, form *actForm) error {
	maxRows := a.s.limits.MaxRows
	if form.single {
		maxRows = 1
	}
	if err := a.decoder.decode(body, form, a.target.Contract, maxRows, &a.req, &a.options); err != nil {
		return err
	}
	return a.judge()
}

// settle ends the reading of an act by another decoder than that of JSON,
// which has filled req and options, and told what it found wrong.
func (a *act) settle(form *actForm, r *refusal) error {
	if r.count == 0 {
		a.options.settle(r, form, a.target.Contract, &a.req)
	}
	if r.count > 0 {
		a.req.Rows = 0
		return r.refused()
	}
	return a.judge()
}

// judge holds the times of the act to the clock.
func (a *act) judge() error {
	if o := &a.options; o.DeadlineMS > 0 || o.ObservedAt > 0 {
		var r refusal
		if a.age, a.due = o.due(&r, a.arrived, &a.s.limits); r.count > 0 {
			return r.refused()
		}
		a.req.Deadline = a.due
	}
	a.req.WantExtras = a.options.Return != 0
	return nil
}

// resume gives a request that is of no session what it goes on from: the token
// that it came with, or the beginning of an episode and a seed.
func (a *act) resume() error {
	req, o, c := &a.req, &a.options, a.target.Contract
	seed, step, row := req.Seed, req.Step, req.Row
	if o.State == nil {
		// A policy without state whose envelope counts from the action before is
		// asked with a null to begin, and without to be of no stream.
		carried := len(c.State) > 0 || c.NeedsHistory() && o.Given.has(memberState)
		// A token carries the seed to steps that may draw where this one does
		// not.
		if !o.Given.has(memberSeed) && (!req.Deterministic || carried) {
			req.Seed = drawSeed()
		}
		if carried {
			req.Begin(c)
			return a.s.o.Sessions.CheckToken(a.sessionVersion(), req.Rows)
		}
		return nil
	}
	var err error
	if a.anew, err = a.s.o.Sessions.Resume(o.State, a.sessionVersion(), req); err != nil {
		return err
	}
	// What was sent stands.
	if o.Given.has(memberSeed) {
		req.Seed = seed
	}
	if o.Given.has(memberStep) {
		req.Step = step
	}
	if o.Given.has(memberRow) {
		req.Row = row
	}
	for row := range req.Rows {
		if o.starts(row) {
			req.BeginEpisode(c, row)
		}
	}
	return nil
}

// sessionVersion is the target as the sessions know it.
func (a *act) sessionVersion() serving.SessionVersion { return versionOf(&a.target) }

// drawSeed returns a seed that every JSON reader holds exactly.
func drawSeed() uint64 { return rand.Uint64() >> 11 }

// run has the backend act, unless it would be late. An answer that was made
// too late is none. parent has the values of the request, its span among them,
// and may be nil; id names the request where it is recorded.
func (a *act) run(parent context.Context, id []byte) error {
	if o := a.req.Origin; o != nil {
		o.RequestID, o.Model, o.Version, o.Digest = id, a.target.Model, a.target.Version, a.target.Digest
	}
	// One look at the clock of this machine, where time.Now takes two.
	a.begun = a.arrived.Add(time.Since(a.arrived))
	if a.req.Rows > 1 && !a.options.Given.has(memberPriority) {
		a.req.Priority = serving.PriorityBatch
	}
	end := a.begun.Add(a.s.limits.RequestTimeout)
	late := !a.due.IsZero()
	if late && a.due.Before(end) {
		end = a.due
	}
	a.context = requestContext{parent: parent, end: end}
	if err := a.s.backend.Act(&a.context, &a.target, &a.req); err != nil {
		return err
	}
	if late && time.Now().After(a.due) {
		return serving.ErrDeadline
	}
	return nil
}

// drawn reports whether chance had a part in the actions.
func (a *act) drawn() bool { return a.target.Contract.Stochastic && !a.req.Deterministic }

// preprocess is how long it took to read the act and to check it.
func (a *act) preprocess() time.Duration { return a.begun.Sub(a.arrived) }

// infer is how long the policy's graph ran.
func (a *act) infer() time.Duration { return a.req.Infer - a.req.Enveloping }

// rest is what was spent since the backend was asked and neither waiting nor
// in the graph: on the envelope, and on the answer. That takes one look at the
// clock, which is not cheap beside a small policy.
func (a *act) rest() time.Duration { return max(0, time.Since(a.begun)-a.req.Queue-a.infer()) }

// release lets go of the bytes of the request, of buffers that grew large and
// of what is of another owner: state and history of a session.
func (a *act) release() {
	a.target = Target{}
	a.decoder.release()
	a.pack.release()
	if cap(a.text) > maxKeptBytes {
		a.text = nil
	}
	a.options.release()
	a.req.Trim(maxKeptBytes / 4)
}
