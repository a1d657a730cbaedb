package experience

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgTables are the tables of the log, whose size is that of the store.
const pgTables = "pg_total_relation_size('carla_rl_steps') + pg_total_relation_size('carla_rl_gaps') + pg_total_relation_size('carla_rl_outcomes') + pg_total_relation_size('carla_rl_layouts') + pg_total_relation_size('carla_rl_runs')"

// Stats implements Store.
func (p *postgres) Stats(ctx context.Context) (s Stats, err error) {
	err = p.session(ctx, func(conn *pgconn.PgConn) error {
		// One state of the database for all of it.
		if err := pgExec(ctx, conn, "begin isolation level repeatable read read only"); err != nil {
			return p.failure("count", err)
		}
		if s.Schema, err = p.schema(ctx, conn); err != nil {
			return err
		}
		s.Lost = map[string]uint64{}
		for _, part := range []func(context.Context, *pgconn.PgConn, *Stats) error{p.statsTotal, p.statsLost, p.statsRuns, p.statsVersions} {
			if err := part(ctx, conn, &s); err != nil {
				return err
			}
		}
		return nil
	})
	return s, err
}

// each runs a query and gives each row of its answer, in binary form.
func (p *postgres) each(ctx context.Context, conn *pgconn.PgConn, what, sql string, args [][]byte, row func(r *rowReader)) error {
	rows := conn.ExecParams(ctx, sql, args, nil, nil, pgBinary)
	for rows.NextRow() {
		r := rowReader{row: rows.Values()}
		if row(&r); r.err != nil {
			return fmt.Errorf("%s: %w", what, r.err)
		}
	}
	_, err := rows.Close()
	return p.failure(what, err)
}

// timeOrZero gives the zero time for null.
func (r *rowReader) timeOrZero() time.Time {
	if r.err == nil && r.at < len(r.row) && r.row[r.at] == nil {
		r.at++
		return time.Time{}
	}
	return r.time()
}

func (p *postgres) statsTotal(ctx context.Context, conn *pgconn.PgConn, s *Stats) error {
	return p.each(ctx, conn, "count the steps", `select count(*), min(time), max(time), count(distinct session) filter (where session <> ''),
(select count(*) from carla_rl_outcomes), `+pgTables+` from carla_rl_steps`, nil, func(r *rowReader) {
		s.Steps, s.First, s.Last, s.Sessions = uint64(r.int8()), r.timeOrZero(), r.timeOrZero(), uint64(r.int8())
		s.Outcomes, s.Bytes = uint64(r.int8()), r.int8()
	})
}

func (p *postgres) statsLost(ctx context.Context, conn *pgconn.PgConn, s *Stats) error {
	return p.each(ctx, conn, "count what was lost", "select reason, sum(last - first + 1)::bigint from carla_rl_gaps group by reason", nil, func(r *rowReader) {
		reason := r.text("")
		s.Lost[reason] = uint64(r.int8())
	})
}

func (p *postgres) statsRuns(ctx context.Context, conn *pgconn.PgConn, s *Stats) error {
	return p.each(ctx, conn, "count the runs", `select r.run, r.began, r.ended, coalesce(s.n, 0)::bigint, coalesce(g.n, 0)::bigint, r.pruned, r.highest
from carla_rl_runs r
left join (select run, count(*) as n from carla_rl_steps group by run) s on s.run = r.run
left join (select run, sum(last - first + 1) as n from carla_rl_gaps group by run) g on g.run = r.run
order by r.began, r.run`, nil, func(r *rowReader) {
		s.Runs = append(s.Runs, RunStats{
			Run: r.text(""), Began: r.time(), Ended: r.bool(), Steps: uint64(r.int8()), Lost: uint64(r.int8()), Pruned: uint64(r.int8()), Highest: uint64(r.int8()),
		})
	})
}

func (p *postgres) statsVersions(ctx context.Context, conn *pgconn.PgConn, s *Stats) error {
	return p.each(ctx, conn, "count the versions", "select model, version, digest, count(*) from carla_rl_steps group by 1, 2, 3 order by 1, 2, 3", nil, func(r *rowReader) {
		s.Versions = append(s.Versions, VersionStats{Model: r.text(""), Version: r.text(""), Digest: r.text(""), Steps: uint64(r.int8())})
	})
}

// rowOverhead is what a step takes beside its columns: its place in the page and
// in the index of its key, in bytes.
const rowOverhead = 72

