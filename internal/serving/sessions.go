package serving

import (
	"container/heap"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Errors of Sessions.
var (
	// ErrNoSession says that there is no session of that name: it never was,
	// was closed, or has been idle for longer than its time.
	ErrNoSession = errors.New("there is no such session")
	// ErrSessionBusy says that a request of the session is under way. The acts
	// of one session never overlap.
	ErrSessionBusy = errors.New("another request of the session is under way")
	// ErrSessionExists says that the name is taken.
	ErrSessionExists = errors.New("there is a session of that name")
	// ErrTooManySessions says that there is no room for another, by number or
	// by memory.
	ErrTooManySessions = errors.New("too many sessions are open")
	// ErrSessionTTL says that a session is to be kept for longer than any may
	// be, or for no time.
	ErrSessionTTL = errors.New("a session cannot be kept idle for that long")
	// ErrSessionID says that a name is none that a session can have.
	ErrSessionID = errors.New("a session cannot have that name")
)

// SessionOptions are the limits of Sessions. A zero field stands for its
// default.
type SessionOptions struct {
	Max      int           // sessions that are open; default 10,000
	TTL      time.Duration // after which an idle session ends, where it does not say itself; default 10 min
	MaxTTL   time.Duration // the longest that a session may ask for; default 24 h
	MaxBytes int64         // of the states of all sessions together; default 256 MiB

	// Key seals tokens and opens them, and OldKeys open those that were sealed
	// before the key was changed. A key is any secret of 32 bytes or more.
	// Without one, a key is drawn that no other process has.
	Key     []byte
	OldKeys [][]byte
	// TokenTTL is the age up to which a token opens; default 1 h.
	TokenTTL time.Duration
	// MaxTokenBytes bounds a token; default 1 MiB.
	MaxTokenBytes int

	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Opened is told of each session that opens, Ended of each that ends and
	// why ("closed", "expired", "shutdown"), TokenRefused of each token that
	// does not open and why. They must not block; nil tells nobody.
	Opened       func()
	Ended        func(reason string)
	TokenRefused func(reason string)
}

// DefaultSessionOptions returns the limits that a zero field stands for.
func DefaultSessionOptions() SessionOptions {
	return SessionOptions{
		Max:           10_000,
		TTL:           10 * time.Minute,
		MaxTTL:        24 * time.Hour,
		MaxBytes:      256 << 20,
		TokenTTL:      time.Hour,
		MaxTokenBytes: 1 << 20,
	}
}

func (o SessionOptions) withDefaults() SessionOptions {
	d := DefaultSessionOptions()
	orDefault(&o.Max, d.Max)
	orDefault(&o.TTL, d.TTL)
	orDefault(&o.MaxTTL, d.MaxTTL)
	orDefault(&o.MaxBytes, d.MaxBytes)
	orDefault(&o.TokenTTL, d.TokenTTL)
	orDefault(&o.MaxTokenBytes, d.MaxTokenBytes)
	o.TTL = min(o.TTL, o.MaxTTL)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Opened == nil {
		o.Opened = func() {}
	}
	if o.Ended == nil {
		o.Ended = func(string) {}
	}
	if o.TokenRefused == nil {
		o.TokenRefused = func(string) {}
	}
	return o
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Sessions keeps the state of episodes that are under way, by name. It is safe
// for use by many goroutines.
//
// An idle session ends by itself: a timer is set for the one whose time is up
// first, and there is none while there are no sessions.
type Sessions struct {
	o    SessionOptions
	keys []tokenKey // the first one seals

	mu       sync.Mutex // guards what follows, and of each Session what it says
	byID     map[string]*Session
	idle     byExpiry // all of byID but those that are held
	bytes    int64
	draining int
	timer    *time.Timer
	closed   bool
}

// SessionVersion is the version that a session or a token is of.
type SessionVersion struct {
	Model, Version string
	Digest         string // of the artifact; what has the same digest keeps a state
	Contract       *policy.Contract
	Handle         any // the backend's own
}

// Begin says how a session begins.
type Begin struct {
	// ID names the session; an empty one is drawn, with 130 random bits.
	ID string
	// Seed keys the draws of the session, together with its name: see
	// Session.DrawSeed.
	Seed uint64
	// Deterministic says how requests of the session act that do not say
	// themselves; nil is as the contract says.
	Deterministic *bool
	// TTL is how long the session may be idle; 0 is the default.
	TTL time.Duration
	// Pinned is the version that was asked for; empty follows the version that
	// answers for the model.
	Pinned string
}

// NewSessions returns a store without sessions. Shutdown ends it.
func NewSessions(o SessionOptions) *Sessions {
	s := &Sessions{o: o.withDefaults(), byID: map[string]*Session{}}
	s.keys = tokenKeys(o.Key, o.OldKeys)
	return s
}

// Options returns the limits, defaults filled in, and without the keys.
func (ss *Sessions) Options() SessionOptions {
	o := ss.o
	o.Key, o.OldKeys = nil, nil
	return o
}

// maxSessionID is the length of the longest name of a session.
const maxSessionID = 256

// Open begins a session, whose first act is that of a new episode. The errors
// are ErrSessionID, ErrSessionTTL, ErrSessionExists and ErrTooManySessions,
// wrapped or not.
func (ss *Sessions) Open(v SessionVersion, o Begin) (*Session, error) {
	if o.TTL < 0 || o.TTL > ss.o.MaxTTL {
		return nil, fmt.Errorf("%w: it may be up to %v, got %v", ErrSessionTTL, ss.o.MaxTTL, o.TTL)
	}
	if o.TTL == 0 {
		o.TTL = ss.o.TTL
	}
	if len(o.ID) > maxSessionID {
		return nil, fmt.Errorf("%w: it may have up to %d bytes, got %d", ErrSessionID, maxSessionID, len(o.ID))
	}
	if o.ID == "" {
		o.ID = rand.Text()
	}
	s := newSession(ss, v, o)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	now := ss.o.Now()
	ss.sweep(now)
	switch {
	case ss.byID[o.ID] != nil:
		return nil, ErrSessionExists
	case len(ss.byID) >= ss.o.Max || ss.closed:
		return nil, fmt.Errorf("%w: %d are, which is as many as may be", ErrTooManySessions, len(ss.byID))
	case ss.bytes+s.bytes > ss.o.MaxBytes:
		return nil, fmt.Errorf("%w: their states take %d bytes of %d, and another needs %d", ErrTooManySessions, ss.bytes, ss.o.MaxBytes, s.bytes)
	}
	ss.byID[o.ID] = s
	ss.bytes += s.bytes
	s.expires = now.Add(s.ttl)
	heap.Push(&ss.idle, s)
	ss.arm(now)
	ss.o.Opened()
	return s, nil
}

// Acquire takes hold of a session for one act; Release lets go of it.
func (ss *Sessions) Acquire(id string) (*Session, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.find(id)
	switch {
	case s == nil:
		return nil, ErrNoSession
	case s.held:
		return nil, ErrSessionBusy
	}
	s.held = true
	heap.Remove(&ss.idle, s.at)
	s.take()
	return s, nil
}

// Info tells about a session, also while an act of it is under way, and does
// not keep it alive.
func (ss *Sessions) Info(id string) (SessionInfo, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.find(id)
	if s == nil {
		return SessionInfo{}, ErrNoSession
	}
	return s.info(), nil
}

// find returns a session whose time is not up.
func (ss *Sessions) find(id string) *Session {
	s := ss.byID[id]
	if s != nil && !s.held && !ss.o.Now().Before(s.expires) {
		ss.end(s, "expired")
		return nil
	}
	return s
}

// Close ends a session and tells whether there was one. An act of it that is
// under way is answered, and leaves nothing behind.
func (ss *Sessions) Close(id string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.find(id)
	if s == nil {
		return false
	}
	ss.end(s, "closed")
	return true
}

// Len returns the number of open sessions.
func (ss *Sessions) Len() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.byID)
}

