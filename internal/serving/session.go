package serving

import (
	"container/heap"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Session is one stream of observations and actions: a robot, or an episode of
// an environment. Whoever has it from Acquire may use it until Release, and
// nobody else meanwhile:
//
//	s, err := sessions.Acquire(id)
//	defer s.Release()
//	s.Move(version)    // the version that answers now
//	s.Begin()          // where the observation is the first of an episode
//	s.Attach(req)
//	err = act(s.Version(), req)
//	s.Advance()        // once the answer is made
//
// An act that ends before Advance leaves no trace: the next one finds the
// session as this one found it.
type Session struct {
	store         *Sessions
	id            string
	serial        string
	deterministic *bool
	ttl           time.Duration
	pinned        string

	version SessionVersion
	seed    uint64
	draw    uint64            // SessionSeed of it
	state   [][]float32       // by part of the contract's state, one row
	history *envelope.History // nil where the policy has no envelope
	was     position

	// Of the act under way.
	now         position
	begun       bool // Begin was called
	nextState   [][]float32
	nextHistory *envelope.History
	histories   [1]*envelope.History
	req         *Request

	// What the store's mutex guards.
	held, gone bool
	expires    time.Time
	at         int // in the heap of idle sessions
	bytes      int64
	moved      bool // to another version since the last answer
	draining   bool // it stays on a version that does not answer for its model any more
}

// position is how far a session has come.
type position struct {
	step    uint64 // of the act under way, or else the next one
	episode uint64
	acted   bool // in this episode
}

// SessionInfo tells about a session.
type SessionInfo struct {
	ID, Model, Version, Digest string
	// Serial is drawn when the session is opened or reset: of two with the same
	// name, one after the other, each has its own, and no other process has it.
	Serial        string
	Pinned        string
	Step, Episode uint64 // Step is the number of the next act
	Seed          uint64 // as given
	DrawSeed      uint64 // of requests
	Deterministic *bool
	TTL           time.Duration
	Expires       time.Time // if no request comes
	Contract      *policy.Contract
}

func newSession(ss *Sessions, v SessionVersion, o Begin) *Session {
	s := &Session{store: ss, id: o.ID, deterministic: o.Deterministic, ttl: o.TTL, pinned: o.Pinned, seed: o.Seed, serial: rand.Text()}
	s.draw = SessionSeed(s.seed, s.id)
	s.adopt(v)
	return s
}

// adopt begins the state anew as one of v.
func (s *Session) adopt(v SessionVersion) {
	c := v.Contract
	s.version = v
	s.state, s.nextState = c.NewState(1), c.NewState(1)
	s.history, s.nextHistory = nil, nil
	if width := historyWidth(c); width > 0 {
		s.history, s.nextHistory = envelope.NewHistory(width), envelope.NewHistory(width)
	}
	s.bytes = sessionBytes(s.id, c)
}

// sessionBytes is about the memory of a session: its state and history twice,
// and what every session takes.
func sessionBytes(id string, c *policy.Contract) int64 {
	n := 2 * 2 * historyWidth(c)
	for i := range c.State {
		n += 2 * c.State[i].Width
	}
	return 1024 + int64(len(id)) + 4*int64(n)
}

// take begins an act.
func (s *Session) take() {
	s.now, s.begun = s.was, false
}

// Release lets go of the session, whose time begins anew. The request that it
// was attached to has neither its state nor its history any longer.
func (s *Session) Release() {
	s.detach()
	ss := s.store
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.held = false
	if s.gone {
		return
	}
	now := ss.o.Now()
	s.expires = now.Add(s.ttl)
	heap.Push(&ss.idle, s)
	if len(ss.idle) == 1 { // The timer may have found none.
		ss.arm(now)
	}
}

// Again ends an act and begins another without letting go of the session: for
// who holds it for longer than one act, as a stream does until it ends.
func (s *Session) Again() {
	s.detach()
	s.take()
}

// detach takes the session's memory from the request that has it.
func (s *Session) detach() {
	if s.req != nil {
		s.req.State, s.req.Histories, s.req = nil, nil, nil
	}
}

// ID returns the session's name.
func (s *Session) ID() string { return s.id }

// Version returns the version that the session's requests are to be answered
// by.
func (s *Session) Version() SessionVersion { return s.version }

// Pinned returns the version that was asked for; empty where the session
// follows the one that answers for its model.
func (s *Session) Pinned() string { return s.pinned }

// Deterministic returns how requests act that do not say themselves; nil is as
// the contract says.
func (s *Session) Deterministic() *bool { return s.deterministic }

// Step returns the number of the act under way, from 0, counted since the
// session was opened or reset.
func (s *Session) Step() uint64 { return s.now.step }

// Episode returns the number of the episode of the act under way, from 0.
func (s *Session) Episode() uint64 { return s.now.episode }

// Seed returns the seed that was given to the session.
func (s *Session) Seed() uint64 { return s.seed }

// DrawSeed returns the seed of the session's requests: SessionSeed of its seed
// and name. A request with this seed, the same step and row 0 draws what the
// session drew, whether it is of a session or not.
func (s *Session) DrawSeed() uint64 { return s.draw }

// SessionSeed mixes a session's name into its seed, so that two sessions with
// the same seed draw differently, and two with the same seed and name alike.
// It is the first 53 bits, which a JSON number holds exactly, of the SHA-256 of
// the seed as eight bytes, the most significant first, and the name.
func SessionSeed(seed uint64, id string) uint64 {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, seed), id...))
	return binary.BigEndian.Uint64(sum[:8]) >> 11
}

