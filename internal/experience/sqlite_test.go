package experience_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// refused opens what must be refused, and holds the file to be as it was.
func refused(t *testing.T, path string, o experience.Options, want error, words string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := experience.Open(t.Context(), path, o)
	if err == nil {
		s.Close()
		t.Fatal("it was opened")
	}
	if want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %v and %q", err, want, words)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed: %v", err)
	}
}

// written is the path of a file with one step.
func written(t *testing.T, o experience.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "e.db")
	o.Run = "first"
	s, err := experience.Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	b := &experience.Batch{Layouts: []experience.Layout{layout}, Steps: []experience.Step{plainStep("first", 1)}}
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTwoWriters (D7): a file is for one process, and readers are welcome.
func TestTwoWriters(t *testing.T) {
	ledger.Begin(t)
	path := written(t, experience.Options{})
	one := open(t, path, experience.Options{})
	if _, err := experience.Open(t.Context(), path, experience.Options{}); !errors.Is(err, experience.ErrLocked) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("a second writer: %v", err)
	}
	reader := open(t, path, experience.Options{ReadOnly: true})
	if n := len(read(t, reader, experience.Query{})); n != 1 {
		t.Errorf("a reader sees %d steps", n)
	}
	if err := reader.Append(t.Context(), &experience.Batch{Steps: []experience.Step{plainStep("first", 2)}}); !errors.Is(err, experience.ErrReadOnly) {
		t.Errorf("a reader writes: %v", err)
	}
	if _, err := reader.Prune(t.Context(), experience.Prune{Bytes: 1}); !errors.Is(err, experience.ErrReadOnly) {
		t.Errorf("a reader deletes: %v", err)
	}
	// What is written meanwhile is seen by the next look.
	if err := one.Append(t.Context(), &experience.Batch{Steps: []experience.Step{plainStep("first", 2)}}); err != nil {
		t.Fatal(err)
	}
	if n := len(read(t, reader, experience.Query{})); n != 2 {
		t.Errorf("a reader sees %d steps", n)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, experience.Options{}) // The lock was let go of.
	ledger.Add(t, ledger.Row{
		ID: "D7", Test: "two processes on one file of the experience log", Inputs: ledger.N(1, "second writer"), Lost: ledger.Nothing,
		Figures: []string{"refused, with the process that has the file", "a reader beside the writer sees each step"},
	})
}

// TestFilesThatAreRefused (D7): each with a reason, and none is changed.
func TestFilesThatAreRefused(t *testing.T) {
	ledger.Begin(t)
	t.Run("read-only", func(t *testing.T) {
		path := written(t, experience.Options{})
		if err := os.Chmod(path, 0o444); err != nil {
			t.Fatal(err)
		}
		refused(t, path, experience.Options{}, experience.ErrReadOnly, "nobody may write")
		if n := len(read(t, open(t, path, experience.Options{ReadOnly: true}), experience.Query{})); n != 1 {
			t.Errorf("it has %d steps to read", n)
		}
	})
	t.Run("newer", func(t *testing.T) {
		path := written(t, experience.WithMigrations(experience.Options{}, experience.NewestSchema(), "CREATE TABLE later (id INTEGER)"))
		refused(t, path, experience.Options{}, experience.ErrSchema, "use the release that wrote it")
		refused(t, path, experience.Options{ReadOnly: true}, experience.ErrSchema, "use the release that wrote it")
	})
	t.Run("of something else", func(t *testing.T) {
		path := written(t, experience.Options{})
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copy(data[68:], "else") // the application's number
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		refused(t, path, experience.Options{}, experience.ErrSchema, "something else")
	})
	t.Run("no database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "e.db")
		if err := os.WriteFile(path, bytes.Repeat([]byte("notes\n"), 1000), 0o644); err != nil {
			t.Fatal(err)
		}
		refused(t, path, experience.Options{}, experience.ErrSchema, "no database of SQLite")
	})
	t.Run("a folder", func(t *testing.T) {
		if _, err := experience.Open(t.Context(), t.TempDir(), experience.Options{}); err == nil || !strings.Contains(err.Error(), "is no file") {
			t.Error(err)
		}
	})
	t.Run("not there", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "e.db")
		if _, err := experience.Open(t.Context(), path, experience.Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("it was made to be read")
		}
	})
	t.Run("older, for reading", func(t *testing.T) {
		path := written(t, experience.WithMigrations(experience.Options{}, experience.NewestSchema(), "CREATE TABLE later (id INTEGER)"))
		refused(t, path, experience.WithMigrations(experience.Options{ReadOnly: true}, experience.NewestSchema(), "CREATE TABLE later (id INTEGER)", "CREATE TABLE more (id INTEGER)"), experience.ErrSchema, "brings it up to date")
	})
	ledger.Add(t, ledger.Row{
		ID: "D7", Test: "files that are no log to write to: read-only, of a newer release, of another program, no database, a folder, not there", Inputs: ledger.N(7, "files"), Lost: ledger.Nothing,
		Figures: []string{"each refused with its reason, none changed"},
	})
}

