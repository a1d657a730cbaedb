package experience

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Mode is when an answer leaves.
type Mode string

// The modes of a recorder.
const (
	Buffered Mode = "buffered" // at once; the step is written soon after
	Durable  Mode = "durable"  // when its step is durable
)

// OnFailure is what becomes of requests while their steps cannot be written.
type OnFailure string

// What a recorder does when its store fails.
const (
	Serve OnFailure = "serve" // they are answered, and what is lost is counted
	Stop  OnFailure = "stop"  // they are refused
)

// RecorderOptions configure a Recorder. A zero field stands for its default.
type RecorderOptions struct {
	Run       string
	Mode      Mode      // default Buffered
	OnFailure OnFailure // default Serve
	// Buffer is the memory of steps that are not written yet, in bytes; default
	// 16 MiB.
	Buffer int
	// Flush is how long a step waits for others that are written with it;
	// default 100 ms. In mode Durable none waits.
	Flush time.Duration
	// CommitTimeout is how long an answer waits in mode Durable; default 1 s.
	CommitTimeout time.Duration
	// Sample is the part of the sessions that is recorded, and of the requests
	// of none; default 1, all.
	Sample float64
	// MaxAge and MaxBytes are what is kept; 0 is all.
	MaxAge   time.Duration
	MaxBytes int64
	// Last is how many steps are kept in memory for Last; default 64.
	Last int

	// Wrote is told of each write: how many steps it had and how long it took.
	// Nil tells nobody.
	Wrote func(steps int, took time.Duration)
	// Logger is told of failures; nil discards.
	Logger *slog.Logger

	pruneEvery time.Duration // in place of defaultPruneEvery, for tests
}

// DefaultRecorderOptions returns what a zero field stands for.
func DefaultRecorderOptions() RecorderOptions {
	return RecorderOptions{
		Mode: Buffered, OnFailure: Serve, Buffer: 16 << 20, Flush: 100 * time.Millisecond, CommitTimeout: time.Second, Sample: 1, Last: 64,
	}
}

