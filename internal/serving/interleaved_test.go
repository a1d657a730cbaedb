package serving_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// interleaved is the number of streams that are open at the same time.
const interleaved = 10_000

// TestInterleavedStreams has 10,000 streams act in turn on a few lanes: of a
// recurrent agent that draws its actions and is held to rates, of an LSTM, of a
// script that keeps state in buffers and of a policy without any. They begin
// episodes, fail, are reset, are loaded again, are closed and opened anew, and
// come back too late; some are carried by their clients, several rows in a
// token, from one replica to another. Each equals its own run alone, bit for
// bit, which is computed without any of the code that keeps streams apart.
func TestInterleavedStreams(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const lanes, clients = 4, 8
	w := newWorld(t, lanes)
	defer w.shutdown()
	streams := make([]*stream, interleaved)
	for i := range streams {
		streams[i] = newStream(i, w)
	}
	turns := make(chan *stream, interleaved)
	var left atomic.Int64
	left.Store(interleaved)
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(interleaved) {
		turns <- streams[i]
	}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			req := &serving.Request{} // as a server uses it, for whatever comes
			for s := range turns {
				done, err := s.turn(t, w, req)
				if err != nil {
					t.Errorf("stream %d, %s: operation %d, %+v: %v", s.number, s.kind.name, s.at, s.ops[s.at], err)
				}
				if !done && err == nil {
					turns <- s
				} else if left.Add(-1) == 0 {
					close(turns)
				}
			}
		})
	}
	stop := make(chan struct{})
	var rogues sync.WaitGroup
	rogues.Go(func() { disturb(w, streams, stop) })
	wg.Wait()
	close(stop)
	rogues.Wait()
	if t.Failed() {
		return
	}

	// Who went away without a word is forgotten when its time is over.
	if w.stores[0].Len() == 0 {
		t.Error("no stream went away without a word")
	}
	w.now.Add(int64(2 * time.Hour))
	must(w.stores[0].Open(w.kinds[0].versions[0], serving.Begin{}))(t)
	if n := w.stores[0].Len(); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
	compare(t, w, streams, clients)
	counted := fmt.Sprintf("%d acts, %d refused, %d began an episode, %d reset, %d closed, %d too late, %d busy, %d carried; ended %v",
		w.acts.Load(), w.failed.Load(), w.begun.Load(), w.resets.Load(), w.closed.Load(), w.late.Load(), w.busy.Load(), w.carried.Load(), w.ended)
	t.Log(counted)
	for _, n := range []*atomic.Int64{&w.failed, &w.begun, &w.resets, &w.closed, &w.late, &w.carried} {
		if n.Load() < 1000 {
			t.Error("the streams did not do everything:", counted)
			break
		}
	}
}

// world is what the streams act in.
type world struct {
	kinds   []*kind
	service *serving.Service
	stores  [2]*serving.Sessions // two replicas with one key
	now     atomic.Int64

	mu    sync.Mutex
	ended map[string]int

	acts, failed, begun, resets, closed, late, busy, carried atomic.Int64
}

// kind is one policy, loaded twice as a reload of the same files would, and a
// third time for the runs alone, a lane for each goroutine.
type kind struct {
	name     string
	versions [2]serving.SessionVersion
	alone    *policy.Policy
}

func newWorld(t *testing.T, lanes int) *world {
	w := &world{service: serving.New(serving.Options{Lanes: lanes, MaxQueue: 1024, MaxBatch: 16}), ended: map[string]int{}}
	for i, k := range []struct{ name, path, card string }{
		{"RecurrentPPO", fileRecurrentPPO, enveloped},
		{"LSTM", fileLSTM, ""},
		{"script", scripts + "stateful/model_script.pt", "input_shape: [3]\npostprocess: none\naction: [{name: out, shape: [3]}]\n"},
		{"PPO", filePPO, enveloped},
		{"stacked frames", "../../testdata/frames/plain", ""},
	} {
		made := &kind{name: k.name, alone: open(t, k.path, k.card, 8, policy.Options{})}
		for j := range made.versions {
			p := open(t, k.path, k.card, lanes, policy.Options{})
			made.versions[j] = serving.SessionVersion{Model: k.name, Version: "v1", Digest: fmt.Sprint(i), Contract: p.Contract(), Handle: p}
		}
		w.kinds = append(w.kinds, made)
	}
	w.now.Store(time.Unix(1e9, 0).UnixNano())
	for i := range w.stores {
		w.stores[i] = serving.NewSessions(serving.SessionOptions{
			Key: secret, Max: interleaved, TTL: time.Hour,
			Now: func() time.Time { return time.Unix(0, w.now.Load()) },
			Ended: func(reason string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.ended[reason]++
			},
		})
	}
	return w
}

