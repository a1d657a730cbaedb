package experience

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience/spool"
)

// SpoolOptions say where batches wait while a database is away.
type SpoolOptions struct {
	// Dir is a folder of this process alone; empty keeps no spool.
	Dir string
	// MaxBytes bounds it; 0 is spool.DefaultMaxBytes.
	MaxBytes int64
}

// SpoolStats tells what waits for the database.
type SpoolStats struct {
	spool.Stats
	// Away tells that the database is not written to now, Reason why and Since
	// from when.
	Away   bool
	Reason string
	Since  time.Time
	// Refused is the number of steps that the database would not have, and
	// Drained that of those which came to it by the spool.
	Refused, Drained int64
}

// Times of a spooled store.
const (
	// directTime is how long a batch may take that is written as it comes; what
	// takes longer goes by the spool.
	directTime = 750 * time.Millisecond
	// directAgain is how fast the last batch out of the spool must have been for
	// batches to be written as they come again: a slow database gets few large
	// batches, and nobody waits for it.
	directAgain = 250 * time.Millisecond
	// retryFirst and retryMost bound the time between two attempts.
	retryFirst, retryMost = 100 * time.Millisecond, 2 * time.Second
	// closeTime is how long Close goes on delivering.
	closeTime = 3 * time.Second
	// drainBytes is about the size of what is delivered in one transaction.
	drainBytes = 4 << 20
)

// spooled is a Store that keeps on disk what its database cannot take now. An
// Append that returned nil is durable: in the database, or in the spool.
type spooled struct {
	Store
	q   *spool.Queue
	log *slog.Logger
	now func() time.Time

	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex // guards what follows
	direct bool       // batches are written as they come
	stats  SpoolStats // but for the queue's own
	buf    []byte
}

// newSpooled puts a spool before a store. away tells why the store cannot be
// written to; nil where it can.
func newSpooled(s Store, o Options, away error) (*spooled, error) {
	q, err := spool.Open(spool.Options{Dir: o.Spool.Dir, MaxBytes: o.Spool.MaxBytes, Now: o.Now})
	if err != nil {
		return nil, fmt.Errorf("the spool of the experience log: %w", err)
	}
	s2 := &spooled{Store: s, q: q, log: o.Log, now: o.Now, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if s2.log == nil {
		s2.log = slog.New(slog.DiscardHandler)
	}
	if s2.now == nil {
		s2.now = time.Now
	}
	waiting := q.Stats()
	if waiting.Damaged > 0 {
		s2.log.Error("records of the spool are damaged and lost", "event_type", "experience", "records", waiting.Damaged)
	}
	if s2.direct = away == nil && waiting.Records == 0; away != nil {
		s2.away(away)
	}
	if waiting.Records > 0 {
		s2.log.Info("steps of before wait in the spool", "event_type", "experience", "steps", waiting.Count, "bytes", waiting.Bytes)
	}
	ctx, stop := context.WithCancel(context.Background())
	s2.stop = stop
	go s2.deliver(ctx)
	s2.kick()
	return s2, nil
}

// away notes that the database cannot be written to. It is logged once.
func (s *spooled) away(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.direct = false
	if s.stats.Reason = err.Error(); s.stats.Away {
		return
	}
	s.stats.Away, s.stats.Since = true, s.now()
	s.log.Warn("the database of the experience log is away: steps wait in the spool", "event_type", "experience", "error", err)
}

// back notes that it can.
func (s *spooled) back(took time.Duration, empty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.Away {
		s.log.Info("the database of the experience log is back", "event_type", "experience", "away", s.now().Sub(s.stats.Since), "steps_waiting", s.q.Stats().Count)
		s.stats.Away, s.stats.Reason, s.stats.Since = false, "", time.Time{}
	}
	s.direct = empty && took < directAgain
}

func (s *spooled) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// SpoolStats tells what waits. It does not wait for the disk.
func (s *spooled) SpoolStats() SpoolStats {
	s.mu.Lock()
	st := s.stats
	s.mu.Unlock()
	st.Stats = s.q.Stats()
	return st
}

// Append implements Store. The error is spool.ErrFull, wrapped, where the
// database is away and the spool has no room: it may pass.
func (s *spooled) Append(ctx context.Context, b *Batch) error {
	if b.Empty() {
		return nil
	}
	s.mu.Lock()
	direct := s.direct
	s.mu.Unlock()
	if direct {
		limited, cancel := context.WithTimeout(ctx, directTime)
		err := s.write(limited, b)
		cancel()
		if err == nil || errors.Is(err, ErrReadOnly) {
			return err
		}
		s.away(err)
	}
	data, err := appendBatch(s.buf[:0], b)
	if err != nil {
		return err
	}
	if s.buf = data; cap(data) > copyBufferKept {
		s.buf = nil
	}
	if err := s.q.Put(data, len(b.Steps)); err != nil {
		return fmt.Errorf("the spool of the experience log: %w", err)
	}
	s.kick()
	return nil
}

// write writes a batch to the database. Of one that it will never take it
// keeps what was lost.
func (s *spooled) write(ctx context.Context, b *Batch) error {
	err := s.Store.Append(ctx, b)
	refused := (*PostgresError)(nil)
	if !errors.As(err, &refused) || !refused.Refused() {
		return err
	}
	s.log.Error("the database refused a batch of the experience log: its steps are lost", "event_type", "experience", "error", err, "steps", len(b.Steps))
	lost := &Batch{Gaps: append(gapsOf(b.Steps, LostFailed, s.now()), b.Gaps...)}
	if err := s.Store.Append(ctx, lost); err != nil {
		return err
	}
	s.mu.Lock()
	s.stats.Refused += int64(len(b.Steps))
	s.mu.Unlock()
	return nil
}

// gapsOf are the ranges that steps cover.
func gapsOf(steps []Step, reason string, now time.Time) (gaps []Gap) {
	for i := range steps {
		n := len(gaps) - 1
		if n >= 0 && gaps[n].Run == steps[i].Run && gaps[n].Last+1 == steps[i].Sequence {
			gaps[n].Last++
			continue
		}
		gaps = append(gaps, Gap{Run: steps[i].Run, First: steps[i].Sequence, Last: steps[i].Sequence, Reason: reason, Time: now})
	}
	return gaps
}

// deliver takes what is in the spool to the database until it is told to stop.
func (s *spooled) deliver(ctx context.Context) {
	defer close(s.done)
	wait := time.Duration(0)
	for {
		var again <-chan time.Time
		if wait > 0 {
			// Many servers that lost one database do not come back to it at once.
			again = time.After(wait/2 + rand.N(wait))
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-s.woken(wait):
		}
		if err := s.drain(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.away(err)
			wait = min(max(2*wait, retryFirst), retryMost)
			continue
		}
		wait = 0
	}
}

// woken is told of new batches, but not while an attempt is to be made later
// anyway.
func (s *spooled) woken(wait time.Duration) <-chan struct{} {
	if wait > 0 {
		return nil
	}
	return s.wake
}

// drain delivers until the spool is empty.
func (s *spooled) drain(ctx context.Context) error {
	took := time.Duration(0)
	if s.SpoolStats().Away { // What waits is not read for a database that is not there.
		begun := time.Now()
		if err := s.ping(ctx); err != nil {
			return err
		}
		took = time.Since(begun)
	}
	for ctx.Err() == nil {
		list, err := s.q.Peek(drainBytes)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			s.back(took, true)
			return nil
		}
		begun := time.Now()
		if err := s.send(ctx, list); err != nil {
			return err
		}
		if err := s.q.Drop(len(list)); err != nil {
			return err
		}
		took = time.Since(begun)
		s.back(took, false)
	}
	return ctx.Err()
}

