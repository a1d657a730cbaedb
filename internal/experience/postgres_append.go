package experience

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5/pgconn"
)

// uniqueViolation is the SQLSTATE of a row that is there already.
const uniqueViolation = "23505"

// Append implements Store: one transaction, in which the rows are copied. Rows
// that are there already, of a batch whose commit went unheard, make the database
// refuse the copy; they are then copied into temporary tables, of which those
// rows are taken that are new.
func (p *postgres) Append(ctx context.Context, b *Batch) error {
	if b.Empty() {
		return nil
	}
	if p.o.ReadOnly {
		return ErrReadOnly
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, postgresWrite)
		defer cancel()
	}
	err := p.append(ctx, b, false)
	if e := (*PostgresError)(nil); errors.As(err, &e) && e.Code == uniqueViolation {
		err = p.append(ctx, b, true)
	}
	return err
}

// append writes a batch in a transaction. aside takes the way by temporary
// tables. A connection on which anything failed is given up.
func (p *postgres) append(ctx context.Context, b *Batch, aside bool) (err error) {
	conn, err := p.connected(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.drop()
		}
	}()
	if err := pgExec(ctx, conn, "begin"); err != nil {
		return p.failure("begin", err)
	}
	for i := range b.Layouts {
		l := &b.Layouts[i]
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		_, _, err = pgRun(ctx, conn, "insert into carla_rl_layouts (digest, model, version, layout) values ($1, $2, $3, $4) on conflict do nothing",
			pgText(l.Digest), pgText(l.Model), pgText(l.Version), text)
		if err != nil {
			return p.failure("write a layout", err)
		}
	}
	if err := p.began(ctx, conn, b); err != nil {
		return err
	}
	for _, t := range []struct {
		table *copyTable
		rows  int
		add   func(w *copyWriter, i int)
	}{
		{&stepTable, len(b.Steps), func(w *copyWriter, i int) { w.step(&b.Steps[i]) }},
		{&gapTable, len(b.Gaps), func(w *copyWriter, i int) { w.gap(&b.Gaps[i]) }},
		{&outcomeTable, len(b.Outcomes), func(w *copyWriter, i int) { w.outcome(&b.Outcomes[i]) }},
	} {
		if t.rows == 0 {
			continue
		}
		w := copyWriter{buf: p.buf[:0]}
		w.begin()
		for i := range t.rows {
			t.add(&w, i)
		}
		w.end()
		p.buf = w.buf
		if err := p.copy(ctx, conn, t.table, w.buf, aside); err != nil {
			return err
		}
	}
	if cap(p.buf) > copyBufferKept {
		p.buf = nil
	}
	return p.failure("commit", pgExec(ctx, conn, "commit"))
}

// copyBufferKept is the memory for rows that is kept from one batch to the next.
const copyBufferKept = 4 << 20

// copy copies rows into a table, or into a temporary one and from there those
// that the table lacks.
func (p *postgres) copy(ctx context.Context, conn *pgconn.PgConn, t *copyTable, rows []byte, aside bool) error {
	into := t.name
	if aside {
		into += "_new"
		if err := pgExec(ctx, conn, fmt.Sprintf("create temporary table %s (like %s) on commit drop", into, t.name)); err != nil {
			return p.failure("make a temporary table", err)
		}
	}
	columns := strings.Join(t.columns, ", ")
	if _, err := conn.CopyFrom(ctx, bytes.NewReader(rows), fmt.Sprintf("copy %s (%s) from stdin (format binary)", into, columns)); err != nil {
		return p.failure("write "+t.what, err)
	}
	if !aside {
		return nil
	}
	err := pgExec(ctx, conn, fmt.Sprintf("insert into %s (%s) select %s from %s on conflict do nothing", t.name, columns, columns, into))
	return p.failure("write "+t.what, err)
}

// began makes rows of the runs that a batch tells of and keeps the highest
// number of each.
func (p *postgres) began(ctx context.Context, conn *pgconn.PgConn, b *Batch) error {
	type span struct {
		began   time.Time
		highest uint64
	}
	runs := map[string]*span{}
	of := func(run string, began time.Time) *span {
		s := runs[run]
		if s == nil {
			s = &span{began: began}
			runs[run] = s
		}
		if began.Before(s.began) {
			s.began = began
		}
		return s
	}
	for i := range b.Steps {
		s := of(b.Steps[i].Run, b.Steps[i].Time.Add(-b.Steps[i].Mono))
		s.highest = max(s.highest, b.Steps[i].Sequence)
	}
	for i := range b.Gaps {
		s := of(b.Gaps[i].Run, b.Gaps[i].Time)
		s.highest = max(s.highest, b.Gaps[i].Last)
	}
	for run, s := range runs {
		if err := p.raise(ctx, conn, run, s.began, s.highest); err != nil {
			return err
		}
	}
	return nil
}

// raise makes or moves on the row of a run.
func (p *postgres) raise(ctx context.Context, conn *pgconn.PgConn, name string, began time.Time, highest uint64) error {
	_, _, err := pgRun(ctx, conn, `insert into carla_rl_runs as r (run, began, highest) values ($1, $2, $3)
on conflict (run) do update set highest = excluded.highest where r.highest < excluded.highest`,
		pgText(name), []byte(began.UTC().Format(timestampForm)), strconv.AppendInt(nil, int64(highest), 10))
	return p.failure("write a run", err)
}

// timestampForm is how a time is written as text.
const timestampForm = "2006-01-02 15:04:05.999999Z07:00"
