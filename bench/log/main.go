// Command log measures how fast an experience log takes steps of the driving
// policy, in turn with a plain loop of INSERT of the same rows into a table of
// the same columns, one transaction for as many as the log writes together:
//
//	go run ./bench/log -sqlite /tmp/log.db -postgres postgres://...
//
// It prints JSON.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
	_ "modernc.org/sqlite"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "log:", err)
		os.Exit(1)
	}
}

type result struct {
	Store string    `json:"store"`
	What  string    `json:"what"`
	Steps int       `json:"steps"`
	Rates []float64 `json:"rates"`
	Ratio []float64 `json:"ratios"`
}

func run() error {
	steps := flag.Int("steps", 200_000, "steps of a run")
	batch := flag.Int("batch", 2000, "steps of a transaction")
	runs := flag.Int("runs", 3, "runs of each")
	file := flag.String("sqlite", "", "file of SQLite, which is deleted before each run")
	url := flag.String("postgres", "", "database of PostgreSQL, in which the table plain is made anew")
	flag.Parse()
	if *steps < 1 || *batch < 1 || *runs < 1 || flag.NArg() > 0 {
		return errors.New("give steps, batch and runs above 0, and nothing else")
	}
	ctx := context.Background()
	list := make([]experience.Step, *steps)
	for i := range list {
		list[i] = experience.Step{
			Sequence: uint64(i + 1), Time: time.Unix(1_795_000_000, int64(i)*1000), Mono: time.Duration(i) * time.Microsecond,
			RequestID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), Model: "carla-ppo", Version: "v0.1.0", Digest: "d",
			Observation: []float32{25.5, 0.1, 0.8, 0.2, 0.5, 0.9, float32(i)}, Action: []float32{0, 0.127, -0.852},
			Queue: 200, Infer: 2100, Deterministic: true,
		}
	}
	var out []result
	turns := func(store string, log, plain func() error) error {
		mine, loop := result{Store: store, What: "the log", Steps: *steps}, result{Store: store, What: "a plain loop of INSERT", Steps: *steps}
		for i := range *runs {
			took := [2]time.Duration{}
			for k := range 2 {
				which := (i + k) % 2 // Whoever is first changes from run to run.
				f := []func() error{log, plain}[which]
				begun := time.Now()
				if err := f(); err != nil {
					return fmt.Errorf("%s: %w", store, err)
				}
				took[which] = time.Since(begun)
			}
			rate := func(d time.Duration) float64 { return float64(*steps) / d.Seconds() }
			mine.Rates, loop.Rates = append(mine.Rates, rate(took[0])), append(loop.Rates, rate(took[1]))
			mine.Ratio, loop.Ratio = append(mine.Ratio, rate(took[0])/rate(took[1])), append(loop.Ratio, 1)
		}
		out = append(out, mine, loop)
		return nil
	}
	if *file != "" {
		err := turns("SQLite", func() error {
			for _, end := range []string{"", "-wal", "-shm", ".run", ".lock"} {
				if err := os.Remove(*file + end); err != nil && !os.IsNotExist(err) {
					return err
				}
			}
			return appendAll(ctx, *file, list, *batch)
		}, func() error { return plainSQLite(*file+".plain", list, *batch) })
		if err != nil {
			return err
		}
	}
	if *url != "" {
		err := turns("PostgreSQL", func() error { return appendAll(ctx, *url, list, *batch) }, func() error { return plainPostgres(ctx, *url, list, *batch) })
		if err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// appendAll writes all steps as those of a run of their own.
func appendAll(ctx context.Context, where string, list []experience.Step, batch int) error {
	name := experience.NewRun()
	for i := range list {
		list[i].Run = name
	}
	s, err := experience.Open(ctx, where, experience.Options{Run: name})
	if err != nil {
		return err
	}
	for rest := list; len(rest) > 0; {
		n := min(batch, len(rest))
		if err := s.Append(ctx, &experience.Batch{Steps: rest[:n]}); err != nil {
			return errors.Join(err, s.Close())
		}
		if t, ok := s.(interface{ Tend() error }); ok {
			if err := t.Tend(); err != nil {
				return errors.Join(err, s.Close())
			}
		}
		rest = rest[n:]
	}
	return s.Close()
}

// plainSQLite is what a program does that knows database/sql.
func plainSQLite(name string, list []experience.Step, batch int) (err error) {
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(name + end); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	for _, s := range []string{"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
		"CREATE TABLE plain (run TEXT, sequence INTEGER, version TEXT, time INTEGER, mono INTEGER, request TEXT, row INTEGER, flags INTEGER, observation BLOB, action BLOB, queue INTEGER, infer INTEGER, PRIMARY KEY (run, sequence))"} {
		if _, err := db.Exec(s); err != nil {
			return err
		}
	}
	for len(list) > 0 {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		n := min(batch, len(list))
		for i := range list[:n] {
			s := &list[i]
			if _, err := tx.Exec("INSERT INTO plain VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", "run", int64(s.Sequence), s.Version, s.Time.UnixNano(), int64(s.Mono),
				s.RequestID, s.Row, 1, bytesOf(s.Observation), bytesOf(s.Action), int64(s.Queue), int64(s.Infer)); err != nil {
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// plainPostgres is one INSERT with parameters after another.
func plainPostgres(ctx context.Context, url string, list []experience.Step, batch int) (err error) {
	c, err := pgconn.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	exec := func(s string) error {
		_, err := c.Exec(ctx, s).ReadAll()
		return err
	}
	if err := exec("DROP TABLE IF EXISTS plain; CREATE TABLE plain (run text, sequence bigint, version text, time bigint, mono bigint, request text, row int, flags int, observation bytea, action bytea, queue bigint, infer bigint, PRIMARY KEY (run, sequence))"); err != nil {
		return err
	}
	if _, err := c.Prepare(ctx, "plain", "INSERT INTO plain VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)", nil); err != nil {
		return err
	}
	for len(list) > 0 {
		n := min(batch, len(list))
		if err := exec("BEGIN"); err != nil {
			return err
		}
		for i := range list[:n] {
			s := &list[i]
			text := func(v any) []byte { return fmt.Append(nil, v) }
			r := c.ExecPrepared(ctx, "plain", [][]byte{
				[]byte("run"), text(s.Sequence), []byte(s.Version), text(s.Time.UnixNano()), text(int64(s.Mono)), []byte(s.RequestID), text(s.Row), []byte("1"),
				bytesOf(s.Observation), bytesOf(s.Action), text(int64(s.Queue)), text(int64(s.Infer)),
			}, []int16{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0}, nil).Read()
			if r.Err != nil {
				return r.Err
			}
		}
		if err := exec("COMMIT"); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
