package experience_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/demo"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// generous is how long a test waits for what comes in milliseconds on an idle
// machine.
const generous = 2 * time.Minute

// until waits for something to be so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for begun := time.Now(); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > generous {
			t.Fatalf("not so after %v: %s", generous, what)
		}
	}
}

// driving opens the demo policy, with more in its card.
func driving(t testing.TB, card string) *policy.Policy {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(demo.FS, demo.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(demo.FS, name)
		if strings.HasSuffix(name, "model_card.yaml") {
			data = append(data, card...)
		}
		files["policy/"+strings.TrimPrefix(name, demo.Dir+"/")] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := "policy"
	if _, err := fs.Stat(files, "policy/model_card.yaml"); err != nil {
		entries, err := fs.ReadDir(files, "policy")
		if err != nil || len(entries) != 1 {
			t.Fatalf("the demo has %d folders, %v", len(entries), err)
		}
		dir += "/" + entries[0].Name()
	}
	a, err := artifact.Open(files, dir, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Open(a, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Prepare(2)
	return p
}

// request is one for so many rows, each of which is its own.
func request(p *policy.Policy, rows int, from float32) *serving.Request {
	c := p.Contract()
	req := &serving.Request{Rows: rows, Deterministic: true, Origin: &serving.Origin{Model: "carla-ppo", Version: "v0.1.0", Digest: "d"}}
	for _, in := range c.Inputs {
		req.Inputs = append(req.Inputs, make([]float32, rows*in.Width))
	}
	for row := range rows {
		for _, f := range c.Features {
			for j := range f.Size {
				req.Inputs[f.Input][row*c.Inputs[f.Input].Width+f.Offset+j] = max(float32(f.Low), min(float32(f.High), 0.01*from+0.001*float32(row)))
			}
		}
	}
	return req
}

func record(t testing.TB, store experience.Store, o experience.RecorderOptions) (*experience.Recorder, *serving.Service) {
	t.Helper()
	r := experience.NewRecorder(store, o)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r, serving.New(serving.Options{Lanes: 2, MaxQueue: 1024, Recorder: r})
}

func closeRecorder(t testing.TB, r *experience.Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestRecorderKeepsWhatLeft: what is in the file afterwards is what was asked
// and answered, in both modes.
func TestRecorderKeepsWhatLeft(t *testing.T) {
	for _, mode := range []experience.Mode{experience.Buffered, experience.Durable} {
		t.Run(string(mode), func(t *testing.T) {
			p := driving(t, "\nenvelope: {limits: {steer: {low: -0.001, high: 0.001}}}\n")
			path := filepath.Join(t.TempDir(), "e.db")
			r, s := record(t, open(t, path, experience.Options{Run: "run"}), experience.RecorderOptions{Run: "run", Mode: mode, Buffer: 64 << 10, CommitTimeout: generous, OnFailure: experience.Stop})
			var mu sync.Mutex
			want := map[string]experience.Step{}
			var wg sync.WaitGroup
			const clients, acts = 4, 50
			for client := range clients {
				wg.Go(func() {
					for i := range acts {
						req := request(p, 1+i%3, float32(client*acts+i))
						id := fmt.Sprintf("%d-%d", client, i)
						for { // A full buffer refuses by on_failure stop.
							req.Origin.Reset([]byte(id), time.Now())
							req.Origin.Session, req.Origin.Episode, req.Origin.Step, req.Origin.First = fmt.Sprint("s", client), 1, uint64(i), i == 0
							err := s.Act(context.Background(), p, req)
							if err == nil {
								break
							}
							if !errors.Is(err, serving.ErrNotRecorded) {
								t.Error(err)
								return
							}
							time.Sleep(time.Millisecond)
						}
						mu.Lock()
						for row := range req.Rows {
							st := experience.Step{Observation: slices.Clone(req.Inputs[0][row*p.Contract().Inputs[0].Width:][:p.Contract().Inputs[0].Width]), Action: slices.Clone(req.Actions[row*3:][:3])}
							for _, v := range req.Interventions {
								if v.Row == row {
									st.Raw = slices.Clone(st.Action)
									st.Raw[v.Value] = v.From
								}
							}
							want[fmt.Sprint(id, "/", row)] = st
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			closeRecorder(t, r)
			store := open(t, path, experience.Options{ReadOnly: true})
			changed := 0
			got := read(t, store, experience.Query{})
			if len(got) != len(want) {
				t.Errorf("%d steps are kept of %d", len(got), len(want))
			}
			for i, st := range got {
				if st.Sequence != uint64(i+1) || st.Run != "run" {
					t.Fatalf("step %d has sequence %d of run %s", i, st.Sequence, st.Run)
				}
				w, ok := want[fmt.Sprint(st.RequestID, "/", st.Row)]
				if !ok || !slices.Equal(st.Observation, w.Observation) || !slices.Equal(st.Action, w.Action) || !slices.Equal(st.Raw, w.Raw) {
					t.Fatalf("got %+v\nwant %+v", st, w)
				}
				if st.Raw != nil {
					changed++
					if v := st.Interventions[0]; v.Kind != "bound" || v.From != st.Raw[v.Value] || v.To != st.Action[v.Value] {
						t.Fatalf("%+v", st.Interventions)
					}
				}
				if st.First != (st.SessionStep == 0) || !st.Deterministic || st.Infer <= 0 || st.Time.IsZero() || st.Model != "carla-ppo" || st.Session[0] != 's' {
					t.Fatalf("%+v", st)
				}
			}
			if changed == 0 {
				t.Error("the envelope changed nothing: the test shows nothing of it")
			}
			stats, err := store.Stats(t.Context())
			if err != nil || !stats.Runs[0].Ended || stats.Runs[0].Lost != 0 {
				t.Errorf("%+v, %v", stats, err)
			}
			if layouts, err := store.Layouts(t.Context()); err != nil || len(layouts) != 1 || layouts[0].ObservationWidth() != len(got[0].Observation) || layouts[0].ActionWidth() != 3 || layouts[0].Actions[2].Name != "steer" {
				t.Errorf("%+v, %v", layouts, err)
			}
		})
	}
}

// scripted is a store whose writes do what a test says.
type scripted struct {
	experience.Store
	append func(*experience.Batch) error
}

func (s *scripted) Append(ctx context.Context, b *experience.Batch) error {
	if err := s.append(b); err != nil {
		return err
	}
	return s.Store.Append(ctx, b)
}

// TestWhatIsLostIsCounted: while a write hangs, the buffer fills; what then has
// no room is in the gap record, exactly, and nobody waits.
func TestWhatIsLostIsCounted(t *testing.T) {
	p := driving(t, "")
	release := make(chan struct{})
	file := open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "run"})
	r, s := record(t, &scripted{file, func(*experience.Batch) error { <-release; return nil }}, experience.RecorderOptions{Run: "run", Buffer: 64 << 10, Flush: time.Millisecond})
	const acts = 2000
	for i := range acts {
		req := request(p, 1, float32(i))
		req.Origin.Reset([]byte("id"), time.Now())
		if err := s.Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
	}
	if st := r.Stats(); st.Lost[experience.LostFull] == 0 || st.Recorded+st.Lost[experience.LostFull] != acts {
		t.Fatalf("%+v", st)
	}
	large := request(p, 1000, 0)
	large.Origin.Reset([]byte("id"), time.Now())
	if err := s.Act(t.Context(), p, large); err != nil {
		t.Fatal(err)
	}
	close(release)
	// What was lost is written with the next batch, which may have no step.
	until(t, "steps and gaps are written", func() bool {
		gaps, err := file.Gaps(t.Context(), experience.Query{Run: "run"})
		if err != nil {
			t.Fatal(err)
		}
		st, told := r.Stats(), uint64(0)
		for _, g := range gaps {
			told += g.Count()
		}
		return st.Queued == 0 && told == st.Lost[experience.LostFull]+st.Lost[experience.LostTooLong]
	})
	gaps := whole(t, file, "run", acts+1000)
	reasons := map[string]uint64{}
	for _, g := range gaps {
		reasons[g.Reason] += g.Count()
	}
	st := r.Stats()
	if reasons[experience.LostTooLong] != 1000 || reasons[experience.LostFull] != st.Lost[experience.LostFull] || st.Written != st.Recorded {
		t.Errorf("gaps of %v, %+v", reasons, st)
	}
}

// whole holds the steps and gaps of a run to follow each other without a hole
// from 1 to n, and returns the gaps.
func whole(t testing.TB, s experience.Store, run string, n uint64) []experience.Gap {
	t.Helper()
	gaps, err := s.Gaps(context.Background(), experience.Query{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	next, at := uint64(1), 0
	skip := func() {
		for at < len(gaps) && gaps[at].First == next {
			next = gaps[at].Last + 1
			at++
		}
	}
	for st, err := range s.Read(context.Background(), experience.Query{Run: run}) {
		if err != nil {
			t.Fatal(err)
		}
		if skip(); st.Sequence != next {
			t.Fatalf("step %d follows %d; gaps %+v", st.Sequence, next-1, gaps)
		}
		next++
	}
	if skip(); next != n+1 || at != len(gaps) {
		t.Fatalf("steps and gaps end at %d, want %d; gaps %+v", next-1, n, gaps)
	}
	return gaps
}

// TestFailureIsPolicy: a write that fails for now and one that fails for good,
// under serve and stop.
func TestFailureIsPolicy(t *testing.T) {
	p := driving(t, "")
	act := func(s *serving.Service) error {
		req := request(p, 1, 0)
		req.Origin.Reset([]byte("id"), time.Now())
		return s.Act(context.Background(), p, req)
	}
	until := func(t *testing.T, what string, ok func() bool) {
		t.Helper()
		for begun := time.Now(); !ok(); time.Sleep(time.Millisecond) {
			if time.Since(begun) > generous {
				t.Fatal(what)
			}
		}
	}
	for _, final := range []bool{false, true} {
		for _, on := range []experience.OnFailure{experience.Serve, experience.Stop} {
			for _, mode := range []experience.Mode{experience.Buffered, experience.Durable} {
				t.Run(fmt.Sprintf("%s,%s,final=%v", on, mode, final), func(t *testing.T) {
					var broken atomic.Bool
					broken.Store(true)
					file := open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "run"})
					r, s := record(t, &scripted{file, func(*experience.Batch) error {
						switch {
						case final:
							return fmt.Errorf("%w: for a test", experience.ErrFailed)
						case broken.Load():
							return errors.New("no room")
						}
						return nil
					}}, experience.RecorderOptions{Run: "run", Mode: mode, OnFailure: on, Flush: time.Millisecond, CommitTimeout: 10 * time.Millisecond})
					err := act(s)
					if refused := mode == experience.Durable && on == experience.Stop; refused != errors.Is(err, serving.ErrNotRecorded) {
						t.Errorf("the first act: %v", err)
					}
					want := experience.StateRetrying
					if final {
						want = experience.StateFailed
					}
					until(t, "the state does not change", func() bool { st, _ := r.State(); return st == want })
					if _, why := r.State(); why == nil {
						t.Error("nothing says why")
					}
					ready, err := r.Ready(), act(s)
					if on == experience.Stop && (!errors.Is(ready, serving.ErrNotRecorded) || !errors.Is(err, serving.ErrNotRecorded)) {
						t.Errorf("stop: ready %v, an act %v", ready, err)
					}
					if on == experience.Serve && (ready != nil || err != nil) {
						t.Errorf("serve: ready %v, an act %v", ready, err)
					}
					st := r.Stats()
					if st.Failures == 0 || mode == experience.Durable && st.Unconfirmed == 0 {
						t.Errorf("%+v", st)
					}
					if final {
						until(t, "what will never be written is not counted", func() bool {
							st := r.Stats()
							return st.Queued == 0 && st.Lost[experience.LostFailed] > 0
						})
						return
					}
					broken.Store(false)
					until(t, "the log is not written again", func() bool { st, _ := r.State(); return st == experience.StateOK })
					if err := act(s); err != nil && mode == experience.Buffered { // A machine that is slow may take longer than the timeout.
						t.Error(err)
					}
					until(t, "steps wait", func() bool { return r.Stats().Queued == 0 })
					whole(t, file, "run", r.Stats().Recorded)
				})
			}
		}
	}
}

// TestOutcomesAreDurable: Outcome returns when the file has it.
func TestOutcomesAreDurable(t *testing.T) {
	file := open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "run"})
	r, _ := record(t, file, experience.RecorderOptions{Run: "run", Flush: time.Hour})
	for range 2 {
		if err := r.Outcome(t.Context(), experience.Outcome{ID: "o", Session: "s", Terminated: true, Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for o, err := range file.Outcomes(t.Context(), experience.Query{}) {
		if n++; err != nil || o.Run != "run" || !o.Terminated {
			t.Errorf("%+v, %v", o, err)
		}
	}
	if n != 1 {
		t.Errorf("%d outcomes", n)
	}
	closeRecorder(t, r)
	if err := r.Outcome(t.Context(), experience.Outcome{}); err == nil {
		t.Error("a recorder that was closed took an outcome")
	}
}

func TestLastSteps(t *testing.T) {
	p := driving(t, "")
	r, s := record(t, open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "run"}), experience.RecorderOptions{Run: "run", Last: 3, Mode: experience.Durable, CommitTimeout: generous})
	if got := r.Last(10); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	for i := range 5 {
		req := request(p, 1, float32(i))
		req.Origin.Reset(fmt.Append(nil, i), time.Now())
		if err := s.Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
	}
	got := r.Last(10)
	if len(got) != 3 || got[0].RequestID != "2" || got[2].RequestID != "4" || got[2].Sequence != 5 || len(got[2].Observation) == 0 {
		t.Errorf("%+v", got)
	}
	if got := r.Last(1); len(got) != 1 || got[0].RequestID != "4" {
		t.Errorf("%+v", got)
	}
}

// TestSessionsAreSampledWhole: of each session all steps or none, the same ones
// in every process, and about as many as were asked for.
func TestSessionsAreSampledWhole(t *testing.T) {
	p := driving(t, "")
	var before map[string]int
	for range 2 {
		file := open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "run"})
		r, s := record(t, file, experience.RecorderOptions{Run: "run", Sample: 0.25})
		const sessions, acts = 400, 3
		for i := range acts {
			for j := range sessions {
				req := request(p, 1, 0)
				req.Origin.Reset(fmt.Append(nil, "id", i, j), time.Now())
				req.Origin.Session = fmt.Sprint("robot-", j)
				if err := s.Act(t.Context(), p, req); err != nil {
					t.Fatal(err)
				}
			}
		}
		closeRecorder(t, r)
		counts := map[string]int{}
		for _, st := range read(t, file, experience.Query{}) {
			counts[st.Session]++
		}
		for session, n := range counts {
			if n != acts {
				t.Errorf("session %s has %d steps of %d", session, n, acts)
			}
			if _, ok := before[session]; before != nil && !ok {
				t.Errorf("session %s was not recorded by the process before", session)
			}
		}
		if len(counts) < sessions/8 || len(counts) > sessions/2 {
			t.Errorf("%d of %d sessions are recorded by a part of 0.25", len(counts), sessions)
		}
		before = counts
	}
}

// TestRecordingAllocatesNothing: not on the way of a request.
func TestRecordingAllocatesNothing(t *testing.T) {
	p := driving(t, "\nenvelope: {limits: {steer: {low: -0.001, high: 0.001}}}\n")
	_, s := record(t, open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "run"}), experience.RecorderOptions{Run: "run", Flush: time.Hour, Buffer: 16 << 20})
	req := request(p, 2, 1)
	id := []byte("0123456789abcdef0123456789abcdef")
	n := testing.AllocsPerRun(500, func() {
		req.Origin.Reset(id, time.Now())
		req.Origin.Session = "robot"
		if err := s.Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	p := driving(b, "")
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprint("recording=", on), func(b *testing.B) {
			o := serving.Options{Lanes: 2}
			if on {
				r := experience.NewRecorder(open(b, filepath.Join(b.TempDir(), "e.db"), experience.Options{Run: "run"}), experience.RecorderOptions{Run: "run", Buffer: 64 << 20})
				defer r.Close(context.Background())
				o.Recorder = r
				defer func() {
					st := r.Stats()
					b.ReportMetric(float64(st.Lost[experience.LostFull]), "lost")
				}()
			}
			s := serving.New(o)
			req := request(p, 1, 1)
			id := []byte("0123456789abcdef0123456789abcdef")
			b.ReportAllocs()
			for b.Loop() {
				req.Origin.Reset(id, time.Now())
				if err := s.Act(b.Context(), p, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
