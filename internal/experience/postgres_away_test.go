//go:build unix

package experience_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/pgtest"
	"github.com/carla-rl/carla-rl-serving/internal/experience/spool"
)

// outage is how long each fault lasts here. Those of a minute and more are
// part of make chaos.
const outage = time.Second

// spooling is a store with a spool.
type spooling interface {
	experience.Store
	SpoolStats() experience.SpoolStats
}

// away is a store by a proxy, and a load on it.
type away struct {
	t     *testing.T
	pg    *pgtest.Server
	proxy *pgtest.Proxy
	name  string
	dir   string
	log   *syncBuffer
	store spooling

	next  uint64 // of the step to come
	stop  chan struct{}
	ended sync.WaitGroup
	acked atomic.Uint64
	full  atomic.Uint64 // appends that found no room
}

func newAway(t *testing.T, pg *pgtest.Server) *away {
	t.Helper()
	a := &away{t: t, pg: pg, proxy: pgtest.NewProxy(t, pg.Port), name: pg.Database(t), dir: t.TempDir(), log: &syncBuffer{}, next: 1}
	a.open(0)
	return a
}

func (a *away) options(bytes int64) experience.Options {
	return experience.Options{Run: "r", Spool: experience.SpoolOptions{Dir: a.dir, MaxBytes: bytes}, Log: slog.New(slog.NewTextHandler(a.log, nil))}
}

func (a *away) open(bytes int64) {
	a.t.Helper()
	s, err := experience.Open(a.t.Context(), a.pg.URL(a.name, a.proxy.Port), a.options(bytes))
	if err != nil {
		a.t.Fatal(err)
	}
	a.store = s.(spooling)
}

// load appends batches until it is told to stop; what finds no room is tried
// again, as the recorder does.
func (a *away) load() {
	a.stop = make(chan struct{})
	a.ended.Go(func() {
		for {
			select {
			case <-a.stop:
				return
			default:
			}
			b := &experience.Batch{Layouts: []experience.Layout{pgLayout}, Steps: pgSteps("r", a.next, 20)}
			err := a.store.Append(context.Background(), b)
			switch {
			case errors.Is(err, spool.ErrFull):
				a.full.Add(1)
			case err != nil:
				a.t.Error(err)
				return
			default:
				a.next += 20
				a.acked.Store(a.next - 1)
			}
			time.Sleep(10 * time.Millisecond) // the pace of the load
		}
	})
}

func (a *away) halt() {
	close(a.stop)
	a.ended.Wait()
}

// moving waits until more steps are acknowledged.
func (a *away) moving() {
	a.t.Helper()
	from := a.acked.Load()
	until(a.t, "steps are acknowledged", func() bool { return a.acked.Load() > from })
}

// drained waits until nothing is in the spool.
func (a *away) drained() {
	a.t.Helper()
	until(a.t, "the spool is empty", func() bool { s := a.store.SpoolStats(); return s.Records == 0 && !s.Away })
}

// check closes the store and finds every acknowledged step in the database once.
func (a *away) check() {
	a.t.Helper()
	if err := a.store.Close(); err != nil {
		a.t.Error(err)
	}
	rows, err := a.pg.Query(a.name, "select count(*), count(distinct sequence), min(sequence), max(sequence) from carla_rl_steps")
	if err != nil {
		a.t.Fatal(err)
	}
	n := fmt.Sprint(a.acked.Load())
	if got, want := strings.Join(rows[0], " "), strings.Join([]string{n, n, "1", n}, " "); got != want {
		a.t.Errorf("steps, different ones, first and last: %s, want %s", got, want)
	}
	if strings.Contains(a.log.String(), "s3cret") {
		a.t.Error("the password is in the log")
	}
}

// TestDatabaseAway has the database go away in each way while steps come, and
// finds each acknowledged step there once when it is back.
func TestDatabaseAway(t *testing.T) {
	pg := pgtest.Start(t)
	for _, fault := range []struct {
		name   string
		spools bool // the fault lasts, so that the spool is used
		begin  func(a *away)
		end    func(a *away)
	}{
		{"down", true, func(a *away) { a.pg.Stop() }, func(a *away) { run(t, a.pg) }},
		{"refused", true, func(a *away) { a.proxy.Set(pgtest.Refuse) }, func(a *away) { a.proxy.Set(pgtest.None) }},
		{"half-open", true, func(a *away) { a.proxy.Set(pgtest.HalfOpen) }, func(a *away) { a.proxy.Set(pgtest.None) }},
		{"slow", true, func(a *away) { a.proxy.Delay(2 * time.Second) }, func(a *away) { a.proxy.Delay(0) }},
		{"reset", false, func(a *away) {
			for range 10 {
				a.moving()
				a.proxy.Reset()
			}
		}, func(*away) {}},
		{"killed mid-commit", false, func(a *away) {
			for range 3 {
				a.moving()
				a.pg.Kill()
				run(t, a.pg)
			}
		}, func(*away) {}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			a := newAway(t, pg)
			a.load()
			a.moving()
			fault.begin(a)
			begun := time.Now()
			if fault.spools {
				until(t, "the spool is used", func() bool { return a.store.SpoolStats().Records > 0 })
				for time.Since(begun) < outage {
					a.moving()
				}
			}
			fault.end(a)
			a.moving()
			a.halt()
			if fault.name == "half-open" {
				// An attempt that hangs is given up by itself, and not only because
				// the way is there again: the connections were cut in Set.
				t.Logf("spool %+v", a.store.SpoolStats())
			}
			a.drained()
			a.check()
		})
	}
}

