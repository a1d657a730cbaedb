package ledger_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// fake is a test that can fail.
type fake struct {
	errors  []string
	cleanup []func()
}

func (f *fake) Helper()                      {}
func (f *fake) Logf(string, ...any)          {}
func (f *fake) Errorf(s string, args ...any) { f.errors = append(f.errors, fmt.Sprintf(s, args...)) }
func (f *fake) Failed() bool                 { return len(f.errors) > 0 }
func (f *fake) Cleanup(g func())             { f.cleanup = append(f.cleanup, g) }
func (f *fake) end() {
	for _, g := range slices.Backward(f.cleanup) {
		g()
	}
}

func TestRowsAreRead(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made")
	t.Setenv(ledger.EnvFolder, folder)
	t.Setenv(ledger.EnvCommit, "0123abcd")
	good, bad := &fake{}, &fake{}
	ledger.Begin(good)
	ledger.Add(good, ledger.Row{ID: "A2", Test: "cut", Load: "200/s", Faults: ledger.N(1200, "bit flips"), Lost: ledger.Nothing, Figures: []string{"P99 1 ms"}})
	ledger.Add(bad, ledger.Row{ID: "H3", Test: "spoilt", Inputs: ledger.N(7, "bodies of %d bytes", 3), Lost: "one answer"})
	bad.Errorf("a promise broken after the row")
	good.end()
	bad.end()
	rows, err := ledger.Read(folder)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	a, b := rows[0], rows[1]
	if a.ID != "A2" || a.Faults.String() != "1,200 bit flips" || a.Inputs.String() != "" || a.Failed || a.Commit != "0123abcd" || a.Machine == "" || a.Time.IsZero() || a.Figures[0] != "P99 1 ms" {
		t.Errorf("read %+v", a)
	}
	if b.Inputs.String() != "7 bodies of 3 bytes" || !b.Failed {
		t.Errorf("read %+v", b)
	}
}

func TestRowWithoutItsName(t *testing.T) {
	for _, r := range []ledger.Row{{Test: "x", Lost: "y"}, {ID: "x", Lost: "y"}, {ID: "x", Test: "y"}} {
		f := &fake{}
		ledger.Add(f, r)
		if !f.Failed() || !strings.Contains(f.errors[0], "needs ID, Test and Lost") {
			t.Errorf("%+v: %v", r, f.errors)
		}
	}
}

func TestNoFolderWritesNothing(t *testing.T) {
	t.Setenv(ledger.EnvFolder, "")
	f := &fake{}
	ledger.Add(f, ledger.Row{ID: "A2", Test: "cut", Lost: ledger.Nothing})
	if len(f.cleanup) != 0 || f.Failed() {
		t.Errorf("%d to do at the end, %v", len(f.cleanup), f.errors)
	}
}

func TestMerge(t *testing.T) {
	day := time.Unix(1e9, 0)
	row := func(id, subject, lost string, hours int) ledger.Row {
		return ledger.Row{ID: id, Test: "t", Subject: subject, Lost: lost, Time: day.Add(time.Duration(hours) * time.Hour)}
	}
	got := ledger.Merge(
		[]ledger.Row{row("A1", "", "old", 1), row("A2", "", "kept", 1), row("A3", "", "newer", 5)},
		[]ledger.Row{row("A1", "", "new", 2), row("A1", "peer", "another", 2), row("A3", "", "older", 4)},
	)
	var lost []string
	for _, r := range got {
		lost = append(lost, r.ID+r.Subject+" "+r.Lost)
	}
	if s := strings.Join(lost, ", "); s != "A1 new, A2 kept, A3 newer, A1peer another" {
		t.Error(s)
	}
}

func TestThousands(t *testing.T) {
	f := func(n int64, want string) {
		t.Helper()
		if got := ledger.Thousands(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
	f(0, "0")
	f(999, "999")
	f(1000, "1,000")
	f(1234567, "1,234,567")
	f(-999, "-999")
	f(-1000, "-1,000")
}

func TestSize(t *testing.T) {
	f := func(factor string, want int) {
		t.Helper()
		t.Setenv(ledger.EnvFactor, factor)
		if got := ledger.Size(3, 100); got != want {
			t.Errorf("factor %q: %d, want %d", factor, got, want)
		}
	}
	f("", 3)
	f("none", 3)
	f("-1", 3)
	f("1", 100)
	f("10", 1000)
	f("0.001", 1)
}
