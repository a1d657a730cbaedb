package serving_test

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// caching runs f in a bubble with a policy whose runs take 1 ms, which makes
// every look-up worth it.
func caching(t *testing.T, o serving.Options, path, card string, f func(s *serving.Service, p *policy.Policy, e *paced)) {
	t.Helper()
	e := &paced{}
	p := open(t, path, card, 1, policy.Options{Engine: e, Untried: true})
	synctest.Test(t, func(t *testing.T) {
		e.takes.Store(int64(time.Millisecond))
		o.Lanes, o.MaxQueue = 1, 16
		if o.CacheBytes == 0 {
			o.CacheBytes = 1 << 20
		}
		f(serving.New(o), p, e)
	})
}

// ask runs a request and reports whether the policy ran for it.
func ask(t *testing.T, s *serving.Service, p *policy.Policy, e *paced, req *serving.Request) (ran bool) {
	t.Helper()
	before := e.runs.Load()
	if err := s.Act(context.Background(), p, req); err != nil {
		t.Fatal(err)
	}
	return e.runs.Load() > before
}

func TestCacheAnswersTheSameObservation(t *testing.T) {
	caching(t, serving.Options{CacheEntries: 100}, filePPO, "", func(s *serving.Service, p *policy.Policy, e *paced) {
		seen := func(rows, n int, extras bool) *serving.Request {
			req := &serving.Request{Deterministic: true, WantExtras: extras}
			observe(req, p.Contract(), rows, n)
			return req
		}
		first, again := seen(3, 1, true), seen(3, 1, true)
		again.Seed, again.Step, again.Row = 5, 6, 7 // of no draw
		if !ask(t, s, p, e, first) || ask(t, s, p, e, again) {
			t.Error("the second of two equal requests ran")
		}
		if d := answerOf(again).differs(answerOf(first)); d != "" {
			t.Error(d)
		}
		if again.Infer != 0 || again.Queue != 0 {
			t.Errorf("a look-up ran for %v and waited %v", again.Infer, again.Queue)
		}
		other := seen(1, 1, false)
		for name, change := range map[string]func(r *serving.Request){
			"other numbers":   func(r *serving.Request) { observe(r, p.Contract(), 1, 2) },
			"one bit":         func(r *serving.Request) { r.Inputs[0][2] += 1e-7 },
			"the sign of 0":   func(r *serving.Request) { r.Inputs[0][0] = float32(negativeZero()) },
			"another form":    func(r *serving.Request) { r.WantExtras = true },
			"more rows":       func(r *serving.Request) { observe(r, p.Contract(), 2, 1) },
			"0 itself":        func(*serving.Request) {},
			"a drawn action":  func(r *serving.Request) { r.Deterministic = false },
			"the same, drawn": func(r *serving.Request) { r.Deterministic = false },
		} {
			observe(other, p.Contract(), 1, 1)
			other.Plain()
			other.Deterministic = true
			change(other)
			if !ask(t, s, p, e, other) {
				t.Errorf("%s: it did not run", name)
			}
		}
		if st := s.Stats(); st.Hits != 1 || st.Misses != 7 || st.Kept != 7 || st.KeptBytes <= 0 || st.Evicted != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func negativeZero() float64 { return math.Copysign(0, -1) }

// TestCacheKnowsVersions: the same files loaded again are another version.
func TestCacheKnowsVersions(t *testing.T) {
	caching(t, serving.Options{CacheEntries: 100}, filePPO, "", func(s *serving.Service, p *policy.Policy, e *paced) {
		next := open(t, filePPO, "", 1, policy.Options{Engine: e, Untried: true})
		if next.Serial() == p.Serial() || p.Serial() == 0 {
			t.Fatalf("two policies of the numbers %d and %d", p.Serial(), next.Serial())
		}
		if !ask(t, s, p, e, request(p, 0)) || !ask(t, s, next, e, request(next, 0)) {
			t.Error("a version was answered for by another")
		}
		if ask(t, s, p, e, request(p, 0)) || ask(t, s, next, e, request(next, 0)) {
			t.Error("what was kept is gone")
		}
	})
}

// TestCacheLeavesStateAlone: what depends on more than the observation is
// neither looked up nor kept.
func TestCacheLeavesStateAlone(t *testing.T) {
	f := func(name, path, card string, prepare func(req *serving.Request, c *policy.Contract)) {
		t.Helper()
		caching(t, serving.Options{CacheEntries: 100}, path, card, func(s *serving.Service, p *policy.Policy, e *paced) {
			for range 2 {
				req := request(p, 0)
				prepare(req, p.Contract())
				if !ask(t, s, p, e, req) {
					t.Errorf("%s: it did not run", name)
				}
			}
			if st := s.Stats(); st.Hits+st.Misses+st.Bypassed != 0 || st.Kept != 0 {
				t.Errorf("%s: %+v", name, st)
			}
		})
	}
	begin := func(req *serving.Request, c *policy.Contract) { req.Begin(c) }
	f("an LSTM", fileLSTM, "", begin)
	f("rates", filePPO, enveloped, begin)
	f("rates without a stream", filePPO, enveloped, func(*serving.Request, *policy.Contract) {})
	f("too much", filePPO, "", func(req *serving.Request, c *policy.Contract) { observe(req, c, 1<<14, 1) })
	f("a history of others", filePPO, "", func(req *serving.Request, c *policy.Contract) {
		req.Histories = []*envelope.History{envelope.NewHistory(c.ActionWidth())}
	})
}

func TestCacheIsBounded(t *testing.T) {
	caching(t, serving.Options{CacheEntries: 10}, filePPO, "", func(s *serving.Service, p *policy.Policy, e *paced) {
		req := request(p, 0)
		for n := range 50 { // A window in vain is longer.
			observe(req, p.Contract(), 1, n)
			req.Inputs[0][0] = float32(n)
			ask(t, s, p, e, req)
		}
		if st := s.Stats(); st.Kept > 10 || st.Kept < 3 || int(st.Evicted) != 50-st.Kept {
			t.Errorf("%+v", st)
		}
	})
	caching(t, serving.Options{CacheEntries: 1000, CacheBytes: 8 << 10}, filePPO, "", func(s *serving.Service, p *policy.Policy, e *paced) {
		req := &serving.Request{Deterministic: true}
		for n := range 60 {
			observe(req, p.Contract(), 1+n%7, n)
			req.Inputs[0][0] = float32(n)
			ask(t, s, p, e, req)
			if st := s.Stats(); st.KeptBytes > 8<<10 {
				t.Fatalf("%+v", st)
			}
		}
		if st := s.Stats(); st.Kept < 10 || st.Evicted == 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestCacheKeepsWhatIsAskedFor: what is asked for stays.
func TestCacheKeepsWhatIsAskedFor(t *testing.T) {
	caching(t, serving.Options{CacheEntries: 1}, filePPO, "", func(s *serving.Service, p *policy.Policy, e *paced) {
		one, two := request(p, 0), request(p, 0)
		two.Inputs[0][0] = 0.5
		ask(t, s, p, e, one)
		if ask(t, s, p, e, one) || !ask(t, s, p, e, two) || !ask(t, s, p, e, one) {
			t.Error("one entry is not the last that was asked for")
		}
	})
}

func TestCacheHitsAllocateNothing(t *testing.T) {
	p := open(t, filePPO, "", 1, policy.Options{Engine: moody{100 * time.Microsecond}, Untried: true})
	s := serving.New(serving.Options{CacheEntries: 100, CacheBytes: 1 << 20})
	req := request(p, 0)
	act := func() {
		if err := s.Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
	}
	act()
	if n := testing.AllocsPerRun(100, act); n != 0 {
		t.Errorf("%v allocations for a hit", n)
	}
	if st := s.Stats(); st.Hits < 100 {
		t.Errorf("%+v", st)
	}
	// A miss takes the memory of what it evicts.
	full := serving.New(serving.Options{CacheEntries: 1, CacheBytes: 1 << 20})
	n := 0
	miss := func() {
		n++
		req.Inputs[0][0] = float32(n%7) / 7
		if err := full.Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
	}
	miss()
	if n := testing.AllocsPerRun(20, miss); n != 0 {
		t.Errorf("%v allocations for a miss", n)
	}
}

// TestCacheHammer has many goroutines ask for few observations of two versions.
func TestCacheHammer(t *testing.T) {
	const clients = 8
	var versions [2]*policy.Policy
	for i := range versions {
		versions[i] = open(t, filePPO, "", clients, policy.Options{Engine: moody{10 * time.Microsecond}, Untried: true})
	}
	alone := open(t, filePPO, "", 1, policy.Options{})
	var want [40][]float32
	req := request(alone, 0)
	for n := range want {
		observe(req, alone.Contract(), 1, n)
		if err := aloneOn(0, alone, req); err != nil {
			t.Fatal(err)
		}
		want[n] = slices.Clone(req.Actions)
	}
	s := serving.New(serving.Options{Lanes: clients, MaxQueue: 64, CacheEntries: 30, CacheBytes: 1 << 20})
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			p := versions[client%2]
			req := request(p, 0)
			for i := range 2000 {
				n := (i*7 + client*i%5) % len(want)
				observe(req, p.Contract(), 1, n)
				if err := s.Act(t.Context(), p, req); err != nil || !slices.Equal(req.Actions, want[n]) {
					t.Errorf("observation %d: %v, %v, want %v", n, err, req.Actions, want[n])
				}
			}
		})
	}
	wg.Wait()
	if st := s.Stats(); st.Hits == 0 || st.Misses == 0 || st.Kept > 30 {
		t.Errorf("%+v", st)
	}
}
