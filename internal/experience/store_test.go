package experience_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

func floats(n int, from float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = from + float32(i)/8
	}
	return x
}

var layout = experience.Layout{
	Model: "highway", Version: "v1.2.0", Digest: "d1",
	Inputs:   []experience.Input{{Name: "observation", Shape: []int{5}, Width: 5}},
	Features: []experience.Part{{Name: "speed", Size: 1}, {Name: "sensors", Shape: []int{4}, Offset: 1, Size: 4}},
	Actions:  []experience.Part{{Name: "throttle", Size: 1}, {Name: "brake", Offset: 1, Size: 1}, {Name: "steer", Offset: 2, Size: 1}},
}

// plainStep is a step as most are.
func plainStep(run string, sequence uint64) experience.Step {
	return experience.Step{
		Run: run, Sequence: sequence, Time: time.Unix(1_795_000_000, int64(sequence)).UTC(), Mono: time.Duration(sequence) * time.Millisecond,
		RequestID: fmt.Sprintf("%032x", sequence), Model: layout.Model, Version: layout.Version, Digest: layout.Digest,
		Observation: floats(5, float32(sequence)), Action: floats(3, 1),
		Queue: 100, Infer: 2000, Deterministic: true,
	}
}

// fullStep has something in every field.
func fullStep(run string, sequence uint64) experience.Step {
	s := plainStep(run, sequence)
	s.Row, s.Session, s.Episode, s.SessionStep, s.First = 3, "robot-7", 2, 41, true
	s.Raw = []float32{float32(math.Inf(1)), s.Action[1], -7}
	s.Value, s.LogProb, s.HasValue, s.HasLogProb = 1.5, -2.25, true, true
	s.Enveloping, s.Deterministic = 55, false
	s.Seed, s.DrawStep, s.DrawRow = math.MaxUint64, 9, 1
	s.Masks = []float32{1, 0, 1}
	s.Interventions = []experience.Intervention{
		{Value: 0, Kind: "not_finite", Fallback: "brake", Feature: -1, From: float32(math.Inf(1)), To: s.Action[0]},
		{Value: 2, Kind: "out_of_distribution", Feature: 4, Score: 12.5, From: -7, To: s.Action[2]},
	}
	return s
}

func open(t testing.TB, path string, o experience.Options) experience.Store {
	t.Helper()
	s, err := experience.Open(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func read(t testing.TB, s experience.Store, q experience.Query) []experience.Step {
	t.Helper()
	var out []experience.Step
	for st, err := range s.Read(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, clone(st))
	}
	return out
}

func clone(s *experience.Step) experience.Step {
	c := *s
	c.Observation, c.Action = append([]float32(nil), s.Observation...), append([]float32(nil), s.Action...)
	c.Raw, c.Masks = append([]float32(nil), s.Raw...), append([]float32(nil), s.Masks...)
	c.Interventions = append([]experience.Intervention(nil), s.Interventions...)
	return c
}

func TestStepsComeBackAsTheyWent(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "logs", "e.db"), experience.Options{Run: "run-1"})
	want := []experience.Step{plainStep("run-1", 1), fullStep("run-1", 2), plainStep("run-0", 1)}
	reward := 0.5
	b := &experience.Batch{
		Layouts: []experience.Layout{layout}, Steps: want,
		Gaps:     []experience.Gap{{Run: "run-1", First: 3, Last: 7, Reason: experience.LostFull, Time: time.Unix(9, 0).UTC()}},
		Outcomes: []experience.Outcome{{Run: "run-1", ID: "o-1", Session: "robot-7", Episode: 2, SessionStep: 41, Reward: &reward, Truncated: true, Info: []byte(`{"lap":1}`), Time: time.Unix(10, 0).UTC()}},
	}
	for range 2 { // The second time is none.
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, s, experience.Query{}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got, err := s.Layouts(t.Context()); err != nil || !reflect.DeepEqual(got, b.Layouts) {
		t.Errorf("layouts %+v, %v", got, err)
	}
	if got, err := s.Gaps(t.Context(), experience.Query{}); err != nil || !reflect.DeepEqual(got, b.Gaps) {
		t.Errorf("gaps %+v, %v", got, err)
	}
	n := 0
	for o, err := range s.Outcomes(t.Context(), experience.Query{Session: "robot-7"}) {
		if n++; err != nil || !reflect.DeepEqual(*o, b.Outcomes[0]) {
			t.Errorf("outcome %+v, %v", o, err)
		}
	}
	st, err := s.Stats(t.Context())
	if err != nil || n != 1 || st.Steps != 3 || st.Outcomes != 1 || st.Sessions != 1 || st.Lost[experience.LostFull] != 5 || len(st.Runs) != 2 || st.Runs[0].Highest != 7 || st.Runs[0].Lost != 5 ||
		len(st.Versions) != 1 || st.Versions[0].Steps != 3 || st.Bytes == 0 {
		t.Errorf("%d outcomes, stats %+v, %v", n, st, err)
	}
}

func TestQueries(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "a"})
	b := &experience.Batch{Layouts: []experience.Layout{layout}}
	for i := range uint64(10) {
		st := plainStep("a", i+1)
		if i >= 6 {
			st.Session, st.Episode = "s", i/8
			st.Version = "v2"
		}
		b.Steps = append(b.Steps, st)
	}
	b.Steps = append(b.Steps, fullStep("b", 1))
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	one := uint64(1)
	f := func(q experience.Query, want ...int) {
		t.Helper()
		got := read(t, s, q)
		if len(got) != len(want) {
			t.Fatalf("%+v gives %d steps, want %d", q, len(got), len(want))
		}
		for i, w := range want {
			if !reflect.DeepEqual(got[i], b.Steps[w]) {
				t.Errorf("%+v: step %d is %+v", q, i, got[i])
			}
		}
	}
	f(experience.Query{}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	f(experience.Query{Run: "b"}, 10)
	f(experience.Query{Run: "nobody"})
	f(experience.Query{Run: "a", After: 8}, 8, 9)
	f(experience.Query{Run: "a", After: math.MaxUint64})
	f(experience.Query{Session: "s"}, 6, 7, 8, 9)
	f(experience.Query{Session: "s", Episode: &one}, 8, 9)
	f(experience.Query{Version: "v2"}, 6, 7, 8, 9)
	f(experience.Query{Model: "nobody"})
	f(experience.Query{Limit: 2}, 0, 1)
	f(experience.Query{Limit: 2, Newest: true}, 9, 10)
	f(experience.Query{Intervened: true}, 10)
	f(experience.Query{Since: b.Steps[8].Time, Run: "a"}, 8, 9)
	f(experience.Query{Until: b.Steps[2].Time, Run: "a"}, 0, 1)
}

func BenchmarkAppend(b *testing.B) {
	for _, rows := range []int{1, 100, 2000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "e.db"), experience.Options{Run: "a"})
			batch := &experience.Batch{Layouts: []experience.Layout{layout}}
			for i := range rows {
				batch.Steps = append(batch.Steps, plainStep("a", uint64(i+1)))
			}
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				for i := range batch.Steps {
					n++
					batch.Steps[i].Sequence = n
				}
				if err := s.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				batch.Layouts = nil
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "steps/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "e.db"), experience.Options{Run: "a"})
	batch := &experience.Batch{Layouts: []experience.Layout{layout}}
	for i := range 100_000 {
		batch.Steps = append(batch.Steps, plainStep("a", uint64(i+1)))
	}
	if err := s.Append(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	n := 0
	for b.Loop() {
		for _, err := range s.Read(b.Context(), experience.Query{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "steps/s")
}
