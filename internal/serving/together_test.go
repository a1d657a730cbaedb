package serving_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// moody is an engine whose programs take a time for each row, and fail or panic
// where an observation says so.
type moody struct{ row time.Duration }

// First values of observations at which a moody program fails.
const (
	badFails  = 700
	badPanics = 800
)

var errMood = errors.New("not in the mood")

func (moody) Name() string { return "moody" }

func (e moody) Compile(g *graph.Graph) (policy.Program, error) {
	p, err := policy.Plan.Compile(g)
	return moodyProgram{e, p}, err
}

type moodyProgram struct {
	e moody
	policy.Program
}

func (p moodyProgram) NewRunner() policy.ProgramRunner {
	return moodyRunner{p.e, p.Program.NewRunner()}
}

type moodyRunner struct {
	e moody
	policy.ProgramRunner
}

func (r moodyRunner) Run(rows int, in, out [][]float32, n graph.Noise) error {
	for begun := time.Now(); time.Since(begun) < time.Duration(rows)*r.e.row; {
	}
	width := len(in[0]) / rows
	for row := range rows {
		switch in[0][row*width] {
		case badFails:
			return errMood
		case badPanics:
			panic("an observation that nobody foresaw")
		}
	}
	return r.ProgramRunner.Run(rows, in, out, n)
}

// answered is what a request left behind.
type answered struct {
	actions       []float32
	extras, state [][]float32
	interventions []envelope.Intervention
	histories     [][]float32
}

func answerOf(req *serving.Request) (a answered) {
	a.actions = slices.Clone(req.Actions)
	for _, x := range req.Extras {
		a.extras = append(a.extras, slices.Clone(x))
	}
	for _, x := range req.State {
		a.state = append(a.state, slices.Clone(x))
	}
	a.interventions = slices.Clone(req.Interventions)
	for _, h := range req.Histories {
		last, before, _ := h.Actions()
		a.histories = append(a.histories, slices.Concat(last, before))
	}
	return a
}

func (a answered) differs(b answered) string {
	switch {
	case !slices.Equal(a.actions, b.actions):
		return fmt.Sprintf("actions %v, alone %v", a.actions, b.actions)
	case !slices.EqualFunc(a.extras, b.extras, slices.Equal):
		return fmt.Sprintf("extras %v, alone %v", a.extras, b.extras)
	case !slices.EqualFunc(a.state, b.state, slices.Equal):
		return fmt.Sprintf("state %v, alone %v", a.state, b.state)
	case !slices.Equal(a.interventions, b.interventions):
		return fmt.Sprintf("interventions %v, alone %v", a.interventions, b.interventions)
	case !slices.EqualFunc(a.histories, b.histories, slices.Equal):
		return fmt.Sprintf("histories %v, alone %v", a.histories, b.histories)
	}
	return ""
}

// togetherKinds are policies of every kind: without state, with, with an
// envelope that counts from the action before, with masks, with several inputs,
// one that takes its rows in turn.
func togetherKinds(t *testing.T, lanes int, row time.Duration) []*policy.Policy {
	t.Helper()
	o := policy.Options{Engine: moody{row}, Untried: true}
	var kinds []*policy.Policy
	for _, k := range []struct{ path, card string }{
		{filePPO, enveloped}, {filePPO, ""}, {fileRecurrentPPO, enveloped}, {fileLSTM, ""},
		{"../format/sb3/testdata/maskable_discrete/model.zip", ""}, {"../format/sb3/testdata/ppo_dict/model.zip", ""},
		{scripts + "stateful/model_script.pt", "input_shape: [3]\npostprocess: none\naction: [{name: out, shape: [3]}]\n"},
	} {
		kinds = append(kinds, open(t, k.path, k.card, lanes, o))
	}
	return kinds
}

// varied makes a request of everything that a request may be, which follows
// from n. An observation of bad fails.
func varied(req *serving.Request, p *policy.Policy, r *rand.Rand, bad float32) {
	c := p.Contract()
	rows := 1
	switch x := r.IntN(20); {
	case x == 0:
		rows = 50 + r.IntN(150)
	case x < 5:
		rows = 2 + r.IntN(7)
	}
	req.Plain()
	req.Inputs = req.Inputs[:min(len(req.Inputs), len(c.Inputs))]
	observe(req, c, rows, r.IntN(1000))
	for i := range req.Inputs {
		for j := range req.Inputs[i] {
			req.Inputs[i][j] += float32(r.IntN(100)) / 100
		}
	}
	if bad != 0 {
		width := c.Inputs[0].Width
		req.Inputs[0][r.IntN(rows)*width] = bad
	}
	req.Deterministic, req.WantExtras = r.IntN(4) > 0, r.IntN(4) == 0
	req.Seed, req.Step, req.Row = r.Uint64N(1<<50), r.Uint64N(100), r.Uint64N(100)
	req.Priority = serving.Priority(r.IntN(2))
	if c.Masks > 0 && r.IntN(2) == 0 {
		masks := req.NewMasks(rows * c.Masks)
		for i := range masks {
			masks[i] = float32(r.IntN(2))
		}
		for i := range rows { // At least one of each part.
			at := i * c.Masks
			for _, n := range c.MaskParts {
				masks[at] = 1
				at += n
			}
		}
	}
	if c.Carries() && (len(c.State) > 0 || r.IntN(2) == 0) {
		req.Begin(c)
		for _, part := range req.State {
			for i := range part {
				part[i] = float32(r.IntN(200)-100) / 200
			}
		}
		last, before := make([]float32, c.ActionWidth()), make([]float32, c.ActionWidth())
		for _, h := range req.Histories {
			if r.IntN(3) > 0 {
				for i := range last {
					last[i], before[i] = float32(r.IntN(100))/100, float32(r.IntN(100))/100
				}
				h.Restore(last, before)
			}
		}
	}
}

