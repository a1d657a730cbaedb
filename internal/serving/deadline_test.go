package serving_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// bubble runs f with a service and a policy whose runs take a time, in a bubble
// of its own. reasons has what was refused.
func bubble(t *testing.T, lanes int, takes time.Duration, f func(s *serving.Service, p *policy.Policy, e *paced, reasons map[string]int)) {
	t.Helper()
	e := &paced{}
	p := open(t, filePPO, "", lanes, policy.Options{Engine: e, Untried: true})
	e.runs.Store(0)
	e.takes.Store(int64(takes))
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		reasons := map[string]int{}
		f(serving.New(serving.Options{Lanes: lanes, MaxQueue: 1024, Refused: func(reason string) {
			mu.Lock()
			reasons[reason]++
			mu.Unlock()
		}}), p, e, reasons)
	})
}

// learn runs the policy as often as it takes until it is known how long that
// takes.
func learn(t *testing.T, s *serving.Service, p *policy.Policy, e *paced) {
	t.Helper()
	for range 2 {
		if err := s.Act(context.Background(), p, request(p, 0)); err != nil {
			t.Fatal(err)
		}
	}
	e.runs.Store(0)
}

// request is one observation that must be answered within a time; 0 is none.
func request(p *policy.Policy, within time.Duration) *serving.Request {
	req := &serving.Request{Deterministic: true}
	observe(req, p.Contract(), 1, 1)
	if within > 0 {
		req.Deadline = time.Now().Add(within)
	}
	return req
}

func TestSlowWorkIsNotStarted(t *testing.T) {
	bubble(t, 1, 5*time.Millisecond, func(s *serving.Service, p *policy.Policy, e *paced, reasons map[string]int) {
		learn(t, s, p, e)
		if got := p.Pace().Expect(1); got != 5*time.Millisecond {
			t.Fatalf("two runs of 5 ms, and %v are expected", got)
		}
		late := request(p, 4*time.Millisecond)
		begun := time.Now()
		err := s.Act(context.Background(), p, late)
		var why *serving.DeadlineError
		if !errors.Is(err, serving.ErrDeadline) || !errors.As(err, &why) || why.Reason != "slow" || why.Expect != 5*time.Millisecond || why.Left != 4*time.Millisecond {
			t.Fatalf("a run of 5 ms in 4 ms: %v, %+v", err, why)
		}
		if want := "the policy takes about 5ms for such a request, and 4ms are left"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if e.runs.Load() != 0 || time.Since(begun) != 0 || s.Active() != 0 || reasons["slow"] != 1 {
			t.Errorf("%d runs, %v, %d lanes busy, refused %v", e.runs.Load(), time.Since(begun), s.Active(), reasons)
		}
		if err := s.Act(context.Background(), p, request(p, 5*time.Millisecond)); err != nil {
			t.Errorf("a run of 5 ms in 5 ms: %v", err)
		}
		// What is not known of many rows is at least what is known of one.
		many := request(p, 4*time.Millisecond)
		observe(many, p.Contract(), 8, 1)
		if got := p.Pace().Expect(8); got != 5*time.Millisecond {
			t.Errorf("%v are expected of eight rows", got)
		}
	})
}

