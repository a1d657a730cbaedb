//go:build unix

package experience_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/pgtest"
)

// One server for the tests of the package.
var (
	pgOnce   sync.Once
	pgServer *pgtest.Server
	pgErr    error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if pgServer != nil {
		pgServer.Close()
	}
	os.Exit(code)
}

// pgShared gives a server that no test stops.
func pgShared(t testing.TB) *pgtest.Server {
	t.Helper()
	pgOnce.Do(func() { pgServer, pgErr = pgtest.New() })
	pgtest.Need(t, pgErr)
	return pgServer
}

// pgOpen opens a store in a database of the test's own.
func pgOpen(t testing.TB, o experience.Options) (experience.Store, *pgtest.Server, string) {
	t.Helper()
	s := pgShared(t)
	name := s.Database(t)
	st, err := experience.Open(t.Context(), s.URL(name, 0), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st, s, name
}

// pgTime is a time as PostgreSQL keeps it, in microseconds.
func pgTime(n uint64) time.Time {
	return time.Unix(1_795_000_000, int64(n)*1000).UTC()
}

// pgSteps are steps of a run, with something in every field of every third.
func pgSteps(run string, first, n uint64) (list []experience.Step) {
	for i := first; i < first+n; i++ {
		s := experience.Step{
			Run: run, Sequence: i, Time: pgTime(i), Mono: time.Duration(i) * time.Millisecond, RequestID: fmt.Sprintf("%032x", i),
			Model: "highway", Version: "v1.2.0", Digest: "d1",
			Observation: []float32{float32(i), -0.5, 0, 3, 4}, Action: []float32{1, 0.25, -1},
			Queue: 100, Infer: 2000, Deterministic: true,
		}
		if i%3 == 0 {
			s.Row, s.Session, s.Episode, s.SessionStep, s.First = 3, fmt.Sprint("robot-", i%2), i/10, i, i%10 == 0
			s.Raw = []float32{float32(math.Inf(1)), 0.25, float32(math.NaN())}
			s.Value, s.LogProb, s.HasValue, s.HasLogProb = 1.5, float32(math.Inf(-1)), true, true
			s.Enveloping, s.Deterministic = 55, false
			s.Seed, s.DrawStep, s.DrawRow = math.MaxUint64, i, 1
			s.Masks = []float32{1, 0, 1}
			s.Interventions = []experience.Intervention{
				{Value: 0, Kind: "not_finite", Fallback: "brake", Feature: -1, From: s.Raw[0], To: 1},
				{Value: 1, Kind: "out_of_distribution", Feature: 4, Score: 12.5, From: 0.25, To: 0.25},
			}
		}
		list = append(list, s)
	}
	return list
}

var pgLayout = experience.Layout{
	Model: "highway", Version: "v1.2.0", Digest: "d1", Inputs: []experience.Input{{Name: "observation", Shape: []int{5}, Width: 5}},
	Features: []experience.Part{{Name: "speed", Size: 1}, {Name: "sensors", Shape: []int{4}, Offset: 1, Size: 4}},
	Actions:  []experience.Part{{Name: "throttle", Size: 1}, {Name: "brake", Offset: 1, Size: 1}, {Name: "steer", Offset: 2, Size: 1}},
}

// pgRead reads what a query names. Floats are compared by their bits.
func pgRead(t testing.TB, s experience.Store, q experience.Query) (list []experience.Step) {
	t.Helper()
	for st, err := range s.Read(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		c := *st
		c.Observation, c.Action = append([]float32(nil), st.Observation...), append([]float32(nil), st.Action...)
		c.Raw, c.Masks = append([]float32(nil), st.Raw...), append([]float32(nil), st.Masks...)
		c.Interventions = append([]experience.Intervention(nil), st.Interventions...)
		list = append(list, c)
	}
	return list
}

// pgSame compares steps as text, in which a NaN is itself.
func pgSame(t testing.TB, got, want []experience.Step) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i := range got {
		if g, w := fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]); g != w {
			t.Fatalf("step %d:\n got %s\nwant %s", i, g, w)
		}
	}
}

