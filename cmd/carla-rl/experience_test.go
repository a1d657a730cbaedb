package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// someLog writes a log of three steps: two of a session, an hour old, and one of
// none, of now.
func someLog(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "e.db")
	s, err := experience.Open(context.Background(), name, experience.Options{Run: "run1"})
	if err != nil {
		t.Fatal(err)
	}
	l := experience.Layout{
		Model: "m", Version: "v1", Digest: "0123456789abcdef", Inputs: []experience.Input{{Name: "obs", Shape: []int{2}, Width: 2}},
		Features: []experience.Part{{Name: "speed", Size: 1}, {Name: "angle", Offset: 1, Size: 1}}, Actions: []experience.Part{{Name: "steer", Size: 1}},
	}
	b := &experience.Batch{Layouts: []experience.Layout{l}, Gaps: []experience.Gap{{Run: "run1", First: 4, Last: 8, Reason: experience.LostFull, Time: time.Now()}}}
	for i := range 3 {
		st := experience.Step{
			Run: "run1", Sequence: uint64(i + 1), Time: time.Now().Add(-time.Hour), Model: "m", Version: "v1", Digest: l.Digest,
			Session: "s", SessionStep: uint64(i), Observation: []float32{float32(i), 0.5}, Action: []float32{-1},
		}
		if i == 2 {
			st.Session, st.SessionStep, st.Time = "", 0, time.Now()
		}
		b.Steps = append(b.Steps, st)
	}
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestExperienceCommands(t *testing.T) {
	log := someLog(t)
	out := filepath.Join(t.TempDir(), "out.csv")
	f := func(code int, want string, args ...string) {
		t.Helper()
		r := execute("", append([]string{"experience"}, args...)...)
		if r.code != code {
			t.Errorf("%v: exit code %d, want %d: %s%s", args, r.code, code, r.stdout, r.stderr)
		}
		if said := r.stdout + r.stderr; !strings.Contains(said, want) {
			t.Errorf("%v: no %q in %q", args, want, said)
		}
	}
	f(exitOK, "lost      5 buffer_full", "stats", "--from", log)
	f(exitOK, `"steps": 3`, "stats", "--from", "sqlite://"+log, "--json")
	f(exitOK, "m      v1       2 0.5", "query", "--from", log, "--since", "30m")
	f(exitOK, `"observation":{"speed":1,"angle":0.5}`, "query", "--from", log, "--session", "s", "--limit", "1", "--json")
	f(exitOK, "out.csv: 2 steps", "export", out, "--from", log, "--session", "s")
	f(exitRefused, "--force", "export", out, "--from", log)
	f(exitOK, "out.csv: 3 steps", "export", out, "--from", log, "--force")
	if text, err := os.ReadFile(out); err != nil || strings.Count(string(text), "\n") != 4 || !strings.Contains(string(text), "observation.speed,observation.angle,action.steer,raw_action.steer") {
		t.Errorf("%s, %v", text, err)
	}
	f(exitUsage, "--format", "export", "out.xml", "--from", log)
	f(exitUsage, "want parquet, csv, jsonl or npz", "export", "out", "--format", "xml", "--from", log)
	f(exitUsage, "--since", "query", "--since", "soon", "--from", log)
	f(exitUsage, "--session", "query", "--episode", "1", "--from", log)
	f(exitUsage, "--older-than or --max-size", "prune", "--from", log)
	f(exitUsage, "--max-size", "prune", "--max-size", "lots", "--from", log)
	f(exitOK, "deleted 2 steps", "prune", "--older-than", "30m", "--from", log)
	f(exitOK, `"steps": 0`, "prune", "--older-than", "30m", "--from", log, "--json")
	f(exitRefused, "no such file", "stats", "--from", filepath.Join(t.TempDir(), "none.db"))
	f(exitUsage, "--from", "stats", "--from", "mysql://x/y")

	t.Setenv("DATABASE_URL", "sqlite://"+log)
	f(exitOK, "steps     1", "stats")
	t.Setenv("DATABASE_URL", "")
	f(exitUsage, "--from", "stats")
	secret := filepath.Join(t.TempDir(), "url")
	write(t, secret, []byte("sqlite://"+log+"\n"))
	t.Setenv("DATABASE_URL_FILE", secret)
	f(exitOK, "steps     1", "stats")
}