func (o RecorderOptions) withDefaults() RecorderOptions {
	d := DefaultRecorderOptions()
	orDefault(&o.Mode, d.Mode)
	orDefault(&o.OnFailure, d.OnFailure)
	orDefault(&o.Buffer, d.Buffer)
	orDefault(&o.Flush, d.Flush)
	orDefault(&o.CommitTimeout, d.CommitTimeout)
	orDefault(&o.Sample, d.Sample)
	orDefault(&o.Last, d.Last)
	orDefault(&o.pruneEvery, defaultPruneEvery)
	if o.Run == "" {
		o.Run = NewRun()
	}
	if o.Wrote == nil {
		o.Wrote = func(int, time.Duration) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// State is how a recorder fares.
type State int32

// The states of a recorder.
const (
	StateOK       State = iota // what comes is written
	StateRetrying              // the last write failed, and is tried again
	StateFailed                // the store failed for good
)

// String returns the word of metrics.
func (s State) String() string { return [...]string{"ok", "retrying", "failed"}[s] }

// States lists them.
var States = []State{StateOK, StateRetrying, StateFailed}

// Recorder writes the steps of requests to a store. It implements
// serving.Recorder, and allocates nothing for a request.
//
// Requests put records into a ring; one goroutine takes them, numbers them and
// writes them. Steps are numbered in the order in which they are written, lost
// ones too, so that a run's steps and gaps follow each other without a hole.
type Recorder struct {
	o        RecorderOptions
	store    Store
	ring     *ring
	versions versionTable
	counts   *counters
	began    time.Time
	sample   uint64 // sessions whose hash is below are recorded
	state    atomic.Int32
	trouble  atomic.Pointer[error] // why the state is not StateOK

	wake     chan struct{}
	outcomes chan *telling
	stop     chan struct{}
	done     chan struct{}
	closing  atomic.Bool

	waiters waiters
	last    lastSteps
	stats   recorderStats
	w       writer
}

// NewRecorder begins to write to a store, which is the recorder's from now on.
// Options.Run must be that with which the store was opened.
func NewRecorder(store Store, o RecorderOptions) *Recorder {
	r := &Recorder{
		o: o.withDefaults(), store: store, began: time.Now(),
		wake: make(chan struct{}, 1), outcomes: make(chan *telling, 256), stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.ring = newRing(r.o.Buffer)
	r.sample = sampleBound(r.o.Sample)
	r.last.init(r.o.Last)
	r.waiters.init()
	r.counts = new(counters)
	if s, ok := store.(interface{ counters() *counters }); ok && s.counters() != nil {
		r.counts = s.counters()
	}
	if s, ok := store.(interface{ restWith(func()) }); ok {
		s.restWith(func() { time.Sleep(rest) })
	}
	if s, ok := store.(interface{ lostBefore() []Gap }); ok {
		for _, g := range s.lostBefore() {
			r.stats.lostBefore.Add(g.Count())
			r.o.Logger.Warn("steps of an earlier run were lost as it ended", "event_type", "experience", "run", g.Run, "steps", g.Count(), "reason", g.Reason)
		}
	}
	r.w = writer{r: r, decoder: decoder{run: r.o.Run}}
	go r.w.run()
	return r
}

// Run is the name of the recorder's run.
func (r *Recorder) Run() string { return r.o.Run }

// State tells how the recorder fares, and why where it is not StateOK.
func (r *Recorder) State() (State, error) {
	s := State(r.state.Load())
	if why := r.trouble.Load(); why != nil && s != StateOK {
		return s, *why
	}
	return s, nil
}

// Ready implements serving.Recorder.
func (r *Recorder) Ready() error {
	if r.state.Load() == int32(StateOK) || r.o.OnFailure == Serve {
		return nil
	}
	return serving.ErrNotRecorded
}

// Record implements serving.Recorder.
func (r *Recorder) Record(p *policy.Policy, req *serving.Request) error {
	o := req.Origin
	if o == nil || r.sample != sampleAll && sampleHash(o, req) >= r.sample {
		return nil
	}
	if r.state.Load() == int32(StateFailed) {
		return r.lose(lostFailed, req.Rows)
	}
	v := r.versions.of(p, o)
	n := v.size(req)
	if n > r.ring.most() {
		return r.lose(lostTooLong, req.Rows)
	}
	record, pos, ok := r.ring.reserve(n)
	if !ok {
		r.nudge()
		return r.lose(lostFull, req.Rows)
	}
	r.counts.taken.Add(uint64(req.Rows))
	v.encode(record, req, o.Arrived.Sub(r.began))
	r.ring.commit(pos, n)
	if r.o.Mode == Durable {
		r.nudge()
		return r.await(pos + uint64(n))
	}
	if r.ring.used() > len(r.ring.mem)/2 {
		r.nudge()
	}
	return nil
}

// lose counts steps that are not recorded, or refuses to answer them.
func (r *Recorder) lose(kind, rows int) error {
	if r.o.OnFailure == Stop {
		r.stats.refused.Add(1)
		return serving.ErrNotRecorded
	}
	r.counts.lost[kind].Add(uint64(rows))
	return nil
}

// nudge has the writer look at once.
func (r *Recorder) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// await waits until what is before a position of the ring is durable. A step
// whose answer waited for too long may be written later.
func (r *Recorder) await(pos uint64) error {
	err := r.waiters.wait(pos, r.o.CommitTimeout)
	if err == nil {
		return nil
	}
	r.stats.unconfirmed.Add(1)
	if r.o.OnFailure == Stop {
		return fmt.Errorf("%w: %w", serving.ErrNotRecorded, err)
	}
	return nil
}

// Errors of waiting.
var (
	errCommitTimeout = errors.New("the step was not durable in time")
	errClosed        = errors.New("the recorder was closed")
)

// Outcome notes what came of a step, and returns when that is durable.
func (r *Recorder) Outcome(ctx context.Context, o Outcome) error {
	if r.state.Load() == int32(StateFailed) {
		_, err := r.State()
		return err
	}
	if o.Run == "" {
		o.Run = r.o.Run
	}
	if o.ID == "" {
		o.ID = NewRun()
	}
	t := &telling{outcome: o, done: make(chan error, 1)}
	select {
	case r.outcomes <- t:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return errClosed
	}
	r.nudge()
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return errClosed
	}
}

// telling is an outcome on its way.
type telling struct {
	outcome Outcome
	done    chan error // of room for one
}

// Close writes what there is, until the context ends, and closes the store. No
// request may be recorded any more. What could not be written is told, and
// found again as a gap when the store is next opened.
func (r *Recorder) Close(ctx context.Context) error {
	if r.closing.Swap(true) {
		return nil
	}
	close(r.stop)
	var err error
	select {
	case <-r.done:
		err = r.w.unwritten()
	case <-ctx.Done():
		r.w.giveUp.Store(true)
		<-r.done // A write that is under way ends with the system's call.
		err = errors.Join(ctx.Err(), r.w.unwritten())
	}
	r.waiters.fail(errClosed)
	return errors.Join(err, r.store.Close())
}