func TestPostgresKeepsEverything(t *testing.T) {
	s, _, _ := pgOpen(t, experience.Options{Run: "run-1"})
	reward := -0.5
	b := &experience.Batch{
		Layouts: []experience.Layout{pgLayout}, Steps: pgSteps("run-1", 1, 40),
		Gaps: []experience.Gap{{Run: "run-1", First: 41, Last: 47, Reason: experience.LostFull, Time: pgTime(41)}},
		Outcomes: []experience.Outcome{
			{Run: "run-1", ID: "o1", Session: "robot-1", Episode: 2, SessionStep: 3, Reward: &reward, Info: []byte(`{"lap": 1}`), Time: pgTime(50)},
			{Run: "run-1", ID: "o2", Session: "robot-1", Episode: 2, SessionStep: 3, Terminated: true, Truncated: true, Time: pgTime(51)},
		},
	}
	for range 3 { // The second and the third time it goes by the temporary tables, and is there once.
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	pgSame(t, pgRead(t, s, experience.Query{}), b.Steps)
	if got, err := s.Gaps(t.Context(), experience.Query{}); err != nil || !reflect.DeepEqual(got, b.Gaps) {
		t.Errorf("gaps %+v, %v", got, err)
	}
	if got, err := s.Layouts(t.Context()); err != nil || !reflect.DeepEqual(got, b.Layouts) {
		t.Errorf("layouts %+v, %v", got, err)
	}
	var outcomes []experience.Outcome
	for o, err := range s.Outcomes(t.Context(), experience.Query{Session: "robot-1"}) {
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, *o)
	}
	if !reflect.DeepEqual(outcomes, b.Outcomes) {
		t.Errorf("outcomes %+v, want %+v", outcomes, b.Outcomes)
	}
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Schema != 1 || st.Steps != 40 || st.Outcomes != 2 || st.Sessions != 2 || st.Lost[experience.LostFull] != 7 || st.Bytes == 0 ||
		!st.First.Equal(pgTime(1)) || !st.Last.Equal(pgTime(40)) || len(st.Runs) != 1 || st.Runs[0].Highest != 47 || st.Runs[0].Lost != 7 ||
		st.Runs[0].Steps != 40 || len(st.Versions) != 1 || st.Versions[0].Steps != 40 {
		t.Errorf("stats %+v", st)
	}
}

// TestPostgresTakesPartsOfABatchAgain has a batch of which a part is there.
func TestPostgresTakesPartsOfABatchAgain(t *testing.T) {
	s, _, _ := pgOpen(t, experience.Options{Run: "r"})
	all := pgSteps("r", 1, 30)
	for _, part := range [][]experience.Step{all[5:12], all[:20], all[10:], all} {
		if err := s.Append(t.Context(), &experience.Batch{Steps: part}); err != nil {
			t.Fatal(err)
		}
	}
	pgSame(t, pgRead(t, s, experience.Query{}), all)
}

