//go:build unix

package replay_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/pgtest"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// TestWhatStoresKeepIsTheSame replays sessions of a recurrent agent, and drawn
// actions, from SQLite and from PostgreSQL.
func TestWhatStoresKeepIsTheSame(t *testing.T) {
	rec := newRecorder(t, open(t, recurrent), "v1")
	for i := range 300 {
		s := rec.act([]string{"a", "b", "c"}[rec.rng.IntN(3)], rec.rng.IntN(9) == 0, func(s *experience.Step, _ *policy.Call) {
			s.Deterministic = i%2 == 0
		})
		s.Time = time.Unix(int64(1000+i), 0)
	}
	c := rec.policy.Contract()
	layout := experience.Layout{Model: "car", Version: "v1", Digest: "digest-v1", Recurrent: true, Stochastic: true}
	for i := range c.Inputs {
		layout.Inputs = append(layout.Inputs, experience.Input{Name: c.Inputs[i].Name, Shape: c.Inputs[i].Shape, Width: c.Inputs[i].Width})
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		layout.Actions = append(layout.Actions, experience.Part{Name: a.Name, Shape: a.Shape, Offset: a.Offset, Size: a.Size, Discrete: a.Discrete})
	}
	for kind, url := range map[string]string{
		"sqlite":   filepath.Join(t.TempDir(), "experience.db"),
		"postgres": pgtest.Start(t).URL("postgres", 0),
	} {
		t.Run(kind, func(t *testing.T) {
			s, err := experience.Open(t.Context(), url, experience.Options{Run: "run1"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Append(t.Context(), &experience.Batch{Layouts: []experience.Layout{layout}, Steps: rec.steps}); err != nil {
				t.Fatal(err)
			}
			layouts, err := s.Layouts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, against := range []bool{false, true} {
				o := replay.Options{New: open(t, recurrent), Layouts: layouts}
				if against {
					o.Against = open(t, recurrent)
				}
				r, err := replay.Run(t.Context(), s.Read(t.Context(), experience.Query{}), o)
				if err != nil {
					t.Fatal(err)
				}
				wantSame(t, r, len(rec.steps))
			}
		})
	}
}