// Info tells about the session.
func (s *Session) Info() SessionInfo {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.info()
}

func (s *Session) info() SessionInfo {
	expires := s.expires
	if s.held {
		expires = s.store.o.Now().Add(s.ttl)
	}
	return SessionInfo{
		ID: s.id, Serial: s.serial, Model: s.version.Model, Version: s.version.Version, Digest: s.version.Digest, Pinned: s.pinned,
		Step: s.was.step, Episode: s.was.episode, Seed: s.seed, DrawSeed: s.DrawSeed(),
		Deterministic: s.deterministic, TTL: s.ttl, Expires: expires, Contract: s.version.Contract,
	}
}

// Begin makes the act under way the first one of an episode: its state is that
// of an episode that begins, and it has no action before it. The step goes on.
func (s *Session) Begin() {
	s.begun = true
	if s.now.acted {
		s.now.episode++
		s.now.acted = false
	}
}

// Attach gives a request of one row the session's state, history, seed and
// step. The memory is the session's: the request has it until Release.
func (s *Session) Attach(req *Request) {
	for i := range s.state {
		copy(s.nextState[i], s.state[i])
	}
	if s.begun {
		s.version.Contract.ResetState(s.nextState, 0)
	}
	req.State, req.Histories = s.nextState, nil
	if s.history != nil {
		s.nextHistory.Copy(s.history)
		if s.begun {
			s.nextHistory.Reset()
		}
		s.histories[0] = s.nextHistory
		req.Histories = s.histories[:]
	}
	req.Seed, req.Step, req.Row = s.DrawSeed(), s.now.step, 0
	if o := req.Origin; o != nil {
		o.Session, o.Episode, o.Step, o.First = s.id, s.now.episode, s.now.step, !s.now.acted
	}
	s.req = req
}

// Advance makes what the request left behind the session's. The session must
// be attached to a request that was answered.
func (s *Session) Advance() {
	s.state, s.nextState = s.nextState, s.state
	s.history, s.nextHistory = s.nextHistory, s.history
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.was = position{step: s.now.step + 1, episode: s.now.episode, acted: true}
	s.moved = false
}

// Reset makes the session one that was just opened on v, with another seed or
// the same: step and episode are 0. It does not wait for an Advance. The session
// keeps its name throughout, and where it cannot be reset it is as before: the
// errors are ErrNoSession, where it was closed meanwhile, and ErrTooManySessions,
// where v needs more memory than there is.
func (s *Session) Reset(v SessionVersion, seed uint64) error {
	ss := s.store
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.gone {
		return ErrNoSession
	}
	bytes := sessionBytes(s.id, v.Contract)
	if more := bytes - s.bytes; more > 0 && ss.bytes+more > ss.o.MaxBytes {
		return fmt.Errorf("%w: their states take %d bytes of %d, and this one needs %d more on its new version", ErrTooManySessions, ss.bytes, ss.o.MaxBytes, more)
	}
	s.goOver(v)
	s.seed, s.draw, s.serial = seed, SessionSeed(seed, s.id), rand.Text()
	s.was, s.moved = position{}, false
	s.take()
	return nil
}

// goOver begins the state anew as one of v. The store's mutex is held.
func (s *Session) goOver(v SessionVersion) {
	before := s.bytes
	s.adopt(v)
	s.drain(false)
	if !s.gone {
		s.store.bytes += s.bytes - before
	}
}

// drain keeps count of the sessions on versions of before. The store's mutex is
// held.
func (s *Session) drain(draining bool) {
	switch {
	case s.gone || s.draining == draining:
	case draining:
		s.store.draining++
		s.draining = true
	default:
		s.store.draining--
		s.draining = false
	}
}

// Stay tells the session that no version answers now. By "drain" it goes on with
// its own and counts among those that drain; by "reset" it cannot go on, and Stay
// returns false.
func (s *Session) Stay() bool {
	if s.version.Contract.ResetsOnVersionChange() {
		return false
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.drain(true)
	return true
}

// Move tells the session which version answers now, and the session decides:
// one of the same digest takes over, with the state as it is. For another one
// the contract that the session is under decides: by "drain" the session stays
// on its version until it ends; by "reset" it goes over to the new one, where
// its episode begins anew and its steps are counted on.
//
// Move reports whether the answer under way is the first since the session went
// over.
func (s *Session) Move(v SessionVersion) (reset bool) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	switch {
	case v.Model == s.version.Model && v.Digest == s.version.Digest:
		s.version = v
		s.drain(false)
	case s.version.Contract.ResetsOnVersionChange():
		s.goOver(v)
		if s.was.acted {
			s.was.episode++
			s.was.acted = false
		}
		s.take()
		s.moved = true
	default:
		s.drain(true)
	}
	return s.moved
}
