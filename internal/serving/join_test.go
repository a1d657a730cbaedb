package serving_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// joining runs f in a bubble with a service of one lane that joins, and a policy
// whose runs take 50 µs, which is known of it.
func joining(t *testing.T, o serving.Options, f func(s *serving.Service, p *policy.Policy, e *paced)) {
	t.Helper()
	e := &paced{}
	p := open(t, filePPO, "", 1, policy.Options{Engine: e, Untried: true})
	synctest.Test(t, func(t *testing.T) {
		o.Lanes, o.MaxQueue = 1, 1024
		s := serving.New(o)
		e.takes.Store(int64(50 * time.Microsecond))
		for range 2 {
			e.takes.Store(int64(50 * time.Microsecond))
			if err := serving.New(serving.Options{}).Act(context.Background(), p, request(p, 0)); err != nil {
				t.Fatal(err)
			}
		}
		e.runs.Store(0)
		f(s, p, e)
	})
}

// crowd has n requests come while the lane is held, and returns them answered.
func crowd(t *testing.T, s *serving.Service, p *policy.Policy, n int, with func(i int, req *serving.Request)) []*serving.Request {
	t.Helper()
	reqs := make([]*serving.Request, n)
	var wg sync.WaitGroup
	for i := range reqs {
		reqs[i] = request(p, 0)
		if with != nil {
			with(i, reqs[i])
		}
		wg.Go(func() {
			if err := s.Act(context.Background(), p, reqs[i]); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		})
		synctest.Wait()
	}
	wg.Wait()
	return reqs
}

