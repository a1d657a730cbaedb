package serving_test

import (
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// TestHotPaths holds acts through the queue and of sessions to no allocation.
func TestHotPaths(t *testing.T) {
	p := open(t, filePPO, "", 1, policy.Options{})
	s := serving.New(serving.Options{Lanes: 1})
	acts := func(req *serving.Request) func() {
		return func() {
			if err := s.Act(t.Context(), p, req); err != nil {
				t.Fatal(err)
			}
		}
	}
	alone := &serving.Request{}
	observe(alone, p.Contract(), 1, 1)
	hot.Path(t, "serving act", 500, 0, acts(alone))
	many := &serving.Request{}
	observe(many, p.Contract(), 32, 1)
	hot.Path(t, "serving act 32 rows", 50, 0, acts(many))
	hot.Path(t, "serving act with a deadline", 500, 0, acts(request(p, time.Hour)))

	r := recurrent(t)
	ss := serving.NewSessions(serving.SessionOptions{})
	must(ss.Open(version(r, "1"), serving.Begin{ID: "a"}))(t)
	lane := serving.New(serving.Options{Lanes: 1})
	req := &serving.Request{}
	observe(req, r.Contract(), 1, 1)
	act := func() {
		sess, err := ss.Acquire("a")
		if err != nil {
			t.Fatal(err)
		}
		sess.Begin()
		sess.Attach(req)
		if err := lane.Act(t.Context(), r, req); err != nil {
			t.Fatal(err)
		}
		sess.Advance()
		sess.Release()
	}
	for range 50 { // until the envelope has changed as much as it does
		act()
	}
	hot.Path(t, "serving act of a session", 200, 0, act)
	hot.Path(t, "serving session alone", 500, 0, func() {
		sess, err := ss.Acquire("a")
		if err != nil {
			t.Fatal(err)
		}
		sess.Attach(req)
		sess.Advance()
		sess.Release()
	})

	_, token := carried(t, ss, r, 1, 1)
	v := version(r, "1")
	carrying := &serving.Request{Rows: 1}
	hot.Load(t, "serving token", 100, 11, func() {
		if err := ss.Unseal(token, v, carrying); err != nil {
			t.Fatal(err)
		}
		token = ss.Seal(v, carrying)
	})
}