// Count returns the number of open sessions of each version, by its model, name
// and digest.
func (ss *Sessions) Count() map[[3]string]int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	n := map[[3]string]int{}
	for _, s := range ss.byID {
		n[[3]string{s.version.Model, s.version.Version, s.version.Digest}]++
	}
	return n
}

// Bytes returns the memory that the states of all sessions take.
func (ss *Sessions) Bytes() int64 {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.bytes
}

// Draining returns the number of open sessions which, when they last acted,
// stayed on a version that does not answer for their model any more. Each keeps
// its version in memory.
func (ss *Sessions) Draining() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.draining
}

// Shutdown ends every session; none opens afterwards.
func (ss *Sessions) Shutdown() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.closed = true
	for _, s := range ss.byID {
		ss.end(s, "shutdown")
	}
	if ss.timer != nil {
		ss.timer.Stop()
	}
}

// end takes a session out of the store. Whoever holds it keeps it until
// Release.
func (ss *Sessions) end(s *Session, reason string) {
	delete(ss.byID, s.id)
	ss.bytes -= s.bytes
	s.drain(false)
	s.gone = true
	if !s.held {
		heap.Remove(&ss.idle, s.at)
	}
	ss.o.Ended(reason)
}

// sweep ends the sessions whose time is up.
func (ss *Sessions) sweep(now time.Time) {
	for len(ss.idle) > 0 && !now.Before(ss.idle[0].expires) {
		ss.end(ss.idle[0], "expired")
	}
}

// minSweep is the least time between two sweeps of the timer, so that many
// sessions which end one after another are swept together.
const minSweep = 100 * time.Millisecond

// arm sets the timer for the session whose time is up first. A timer that is
// set for an earlier time is left: it will find nothing, and be set anew.
func (ss *Sessions) arm(now time.Time) {
	if len(ss.idle) == 0 || ss.closed {
		return
	}
	wait := max(minSweep, ss.idle[0].expires.Sub(now))
	switch {
	case ss.timer == nil:
		ss.timer = time.AfterFunc(wait, ss.wake)
	default:
		ss.timer.Reset(wait)
	}
}

func (ss *Sessions) wake() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	now := ss.o.Now()
	ss.sweep(now)
	ss.arm(now)
}

// byExpiry is a heap of sessions, the first to end on top.
type byExpiry []*Session

func (h byExpiry) Len() int           { return len(h) }
func (h byExpiry) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h byExpiry) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *byExpiry) Push(x any) {
	s := x.(*Session)
	s.at = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *byExpiry) Pop() any {
	old := *h
	n := len(old) - 1
	s := old[n]
	old[n] = nil
	*h = old[:n]
	return s
}
