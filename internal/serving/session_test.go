package serving_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// must returns v of a call that is not to fail.
func must[T any](v T, err error) func(tb testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// step has a session act on observation n, and returns a copy of the action.
func step(tb testing.TB, ss *serving.Sessions, id string, n int, begin bool) []float32 {
	tb.Helper()
	s := must(ss.Acquire(id))(tb)
	defer s.Release()
	return actOn(tb, s, n, begin)
}

func actOn(tb testing.TB, s *serving.Session, n int, begin bool) []float32 {
	tb.Helper()
	p := s.Version().Handle.(*policy.Policy)
	req := &serving.Request{}
	observe(req, p.Contract(), 1, n)
	if begin {
		s.Begin()
	}
	s.Attach(req)
	if err := serving.New(serving.Options{}).Act(tb.Context(), p, req); err != nil {
		tb.Fatal(err)
	}
	s.Advance()
	return slices.Clone(req.Actions)
}

func recurrent(tb testing.TB) *policy.Policy {
	tb.Helper()
	return open(tb, fileRecurrentPPO, enveloped, 1, policy.Options{})
}

func TestSessionIsItsOwn(t *testing.T) {
	p := recurrent(t)
	ss := serving.NewSessions(serving.SessionOptions{})
	s := must(ss.Open(version(p, "1"), serving.Begin{ID: "a", Seed: 7}))(t)
	if i := s.Info(); i.ID != "a" || i.Model != "m" || i.Digest != "1" || i.Step != 0 || i.Episode != 0 || i.Seed != 7 || i.DrawSeed != serving.SessionSeed(7, "a") || i.TTL != 10*time.Minute {
		t.Errorf("%+v", i)
	}
	first := step(t, ss, "a", 1, false)
	held := must(ss.Acquire("a"))(t)
	if held.Step() != 1 || held.Episode() != 0 || held.ID() != "a" || held.Seed() != 7 || held.Deterministic() != nil || held.Pinned() != "" {
		t.Errorf("step %d, episode %d", held.Step(), held.Episode())
	}
	if _, err := ss.Acquire("a"); !errors.Is(err, serving.ErrSessionBusy) {
		t.Errorf("a second act of one session: %v", err)
	}
	if _, err := ss.Acquire("b"); !errors.Is(err, serving.ErrNoSession) {
		t.Errorf("no session: %v", err)
	}
	if _, err := ss.Open(version(p, "1"), serving.Begin{ID: "a"}); !errors.Is(err, serving.ErrSessionExists) {
		t.Errorf("a name that is taken: %v", err)
	}
	if i := must(ss.Info("a"))(t); i.Step != 1 {
		t.Errorf("while it acts: %+v", i)
	}
	second := actOn(t, held, 1, false)
	held.Release()
	if slices.Equal(first, second) {
		t.Error("a recurrent policy did the same twice")
	}
	// An episode that begins has the state of the first step, and draws of its
	// own.
	step(t, ss, "a", 1, true)
	if i := must(ss.Info("a"))(t); i.Step != 3 || i.Episode != 1 {
		t.Errorf("after a second episode began: %+v", i)
	}
	s = must(ss.Acquire("a"))(t)
	if err := s.Reset(s.Version(), 7); err != nil {
		t.Error(err)
	}
	s.Release()
	if got := step(t, ss, "a", 1, false); !slices.Equal(got, first) {
		t.Errorf("after a reset %v, at first %v", got, first)
	}
	if !ss.Close("a") || ss.Close("a") || ss.Len() != 0 || ss.Bytes() != 0 {
		t.Errorf("%d sessions, %d bytes after the last was closed", ss.Len(), ss.Bytes())
	}
}

// TestEpisodeBeginsWithItsFirstAct: that a session was opened and that its
// first observation begins an episode are one episode, not two.
func TestEpisodeBeginsWithItsFirstAct(t *testing.T) {
	ss := serving.NewSessions(serving.SessionOptions{})
	must(ss.Open(version(recurrent(t), "1"), serving.Begin{ID: "a"}))(t)
	for i, want := range []uint64{0, 0, 1, 1, 2} {
		s := must(ss.Acquire("a"))(t)
		if i == 0 || i == 2 || i == 4 {
			s.Begin()
			s.Begin() // once said is as good as twice
		}
		if s.Episode() != want {
			t.Errorf("act %d: episode %d, want %d", i, s.Episode(), want)
		}
		actOn(t, s, i, false)
		s.Release()
	}
}

// TestFailedActChangesNothing: an act that ends before Advance, whatever it
// began and computed, leaves the session as it was.
func TestFailedActChangesNothing(t *testing.T) {
	p := recurrent(t)
	run := func(fail bool) []float32 {
		ss := serving.NewSessions(serving.SessionOptions{})
		must(ss.Open(version(p, "1"), serving.Begin{ID: "a", Seed: 3}))(t)
		var got []float32
		for n := range 6 {
			if fail {
				before := must(ss.Info("a"))(t)
				s := must(ss.Acquire("a"))(t)
				s.Begin()
				req := &serving.Request{}
				observe(req, p.Contract(), 1, 100)
				s.Attach(req)
				if err := serving.New(serving.Options{}).Act(t.Context(), p, req); err != nil {
					t.Fatal(err)
				}
				s.Release()
				if req.State != nil || req.Histories != nil {
					t.Fatal("the request still has the session's state")
				}
				if after := must(ss.Info("a"))(t); after.Step != before.Step || after.Episode != before.Episode {
					t.Errorf("%+v became %+v", before, after)
				}
			}
			got = append(got, step(t, ss, "a", n, n == 3)...)
		}
		return got
	}
	if with, without := run(true), run(false); !slices.Equal(with, without) {
		t.Errorf("with failed acts %v, without %v", with, without)
	}
}

// TestDrawsAreReplayed: what a session drew is drawn by any request with the
// seed that the session answers with, the step and row 0; in a batch too.
func TestDrawsAreReplayed(t *testing.T) {
	p := open(t, filePPO, "", 1, policy.Options{})
	c := p.Contract()
	ss := serving.NewSessions(serving.SessionOptions{})
	same := func(id string, seed uint64) []float32 {
		must(ss.Open(version(p, "1"), serving.Begin{ID: id, Seed: seed}))(t)
		defer ss.Close(id)
		var got []float32
		for n := range 4 {
			got = append(got, step(t, ss, id, n, false)...)
		}
		return got
	}
	a := same("a", 5)
	if b := same("b", 5); slices.Equal(a, b) {
		t.Error("two sessions with one seed draw alike")
	}
	if again := same("a", 5); !slices.Equal(a, again) {
		t.Error("a session with the name and the seed of another draws differently")
	}
	if other := same("a", 6); slices.Equal(a, other) {
		t.Error("another seed draws alike")
	}
	width := c.ActionWidth()
	for n := range 4 {
		req := &serving.Request{Seed: serving.SessionSeed(5, "a"), Step: uint64(n), Row: ^uint64(1) + 1} // rows -1 and 0
		observe(req, c, 2, 0)
		one := &serving.Request{}
		observe(one, c, 1, n)
		for i := range one.Inputs {
			copy(req.Inputs[i][len(one.Inputs[i]):], one.Inputs[i])
		}
		if err := serving.New(serving.Options{}).Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
		if want := a[n*width:][:width]; !slices.Equal(req.Actions[width:], want) {
			t.Errorf("step %d: %v replayed, %v drawn", n, req.Actions[width:], want)
		}
	}
	if got := serving.SessionSeed(5, "a"); got >= 1<<53 || got != 0x1b1975116cee3f {
		t.Errorf("the seed of a session is %#x: recorded answers are not replayed any more", got)
	}
}

func TestSessionLimits(t *testing.T) {
	p := recurrent(t)
	v := version(p, "1")
	ss := serving.NewSessions(serving.SessionOptions{Max: 2, MaxTTL: time.Hour})
	f := func(o serving.Begin, want error, words string) {
		t.Helper()
		if _, err := ss.Open(v, o); !errors.Is(err, want) || want != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%+v: got %v, want %v with %q", o, err, want, words)
		}
	}
	f(serving.Begin{TTL: time.Hour + 1}, serving.ErrSessionTTL, "up to 1h0m0s, got 1h0m0.000000001s")
	f(serving.Begin{TTL: -1}, serving.ErrSessionTTL, "got -1ns")
	f(serving.Begin{ID: strings.Repeat("x", 257)}, serving.ErrSessionID, "up to 256 bytes, got 257")
	f(serving.Begin{TTL: time.Hour}, nil, "")
	f(serving.Begin{}, nil, "")
	f(serving.Begin{}, serving.ErrTooManySessions, "2 are")
	each := ss.Bytes() / 2
	ss = serving.NewSessions(serving.SessionOptions{MaxBytes: 3*each - 1})
	f(serving.Begin{}, nil, "")
	f(serving.Begin{}, nil, "")
	f(serving.Begin{}, serving.ErrTooManySessions, "another needs")
	if ss.Len() != 2 {
		t.Errorf("%d sessions", ss.Len())
	}
	ss.Shutdown()
	f(serving.Begin{}, serving.ErrTooManySessions, "")
	if ss.Len() != 0 || ss.Bytes() != 0 {
		t.Errorf("%d sessions of %d bytes after the end", ss.Len(), ss.Bytes())
	}
}