// TestCompilingIsNotThePace: the first call of a form compiles it, and one that
// was held up is alone. Neither has those that follow refused.
func TestCompilingIsNotThePace(t *testing.T) {
	const takes, within = time.Millisecond, 20 * time.Millisecond
	bubble(t, 1, takes, func(s *serving.Service, p *policy.Policy, e *paced, reasons map[string]int) {
		e.compiles.Store(int64(time.Second))
		first := request(p, 0)
		first.WantExtras = true
		if err := s.Act(context.Background(), p, first); err != nil {
			t.Fatal(err)
		}
		if first.Infer != time.Second+takes || p.Pace().Expect(1) != 0 {
			t.Errorf("the first took %v, and %v are expected of the next", first.Infer, p.Pace().Expect(1))
		}
		e.takes.Store(int64(time.Second))
		if err := s.Act(context.Background(), p, request(p, 0)); err != nil {
			t.Fatal(err)
		}
		e.takes.Store(int64(takes))
		for i := range 10 {
			req := request(p, within)
			req.WantExtras = i%2 == 0
			if err := s.Act(context.Background(), p, req); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if got := p.Pace().Expect(1); got != takes || len(reasons) > 0 {
			t.Errorf("%v are expected, want %v; refused %v", got, takes, reasons)
		}
	})
}

func TestPassedDeadlines(t *testing.T) {
	bubble(t, 1, 0, func(s *serving.Service, p *policy.Policy, e *paced, reasons map[string]int) {
		err := s.Act(context.Background(), p, request(p, 0))
		if err != nil {
			t.Fatalf("no deadline: %v", err)
		}
		late := request(p, 0)
		late.Deadline = time.Now().Add(-time.Millisecond)
		if err = s.Act(context.Background(), p, late); !errors.Is(err, serving.ErrDeadline) || !strings.Contains(err.Error(), "passed 1ms ago") {
			t.Errorf("its own deadline: %v", err)
		}
		ctx, cancel := context.WithDeadline(context.Background(), time.Now())
		defer cancel()
		if err = s.Act(ctx, p, request(p, 0)); !errors.Is(err, serving.ErrDeadline) {
			t.Errorf("the context's deadline: %v", err)
		}
		if e.runs.Load() != 1 || s.Active() != 0 || reasons["passed"] != 2 {
			t.Errorf("%d runs, %d lanes busy, refused %v", e.runs.Load(), s.Active(), reasons)
		}
	})
}

// TestWaitingEndsWhenItIsOfNoUse: a request leaves the queue when its policy
// could not be done in time any more, not when the time is over.
func TestWaitingEndsWhenItIsOfNoUse(t *testing.T) {
	bubble(t, 1, 5*time.Millisecond, func(s *serving.Service, p *policy.Policy, e *paced, reasons map[string]int) {
		learn(t, s, p, e)
		e.takes.Store(int64(20 * time.Millisecond))
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Act(context.Background(), p, request(p, 0)) })
		synctest.Wait()
		begun := time.Now()
		err := s.Act(context.Background(), p, request(p, 12*time.Millisecond))
		var why *serving.DeadlineError
		if !errors.As(err, &why) || why.Reason != "queue" || why.Queue != 7*time.Millisecond {
			t.Errorf("%v, %+v", err, why)
		}
		if waited := time.Since(begun); waited != 7*time.Millisecond || s.Waiting() != 0 {
			t.Errorf("waited %v, %d in the queue", waited, s.Waiting())
		}
		wg.Wait()
		if e.runs.Load() != 1 || reasons["queue"] != 1 {
			t.Errorf("%d runs, refused %v", e.runs.Load(), reasons)
		}
	})
}

// TestTrials: what is refused is tried again now and then, and a policy that
// became fast is known to be so by the first trial.
func TestTrials(t *testing.T) {
	const takes, within = 5 * time.Millisecond, 4 * time.Millisecond
	bubble(t, 1, takes, func(s *serving.Service, p *policy.Policy, e *paced, _ map[string]int) {
		act := func() error { return s.Act(context.Background(), p, request(p, within)) }
		learn(t, s, p, e)
		started := 0
		for range 2000 { // two seconds
			time.Sleep(time.Millisecond)
			if before := e.runs.Load(); act() == nil || e.runs.Load() != before {
				started++
			}
		}
		if started < 3 || started > 4 { // one in 500 ms
			t.Errorf("%d trials in 2 s of a policy that takes 5 ms, want one in 500 ms", started)
		}
		e.takes.Store(int64(time.Millisecond))
		time.Sleep(time.Second)
		for i := range 10 {
			if err := act(); err != nil {
				t.Errorf("request %d after the policy became fast: %v", i, err)
			}
		}
	})
}

