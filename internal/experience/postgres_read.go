package experience

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5/pgconn"
)

// pgBinary asks for every column of an answer in binary form.
var pgBinary = []int16{1}

// pgWhere collects the conditions of a query and their parameters.
type pgWhere struct {
	parts []string
	args  [][]byte
}

// add adds a condition, in which %d stands for the number of its parameter.
func (w *pgWhere) add(condition string, arg []byte) {
	w.args = append(w.args, arg)
	w.parts = append(w.parts, fmt.Sprintf(condition, len(w.args)))
}

func (w *pgWhere) text(column, value string) {
	if value != "" {
		w.add(column+" = $%d", pgText(value))
	}
}

func (w *pgWhere) number(condition string, n uint64) {
	w.add(condition, strconv.AppendInt(nil, int64(n), 10))
}

func (w *pgWhere) times(q *Query) {
	if !q.Since.IsZero() {
		w.add("time >= $%d", pgTime(q.Since))
	}
	if !q.Until.IsZero() {
		w.add("time < $%d", pgTime(q.Until))
	}
}

func (w *pgWhere) String() string {
	if len(w.parts) == 0 {
		return ""
	}
	return " where " + strings.Join(w.parts, " and ")
}

func pgTime(t time.Time) []byte { return []byte(t.UTC().Format(timestampForm)) }

// steps are the conditions of a query of steps in one run.
func (q *Query) pgSteps(run string) *pgWhere {
	w := &pgWhere{}
	w.add("run = $%d", pgText(run))
	w.text("session", q.Session)
	w.text("model", q.Model)
	w.text("version", q.Version)
	w.text("digest", q.Digest)
	w.times(q)
	if q.Run != "" && q.After > 0 {
		w.number("sequence > $%d", q.After)
	}
	if q.Session != "" && q.Episode != nil {
		w.number("episode = $%d", *q.Episode)
	}
	if q.Intervened {
		w.parts = append(w.parts, "interventions is not null")
	}
	return w
}