func run(t *testing.T, pg *pgtest.Server) {
	t.Helper()
	if err := pg.Run(); err != nil {
		t.Fatal(err)
	}
}

// TestSpoolOutlivesARestart fills the spool, starts again with the database
// still away, and then lets it come back.
func TestSpoolOutlivesARestart(t *testing.T) {
	a := newAway(t, pgShared(t))
	a.load()
	a.moving()
	a.proxy.Set(pgtest.Refuse)
	until(t, "the spool is used", func() bool { return a.store.SpoolStats().Records > 3 })
	a.halt()
	waiting := a.store.SpoolStats()
	if !waiting.Away || waiting.Reason == "" || waiting.Since.IsZero() {
		t.Errorf("while it is away: %+v", waiting)
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	a.open(0)
	if s := a.store.SpoolStats(); s.Count != waiting.Count || !s.Away {
		t.Errorf("after the restart %+v, before %+v", s, waiting)
	}
	a.load()
	a.moving()
	a.proxy.Set(pgtest.None)
	a.drained()
	a.moving()
	a.halt()
	a.drained()
	if s := a.store.SpoolStats(); s.Drained < waiting.Count {
		t.Errorf("drained %d, want at least %d", s.Drained, waiting.Count)
	}
	a.check()
}

// TestSpoolIsBounded lets the spool run full: what has no room is refused, and
// nothing that was taken is lost.
func TestSpoolIsBounded(t *testing.T) {
	a := newAway(t, pgShared(t))
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	const most = 256 << 10
	a.open(most)
	a.load()
	a.moving()
	a.proxy.Set(pgtest.Refuse)
	until(t, "the spool is full", func() bool { return a.full.Load() > 3 })
	a.halt()
	if s := a.store.SpoolStats(); s.Bytes > most || s.Bytes < most*9/10 {
		t.Errorf("a full spool: %+v", s)
	}
	a.proxy.Set(pgtest.None)
	a.load()
	a.moving() // there is room again
	a.halt()
	a.drained()
	a.check()
}

// TestBatchThatIsRefused has the database refuse a step for what is in it: it is
// a gap then, and does not hold up others.
func TestBatchThatIsRefused(t *testing.T) {
	a := newAway(t, pgShared(t))
	if err := a.pg.Exec(a.name, "alter table carla_rl_steps add constraint bad check (sequence <> 45)"); err != nil {
		t.Fatal(err)
	}
	a.proxy.Set(pgtest.Refuse)
	for from := uint64(1); from < 100; from += 20 {
		if err := a.store.Append(t.Context(), &experience.Batch{Steps: pgSteps("r", from, 20)}); err != nil {
			t.Fatal(err)
		}
	}
	a.proxy.Set(pgtest.None)
	a.drained()
	gaps, err := a.store.Gaps(t.Context(), experience.Query{})
	if err != nil || len(gaps) != 1 || gaps[0].First != 41 || gaps[0].Last != 60 || gaps[0].Reason != experience.LostFailed {
		t.Errorf("gaps %+v, %v", gaps, err)
	}
	if s := a.store.SpoolStats(); s.Refused != 20 {
		t.Errorf("stats %+v", s)
	}
	if st, err := a.store.Stats(t.Context()); err != nil || st.Steps != 80 {
		t.Errorf("stats %+v, %v", st, err)
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSpoolNeedsAFolderOfItsOwn opens two stores on one.
func TestSpoolNeedsAFolderOfItsOwn(t *testing.T) {
	a := newAway(t, pgShared(t))
	if _, err := experience.Open(t.Context(), a.pg.URL(a.name, 0), a.options(0)); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("want ErrLocked, got %v", err)
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	// What is wrong with the URL is told at the start, database or not.
	if _, err := experience.Open(t.Context(), strings.Replace(a.pg.URL(a.name, 0), "s3cret", "wr0ng", 1), a.options(0)); err == nil || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("a wrong password: %v", err)
	}
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
