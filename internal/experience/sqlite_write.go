package experience

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	sqlite "modernc.org/sqlite/lib"
)

// What the columns flags of steps hold.
const (
	flagDeterministic = 1 << iota
	flagFirst
	flagIntervened
)

type sqliteInserts struct{ step, gap, outcome *stmt }

func (i *sqliteInserts) close() {
	for _, s := range []*stmt{i.step, i.gap, i.outcome} {
		if s != nil {
			s.close()
		}
	}
	*i = sqliteInserts{}
}

// restEvery is how many steps are written without a rest: some hundred
// microseconds' worth of work at most.
const restEvery = 32

const insertStep = `INSERT OR IGNORE INTO steps (id, version, time, mono, request, row, flags, observation, action, raw,
	queue, infer, enveloping, session, episode, step, value, log_prob, seed, draw_step, draw_row, interventions, masks)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`

func (s *sqliteStore) prepareInserts() (err error) {
	if s.insert.step, err = s.w.prepare(insertStep); err != nil {
		return err
	}
	if s.insert.gap, err = s.w.prepare("INSERT OR IGNORE INTO gaps (run, first, last, reason, time) VALUES (?,?,?,?,?)"); err != nil {
		return err
	}
	s.insert.outcome, err = s.w.prepare(`INSERT OR IGNORE INTO outcomes (key, run, session, episode, step, reward, terminated, truncated, info, time)
		VALUES (?,?,?,?,?,?,?,?,?,?)`)
	return err
}