func (w *world) shutdown() {
	for _, s := range w.stores {
		s.Shutdown()
	}
}

// operation is one thing that a client does.
type operation struct {
	kind  opKind
	seed  uint64
	n     int    // observation
	begin uint64 // rows that begin an episode, a bit each
	again bool   // the version was loaded again before
}

type opKind int

const (
	opAct   opKind = iota
	opFail         // an act that is refused
	opReset        // by the client
	opOpen         // after a close, or for the first time
	opLate         // the client comes back too late and opens anew
)

// stream is one client.
type stream struct {
	number int
	kind   *kind
	id     string
	rows   int // of a token; 0 for a session
	ops    []operation

	at    int
	token []byte
	seed  uint64 // of a client that carries its state
	got   []float32
}

func newStream(number int, w *world) *stream {
	r := rand.New(rand.NewPCG(uint64(number), 2))
	s := &stream{number: number, kind: w.kinds[r.IntN(len(w.kinds))], id: fmt.Sprint("stream ", number)}
	if len(s.kind.alone.Contract().State) > 0 && r.IntN(4) == 0 {
		s.rows = 1 + r.IntN(3)
	}
	s.ops = append(s.ops, operation{kind: opOpen, seed: r.Uint64N(4)})
	for range 2 + r.IntN(10) {
		o := operation{n: r.IntN(1000), seed: r.Uint64N(4), again: r.IntN(8) == 0}
		if r.IntN(5) == 0 {
			o.begin = 1 + r.Uint64N(7)
		}
		switch x := r.IntN(20); {
		case x < 2:
			o.kind = opFail
		case x == 2:
			o.kind = opReset
		case x == 3:
			o.kind = opOpen
		case x == 4:
			o.kind = opLate
		}
		s.ops = append(s.ops, o)
	}
	return s
}

// turn does the next operation, and tells whether it was the last. A session
// that somebody else holds has its turn later.
func (s *stream) turn(t *testing.T, w *world, req *serving.Request) (done bool, err error) {
	o := s.ops[s.at]
	w.now.Add(int64(time.Millisecond))
	if s.rows > 0 {
		err = s.carry(t, w, req, o)
	} else {
		err = s.act(t, w, req, o)
	}
	if errors.Is(err, serving.ErrSessionBusy) {
		w.busy.Add(1)
		return false, nil
	}
	s.at++
	return s.at == len(s.ops), err
}

// act does an operation of a session. The last one of every other session is
// to close it; the others go away without a word.
func (s *stream) act(t *testing.T, w *world, req *serving.Request, o operation) error {
	ss := w.stores[0]
	last := s.at+1 == len(s.ops) && s.number%2 == 0
	switch o.kind {
	case opOpen:
		if s.at > 0 {
			w.closed.Add(1)
			if !ss.Close(s.id) {
				return errors.New("it was not open")
			}
		}
		if err := s.open(w, o); err != nil || !last {
			return err
		}
	case opLate:
		// The session is one that ends with the next tick of the clock, which
		// may be another stream's.
		ss.Close(s.id)
		must(ss.Open(s.kind.versions[0], serving.Begin{ID: s.id, TTL: time.Millisecond}))(t)
		for {
			w.now.Add(int64(time.Millisecond))
			sess, err := ss.Acquire(s.id)
			if errors.Is(err, serving.ErrNoSession) {
				break
			}
			if err != nil {
				return err
			}
			sess.Release() // Somebody else had kept it alive.
		}
		w.late.Add(1)
		if err := s.open(w, o); err != nil || !last {
			return err
		}
	default:
		sess, err := ss.Acquire(s.id)
		if err != nil {
			return err
		}
		if o.again {
			sess.Move(s.kind.versions[1])
		}
		if err := s.step(t, w, req, sess, o); err != nil {
			sess.Release()
			return err
		}
		if last && o.n%2 == 0 { // A client may hang up while it is answered.
			ss.Close(s.id)
			sess.Release()
			return nil
		}
		sess.Release()
	}
	if last && !ss.Close(s.id) {
		return errors.New("it was not open at its end")
	}
	return nil
}

func (s *stream) open(w *world, o operation) error {
	_, err := w.stores[0].Open(s.kind.versions[o.n%2], serving.Begin{ID: s.id, Seed: o.seed})
	return err
}

// step does an operation of a session that is held.
func (s *stream) step(t *testing.T, w *world, req *serving.Request, sess *serving.Session, o operation) error {
	if o.kind == opReset {
		w.resets.Add(1)
		return sess.Reset(sess.Version(), o.seed)
	}
	req.Plain()
	observe(req, s.kind.alone.Contract(), 1, o.n)
	if o.begin&1 != 0 {
		sess.Begin()
		w.begun.Add(1)
	}
	sess.Attach(req)
	if err := s.run(t, w, req, o, sess.Version().Handle); err != nil || o.kind == opFail {
		return err
	}
	sess.Advance()
	return nil
}

