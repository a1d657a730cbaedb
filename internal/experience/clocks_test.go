//go:build unix

package experience_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// set is what time.Now would have returned at t if the wall clock had been set by
// so much before: another wall clock beside the same reading of the monotonic one.
// The time package makes no such value, because adding to one moves both.
func set(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	moved := at
	// The first word has the seconds of the wall clock from bit 30 on where the
	// highest bit says that the second one is the monotonic clock.
	word := (*uint64)(unsafe.Pointer(&moved))
	*word += uint64(by/time.Second) << 30
	if got := moved.Round(0).Sub(at.Round(0)); got != by || moved.Sub(at) != 0 {
		t.Fatalf("the wall clock was set by %v, want %v, the other by %v, want 0: the time package has changed", got, by, moved.Sub(at))
	}
	return moved
}

// settings are what the wall clock is set by while steps are taken: hours, a day
// back, a leap second each way.
var settings = []time.Duration{0, time.Hour, -time.Hour, -24 * time.Hour, time.Second, -time.Second, 0}

// TestClocksThatAreSet (D6): the wall clock is set while steps are taken. They are
// kept in the order in which they were taken, each with the wall clock as it was
// and with the time of the clock that is never set; deadlines are of that one.
func TestClocksThatAreSet(t *testing.T) {
	ledger.Begin(t)
	runs, steps := 0, 0
	var stores []string // that were there
	run := func(t *testing.T, store string, mode experience.Mode, where func() string) {
		if runs++; !slices.Contains(stores, store) {
			stores = append(stores, store)
		}
		steps += clocksSet(t, mode, where())
	}
	for _, mode := range []experience.Mode{experience.Buffered, experience.Durable} {
		t.Run("SQLite, "+string(mode), func(t *testing.T) {
			run(t, "SQLite", mode, func() string { return filepath.Join(t.TempDir(), "e.db") })
		})
		t.Run("PostgreSQL, "+string(mode), func(t *testing.T) {
			pg := pgShared(t)
			run(t, "PostgreSQL", mode, func() string { return pg.URL(pg.Database(t), 0) })
		})
	}
	ledger.Add(t, ledger.Row{
		ID: "D6", Test: "the wall clock set by an hour, a day and a second, forwards and back, " + strings.Join(stores, " and ") + ", both modes", Load: "1 client",
		Faults: ledger.N(runs*(len(settings)-1), "settings of the clock"), Lost: ledger.Nothing,
		Figures: []string{fmt.Sprintf("%d steps, each there once and in its order, with both clocks to the microsecond; deadlines held", steps)},
	})
}

// clocksSet takes steps while the clock is set, and looks at what is kept.
func clocksSet(t *testing.T, mode experience.Mode, where string) int {
	t.Helper()
	p := driving(t, "")
	store, err := experience.Open(t.Context(), where, experience.Options{Run: "run"})
	if err != nil {
		t.Fatal(err)
	}
	earliest := time.Now()
	r := experience.NewRecorder(store, experience.RecorderOptions{Run: "run", Mode: mode, Flush: time.Millisecond, CommitTimeout: generous, OnFailure: experience.Stop})
	latest := time.Now()
	defer closeRecorder(t, r)
	s := serving.New(serving.Options{Lanes: 2, Recorder: r})
	var arrived []time.Time
	const each = 5
	for _, by := range settings {
		for range each {
			now := set(t, time.Now(), by)
			req := request(p, 1, 0)
			req.Origin.Reset(fmt.Append(nil, len(arrived)), now)
			req.Deadline = now.Add(generous)
			if err := s.Act(t.Context(), p, req); err != nil {
				t.Fatalf("set by %v: %v", by, err)
			}
			arrived = append(arrived, now)
		}
		// One that is too late by a second is so whatever the wall clock says.
		late := request(p, 1, 0)
		late.Deadline = set(t, time.Now().Add(-time.Second), by)
		late.Origin.Reset([]byte("late"), time.Now())
		if err := s.Act(t.Context(), p, late); !errors.Is(err, serving.ErrDeadline) {
			t.Errorf("set by %v: a request that is late is answered: %v", by, err)
		}
	}
	until(t, "all steps are written", func() bool { return r.Stats().Written == uint64(len(arrived)) })
	closeRecorder(t, r)
	got := read(t, open(t, where, experience.Options{ReadOnly: true}), experience.Query{})
	if len(got) != len(arrived) {
		t.Fatalf("%d steps of %d are there", len(got), len(arrived))
	}
	for i, st := range got {
		if st.RequestID != fmt.Sprint(i) || st.Sequence != uint64(i+1) {
			t.Errorf("step %d is request %s, want %d", st.Sequence, st.RequestID, i)
		}
		if apart := st.Time.Sub(arrived[i].Round(0)); apart.Abs() > time.Microsecond {
			t.Errorf("step %d is %v from its wall clock", st.Sequence, apart)
		}
		if low, high := arrived[i].Sub(latest), arrived[i].Sub(earliest); st.Mono < low || st.Mono > high {
			t.Errorf("step %d was taken %v after the run began, want %v to %v", st.Sequence, st.Mono, low, high)
		}
		if since, want := st.Mono-got[0].Mono, arrived[i].Sub(arrived[0]); since != want {
			t.Errorf("step %d was taken %v after the first, want %v", st.Sequence, since, want)
		}
	}
	return len(got)
}
