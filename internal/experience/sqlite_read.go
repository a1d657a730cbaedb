package experience

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const selectSteps = `SELECT s.id, s.time, s.mono, s.request, s.row, s.flags, s.observation, s.action, s.raw, s.queue, s.infer, s.enveloping,
	s.session, s.episode, s.step, s.value, s.log_prob, s.seed, s.draw_step, s.draw_row, s.interventions, s.masks, s.version FROM steps s`

// Read implements Store.
func (s *sqliteStore) Read(ctx context.Context, q Query) iter.Seq2[*Step, error] {
	return func(yield func(*Step, error) bool) {
		c, err := s.openReader()
		if err != nil {
			yield(nil, err)
			return
		}
		defer c.close()
		if err := s.read(ctx, c, q, yield); err != nil {
			yield(nil, s.explain(err))
		}
	}
}

// names are what the numbers of a file stand for.
type names struct {
	runs     map[int64]string
	versions map[int64]versionKey
}

func (c *conn) names() (n names, err error) {
	n = names{map[int64]string{}, map[int64]versionKey{}}
	err = c.query("SELECT id, name FROM runs", nil, func(r *stmt) error {
		n.runs[r.int(0)] = r.text(1)
		return nil
	})
	if err != nil {
		return n, err
	}
	return n, c.query("SELECT id, model, version, digest FROM versions", nil, func(r *stmt) error {
		n.versions[r.int(0)] = versionKey{r.text(1), r.text(2), r.text(3)}
		return nil
	})
}

// narrow is the condition of a query, on the table steps as s.
func (q *Query) narrow(n *names) (where string, args []any) {
	var terms []string
	add := func(term string, values ...any) {
		terms = append(terms, term)
		args = append(args, values...)
	}
	if q.Run != "" {
		found := false
		for id, name := range n.runs {
			if found = name == q.Run; found {
				add("s.id > ? AND s.id < ?", id<<sequenceBits+int64(min(q.After, 1<<sequenceBits-1)), (id+1)<<sequenceBits)
				break
			}
		}
		if !found {
			add("0")
		}
	}
	if q.Session != "" {
		add("s.session = ?", q.Session)
	}
	if q.Episode != nil {
		add("s.episode = ?", *q.Episode)
	}
	if q.Model != "" || q.Version != "" || q.Digest != "" {
		var ids []string
		for id, v := range n.versions {
			if (q.Model == "" || v.model == q.Model) && (q.Version == "" || v.version == q.Version) && (q.Digest == "" || v.digest == q.Digest) {
				ids = append(ids, fmt.Sprint(id))
			}
		}
		add("s.version IN (" + strings.Join(ids, ",") + ")")
	}
	if !q.Since.IsZero() {
		add("s.time >= ?", q.Since.UnixNano())
	}
	if !q.Until.IsZero() {
		add("s.time < ?", q.Until.UnixNano())
	}
	if q.Intervened {
		add(fmt.Sprintf("s.flags & %d", flagIntervened))
	}
	if len(terms) > 0 {
		where = " WHERE " + strings.Join(terms, " AND ")
	}
	return where, args
}

// cancelled is after how many rows a reader looks at its context.
const cancelled = 256

func (s *sqliteStore) read(ctx context.Context, c *conn, q Query, yield func(*Step, error) bool) error {
	// Names and steps are of one moment.
	if err := c.exec("BEGIN"); err != nil {
		return err
	}
	n, err := c.names()
	if err != nil {
		return err
	}
	where, args := q.narrow(&n)
	sql := selectSteps + where + " ORDER BY s.id"
	if q.Limit > 0 && q.Newest {
		sql = "SELECT * FROM (" + selectSteps + where + fmt.Sprintf(" ORDER BY s.id DESC LIMIT %d) ORDER BY id", q.Limit)
	} else if q.Limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	r, err := c.prepare(sql)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.bind(args...); err != nil {
		return err
	}
	var st Step
	for i := 0; ; i++ {
		if i%cancelled == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		more, err := r.step()
		if err != nil || !more {
			return err
		}
		if err := r.readStep(&st, &n); err != nil {
			return err
		}
		if !yield(&st, nil) {
			return nil
		}
	}
}