// carry does an operation of a client that carries its state, which is answered
// by another replica each time.
func (s *stream) carry(t *testing.T, w *world, req *serving.Request, o operation) error {
	c := s.kind.alone.Contract()
	v := s.kind.versions[0]
	if o.again {
		v = s.kind.versions[1]
	}
	if o.kind == opReset || o.kind == opOpen || o.kind == opLate {
		s.token, s.seed = nil, o.seed
		return nil
	}
	req.Plain()
	observe(req, c, s.rows, o.n)
	ss := w.stores[s.at%2]
	if s.token == nil {
		req.Seed, req.Row = s.seed, uint64(s.number)
		req.Begin(c)
	} else if err := ss.Unseal(s.token, v, req); err != nil {
		return err
	}
	for row := range s.rows {
		if o.begin>>row&1 != 0 && s.token != nil {
			req.BeginEpisode(c, row)
		}
	}
	if err := s.run(t, w, req, o, v.Handle); err != nil || o.kind == opFail {
		return err
	}
	s.token = ss.Seal(v, req)
	w.carried.Add(1)
	return nil
}

// run has the service act, and keeps the actions; an act that is to fail comes
// after its deadline.
func (s *stream) run(t *testing.T, w *world, req *serving.Request, o operation, handle any) error {
	if o.kind == opFail {
		req.Deadline = time.Now().Add(-time.Second)
	}
	err := w.service.Act(t.Context(), handle.(*policy.Policy), req)
	if o.kind == opFail {
		if !errors.Is(err, serving.ErrDeadline) {
			return fmt.Errorf("after its deadline: %w", err)
		}
		w.failed.Add(1)
		return nil
	}
	if err == nil {
		w.acts.Add(1)
		s.got = append(s.got, req.Actions...)
	}
	return err
}

// disturb takes hold of sessions, begins things and lets go again: acts that
// came to nothing.
func disturb(w *world, streams []*stream, stop chan struct{}) {
	r := rand.New(rand.NewPCG(3, 3))
	for {
		select {
		case <-stop:
			return
		default:
		}
		s := streams[r.IntN(len(streams))]
		sess, err := w.stores[0].Acquire(s.id)
		if err != nil {
			continue
		}
		req := &serving.Request{}
		sess.Begin()
		sess.Attach(req)
		for i := range req.State {
			for j := range req.State[i] {
				req.State[i][j] = 1e9
			}
		}
		sess.Release()
	}
}

// compare runs each stream alone.
func compare(t *testing.T, w *world, streams []*stream, lanes int) {
	t.Helper()
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for i := lane; i < len(streams); i += lanes {
				s := streams[i]
				if want := s.alone(t, s.kind.alone.Runner(lane)); !slices.Equal(s.got, want) {
					t.Errorf("stream %d, %s with %d rows: %v, alone %v", s.number, s.kind.name, s.rows, s.got, want)
				}
			}
		})
	}
	wg.Wait()
}

// alone returns the actions of the stream, each row in a run of its own.
func (s *stream) alone(t *testing.T, r *policy.Runner) []float32 {
	c := s.kind.alone.Contract()
	rows := max(1, s.rows)
	width := c.ActionWidth()
	steps := make([][]float32, rows)
	for row := range rows {
		in := &serving.Request{}
		call := policy.Call{Rows: 1, Actions: make([]float32, width)}
		fresh := true
		for _, o := range s.ops {
			switch o.kind {
			case opFail:
				continue
			case opOpen, opReset, opLate:
				call.State = c.NewState(1)
				call.Histories = []*envelope.History{envelope.NewHistory(width)}
				call.Seed, call.Step, call.Row = serving.SessionSeed(o.seed, s.id), 0, 0
				if s.rows > 0 {
					call.Seed, call.Row = o.seed, uint64(s.number+row)
				}
				fresh = true
				continue
			}
			if o.begin>>row&1 != 0 && !(fresh && s.rows > 0) {
				c.ResetState(call.State, 0)
				call.Histories[0].Reset()
			}
			observe(in, c, rows, o.n)
			call.In = call.In[:0]
			for i, x := range in.Inputs {
				call.In = append(call.In, x[row*c.Inputs[i].Width:][:c.Inputs[i].Width])
			}
			if err := r.Act(&call); err != nil {
				t.Error(err)
				return nil
			}
			call.Step++
			fresh = false
			steps[row] = append(steps[row], call.Actions...)
		}
	}
	var all []float32
	for i := 0; i < len(steps[0]); i += width {
		for row := range rows {
			all = append(all, steps[row][i:][:width]...)
		}
	}
	return all
}