// Prune implements Store. Bytes is held against what the rows take: the files of
// the database do not become shorter, and the space of what was deleted is used
// again once the database has vacuumed, which it does by itself.
func (p *postgres) Prune(ctx context.Context, keep Prune) (done Pruned, err error) {
	if p.o.ReadOnly {
		return done, ErrReadOnly
	}
	err = p.session(ctx, func(conn *pgconn.PgConn) error {
		if err := p.prune(ctx, conn, keep, &done); err != nil {
			return err
		}
		done.Bytes, err = p.number(ctx, conn, "select "+pgTables)
		return err
	})
	return done, err
}

const (
	// pgPruneSlice is how many steps are deleted in one transaction.
	pgPruneSlice = 50_000
	// pgCounted is up to how many steps are counted. Of more the database's own
	// estimate is good enough, and does not read them all.
	pgCounted = 1_000_000
)

func (p *postgres) prune(ctx context.Context, conn *pgconn.PgConn, keep Prune, done *Pruned) error {
	beyond, err := p.beyond(ctx, conn, keep.Bytes)
	if err != nil {
		return err
	}
	for {
		most := int64(pgPruneSlice)
		if keep.Limit > 0 {
			most = min(most, int64(keep.Limit)-int64(done.Steps))
		}
		var n int64
		if !keep.Before.IsZero() {
			n, err = p.pruneSome(ctx, conn, "select run, sequence from carla_rl_steps where time < $1 limit $2", pgTime(keep.Before), most)
		}
		if err == nil && n == 0 && beyond > 0 {
			n, err = p.pruneOldest(ctx, conn, min(beyond, most))
		}
		if err != nil {
			return err
		}
		done.Steps += uint64(n)
		beyond -= n
		switch {
		case n == 0:
			return p.pruneOutcomes(ctx, conn, keep.Before, done)
		case keep.Limit > 0 && done.Steps >= uint64(keep.Limit):
			done.More = true
			return nil
		}
	}
}

// beyond is the number of steps that there are more than limit bytes have room
// for, by the size of some of them.
func (p *postgres) beyond(ctx context.Context, conn *pgconn.PgConn, limit int64) (int64, error) {
	if limit <= 0 {
		return 0, nil
	}
	total, err := p.number(ctx, conn, "select reltuples::bigint from pg_class where oid = 'carla_rl_steps'::regclass")
	if err == nil && total < pgCounted {
		total, err = p.number(ctx, conn, "select count(*) from carla_rl_steps")
	}
	if err != nil {
		return 0, err
	}
	each, err := p.number(ctx, conn, "select coalesce(avg(pg_column_size(s)), 0)::bigint from (select * from carla_rl_steps limit 1000) s")
	return total - limit/(each+rowOverhead), err
}

// pruneOldest deletes up to most of the oldest steps of the oldest run that has
// any.
func (p *postgres) pruneOldest(ctx context.Context, conn *pgconn.PgConn, most int64) (int64, error) {
	oldest := ""
	err := p.each(ctx, conn, "find the oldest run", "select run from carla_rl_runs r where exists (select from carla_rl_steps s where s.run = r.run) order by began, run limit 1", nil, func(r *rowReader) {
		oldest = r.text("")
	})
	if err != nil || oldest == "" {
		return 0, err
	}
	return p.pruneSome(ctx, conn, "select run, sequence from carla_rl_steps where run = $1 order by sequence limit $2", pgText(oldest), most)
}

// pruneSome deletes the steps that a statement names, up to most, and notes it
// with their runs.
func (p *postgres) pruneSome(ctx context.Context, conn *pgconn.PgConn, which string, arg []byte, most int64) (int64, error) {
	return p.number(ctx, conn, `with old as (`+which+`),
gone as (delete from carla_rl_steps s using old where s.run = old.run and s.sequence = old.sequence returning s.run, s.sequence),
noted as (update carla_rl_runs r set pruned = greatest(pruned, g.last) from (select run, max(sequence) as last from gone group by run) g where g.run = r.run)
select count(*) from gone`, arg, strconv.AppendInt(nil, most, 10))
}

// pruneOutcomes deletes those that are older than before, or than every step.
func (p *postgres) pruneOutcomes(ctx context.Context, conn *pgconn.PgConn, before time.Time, done *Pruned) error {
	_, n, err := pgRun(ctx, conn, "delete from carla_rl_outcomes where time < greatest($1::timestamptz, (select min(time) from carla_rl_steps))", pgTime(before))
	done.Outcomes += uint64(n)
	return p.failure("delete outcomes", err)
}

func (p *postgres) number(ctx context.Context, conn *pgconn.PgConn, sql string, args ...[]byte) (n int64, err error) {
	err = p.each(ctx, conn, "count", sql, args, func(r *rowReader) { n = r.int8() })
	return n, err
}