// readStep reads the row of selectSteps into a step, whose memory it uses
// again.
func (s *stmt) readStep(st *Step, n *names) (err error) {
	key := s.int(0)
	st.Run, st.Sequence = n.runs[key>>sequenceBits], uint64(key)&(1<<sequenceBits-1)
	st.Time, st.Mono = time.Unix(0, s.int(1)).UTC(), time.Duration(s.int(2))
	st.RequestID, st.Row = s.textOr(3, st.RequestID), int(s.int(4))
	flags := s.int(5)
	st.Deterministic, st.First = flags&flagDeterministic != 0, flags&flagFirst != 0
	if st.Observation, err = s.floats(6, st.Observation[:0]); err != nil {
		return err
	}
	if st.Action, err = s.floats(7, st.Action[:0]); err != nil {
		return err
	}
	if st.Raw, err = s.optional(8, st.Raw); err != nil {
		return err
	}
	st.Queue, st.Infer, st.Enveloping = time.Duration(s.int(9)), time.Duration(s.int(10)), time.Duration(s.int(11))
	st.Session, st.Episode, st.SessionStep = s.textOr(12, st.Session), uint64(s.int(13)), uint64(s.int(14))
	st.HasValue, st.Value = !s.null(15), float32(s.float(15))
	st.HasLogProb, st.LogProb = !s.null(16), float32(s.float(16))
	st.Seed, st.DrawStep, st.DrawRow = uint64(s.int(17)), uint64(s.int(18)), uint64(s.int(19))
	st.Interventions = st.Interventions[:0]
	if flags&flagIntervened != 0 {
		if st.Interventions, err = decodeInterventions(s.raw(20), st); err != nil {
			return fmt.Errorf("interventions of step %d of run %s: %w", st.Sequence, st.Run, err)
		}
	}
	if st.Masks, err = s.optional(21, st.Masks); err != nil {
		return err
	}
	v := n.versions[s.int(22)]
	st.Model, st.Version, st.Digest = v.model, v.version, v.digest
	return nil
}

// optional is floats of a column that is nil where there is none.
func (s *stmt) optional(i int, had []float32) ([]float32, error) {
	if s.null(i) {
		return nil, nil
	}
	return s.floats(i, append(had[:0], make([]float32, 0)...))
}

// decodeInterventions reads what appendInterventions wrote, with the values
// that the step has.
func decodeInterventions(text []byte, st *Step) ([]Intervention, error) {
	list := st.Interventions[:0]
	if err := json.Unmarshal(text, &list); err != nil {
		return list, err
	}
	for i := range list {
		v := &list[i]
		if v.Value < 0 || v.Value >= len(st.Action) || v.Value >= len(st.Raw) {
			return list, fmt.Errorf("value %d of an action of %d", v.Value, len(st.Action))
		}
		v.From, v.To = st.Raw[v.Value], st.Action[v.Value]
	}
	return list, nil
}

// Layouts implements Store.
func (s *sqliteStore) Layouts(ctx context.Context) ([]Layout, error) {
	c, err := s.openReader()
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out []Layout
	err = c.query("SELECT layout FROM versions ORDER BY id", nil, func(r *stmt) error {
		var l Layout
		if err := json.Unmarshal(r.raw(0), &l); err != nil {
			return fmt.Errorf("a layout: %w", err)
		}
		out = append(out, l)
		return ctx.Err()
	})
	if err != nil {
		return nil, s.explain(err)
	}
	return out, nil
}

// Gaps implements Store.
func (s *sqliteStore) Gaps(ctx context.Context, q Query) ([]Gap, error) {
	c, err := s.openReader()
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out []Gap
	err = c.query("SELECT r.name, g.first, g.last, g.reason, g.time FROM gaps g JOIN runs r ON r.id = g.run WHERE ? IN ('', r.name) ORDER BY g.run, g.first",
		[]any{q.Run}, func(r *stmt) error {
			out = append(out, Gap{Run: r.text(0), First: uint64(r.int(1)), Last: uint64(r.int(2)), Reason: r.text(3), Time: time.Unix(0, r.int(4)).UTC()})
			return ctx.Err()
		})
	if err != nil {
		return nil, s.explain(err)
	}
	return out, nil
}

// Outcomes implements Store.
func (s *sqliteStore) Outcomes(ctx context.Context, q Query) iter.Seq2[*Outcome, error] {
	return func(yield func(*Outcome, error) bool) {
		c, err := s.openReader()
		if err != nil {
			yield(nil, err)
			return
		}
		defer c.close()
		since, until := int64(0), int64(1<<63-1)
		if !q.Since.IsZero() {
			since = q.Since.UnixNano()
		}
		if !q.Until.IsZero() {
			until = q.Until.UnixNano()
		}
		r, err := c.prepare(`SELECT key, run, session, episode, step, reward, terminated, truncated, info, time FROM outcomes
			WHERE ? IN ('', session) AND time >= ? AND time < ? ORDER BY id`)
		if err != nil {
			yield(nil, s.explain(err))
			return
		}
		defer r.close()
		if err := r.bind(q.Session, since, until); err != nil {
			yield(nil, err)
			return
		}
		for {
			more, err := r.step()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, s.explain(err))
				return
			}
			if !more {
				return
			}
			o := Outcome{
				ID: r.text(0), Run: r.text(1), Session: r.text(2), Episode: uint64(r.int(3)), SessionStep: uint64(r.int(4)),
				Terminated: r.int(6) != 0, Truncated: r.int(7) != 0, Time: time.Unix(0, r.int(9)).UTC(),
			}
			if !r.null(5) {
				v := r.float(5)
				o.Reward = &v
			}
			if !r.null(8) {
				o.Info = append([]byte(nil), r.raw(8)...)
			}
			if !yield(&o, nil) {
				return
			}
		}
	}
}