// TestMigration (D7): an older schema is brought up to date, all of it or not at
// all.
func TestMigration(t *testing.T) {
	ledger.Begin(t)
	newest := experience.NewestSchema()
	path := written(t, experience.Options{})
	broken := experience.WithMigrations(experience.Options{}, newest, "CREATE TABLE later (id INTEGER)", "CREATE TABLE steps (id INTEGER)")
	refused(t, path, broken, nil, "migration "+string(rune('0'+newest+2)))
	s := open(t, path, experience.WithMigrations(experience.Options{}, newest, "CREATE TABLE later (id INTEGER)"))
	if st, err := s.Stats(t.Context()); err != nil || st.Schema != newest+1 || st.Steps != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if got := read(t, s, experience.Query{}); !reflect.DeepEqual(got, []experience.Step{plainStep("first", 1)}) {
		t.Errorf("%+v", got)
	}
	ledger.Add(t, ledger.Row{
		ID: "D7", Test: "a log of an older release is brought up to date", Faults: ledger.N(1, "migration that fails half way"), Lost: ledger.Nothing,
		Figures: []string{"all of it or nothing, with the steps as they were"},
	})
}

func TestPrune(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "a"})
	put := func(run string, from, to uint64, reason string) {
		t.Helper()
		b := &experience.Batch{Layouts: []experience.Layout{layout}}
		for i := from; i <= to; i++ {
			st := plainStep(run, i)
			st.Time = time.Unix(int64(i), 0)
			b.Steps = append(b.Steps, st)
		}
		if reason != "" {
			b.Gaps = []experience.Gap{{Run: run, First: to + 1, Last: to + 10, Reason: reason, Time: time.Unix(int64(to), 0)}}
		}
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	put("a", 1, 100, experience.LostFull)
	put("a", 111, 200, "")
	put("b", 1, 5000, "")
	f := func(p experience.Prune, steps uint64, more bool) experience.Pruned {
		t.Helper()
		got, err := s.Prune(t.Context(), p)
		if err != nil || steps > 0 && got.Steps != steps || got.More != more {
			t.Fatalf("%+v: %+v, %v", p, got, err)
		}
		return got
	}
	f(experience.Prune{}, 0, false)
	f(experience.Prune{Before: time.Unix(50, 0)}, 49, false)
	gaps, err := s.Gaps(t.Context(), experience.Query{})
	if err != nil || len(gaps) != 1 {
		t.Fatalf("%+v, %v", gaps, err)
	}
	f(experience.Prune{Before: time.Unix(150, 0), Limit: 60}, 60, true)
	f(experience.Prune{Before: time.Unix(150, 0), Limit: 60}, 30, false)
	st, err := s.Stats(t.Context())
	if err != nil || st.Runs[0].Run != "b" && st.Runs[1].Run != "b" {
		t.Fatalf("%+v, %v", st, err)
	}
	before := f(experience.Prune{Bytes: 1 << 40}, 0, false)
	after := f(experience.Prune{Bytes: before.Bytes / 2}, 0, false)
	if after.Steps == 0 || after.Bytes > before.Bytes/2 {
		t.Errorf("%+v, then %+v", before, after)
	}
	st, err = s.Stats(t.Context())
	if err != nil || st.Steps == 0 || len(st.Runs) != 1 && st.Runs[0].Steps > 0 {
		t.Errorf("%+v, %v", st, err)
	}
	for i := range st.Runs {
		if r := st.Runs[i]; r.Run == "b" && (r.Highest != 5000 || r.Pruned+r.Steps != 5000) {
			t.Errorf("%+v", r)
		}
	}
}