func TestSessionNamesAreDrawn(t *testing.T) {
	ss := serving.NewSessions(serving.SessionOptions{})
	v := version(open(t, filePPO, "", 1, policy.Options{}), "1")
	seen := map[string]bool{}
	for range 100 {
		id := must(ss.Open(v, serving.Begin{}))(t).ID()
		if len(id) < 26 || seen[id] { // 26 characters of 5 bits
			t.Fatalf("the name %q, after %d others", id, len(seen))
		}
		seen[id] = true
	}
}

// TestIdleSessionsEnd: a session ends when it was idle for its time, without a
// call that would notice, and one that acts does not.
func TestIdleSessionsEnd(t *testing.T) {
	p := recurrent(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ended := map[string]int{}
		opened := 0
		ss := serving.NewSessions(serving.SessionOptions{
			TTL: time.Minute, Opened: func() { opened++ },
			Ended: func(reason string) { mu.Lock(); ended[reason]++; mu.Unlock() },
		})
		for id, ttl := range map[string]time.Duration{"short": time.Second, "long": time.Hour, "usual": 0, "held": time.Second, "closed": 0} {
			must(ss.Open(version(p, "1"), serving.Begin{ID: id, TTL: ttl}))(t)
		}
		held := must(ss.Acquire("held"))(t)
		ss.Close("closed")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if ended["expired"] != 1 || ended["closed"] != 1 || opened != 5 {
			t.Fatalf("%d opened, ended %v", opened, ended)
		}
		if _, err := ss.Acquire("short"); !errors.Is(err, serving.ErrNoSession) {
			t.Errorf("after its time: %v", err)
		}
		if i := held.Info(); time.Until(i.Expires) != time.Second {
			t.Errorf("a session that is held ends in %v", time.Until(i.Expires))
		}
		for range 10 { // Acts keep a session alive, looking at it does not.
			time.Sleep(50 * time.Second)
			step(t, ss, "usual", 1, false)
		}
		held.Release()
		time.Sleep(900 * time.Millisecond)
		must(ss.Info("held"))(t)
		time.Sleep(100 * time.Millisecond)
		if _, err := ss.Info("held"); !errors.Is(err, serving.ErrNoSession) {
			t.Errorf("after the time of a session that was held: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if ss.Len() != 0 || ss.Bytes() != 0 || ended["expired"] != 4 {
			t.Errorf("%d sessions of %d bytes, ended %v", ss.Len(), ss.Bytes(), ended)
		}
	})
}