// ping asks the database whether it is there.
func (s *spooled) ping(ctx context.Context) error {
	p, ok := s.Store.(interface {
		ping(ctx context.Context) error
	})
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, postgresConnect)
	defer cancel()
	return p.ping(ctx)
}

// send writes records in one transaction, or, where the database will not have
// one of them, each in its own.
func (s *spooled) send(ctx context.Context, list []spool.Record) error {
	batches := s.decode(list)
	all := &Batch{}
	for _, b := range batches {
		all.Layouts = append(all.Layouts, b.Layouts...)
		all.Steps = append(all.Steps, b.Steps...)
		all.Gaps = append(all.Gaps, b.Gaps...)
		all.Outcomes = append(all.Outcomes, b.Outcomes...)
	}
	write := func(b *Batch, by func(context.Context, *Batch) error) error {
		ctx, cancel := context.WithTimeout(ctx, postgresWrite)
		defer cancel()
		return by(ctx, b)
	}
	err := write(all, s.Store.Append)
	if refused := (*PostgresError)(nil); errors.As(err, &refused) && refused.Refused() {
		for _, b := range batches {
			if err := write(b, s.write); err != nil {
				return err
			}
		}
		err = nil
	}
	if err == nil {
		s.mu.Lock()
		s.stats.Drained += int64(len(all.Steps))
		s.mu.Unlock()
	}
	return err
}

// decode reads records. One that was written by a program of another form is
// passed over and logged.
func (s *spooled) decode(list []spool.Record) (batches []*Batch) {
	for _, r := range list {
		b, err := decodeBatch(r.Data)
		if err != nil {
			s.log.Error("a record of the spool cannot be read and is lost", "event_type", "experience", "error", err, "steps", r.Count)
			continue
		}
		batches = append(batches, b)
	}
	return batches
}

// Close implements Store: what is in the spool is delivered where the database
// takes it, and stays for the next start where not.
func (s *spooled) Close() error {
	s.stop()
	<-s.done
	s.mu.Lock()
	away := s.stats.Away
	s.mu.Unlock()
	if !away {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		_ = s.drain(ctx)
		cancel()
	}
	if left := s.q.Stats(); left.Records > 0 {
		s.log.Warn("steps stay in the spool until the next start", "event_type", "experience", "steps", left.Count, "bytes", left.Bytes)
	}
	return errors.Join(s.Store.Close(), s.q.Close())
}
