package experience

import (
	"context"
	"errors"
	"os"
	"time"
)

// What a file has, what of it is deleted, and what is found missing.

func (s *sqliteStore) stats(ctx context.Context, c *conn) (st Stats, err error) {
	st = Stats{Lost: map[string]uint64{}, Bytes: s.bytesOnDisk()}
	if err := c.exec("BEGIN"); err != nil {
		return st, s.explain(err)
	}
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return st, s.explain(err)
	}
	st.Schema = int(version)
	steps := map[int64]uint64{}
	err = c.query("SELECT id >> 40, count(*), min(time), max(time) FROM steps GROUP BY id >> 40", nil, func(r *stmt) error {
		n := uint64(r.int(1))
		steps[r.int(0)] = n
		st.Steps += n
		first, last := time.Unix(0, r.int(2)).UTC(), time.Unix(0, r.int(3)).UTC()
		if st.First.IsZero() || first.Before(st.First) {
			st.First = first
		}
		if last.After(st.Last) {
			st.Last = last
		}
		return ctx.Err()
	})
	if err != nil {
		return st, s.explain(err)
	}
	err = c.query("SELECT reason, sum(last - first + 1) FROM gaps GROUP BY reason", nil, func(r *stmt) error {
		st.Lost[r.text(0)] = uint64(r.int(1))
		return nil
	})
	if err != nil {
		return st, s.explain(err)
	}
	err = c.query(`SELECT r.id, r.name, r.began, r.ended IS NOT NULL, r.pruned,
		(SELECT coalesce(sum(last - first + 1), 0) FROM gaps WHERE run = r.id),
		max(r.pruned, (SELECT coalesce(max(last), 0) FROM gaps WHERE run = r.id),
			coalesce((SELECT max(id) FROM steps WHERE id > r.id << 40 AND id < (r.id + 1) << 40), 0) & 0xFFFFFFFFFF)
		FROM runs r ORDER BY r.id`, nil, func(r *stmt) error {
		st.Runs = append(st.Runs, RunStats{
			Run: r.text(1), Began: time.Unix(0, r.int(2)).UTC(), Ended: r.int(3) != 0, Steps: steps[r.int(0)],
			Pruned: uint64(r.int(4)), Lost: uint64(r.int(5)), Highest: uint64(r.int(6)),
		})
		return nil
	})
	if err != nil {
		return st, s.explain(err)
	}
	err = c.query("SELECT v.model, v.version, v.digest, count(s.id) FROM versions v LEFT JOIN (SELECT version, id FROM steps) s ON s.version = v.id GROUP BY v.id ORDER BY v.id", nil, func(r *stmt) error {
		st.Versions = append(st.Versions, VersionStats{Model: r.text(0), Version: r.text(1), Digest: r.text(2), Steps: uint64(r.int(3))})
		return ctx.Err()
	})
	if err != nil {
		return st, s.explain(err)
	}
	outcomes, err := c.number("SELECT count(*) FROM outcomes")
	if err != nil {
		return st, s.explain(err)
	}
	sessions, err := c.number("SELECT count(DISTINCT session) FROM steps WHERE session IS NOT NULL")
	if err != nil {
		return st, s.explain(err)
	}
	st.Outcomes, st.Sessions = uint64(outcomes), uint64(sessions)
	return st, nil
}

// bytesOnDisk is the size of the file and its log.
func (s *sqliteStore) bytesOnDisk() (n int64) {
	for _, name := range []string{s.path, s.path + "-wal"} {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}

// used is how many bytes of the file are in use. What is deleted makes room
// for what comes, and the file stays as large as it was.
func (s *sqliteStore) used() (int64, error) {
	return s.w.number("SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size")
}

// Prune implements Store.
func (s *sqliteStore) Prune(ctx context.Context, p Prune) (out Pruned, err error) {
	switch {
	case s.failed != nil:
		return out, s.failed
	case s.w == nil:
		return out, ErrReadOnly
	}
	left := p.Limit
	if left <= 0 {
		left = 1<<63 - 1
	}
	for {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if out.Bytes, err = s.used(); err != nil {
			return out, s.judge(err)
		}
		before := p.Before
		over := p.Bytes > 0 && out.Bytes > p.Bytes
		if !over && before.IsZero() {
			return out, nil
		}
		n, err := s.pruneSome(before, over, min(left, pruneSlice))
		out.Steps += n.Steps
		out.Outcomes += n.Outcomes
		if err != nil {
			return out, s.judge(err)
		}
		if n.Steps == 0 {
			return out, nil
		}
		if left -= int(n.Steps); left <= 0 {
			out.More = true
			return out, nil
		}
		if err := s.Tend(); err != nil {
			return out, err
		}
	}
}

// pruneSlice is how many steps are deleted in one transaction.
const pruneSlice = 2000

// pruneSome deletes up to most of the oldest steps of the oldest run that has
// any which are older than before, or of any age.
func (s *sqliteStore) pruneSome(before time.Time, anyAge bool, most int) (out Pruned, err error) {
	err = s.transact(func() error {
		oldest, err := s.w.number("SELECT coalesce(min(id), 0) FROM steps")
		if err != nil || oldest == 0 {
			return err
		}
		run := oldest >> sequenceBits
		last := int64(0)
		err = s.w.query("SELECT id, time FROM steps WHERE id < ? ORDER BY id LIMIT ?", []any{(run + 1) << sequenceBits, most}, func(r *stmt) error {
			if anyAge || r.int(1) < before.UnixNano() {
				last = r.int(0)
				out.Steps++
				return nil
			}
			return errEnough
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if last == 0 {
			return nil
		}
		if err := s.w.run("DELETE FROM steps WHERE id <= ?", last); err != nil {
			return err
		}
		reached("in prune")
		if err := s.w.run("UPDATE runs SET pruned = ? WHERE id = ?", last&(1<<sequenceBits-1), run); err != nil {
			return err
		}
		if !before.IsZero() {
			if err := s.w.run("DELETE FROM outcomes WHERE time < ?", before.UnixNano()); err != nil {
				return err
			}
			if out.Outcomes, err = s.changes(); err != nil {
				return err
			}
		}
		if err := s.w.run("DELETE FROM gaps WHERE run = ? AND last <= ?", run, last&(1<<sequenceBits-1)); err != nil {
			return err
		}
		// Runs whose steps are all gone, but for the one under way.
		return s.w.run(`DELETE FROM runs WHERE id < ? AND name <> ? AND pruned > 0
			AND NOT EXISTS (SELECT 1 FROM gaps WHERE run = runs.id)`, run, s.o.Run)
	})
	return out, err
}

// errEnough ends a query.
var errEnough = errors.New("enough")

func (s *sqliteStore) changes() (uint64, error) {
	n, err := s.w.number("SELECT changes()")
	return uint64(n), err
}