// TestClosedWhileItActs: the act is answered, and leaves nothing behind.
func TestClosedWhileItActs(t *testing.T) {
	p := recurrent(t)
	ss := serving.NewSessions(serving.SessionOptions{})
	must(ss.Open(version(p, "1"), serving.Begin{ID: "a"}))(t)
	s := must(ss.Acquire("a"))(t)
	if !ss.Close("a") || ss.Len() != 0 || ss.Bytes() != 0 {
		t.Fatalf("%d sessions of %d bytes", ss.Len(), ss.Bytes())
	}
	must(ss.Open(version(p, "1"), serving.Begin{ID: "a"}))(t) // the name is free
	actOn(t, s, 1, false)
	s.Release()
	if i := must(ss.Info("a"))(t); i.Step != 0 || ss.Len() != 1 {
		t.Errorf("the session of the same name went on with the other: %+v", i)
	}
}

func TestVersionChange(t *testing.T) {
	p := recurrent(t)
	q := open(t, fileRecurrentPPO, enveloped, 1, policy.Options{})
	plain := open(t, filePPO, "on_version_change: reset\n", 1, policy.Options{})
	resetting := open(t, fileRecurrentPPO, enveloped+"on_version_change: reset\n", 1, policy.Options{})
	run := func(first *policy.Policy, then serving.SessionVersion, wantReset bool, wantVersion string) []float32 {
		t.Helper()
		ss := serving.NewSessions(serving.SessionOptions{})
		must(ss.Open(version(first, "1"), serving.Begin{ID: "a"}))(t)
		step(t, ss, "a", 1, false)
		step(t, ss, "a", 2, false)
		// A failed act does not use up the news of the change.
		s := must(ss.Acquire("a"))(t)
		s.Move(then)
		s.Release()
		s = must(ss.Acquire("a"))(t)
		defer s.Release()
		if reset := s.Move(then); reset != wantReset || s.Version().Version != wantVersion {
			t.Errorf("reset %v on version %s, want %v on %s", reset, s.Version().Version, wantReset, wantVersion)
		}
		if s.Step() != 2 || s.Episode() == 1 != wantReset {
			t.Errorf("step %d of episode %d", s.Step(), s.Episode())
		}
		got := actOn(t, s, 3, false)
		if s.Move(then) {
			t.Error("told twice")
		}
		return got
	}
	unmoved := run(p, version(p, "1"), false, "v1")
	if got := run(p, version(q, "1"), false, "v1"); !slices.Equal(got, unmoved) {
		t.Error("the same version, loaded again, has lost the state")
	}
	if got := run(p, version(q, "2"), false, "v1"); !slices.Equal(got, unmoved) {
		t.Error("a session that drains does not go on as before")
	}
	if got := run(resetting, version(q, "2"), true, "v2"); slices.Equal(got, unmoved) {
		t.Error("the state was carried to another version")
	}
	// A session that was reset is as one that was just opened: there is no change to tell.
	fresh := serving.NewSessions(serving.SessionOptions{})
	must(fresh.Open(version(resetting, "1"), serving.Begin{ID: "a"}))(t)
	r := must(fresh.Acquire("a"))(t)
	if !r.Move(version(q, "2")) {
		t.Error("the session did not go over")
	}
	if err := r.Reset(version(q, "2"), 1); err != nil || r.Move(version(q, "2")) {
		t.Error("a session that was reset tells of a change before")
	}
	r.Release()
	// To a policy of another kind, whose state takes other memory.
	ss := serving.NewSessions(serving.SessionOptions{})
	must(ss.Open(version(plain, "1"), serving.Begin{ID: "a"}))(t)
	before := ss.Bytes()
	s := must(ss.Acquire("a"))(t)
	s.Move(version(p, "2"))
	actOn(t, s, 1, false)
	s.Release()
	if ss.Bytes() <= before {
		t.Errorf("%d bytes without a state, %d with one", before, ss.Bytes())
	}
	if ss.Close("a"); ss.Bytes() != 0 {
		t.Errorf("%d bytes of no session", ss.Bytes())
	}
}

