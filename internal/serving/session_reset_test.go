package serving_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestResetIsOneStep: a session that is reset to another version keeps its
// place, and one that was closed meanwhile stays closed.
func TestResetIsOneStep(t *testing.T) {
	p, q := recurrent(t), open(t, filePPO, "", 1, policy.Options{})
	versions := []serving.SessionVersion{version(p, "1"), version(q, "2")}
	ss := serving.NewSessions(serving.SessionOptions{Max: 1})
	must(ss.Open(versions[0], serving.Begin{ID: "a", Seed: 3}))(t)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, id := range []string{"a", "b"} {
				if _, err := ss.Open(versions[0], serving.Begin{ID: id}); err == nil {
					t.Error("another session took the place of", id)
					return
				}
			}
		}
	})
	for i := range 200 {
		s := must(ss.Acquire("a"))(t)
		if err := s.Reset(versions[i%2], uint64(i)); err != nil {
			t.Fatal(err)
		}
		if info := s.Info(); info.Digest != versions[i%2].Digest || info.Seed != uint64(i) || info.Step != 0 || info.Episode != 0 {
			t.Fatalf("after reset %d: %+v", i, info)
		}
		s.Release()
		step(t, ss, "a", 1, false)
	}
	close(stop)
	wg.Wait()

	s := must(ss.Acquire("a"))(t)
	ss.Close("a")
	if err := s.Reset(versions[0], 1); !errors.Is(err, serving.ErrNoSession) {
		t.Errorf("a session that was closed meanwhile: %v", err)
	}
	s.Release()
	if ss.Len() != 0 || ss.Bytes() != 0 || ss.Draining() != 0 {
		t.Errorf("%d sessions, %d bytes, %d drain", ss.Len(), ss.Bytes(), ss.Draining())
	}
}

// TestResetNeedsMemory: where there is none the session is as it was.
func TestResetNeedsMemory(t *testing.T) {
	p, q := recurrent(t), open(t, filePPO, "", 1, policy.Options{})
	ss := serving.NewSessions(serving.SessionOptions{MaxBytes: 1100})
	must(ss.Open(version(q, "1"), serving.Begin{ID: "a", Seed: 3}))(t)
	step(t, ss, "a", 1, false)
	before := must(ss.Info("a"))(t)
	s := must(ss.Acquire("a"))(t)
	if err := s.Reset(version(p, "2"), 4); !errors.Is(err, serving.ErrTooManySessions) {
		t.Errorf("a version of a larger state: %v", err)
	}
	if got := s.Info(); got.Digest != before.Digest || got.Seed != 3 || got.Step != 1 {
		t.Errorf("%+v, before %+v", got, before)
	}
	if err := s.Reset(version(q, "3"), 4); err != nil {
		t.Errorf("a version of the same state: %v", err)
	}
	s.Release()
}

// TestDraining counts the sessions on versions that another has replaced.
func TestDraining(t *testing.T) {
	p, q := recurrent(t), open(t, filePPO, "on_version_change: reset\n", 1, policy.Options{})
	ss := serving.NewSessions(serving.SessionOptions{})
	f := func(id, what string, do func(s *serving.Session), want int) {
		t.Helper()
		s := must(ss.Acquire(id))(t)
		do(s)
		s.Release()
		if got := ss.Draining(); got != want {
			t.Errorf("%s: %d sessions drain, want %d", what, got, want)
		}
	}
	move := func(v serving.SessionVersion) func(s *serving.Session) {
		return func(s *serving.Session) { s.Move(v) }
	}
	stay := func(want bool) func(s *serving.Session) {
		return func(s *serving.Session) {
			if got := s.Stay(); got != want {
				t.Errorf("session %s stays: %v", s.ID(), got)
			}
		}
	}
	for _, id := range []string{"a", "b"} {
		must(ss.Open(version(p, "1"), serving.Begin{ID: id}))(t)
	}
	must(ss.Open(version(q, "1"), serving.Begin{ID: "resets"}))(t)
	f("a", "its own version", move(version(p, "1")), 0)
	f("a", "another one", move(version(p, "2")), 1)
	f("a", "again", move(version(p, "2")), 1)
	f("b", "no version answers", stay(true), 2)
	f("b", "its own is back", move(version(p, "1")), 1)
	f("resets", "no version answers, and it cannot go on", stay(false), 1)
	f("resets", "it goes over", move(version(q, "2")), 1)
	f("a", "it is reset", func(s *serving.Session) {
		if err := s.Reset(version(p, "2"), 1); err != nil {
			t.Error(err)
		}
	}, 0)
	f("b", "another one", move(version(p, "2")), 1)
	f("b", "it is closed while it acts", func(s *serving.Session) {
		ss.Close("b")
		s.Move(version(p, "2"))
	}, 0)
	f("a", "another one", move(version(p, "3")), 1)
	if ss.Shutdown(); ss.Draining() != 0 {
		t.Errorf("%d drain after the end", ss.Draining())
	}
}