// Read implements Store.
func (p *postgres) Read(ctx context.Context, q Query) iter.Seq2[*Step, error] {
	return func(yield func(*Step, error) bool) {
		stopped := false
		err := p.session(ctx, func(conn *pgconn.PgConn) error {
			runs, err := p.runNames(ctx, conn, q.Run)
			if err != nil {
				return err
			}
			if q.Newest && q.Limit > 0 {
				return p.newest(ctx, conn, q, runs, yield)
			}
			left := q.Limit
			for _, run := range runs {
				n, more, err := p.readRun(ctx, conn, q, run, left, false, func(s *Step) bool { return yield(s, nil) })
				if stopped = !more; stopped || err != nil {
					return err
				}
				if left -= n; q.Limit > 0 && left <= 0 {
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

// newest gives the last steps of a query in their order.
func (p *postgres) newest(ctx context.Context, conn *pgconn.PgConn, q Query, runs []string, yield func(*Step, error) bool) error {
	var list []*Step
	for _, run := range slices.Backward(runs) {
		_, _, err := p.readRun(ctx, conn, q, run, q.Limit-len(list), true, func(s *Step) bool {
			kept := *s
			kept.Observation, kept.Action, kept.Raw, kept.Masks = slices.Clone(s.Observation), slices.Clone(s.Action), slices.Clone(s.Raw), slices.Clone(s.Masks)
			kept.Interventions = slices.Clone(s.Interventions)
			list = append(list, &kept)
			return true
		})
		if err != nil {
			return err
		}
		if len(list) >= q.Limit {
			break
		}
	}
	for _, s := range slices.Backward(list) {
		if !yield(s, nil) {
			return nil
		}
	}
	return nil
}

// runNames are the names of the runs in the order in which they began, or the one
// that is asked for.
func (p *postgres) runNames(ctx context.Context, conn *pgconn.PgConn, only string) ([]string, error) {
	if only != "" {
		return []string{only}, nil
	}
	rows, _, err := pgRun(ctx, conn, "select run from carla_rl_runs order by began, run")
	if err != nil {
		return nil, p.failure("read the runs", err)
	}
	runs := make([]string, len(rows))
	for i := range rows {
		runs[i] = string(rows[i][0])
	}
	return runs, nil
}

// readRun gives the steps of one run, backwards if asked for; more is false where
// the receiver wants no more. The connection cannot be used then.
func (p *postgres) readRun(ctx context.Context, conn *pgconn.PgConn, q Query, name string, limit int, backward bool, give func(*Step) bool) (n int, more bool, err error) {
	w := q.pgSteps(name)
	sql := "select " + strings.Join(stepTable.columns, ", ") + " from carla_rl_steps" + w.String() + " order by sequence"
	if backward {
		sql += " desc"
	}
	if limit > 0 {
		sql += " limit " + strconv.Itoa(limit)
	}
	rows := conn.ExecParams(ctx, sql, w.args, nil, nil, pgBinary)
	var s Step
	for rows.NextRow() {
		if err := s.readPostgres(rows.Values()); err != nil {
			return n, true, fmt.Errorf("read a step: %w", err)
		}
		n++
		if !give(&s) {
			return n, false, nil
		}
	}
	_, err = rows.Close()
	return n, true, p.failure("read steps", err)
}

// readPostgres makes a step of a row of all columns, in binary form.
func (s *Step) readPostgres(row [][]byte) error {
	r := rowReader{row: row}
	s.Run = r.text(s.Run)
	s.Sequence = uint64(r.int8())
	s.Time = r.time()
	s.Mono = time.Duration(r.int8())
	s.RequestID = r.text(s.RequestID)
	s.Row = r.int4()
	s.Session = r.text(s.Session)
	s.Episode = uint64(r.int8())
	s.SessionStep = uint64(r.int8())
	s.First = r.bool()
	s.Model = r.text(s.Model)
	s.Version = r.text(s.Version)
	s.Digest = r.text(s.Digest)
	s.Observation = r.floats(s.Observation)
	s.Action = r.floats(s.Action)
	s.Raw = r.floatsOrNull(s.Raw)
	s.Value, s.HasValue = r.optional()
	s.LogProb, s.HasLogProb = r.optional()
	s.Queue, s.Infer, s.Enveloping = time.Duration(r.int8()), time.Duration(r.int8()), time.Duration(r.int8())
	doc := r.next(-1)
	s.Deterministic = r.bool()
	s.Seed, s.DrawStep, s.DrawRow = uint64(r.int8()), uint64(r.int8()), uint64(r.int8())
	s.Masks = r.floatsOrNull(s.Masks)
	if r.err != nil {
		return r.err
	}
	if s.Interventions = s.Interventions[:0]; doc != nil {
		var err error
		if s.Interventions, err = decodeInterventions(doc, s); err != nil {
			return fmt.Errorf("interventions of step %d of run %s: %w", s.Sequence, s.Run, err)
		}
	}
	return nil
}

// rowReader takes the values of a row one after the other.
type rowReader struct {
	row [][]byte
	at  int
	err error
}

// next is the next value, of size bytes unless that is -1; nil for null.
func (r *rowReader) next(size int) []byte {
	if r.err != nil {
		return nil
	}
	if r.at >= len(r.row) {
		r.err = fmt.Errorf("the row has %d columns", len(r.row))
		return nil
	}
	v := r.row[r.at]
	r.at++
	if v != nil && size >= 0 && len(v) != size {
		r.err = fmt.Errorf("column %d has %d bytes, not %d", r.at, len(v), size)
		return nil
	}
	return v
}

// text gives the string of before where it is the same, which it mostly is.
func (r *rowReader) text(before string) string {
	if v := r.next(-1); string(v) != before {
		return string(v)
	}
	return before
}

func (r *rowReader) int8() int64 {
	if v := r.next(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (r *rowReader) int4() int {
	if v := r.next(4); v != nil {
		return int(int32(binary.BigEndian.Uint32(v)))
	}
	return 0
}

func (r *rowReader) bool() bool {
	v := r.next(1)
	return v != nil && v[0] != 0
}

func (r *rowReader) time() time.Time { return time.UnixMicro(r.int8() + postgresEpoch).UTC() }

func (r *rowReader) optional() (float32, bool) {
	v := r.next(4)
	if v == nil {
		return 0, false
	}
	return math.Float32frombits(binary.BigEndian.Uint32(v)), true
}

func (r *rowReader) floats(into []float32) []float32 {
	into = into[:0]
	v := r.next(-1)
	if len(v) < 20 || r.err != nil {
		return into
	}
	n := int(binary.BigEndian.Uint32(v[12:]))
	if v = v[20:]; len(v) != 8*n {
		r.err = fmt.Errorf("column %d is no array of numbers without nulls", r.at)
		return into
	}
	for i := range n {
		into = append(into, math.Float32frombits(binary.BigEndian.Uint32(v[8*i+4:])))
	}
	return into
}

// floatsOrNull gives nil for null.
func (r *rowReader) floatsOrNull(into []float32) []float32 {
	if r.err == nil && r.at < len(r.row) && r.row[r.at] == nil {
		r.at++
		return nil
	}
	if into == nil {
		into = []float32{}
	}
	return r.floats(into)
}

// Layouts implements Store.
func (p *postgres) Layouts(ctx context.Context) (list []Layout, err error) {
	err = p.session(ctx, func(conn *pgconn.PgConn) error {
		rows, _, err := pgRun(ctx, conn, "select layout from carla_rl_layouts order by model, version, digest")
		if err != nil {
			return p.failure("read the layouts", err)
		}
		for _, row := range rows {
			var l Layout
			if err := json.Unmarshal(row[0], &l); err != nil {
				return fmt.Errorf("read a layout: %w", err)
			}
			list = append(list, l)
		}
		return nil
	})
	return list, err
}

// Gaps implements Store.
func (p *postgres) Gaps(ctx context.Context, q Query) (list []Gap, err error) {
	err = p.session(ctx, func(conn *pgconn.PgConn) error {
		w := &pgWhere{}
		w.text("g.run", q.Run)
		rows := conn.ExecParams(ctx, "select g.run, g.first, g.last, g.reason, g.time from carla_rl_gaps g left join carla_rl_runs r on r.run = g.run"+
			w.String()+" order by r.began, g.run, g.first", w.args, nil, nil, pgBinary)
		for rows.NextRow() {
			r := rowReader{row: rows.Values()}
			list = append(list, Gap{Run: r.text(""), First: uint64(r.int8()), Last: uint64(r.int8()), Reason: r.text(""), Time: r.time()})
			if r.err != nil {
				return r.err
			}
		}
		_, err := rows.Close()
		return p.failure("read the gaps", err)
	})
	return list, err
}

// Outcomes implements Store.
func (p *postgres) Outcomes(ctx context.Context, q Query) iter.Seq2[*Outcome, error] {
	return func(yield func(*Outcome, error) bool) {
		stopped := false
		err := p.session(ctx, func(conn *pgconn.PgConn) error {
			w := &pgWhere{}
			w.text("run", q.Run)
			w.text("session", q.Session)
			w.times(&q)
			rows := conn.ExecParams(ctx, "select "+strings.Join(outcomeTable.columns, ", ")+" from carla_rl_outcomes"+w.String()+" order by time, run, id", w.args, nil, nil, pgBinary)
			for rows.NextRow() {
				o := &Outcome{}
				if err := o.readPostgres(rows.Values()); err != nil {
					return fmt.Errorf("read an outcome: %w", err)
				}
				if stopped = !yield(o, nil); stopped {
					return nil
				}
			}
			_, err := rows.Close()
			return p.failure("read the outcomes", err)
		})
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

// readPostgres makes an outcome of a row of all columns, in binary form.
func (o *Outcome) readPostgres(row [][]byte) error {
	r := rowReader{row: row}
	o.ID, o.Run, o.Session = r.text(""), r.text(""), r.text("")
	o.Episode, o.SessionStep = uint64(r.int8()), uint64(r.int8())
	if v := r.next(8); v != nil {
		reward := math.Float64frombits(binary.BigEndian.Uint64(v))
		o.Reward = &reward
	}
	o.Terminated, o.Truncated = r.bool(), r.bool()
	o.Info = append(o.Info[:0:0], r.next(-1)...)
	o.Time = r.time()
	return r.err
}