// TestHistoryOfASession: rates are held from one act to the next, and begin
// anew with an episode.
func TestHistoryOfASession(t *testing.T) {
	p := recurrent(t)
	ss := serving.NewSessions(serving.SessionOptions{})
	must(ss.Open(version(p, "1"), serving.Begin{ID: "a", Seed: 1}))(t)
	rates := 0
	var last []float32
	for n := range 40 {
		s := must(ss.Acquire("a"))(t)
		req := &serving.Request{}
		observe(req, p.Contract(), 1, n)
		if n%10 == 0 {
			s.Begin()
			last = nil
		}
		s.Attach(req)
		if err := serving.New(serving.Options{}).Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
		for _, v := range req.Interventions {
			if v.Kind == envelope.Rate || v.Kind == envelope.Jerk {
				if rates++; last == nil {
					t.Errorf("act %d: the first action of an episode was held to one before: %+v", n, v)
				}
			}
		}
		if last != nil {
			if d := req.Actions[0] - last[0]; d > 0.0501 || d < -0.0501 {
				t.Errorf("act %d: the pedal moved by %v in a step, 0.5 a second at 10 Hz are 0.05", n, d)
			}
		}
		last = slices.Clone(req.Actions)
		s.Advance()
		s.Release()
	}
	if rates == 0 {
		t.Error("nothing was held to its rate")
	}
}