// TestAnswersNeverCross has thousands of requests of several policies, sizes,
// priorities and forms wait for few lanes, where they run together and in
// slices, beside requests that are cancelled, come too late, fail and panic.
// Each answer is that of the request alone, bit for bit, and one that fails has
// changed nothing.
func TestAnswersNeverCross(t *testing.T) {
	f := func(name string, o serving.Options) {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			st := neverCross(t, o)
			t.Logf("%+v", st)
			if o.MaxBatch > 1 && st.Joined == 0 || o.MaxBatch <= 1 && st.Joined > 0 || st.Divided == 0 {
				t.Errorf("too little ran together: %+v", st)
			}
			if o.CacheEntries > 0 && st.Hits+st.Misses == 0 {
				t.Errorf("nothing was looked up: %+v", st)
			}
		})
	}
	f("one lane", serving.Options{Lanes: 1, MaxQueue: 1024, MaxBatch: 32})
	f("three lanes", serving.Options{Lanes: 3, MaxQueue: 1024, MaxBatch: 32})
	f("a window", serving.Options{Lanes: 2, MaxQueue: 1024, MaxBatch: 8, MaxDelay: 200 * time.Microsecond})
	f("a cache", serving.Options{Lanes: 2, MaxQueue: 1024, MaxBatch: 32, CacheEntries: 100, CacheBytes: 1 << 20})
	f("a short queue", serving.Options{Lanes: 2, MaxQueue: 4, MaxBatch: 32})
	f("alone", serving.Options{Lanes: 2, MaxQueue: 1024})
}

func neverCross(t *testing.T, o serving.Options) serving.Stats {
	const clients = 24
	rounds := 150
	if testing.Short() {
		rounds = 60
	}
	kinds, alone := togetherKinds(t, o.Lanes, 10*time.Microsecond), togetherKinds(t, clients, 0)
	s := serving.New(o)
	var answers, refusals, failures, panics atomic.Int64
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(client), 7))
			req, twin := &serving.Request{}, &serving.Request{}
			for round := range rounds {
				k := r.IntN(len(kinds))
				var bad float32
				if r.IntN(25) == 0 {
					bad = [...]float32{badFails, badPanics}[r.IntN(2)]
				}
				a, b := rand.New(rand.NewPCG(uint64(client), uint64(round))), rand.New(rand.NewPCG(uint64(client), uint64(round)))
				varied(req, kinds[k], a, bad)
				varied(twin, alone[k], b, bad)
				before := answerOf(twin)
				ctx := t.Context()
				switch r.IntN(12) {
				case 0:
					c, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(400))*time.Microsecond)
					defer cancel()
					ctx = c
				case 1:
					req.Deadline = time.Now().Add(time.Duration(r.IntN(3000)) * time.Microsecond)
				}
				panicked, err := attempt(func() error { return s.Act(ctx, kinds[k], req) })
				switch {
				case panicked != nil && bad == badPanics && strings.Contains(fmt.Sprint(panicked), "nobody foresaw"):
					panics.Add(1)
					continue
				case panicked != nil:
					t.Errorf("client %d, round %d: panic: %v", client, round, panicked)
					continue
				case errors.Is(err, serving.ErrDeadline), errors.Is(err, serving.ErrQueueFull), errors.Is(err, context.DeadlineExceeded):
					refusals.Add(1)
				case errors.Is(err, errMood) && bad == badFails:
					failures.Add(1)
				case err != nil || bad != 0:
					t.Errorf("client %d, round %d: error %v, bad %v", client, round, err, bad)
					continue
				default:
					answers.Add(1)
					if err := aloneOn(client, alone[k], twin); err != nil {
						t.Error(err)
						continue
					}
					if d := answerOf(req).differs(answerOf(twin)); d != "" {
						t.Errorf("client %d, round %d, policy %d, %d rows: %s", client, round, k, req.Rows, d)
					}
					continue
				}
				after := answerOf(req)
				after.actions, after.extras, after.interventions = before.actions, before.extras, before.interventions
				if d := after.differs(before); d != "" {
					t.Errorf("client %d, round %d: a request that failed with %v left %s", client, round, err, d)
				}
			}
		})
	}
	wg.Wait()
	if s.Active() != 0 || s.Waiting() != 0 {
		t.Errorf("%d lanes busy, %d requests wait at the end", s.Active(), s.Waiting())
	}
	t.Logf("%d answers, %d refusals, %d failures, %d panics", answers.Load(), refusals.Load(), failures.Load(), panics.Load())
	if answers.Load() < int64(clients) || refusals.Load() == 0 || failures.Load() == 0 || panics.Load() == 0 {
		t.Error("the requests did not do everything")
	}
	return s.Stats()
}

// aloneOn runs a request whole on a lane of its own, by none of the code of
// queues.
func aloneOn(lane int, p *policy.Policy, req *serving.Request) error {
	c := p.Contract()
	call := policy.Call{
		Rows: req.Rows, In: req.Inputs, Actions: make([]float32, req.Rows*c.ActionWidth()), Deterministic: req.Deterministic,
		Seed: req.Seed, Step: req.Step, Row: req.Row, State: req.State, Masks: req.Masks, Histories: req.Histories,
	}
	if req.WantExtras {
		for _, e := range c.Extras {
			call.Extras = append(call.Extras, make([]float32, req.Rows*e.Width))
		}
	}
	err := p.Runner(lane).Act(&call)
	req.Actions, req.Extras, req.Interventions = call.Actions, call.Extras, call.Interventions
	return err
}

func attempt(f func() error) (panicked any, err error) {
	defer func() { panicked = recover() }()
	return nil, f()
}
