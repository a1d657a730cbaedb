package serving_test

import (
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// BenchmarkSession is what a session adds to an act: the policy is left out.
func BenchmarkSession(b *testing.B) {
	ss := serving.NewSessions(serving.SessionOptions{})
	must(ss.Open(version(recurrent(b), "1"), serving.Begin{ID: "a"}))(b)
	req := &serving.Request{Rows: 1}
	b.ReportAllocs()
	for b.Loop() {
		s, err := ss.Acquire("a")
		if err != nil {
			b.Fatal(err)
		}
		s.Attach(req)
		s.Advance()
		s.Release()
	}
}

// BenchmarkToken is what a state that the client carries adds to an act.
func BenchmarkToken(b *testing.B) {
	p := recurrent(b)
	ss := serving.NewSessions(serving.SessionOptions{})
	_, token := carried(b, ss, p, 1, 1)
	v := version(p, "1")
	req := &serving.Request{Rows: 1}
	b.SetBytes(int64(len(token)))
	b.ReportAllocs()
	for b.Loop() {
		if err := ss.Unseal(token, v, req); err != nil {
			b.Fatal(err)
		}
		token = ss.Seal(v, req)
	}
}

// BenchmarkAct is one observation of a small policy through the queue.
func BenchmarkAct(b *testing.B) {
	p := open(b, filePPO, "", 1, policy.Options{})
	s := serving.New(serving.Options{Lanes: 1})
	req := &serving.Request{}
	observe(req, p.Contract(), 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Act(b.Context(), p, req); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSessionsAllocateNothing(t *testing.T) {
	p := recurrent(t)
	ss := serving.NewSessions(serving.SessionOptions{})
	must(ss.Open(version(p, "1"), serving.Begin{ID: "a"}))(t)
	s := serving.New(serving.Options{})
	req := &serving.Request{}
	observe(req, p.Contract(), 1, 1)
	act := func() {
		sess, err := ss.Acquire("a")
		if err != nil {
			t.Fatal(err)
		}
		defer sess.Release()
		sess.Begin()
		sess.Attach(req)
		if err := s.Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
		sess.Advance()
	}
	for range 50 { // until the envelope has changed as much as it does
		act()
	}
	if n := testing.AllocsPerRun(100, act); n != 0 {
		t.Errorf("%v allocations for an act of a session", n)
	}
}