// TestNothingStartsLate: three times the load that two lanes can take, with
// deadlines of 1, 5, 20 and 100 ms. What starts has its time before it, by the
// average that holds then, but for trials, which are less than 1 % of the work.
func TestNothingStartsLate(t *testing.T) {
	const lanes, takes, clients = 2, 2 * time.Millisecond, 60
	bubble(t, lanes, takes, func(s *serving.Service, p *policy.Policy, e *paced, reasons map[string]int) {
		learn(t, s, p, e)
		within := []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond}
		var mu sync.Mutex
		answered, late := map[time.Duration]int{}, 0
		var wg sync.WaitGroup
		for client := range clients {
			wg.Go(func() {
				d := within[client%len(within)]
				for i := range 100 {
					time.Sleep(time.Duration((client*7+i*13)%20) * time.Millisecond) // 10 ms in the middle: 3000 requests a second in all
					req := request(p, d)
					err := s.Act(context.Background(), p, req)
					mu.Lock()
					switch {
					case err == nil && time.Now().After(req.Deadline):
						late++
						answered[d]++
					case err == nil:
						answered[d]++
					case !errors.Is(err, serving.ErrDeadline):
						t.Errorf("client %d: %v", client, err)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		runs := int(e.runs.Load())
		what := fmt.Sprintf("%d runs, answered %v, %d late, refused %v", runs, answered, late, reasons)
		if got := answered[within[0]] + answered[within[1]] + answered[within[2]] + answered[within[3]]; got != runs || runs < 1000 {
			t.Errorf("%d answers: %s", got, what)
		}
		if late*100 > runs || answered[within[0]] > late {
			t.Errorf("work was done in vain: %s", what)
		}
		if reasons["slow"] == 0 || reasons["queue"] == 0 || s.Active() != 0 || s.Waiting() != 0 {
			t.Error(what)
		}
	})
}

func TestDeadlinesAllocateNothing(t *testing.T) {
	p := open(t, filePPO, "", 1, policy.Options{})
	s := serving.New(serving.Options{Lanes: 1})
	req := request(p, time.Hour)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNobodyWaitsToTheLastMoment where calls are held up now and then: a request
// leaves the queue while one that is held up could still be done, but not before
// half of the time that it could wait.
func TestNobodyWaitsToTheLastMoment(t *testing.T) {
	bubble(t, 1, time.Millisecond, func(s *serving.Service, p *policy.Policy, e *paced, _ map[string]int) {
		for i := range 600 {
			e.takes.Store(int64(time.Millisecond))
			if i%60 == 59 {
				e.takes.Store(int64(30 * time.Millisecond))
			}
			if err := s.Act(context.Background(), p, request(p, 0)); err != nil {
				t.Fatal(err)
			}
		}
		hiccup := p.Pace().Hiccup(1)
		if hiccup < 5*time.Millisecond || hiccup > 30*time.Millisecond {
			t.Fatalf("a hiccup of %v", hiccup)
		}
		e.takes.Store(int64(200 * time.Millisecond))
		f := func(within time.Duration) {
			t.Helper()
			var wg sync.WaitGroup
			wg.Go(func() { _ = s.Act(context.Background(), p, request(p, 0)) })
			synctest.Wait()
			begun, bound := time.Now(), p.Pace().Bound(1)
			want := within - bound - min(hiccup, (within-bound)/2)
			if err := s.Act(context.Background(), p, request(p, within)); !errors.Is(err, serving.ErrDeadline) {
				t.Errorf("%v: %v", within, err)
			}
			if waited := time.Since(begun); waited != want {
				t.Errorf("with %v it waited %v, want %v", within, waited, want)
			}
			wg.Wait()
			hiccup = p.Pace().Hiccup(1)
		}
		f(100 * time.Millisecond)
		f(20 * time.Millisecond)
	})
}