func TestWhatWaitsRunsTogether(t *testing.T) {
	joining(t, serving.Options{MaxBatch: 32}, func(s *serving.Service, p *policy.Policy, e *paced) {
		begun := time.Now()
		reqs := crowd(t, s, p, 11, nil)
		if took := time.Since(begun); e.runs.Load() != 2 || took != 100*time.Microsecond {
			t.Errorf("one request and ten that waited for it: %d runs in %v, want 2 in 100µs", e.runs.Load(), took)
		}
		if reqs[0].Queue != 0 || reqs[0].Infer != 50*time.Microsecond || reqs[10].Queue != 50*time.Microsecond || reqs[10].Infer != 50*time.Microsecond {
			t.Errorf("the first waited %v and ran %v, the last %v and %v", reqs[0].Queue, reqs[0].Infer, reqs[10].Queue, reqs[10].Infer)
		}
		if st := s.Stats(); st.Batches != 1 || st.Joined != 10 || st.Rerun != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestALoneRequestWaitsForNobody(t *testing.T) {
	joining(t, serving.Options{MaxBatch: 32}, func(s *serving.Service, p *policy.Policy, e *paced) {
		for range 5 {
			if req := crowd(t, s, p, 1, nil)[0]; req.Queue != 0 || req.Infer != 50*time.Microsecond {
				t.Errorf("it waited %v and ran %v", req.Queue, req.Infer)
			}
		}
		if st := s.Stats(); e.runs.Load() != 5 || st.Batches != 0 {
			t.Errorf("%d runs, %+v", e.runs.Load(), st)
		}
	})
}

// TestWhatDoesNotJoin: rows over the limit, another class, another form, and what
// draws run by themselves.
func TestWhatDoesNotJoin(t *testing.T) {
	f := func(name string, o serving.Options, runs int64, with func(p *policy.Policy, i int, req *serving.Request)) {
		t.Helper()
		joining(t, o, func(s *serving.Service, p *policy.Policy, e *paced) {
			crowd(t, s, p, 9, func(i int, req *serving.Request) {
				if with != nil {
					with(p, i, req)
				}
			})
			if got := e.runs.Load(); got != runs {
				t.Errorf("%s: nine requests in %d runs, want %d", name, got, runs)
			}
		})
	}
	f("no joining", serving.Options{MaxBatch: 1}, 9, nil)
	f("four rows", serving.Options{MaxBatch: 4}, 3, nil)
	f("all", serving.Options{MaxBatch: 32}, 2, nil)
	f("two classes", serving.Options{MaxBatch: 32}, 3, func(_ *policy.Policy, i int, req *serving.Request) { req.Priority = serving.Priority(i % 2) })
	f("two forms", serving.Options{MaxBatch: 32}, 3, func(_ *policy.Policy, i int, req *serving.Request) { req.WantExtras = i%2 == 0 })
	f("draws", serving.Options{MaxBatch: 32}, 9, func(_ *policy.Policy, _ int, req *serving.Request) { req.Deterministic = false })
	f("many rows", serving.Options{MaxBatch: 8}, 5, func(p *policy.Policy, _ int, req *serving.Request) { observe(req, p.Contract(), 4, 1) })
}

// TestNobodyIsJoinedTooLong: the first of those that wait is not held up for more
// than twice its own time where that is more than a millisecond, and none beyond
// its deadline.
func TestNobodyIsJoinedTooLong(t *testing.T) {
	bubble(t, 1, 5*time.Millisecond, func(_ *serving.Service, p *policy.Policy, e *paced, _ map[string]int) {
		s := serving.New(serving.Options{Lanes: 1, MaxQueue: 1024, MaxBatch: 32})
		learn(t, s, p, e)
		crowd(t, s, p, 5, nil)
		if got := e.runs.Load(); got != 3 { // one alone, two pairs: of more nothing is known
			t.Errorf("five requests of 5 ms each in %d runs, want 3", got)
		}
	})
	joining(t, serving.Options{MaxBatch: 32}, func(s *serving.Service, p *policy.Policy, e *paced) {
		crowd(t, s, p, 10, func(i int, req *serving.Request) {
			if i == 1 {
				req.Deadline = time.Now().Add(150 * time.Microsecond) // 50 more than its own run needs
			}
		})
		if got := e.runs.Load(); got != 3 {
			t.Errorf("ten requests, of which one has to leave with one other at most: %d runs, want 3", got)
		}
	})
}

// A request that the queue has no room for is not refused for the sake of
// company while a lane is free.
func TestAWindowRefusesNobody(t *testing.T) {
	joining(t, serving.Options{}, func(_ *serving.Service, p *policy.Policy, _ *paced) {
		s := serving.New(serving.Options{Lanes: 1, MaxBatch: 4, MaxDelay: time.Millisecond})
		req := request(p, 0)
		if err := s.Act(context.Background(), p, req); err != nil || req.Queue != 0 {
			t.Errorf("without a queue: %v after %v", err, req.Queue)
		}
	})
}

func TestAWindowGathers(t *testing.T) {
	joining(t, serving.Options{MaxBatch: 4, MaxDelay: time.Millisecond}, func(s *serving.Service, p *policy.Policy, e *paced) {
		if req := crowd(t, s, p, 1, nil)[0]; req.Queue != time.Millisecond {
			t.Errorf("a request that nobody joined waited %v, want the window of 1ms", req.Queue)
		}
		e.runs.Store(0)
		begun := time.Now()
		crowd(t, s, p, 4, nil)
		if took := time.Since(begun); took != 50*time.Microsecond || e.runs.Load() != 1 {
			t.Errorf("four that make it full: %d runs in %v, want one at once", e.runs.Load(), took)
		}
		if req := crowd(t, s, p, 1, func(_ int, req *serving.Request) { req.Deterministic = false })[0]; req.Queue != 0 {
			t.Errorf("one that cannot be joined waited %v", req.Queue)
		}
		// The window is no reason to be late.
		begun = time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Microsecond)
		defer cancel()
		if err := s.Act(ctx, p, request(p, 0)); err != nil || time.Since(begun) > 500*time.Microsecond {
			t.Errorf("with 500 µs left: %v after %v", err, time.Since(begun))
		}
	})
}