// Append implements Store.
func (s *sqliteStore) Append(ctx context.Context, b *Batch) error {
	switch {
	case s.failed != nil:
		return s.failed
	case s.w == nil:
		return ErrReadOnly
	case b.Empty():
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.wal > 4*s.o.walPages {
		if err := s.Tend(); err != nil {
			return err
		}
	}
	s.written = 0
	err := s.transact(func() error { return s.write(b) })
	if err == nil {
		s.wal += 2 + s.written/3800 // About, of pages of 4096 bytes; the checkpoint tells how many there are.
		return nil
	}
	// What the transaction named may not be there.
	clear(s.runs)
	clear(s.versions)
	return s.judge(err)
}

// judge tells errors that may pass from those after which nothing is known.
func (s *sqliteStore) judge(err error) error {
	var e *sqliteError
	if errors.As(err, &e) {
		switch e.primary() {
		case sqlite.SQLITE_FULL, sqlite.SQLITE_BUSY, sqlite.SQLITE_LOCKED, sqlite.SQLITE_NOMEM, sqlite.SQLITE_TOOBIG, sqlite.SQLITE_INTERRUPT:
			return s.explain(err)
		}
	} else if !errors.Is(err, errUnwritable) {
		return err
	}
	s.failed = fmt.Errorf("%w: %w", ErrFailed, s.explain(err))
	return s.failed
}

// errUnwritable says that a batch is none that this store could ever take.
var errUnwritable = errors.New("the batch cannot be written")

func (s *sqliteStore) write(b *Batch) error {
	for i := range b.Layouts {
		if _, err := s.versionID(&b.Layouts[i]); err != nil {
			return err
		}
	}
	// Steps come in runs of one process and mostly of one version.
	var run, version string
	var digest, model string
	var runID, versionID int64
	for i := range b.Steps {
		st := &b.Steps[i]
		if runID == 0 || st.Run != run {
			var err error
			if runID, err = s.runID(st.Run); err != nil {
				return err
			}
			run = st.Run
		}
		if versionID == 0 || st.Version != version || st.Digest != digest || st.Model != model {
			var err error
			if versionID, err = s.versionID(&Layout{Model: st.Model, Version: st.Version, Digest: st.Digest}); err != nil {
				return err
			}
			version, digest, model = st.Version, st.Digest, st.Model
		}
		if err := s.writeStep(st, runID, versionID); err != nil {
			return err
		}
		if i == 0 {
			reached("after the first step")
		}
		if i%restEvery == restEvery-1 && s.rest != nil {
			s.rest()
		}
	}
	reached("after steps")
	for i := range b.Gaps {
		g := &b.Gaps[i]
		id, err := s.runID(g.Run)
		if err != nil {
			return err
		}
		if err := s.insert.gap.bind(id, g.First, g.Last, g.Reason, g.Time.UnixNano()); err != nil {
			return err
		}
		if _, err := s.insert.gap.step(); err != nil {
			return err
		}
	}
	for i := range b.Outcomes {
		if err := s.writeOutcome(&b.Outcomes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqliteStore) writeOutcome(o *Outcome) error {
	var info any
	if len(o.Info) > 0 {
		info = string(o.Info)
	}
	in := s.insert.outcome
	if err := in.bind(o.ID, o.Run, o.Session, o.Episode, o.SessionStep, o.Reward, o.Terminated, o.Truncated, info, o.Time.UnixNano()); err != nil {
		return err
	}
	_, err := in.step()
	return err
}

// writeStep inserts one step. Columns that say nothing are NULL, which takes
// no room in the file.
func (s *sqliteStore) writeStep(st *Step, run, version int64) error {
	if st.Sequence == 0 || st.Sequence >= 1<<sequenceBits {
		return fmt.Errorf("%w: its sequence %d is out of range", errUnwritable, st.Sequence)
	}
	in := s.insert.step
	s.scratch = s.scratch[:0]
	if len(st.Interventions) > 0 {
		s.scratch = appendInterventions(s.scratch, st.Interventions)
	}
	room := 1 + len(st.RequestID) + len(st.Session) + 4*(len(st.Observation)+len(st.Action)+len(st.Raw)+len(st.Masks)) + len(s.scratch)
	if err := in.room(room); err != nil {
		return err
	}
	s.written += int64(room) + 64
	sqlite.Xsqlite3_clear_bindings(in.c.tls, in.p)
	flags := int64(0)
	if st.Deterministic {
		flags |= flagDeterministic
	}
	if st.First {
		flags |= flagFirst
	}
	if len(st.Interventions) > 0 {
		flags |= flagIntervened
		in.bindTextBytes(22, s.scratch)
	}
	in.bindInt(1, run<<sequenceBits|int64(st.Sequence))
	in.bindInt(2, version)
	in.bindInt(3, st.Time.UnixNano())
	in.bindInt(4, int64(st.Mono))
	if st.RequestID != "" {
		in.bindText(5, st.RequestID)
	}
	in.bindInt(6, int64(st.Row))
	in.bindInt(7, flags)
	in.bindFloats(8, st.Observation)
	in.bindFloats(9, st.Action)
	if st.Raw != nil {
		in.bindFloats(10, st.Raw)
	}
	in.bindCount(11, int64(st.Queue))
	in.bindCount(12, int64(st.Infer))
	in.bindCount(13, int64(st.Enveloping))
	if st.Session != "" {
		in.bindText(14, st.Session)
		in.bindInt(15, int64(st.Episode))
		in.bindInt(16, int64(st.SessionStep))
	}
	if st.HasValue {
		in.bindFloat(17, float64(st.Value))
	}
	if st.HasLogProb {
		in.bindFloat(18, float64(st.LogProb))
	}
	in.bindCount(19, int64(st.Seed))
	in.bindCount(20, int64(st.DrawStep))
	in.bindCount(21, int64(st.DrawRow))
	if st.Masks != nil {
		in.bindFloats(23, st.Masks)
	}
	_, err := in.step()
	return err
}

// bindCount binds a number of which none is 0.
func (s *stmt) bindCount(i int, v int64) {
	if v != 0 {
		s.bindInt(i, v)
	}
}

// runID returns the number of a run, which is noted where it is new.
func (s *sqliteStore) runID(name string) (int64, error) {
	if id, ok := s.runs[name]; ok {
		return id, nil
	}
	if name == "" {
		return 0, fmt.Errorf("%w: a step of no run", errUnwritable)
	}
	if err := s.w.run("INSERT OR IGNORE INTO runs (name, began) VALUES (?,?)", name, s.o.Now().UnixNano()); err != nil {
		return 0, err
	}
	id, err := s.w.number("SELECT id FROM runs WHERE name = ?", name)
	if err != nil {
		return 0, err
	}
	if id <= 0 || id >= 1<<(63-sequenceBits) {
		return 0, fmt.Errorf("%w: run %d is out of range", errUnwritable, id)
	}
	s.runs[strings.Clone(name)] = id
	return id, nil
}

// versionID returns the number of a version, whose layout is noted where it is
// new.
func (s *sqliteStore) versionID(l *Layout) (int64, error) {
	key := versionKey{l.Model, l.Version, l.Digest} // Of memory that may be used again.
	if id, ok := s.versions[key]; ok && len(l.Inputs) == 0 {
		return id, nil
	}
	text, err := json.Marshal(l)
	if err != nil {
		return 0, fmt.Errorf("%w: layout of %s %s: %w", errUnwritable, l.Model, l.Version, err)
	}
	// One that was noted without a layout gets it.
	err = s.w.run(`INSERT INTO versions (model, version, digest, layout) VALUES (?,?,?,?)
		ON CONFLICT (model, version, digest) DO UPDATE SET layout = excluded.layout WHERE ?`,
		l.Model, l.Version, l.Digest, string(text), len(l.Inputs) > 0)
	if err != nil {
		return 0, err
	}
	id, err := s.w.number("SELECT id FROM versions WHERE model = ? AND version = ? AND digest = ?", l.Model, l.Version, l.Digest)
	if err != nil {
		return 0, err
	}
	s.versions[versionKey{strings.Clone(l.Model), strings.Clone(l.Version), strings.Clone(l.Digest)}] = id
	return id, nil
}

// Tend puts the log into the file, for whoever has just told others that their
// steps are durable: it takes time and may wait for the disk.
func (s *sqliteStore) Tend() error {
	if s.failed != nil || s.w == nil {
		return s.failed
	}
	if s.wal < s.o.walPages {
		return nil
	}
	reached("before checkpoint")
	err := s.w.query("PRAGMA wal_checkpoint(PASSIVE)", nil, func(r *stmt) error {
		s.wal = r.int(1) - r.int(2) // in the log, and of those in the file
		return nil
	})
	if err != nil {
		return s.judge(err)
	}
	reached("after checkpoint")
	return nil
}

// appendInterventions appends the JSON of a step's.
func appendInterventions(b []byte, list []Intervention) []byte {
	b = append(b, '[')
	for i := range list {
		v := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"value":`...)
		b = strconv.AppendInt(b, int64(v.Value), 10)
		b = append(b, `,"kind":`...)
		b = strconv.AppendQuote(b, v.Kind)
		if v.Fallback != "" {
			b = append(b, `,"fallback":`...)
			b = strconv.AppendQuote(b, v.Fallback)
		}
		b = append(b, `,"feature":`...)
		b = strconv.AppendInt(b, int64(v.Feature), 10)
		if v.Score != 0 && !math.IsInf(v.Score, 0) && !math.IsNaN(v.Score) {
			b = append(b, `,"score":`...)
			b = strconv.AppendFloat(b, v.Score, 'g', -1, 64)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}
