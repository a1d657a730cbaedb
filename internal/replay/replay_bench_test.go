package replay_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// benchSteps is how many steps the benchmarks replay: REPLAY_STEPS, or as many
// as take a second or so.
func benchSteps(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv("REPLAY_STEPS"))
	if err != nil {
		n = 200_000
	}
	return n
}

// driven records so many steps, in batches of a call.
func driven(b *testing.B, path string, n int) []experience.Step {
	b.Helper()
	p := open(b, path)
	rec := newRecorder(b, p, "v0.1.0")
	const batch = 512
	steps := make([]experience.Step, 0, n)
	for len(steps) < n {
		rows := min(batch, n-len(steps))
		call := &policy.Call{Rows: rows, Deterministic: true, In: [][]float32{nil}, Actions: make([]float32, rows*3)}
		for range rows {
			call.In[0] = append(call.In[0], rec.observe()...)
		}
		if err := p.Runner(0).Act(call); err != nil {
			b.Fatal(err)
		}
		for i := range rows {
			at := len(steps) + 1
			steps = append(steps, experience.Step{
				Run: "run1", Sequence: uint64(at), Time: time.Unix(int64(at/1000), 0), Mono: time.Duration(at) * time.Millisecond, RequestID: "request-" + strconv.Itoa(at),
				Model: "car", Version: "v0.1.0", Digest: "digest", Observation: call.In[0][i*7:][:7], Action: call.Actions[i*3:][:3],
				Infer: 10 * time.Microsecond, Deterministic: true,
			})
		}
	}
	return steps
}

// store writes steps to a file of SQLite.
func store(b *testing.B, steps []experience.Step) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "experience.db")
	s, err := experience.Open(context.Background(), file, experience.Options{Run: "run1"})
	if err != nil {
		b.Fatal(err)
	}
	layout := experience.Layout{
		Model: "car", Version: "v0.1.0", Digest: "digest", Inputs: []experience.Input{{Name: "x", Width: 7, Shape: []int{7}}},
		Actions: []experience.Part{{Name: "throttle", Size: 1}, {Name: "brake", Offset: 1, Size: 1}, {Name: "steer", Offset: 2, Size: 1}},
	}
	for from := 0; from < len(steps); from += 4096 {
		batch := &experience.Batch{Steps: steps[from:min(len(steps), from+4096)]}
		if from == 0 {
			batch.Layouts = []experience.Layout{layout}
		}
		if err := s.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return file
}

func perSecond(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "steps/s")
}

// BenchmarkReplay measures the driving policy on steps in memory, which is the
// computing alone, on a log of SQLite, and reading that log alone.
func BenchmarkReplay(b *testing.B) {
	n := benchSteps(b)
	path := newMLP(1).write(b, "v0.1.0", "")
	steps := driven(b, path, n)
	replayed := func(b *testing.B, from replay.Steps, against bool) {
		o := replay.Options{New: open(b, path), Lanes: 1, Worst: 10, Margin: 0.001}
		if against {
			o.Against = open(b, path)
		}
		r, err := replay.Run(context.Background(), from, o)
		if err != nil {
			b.Fatal(err)
		}
		if r.Steps.Compared != uint64(n) || r.Steps.Different != 0 {
			b.Fatalf("%+v", r.Steps)
		}
	}
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			replayed(b, all(steps), false)
		}
		perSecond(b, n)
	})
	file := store(b, steps)
	for _, c := range []struct {
		name    string
		against bool
	}{{"sqlite", false}, {"sqlite_two_versions", true}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s, err := experience.Open(context.Background(), file, experience.Options{ReadOnly: true})
				if err != nil {
					b.Fatal(err)
				}
				replayed(b, s.Read(context.Background(), experience.Query{}), c.against)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, n)
		})
	}
	b.Run("read_sqlite", func(b *testing.B) {
		for b.Loop() {
			s, err := experience.Open(context.Background(), file, experience.Options{ReadOnly: true})
			if err != nil {
				b.Fatal(err)
			}
			seen := 0
			for _, err := range s.Read(context.Background(), experience.Query{}) {
				if err != nil {
					b.Fatal(err)
				}
				seen++
			}
			if seen != n {
				b.Fatal(seen)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, n)
	})
}