func TestPostgresQueries(t *testing.T) {
	s, _, _ := pgOpen(t, experience.Options{Run: "b"})
	all := pgSteps("b", 1, 60)
	for i := range all {
		if i >= 30 {
			all[i].Version = "v2"
		}
	}
	early := pgSteps("a", 1, 5)
	for i := range early {
		early[i].Time, early[i].Session = pgTime(0).Add(-time.Hour), ""
	}
	if err := s.Append(t.Context(), &experience.Batch{Steps: append(all, early...)}); err != nil {
		t.Fatal(err)
	}
	f := func(q experience.Query, want ...experience.Step) {
		t.Helper()
		pgSame(t, pgRead(t, s, q), want)
	}
	of := func(keep func(*experience.Step) bool) (list []experience.Step) {
		for i := range all {
			if keep(&all[i]) {
				list = append(list, all[i])
			}
		}
		return list
	}
	three := uint64(3)
	f(experience.Query{}, append(early, all...)...)
	f(experience.Query{Run: "a"}, early...)
	f(experience.Query{Run: "b", After: 57}, all[57:]...)
	f(experience.Query{Run: "b", Limit: 3}, all[:3]...)
	f(experience.Query{Limit: 7}, append(early, all[:2]...)...)
	f(experience.Query{Limit: 2, Newest: true}, all[58:]...)
	f(experience.Query{Limit: 62, Newest: true}, append(early[3:], all...)...)
	f(experience.Query{Version: "v2"}, all[30:]...)
	f(experience.Query{Model: "other"})
	f(experience.Query{Session: "robot-1"}, of(func(s *experience.Step) bool { return s.Session == "robot-1" })...)
	f(experience.Query{Session: "robot-1", Episode: &three}, of(func(s *experience.Step) bool { return s.Session == "robot-1" && s.Episode == 3 })...)
	f(experience.Query{Since: pgTime(20), Until: pgTime(23)}, all[19:22]...)
	f(experience.Query{Run: "b", Intervened: true}, of(func(s *experience.Step) bool { return s.Interventions != nil })...)
	f(experience.Query{Digest: "d2"})

	for st, err := range s.Read(t.Context(), experience.Query{}) { // who stops early stops the database too
		if err != nil || st.Sequence != 1 {
			t.Fatal(st, err)
		}
		break
	}
}

