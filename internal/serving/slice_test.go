package serving_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// byRow is an engine whose programs take 100 µs for each row.
type byRow struct{ rowTime time.Duration }

func (byRow) Name() string { return "by row" }

func (e byRow) Compile(g *graph.Graph) (policy.Program, error) {
	p, err := policy.Plan.Compile(g)
	return byRowProgram{e, p}, err
}

type byRowProgram struct {
	e byRow
	policy.Program
}

func (p byRowProgram) NewRunner() policy.ProgramRunner {
	return byRowRunner{p.e, p.Program.NewRunner()}
}

type byRowRunner struct {
	e byRow
	policy.ProgramRunner
}

func (r byRowRunner) Run(rows int, in, out [][]float32, n graph.Noise) error {
	time.Sleep(time.Duration(rows) * r.e.rowTime)
	return r.ProgramRunner.Run(rows, in, out, n)
}

// slicing runs f in a bubble with a policy of 100 µs a row, which is known of it.
func slicing(t *testing.T, lanes int, f func(s *serving.Service, p *policy.Policy)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := open(t, filePPO, "", lanes, policy.Options{Engine: byRow{100 * time.Microsecond}, Untried: true})
		s := serving.New(serving.Options{Lanes: lanes, MaxQueue: 64, MaxBatch: 32})
		for range 2 {
			if err := s.Act(context.Background(), p, request(p, 0)); err != nil {
				t.Fatal(err)
			}
		}
		f(s, p)
	})
}

// TestSlicesGrow: a network that takes hardly longer for many rows than for one
// is not cut to single rows, although one takes longer than a slice should.
func TestSlicesGrow(t *testing.T) {
	bubble(t, 1, 3*time.Millisecond, func(s *serving.Service, p *policy.Policy, e *paced, _ map[string]int) {
		learn(t, s, p, e)
		for range 12 {
			if err := s.Act(context.Background(), p, large(p, 32)); err != nil {
				t.Fatal(err)
			}
		}
		e.runs.Store(0)
		if err := s.Act(context.Background(), p, large(p, 32)); err != nil || e.runs.Load() != 1 {
			t.Errorf("%v: 32 rows, which take as long as one, in %d runs", err, e.runs.Load())
		}
	})
}

// TestLargeControlDoesNotTakeTurns: large requests of control run one after
// another: in turns, all of them would be late.
func TestLargeControlDoesNotTakeTurns(t *testing.T) {
	slicing(t, 1, func(s *serving.Service, p *policy.Policy) {
		begun := time.Now()
		var wg sync.WaitGroup
		for i := range 4 {
			req := large(p, 100) // 10 ms
			req.Priority = serving.PriorityControl
			wg.Go(func() {
				if err := s.Act(context.Background(), p, req); err != nil {
					t.Error(err)
				}
				if took, most := time.Since(begun), time.Duration(i+1)*11*time.Millisecond; took > most {
					t.Errorf("number %d took %v, want at most %v", i, took, most)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if st := s.Stats(); st.Yields != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func large(p *policy.Policy, rows int) *serving.Request {
	req := &serving.Request{Deterministic: true, Priority: serving.PriorityBatch}
	observe(req, p.Contract(), rows, 1)
	return req
}

// TestControlWaitsForOneSlice: a request of control has to wait for a
// millisecond or so of a large one, not for all of it, and the large one goes on
// before others of batch.
func TestControlWaitsForOneSlice(t *testing.T) {
	slicing(t, 1, func(s *serving.Service, p *policy.Policy) {
		var wg sync.WaitGroup
		begun := time.Now()
		wg.Go(func() { // 100 ms of work
			if err := s.Act(context.Background(), p, large(p, 1000)); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took < 100*time.Millisecond || took > 105*time.Millisecond {
				t.Errorf("100 ms of work beside 1 ms of control took %v", took)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := s.Act(context.Background(), p, large(p, 1)); err != nil {
				t.Error(err)
			}
			if waited := time.Since(begun); waited < 100*time.Millisecond {
				t.Errorf("another of batch was answered after %v, in the midst of the first", waited)
			}
		})
		for range 10 {
			time.Sleep(5300 * time.Microsecond)
			req := request(p, 0)
			if err := s.Act(context.Background(), p, req); err != nil || req.Queue > 2*time.Millisecond {
				t.Errorf("one of control: %v, it waited %v", err, req.Queue)
			}
		}
		wg.Wait()
		if st := s.Stats(); st.Divided != 1 || st.Slices < 50 || st.Yields < 8 {
			t.Errorf("%+v", st)
		}
	})
}

// TestManyRowsTakeEveryFreeLane: in half the time by two lanes; a lane that
// somebody else wants is given back.
func TestManyRowsTakeEveryFreeLane(t *testing.T) {
	slicing(t, 2, func(s *serving.Service, p *policy.Policy) {
		begun := time.Now()
		if err := s.Act(context.Background(), p, large(p, 1000)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 53*time.Millisecond {
			t.Errorf("100 ms of work on two lanes took %v", took)
		}
		if s.Active() != 0 {
			t.Errorf("%d lanes are still busy", s.Active())
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.Act(context.Background(), p, large(p, 1000)); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(10500 * time.Microsecond)
		for _, class := range []serving.Priority{serving.PriorityControl, serving.PriorityBatch} {
			req := large(p, 1)
			req.Priority = class
			if err := s.Act(context.Background(), p, req); err != nil || req.Queue > 2*time.Millisecond {
				t.Errorf("one of %v: %v, it waited %v", class, err, req.Queue)
			}
		}
		wg.Wait()
	})
}

// TestALargeRequestEndsAtItsDeadline: slices that would be too late are not
// begun.
func TestALargeRequestEndsAtItsDeadline(t *testing.T) {
	slicing(t, 1, func(s *serving.Service, p *policy.Policy) {
		req := large(p, 1000)
		begun := time.Now()
		req.Deadline = begun.Add(30 * time.Millisecond)
		if err := s.Act(context.Background(), p, req); !errors.Is(err, serving.ErrDeadline) || time.Since(begun) > 34*time.Millisecond {
			t.Errorf("100 ms of work with 30 ms left: %v after %v", err, time.Since(begun))
		}
		if s.Active() != 0 {
			t.Error("the lane was lost")
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Act(ctx, p, large(p, 1000)); err != nil { // Nothing waits, and nobody looks.
			t.Error(err)
		}
	})
}