func TestPostgresPrunes(t *testing.T) {
	s, _, _ := pgOpen(t, experience.Options{Run: "r"})
	var outcomes []experience.Outcome
	for i := range uint64(10) {
		outcomes = append(outcomes, experience.Outcome{Run: "r", ID: fmt.Sprint(i), Session: "s", SessionStep: i, Time: pgTime(100 * i)})
	}
	if err := s.Append(t.Context(), &experience.Batch{Steps: pgSteps("r", 1, 1000), Outcomes: outcomes}); err != nil {
		t.Fatal(err)
	}
	p, err := s.Prune(t.Context(), experience.Prune{Before: pgTime(301), Limit: 100})
	if err != nil || p.Steps != 100 || !p.More {
		t.Fatalf("with a limit: %+v, %v", p, err)
	}
	p, err = s.Prune(t.Context(), experience.Prune{Before: pgTime(301)})
	if err != nil || p.Steps != 200 || p.More || p.Outcomes != 4 {
		t.Fatalf("by age: %+v, %v", p, err)
	}
	if got := pgRead(t, s, experience.Query{}); len(got) != 700 || got[0].Sequence != 301 {
		t.Errorf("%d steps are left", len(got))
	}
	p, err = s.Prune(t.Context(), experience.Prune{Bytes: 100_000})
	if err != nil || p.Steps == 0 || p.Steps >= 700 {
		t.Fatalf("by size: %+v, %v", p, err)
	}
	left := pgRead(t, s, experience.Query{})
	if len(left) != 700-int(p.Steps) || left[len(left)-1].Sequence != 1000 {
		t.Errorf("%d steps are left", len(left))
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Runs[0].Pruned != left[0].Sequence-1 || st.Runs[0].Highest != 1000 {
		t.Errorf("stats %+v, %v", st, err)
	}
	if p, err = s.Prune(t.Context(), experience.Prune{Bytes: 100_000}); err != nil || p.Steps != 0 {
		t.Errorf("again: %+v, %v", p, err)
	}
	if p, err = s.Prune(t.Context(), experience.Prune{}); err != nil || p.Steps+p.Outcomes != 0 {
		t.Errorf("nothing to delete: %+v, %v", p, err)
	}
}

func TestPostgresReadOnly(t *testing.T) {
	pg := pgShared(t)
	name := pg.Database(t)
	if _, err := experience.Open(t.Context(), pg.URL(name, 0), experience.Options{ReadOnly: true}); !errors.Is(err, experience.ErrSchema) {
		t.Errorf("of an empty database: want ErrSchema, got %v", err)
	}
	if rows, err := pg.Query(name, "select count(*) from pg_tables where tablename like 'carla%'"); err != nil || rows[0][0] != "0" {
		t.Errorf("it made tables: %v %v", rows, err)
	}
	s, err := experience.Open(t.Context(), pg.URL(name, 0), experience.Options{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = experience.Open(t.Context(), pg.URL(name, 0), experience.Options{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Append(t.Context(), &experience.Batch{Steps: pgSteps("r", 1, 1)}); !errors.Is(err, experience.ErrReadOnly) {
		t.Errorf("append: want ErrReadOnly, got %v", err)
	}
	if _, err := s.Prune(t.Context(), experience.Prune{Bytes: 1}); !errors.Is(err, experience.ErrReadOnly) {
		t.Errorf("prune: want ErrReadOnly, got %v", err)
	}
}

// TestPostgresSchema opens a database that a newer release has been at.
func TestPostgresSchema(t *testing.T) {
	_, pg, name := pgOpen(t, experience.Options{Run: "r"})
	if err := pg.Exec(name, "insert into carla_rl_schema (version) values (99)"); err != nil {
		t.Fatal(err)
	}
	_, err := experience.Open(t.Context(), pg.URL(name, 0), experience.Options{Run: "r2"})
	if !errors.Is(err, experience.ErrSchema) || !strings.Contains(err.Error(), "99") {
		t.Errorf("want ErrSchema with the number, got %v", err)
	}
}

// TestPostgresManyStartAtOnce has servers open an empty database together, as
// the pods of a rollout do.
func TestPostgresManyStartAtOnce(t *testing.T) {
	pg := pgShared(t)
	url := pg.URL(pg.Database(t), 0)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			s, err := experience.Open(context.Background(), url, experience.Options{Run: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Append(context.Background(), &experience.Batch{Layouts: []experience.Layout{pgLayout}, Steps: pgSteps(fmt.Sprint(i), 1, 10)}); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s, err := experience.Open(t.Context(), url, experience.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st, err := s.Stats(t.Context()); err != nil || st.Steps != 80 || len(st.Runs) != 8 || !st.Runs[0].Ended {
		t.Errorf("stats %+v, %v", st, err)
	}
}

// TestPostgresTellsNoPassword has every way to fail, and looks for the password
// in what is said.
func TestPostgresTellsNoPassword(t *testing.T) {
	pg := pgShared(t)
	name := pg.Database(t)
	good := pg.URL(name, 0)
	escaped := url.QueryEscape(pgtest.Password)
	dead := pgtest.NewProxy(t, pg.Port)
	dead.Set(pgtest.Refuse)
	f := func(what, text string, want ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := experience.Open(ctx, text, experience.Options{Run: "r"})
		if err == nil {
			t.Fatalf("%s: no error", what)
		}
		for _, secret := range []string{pgtest.Password, escaped, "s3cret", "wr0ng"} {
			if strings.Contains(err.Error(), secret) || strings.Contains(fmt.Sprintf("%+v %#v", err, err), secret) {
				t.Errorf("%s: the password is in %q", what, err)
			}
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: no %q in %q", what, w, err)
			}
		}
	}
	f("a wrong password", strings.Replace(good, "s3cret", "wr0ng", 1), "28P01")
	f("no such database", strings.Replace(good, name, "nowhere", 1), "3D000", "nowhere")
	f("nobody there", pg.URL(name, dead.Port), "connect to 127.0.0.1")
	f("no TLS there", strings.Replace(good, "sslmode=disable", "sslmode=verify-full", 1), "TLS")
	f("a wrong TLS mode", strings.Replace(good, "sslmode=disable", "sslmode=sometimes", 1), "sslmode")
	f("no certificate", strings.Replace(good, "sslmode=disable", "sslmode=verify-ca&sslrootcert=/nowhere.pem", 1), "nowhere.pem")
	f("no URL", "postgres://carla:s3cret/p@ss:word@127.0.0.1/x")
	f("a port that is none", "postgres://carla:s3cret@127.0.0.1:99999999/x")
	f("a password in the query", "postgres://127.0.0.1:1/x?user=carla&password=s3cret&sslmode=disable", "connect to")
}

// TestPostgresTLS asks for TLS of a server that has a certificate, by the modes
// of the URL.
func TestPostgresTLS(t *testing.T) {
	pg := pgtest.Start(t)
	ca, err := pg.EnableTLS("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	other := ca + ".other"
	if _, err := pgtest.WriteCertificate(other, other+".key", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	f := func(mode string, want bool) {
		t.Helper()
		s, err := experience.Open(t.Context(), strings.Replace(pg.URL("postgres", 0), "sslmode=disable", mode, 1), experience.Options{Run: "r"})
		if (err == nil) != want {
			t.Errorf("%s: %v", mode, err)
		}
		if err == nil {
			_ = s.Close()
		}
	}
	f("sslmode=require", true)
	f("sslmode=verify-full&sslrootcert="+ca, true)
	f("sslmode=verify-full&sslrootcert="+other, false)
	f("sslmode=disable", false) // the server takes none without
}

// BenchmarkPostgresAppend writes steps of a policy of seven features and, for the
// ratio, the same steps by one INSERT each in transactions of as many.
func BenchmarkPostgresAppend(b *testing.B) {
	const rows = 1000
	b.Run("store", func(b *testing.B) {
		s, _, _ := pgOpen(b, experience.Options{Run: "bench"})
		n := uint64(1)
		for b.Loop() {
			if err := s.Append(b.Context(), &experience.Batch{Steps: pgPlain("bench", n, rows)}); err != nil {
				b.Fatal(err)
			}
			n += rows
		}
		b.ReportMetric(float64(n-1)/b.Elapsed().Seconds(), "steps/s")
	})
	b.Run("insert", func(b *testing.B) {
		_, pg, name := pgOpen(b, experience.Options{Run: "bench"})
		conn, err := pg.Connect(name)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close(b.Context())
		const insert = `insert into carla_rl_steps (run, sequence, time, mono_ns, request_id, request_row, session, episode, session_step, first,
model, version, digest, observation, action, queue_ns, infer_ns, enveloping_ns, deterministic, seed, draw_step, draw_row)
values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22)`
		if _, err := conn.Prepare(b.Context(), "insert", insert, nil); err != nil {
			b.Fatal(err)
		}
		n := uint64(1)
		for b.Loop() {
			if _, err := conn.Exec(b.Context(), "begin").ReadAll(); err != nil {
				b.Fatal(err)
			}
			for _, s := range pgPlain("bench", n, rows) {
				args := [][]byte{}
				for _, v := range []any{s.Run, s.Sequence, s.Time.Format("2006-01-02 15:04:05.999999Z07:00"), int64(s.Mono), s.RequestID, s.Row, s.Session, s.Episode, s.SessionStep, s.First,
					s.Model, s.Version, s.Digest, pgArray(s.Observation), pgArray(s.Action), int64(s.Queue), int64(s.Infer), 0, s.Deterministic, 0, 0, 0} {
					args = append(args, []byte(fmt.Sprint(v)))
				}
				if r := conn.ExecPrepared(b.Context(), "insert", args, nil, nil).Read(); r.Err != nil {
					b.Fatal(r.Err)
				}
			}
			if _, err := conn.Exec(b.Context(), "commit").ReadAll(); err != nil {
				b.Fatal(err)
			}
			n += rows
		}
		b.ReportMetric(float64(n-1)/b.Elapsed().Seconds(), "steps/s")
	})
}

func pgPlain(run string, first, n uint64) []experience.Step {
	list := pgSteps(run, first, n)
	for i := range list {
		list[i] = experience.Step{
			Run: run, Sequence: list[i].Sequence, Time: list[i].Time, Mono: list[i].Mono, RequestID: list[i].RequestID,
			Model: "highway", Version: "v1.2.0", Digest: strings.Repeat("d1", 32), Observation: []float32{1, 2, 3, 4, 5, 6, 7}, Action: []float32{1, 2, 3},
			Queue: 100, Infer: 2000, Deterministic: true,
		}
	}
	return list
}

func pgArray(x []float32) string {
	return "{" + strings.Trim(strings.ReplaceAll(fmt.Sprint(x), " ", ","), "[]") + "}"
}
