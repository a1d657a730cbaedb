package experience

import (
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modernc.org/libc"
	sqlite "modernc.org/sqlite/lib"
)

var le = binary.LittleEndian

const (
	// oldestSQLite is the first release whose WAL cannot lose a commit to a
	// checkpoint beside it.
	oldestSQLite = 3_051_003
	// applicationID marks files that are ours: "cRLx".
	applicationID = 0x63524c78
	// sequenceBits is where the run stands in the key of a step.
	sequenceBits = 40
	// defaultWALPages is after how many pages the log is put into the file; four
	// times as many may be there where nobody asks for it.
	defaultWALPages = 4000
)

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

// sqliteStore keeps steps in one file.
type sqliteStore struct {
	path string
	o    Options
	lock *os.File // nil where it is only read

	w        *conn // nil where it is only read
	insert   sqliteInserts
	runs     map[string]int64
	versions map[versionKey]int64
	scratch  []byte
	failed   error // for good
	counts   *counters
	rest     func() // called after every few steps of a write; nil is not
	found    []Gap  // that runs before this one left
	wal      int64  // pages that wait in the log
	written  int64  // bytes of the batch
}

type versionKey struct{ model, version, digest string }

// openSQLite opens the file of a path, which is made where there is none.
func openSQLite(path string, o Options) (_ *sqliteStore, err error) {
	if v := sqlite.Xsqlite3_libversion_number(nil); v < oldestSQLite {
		return nil, fmt.Errorf("SQLite is %d, want %d or later", v, oldestSQLite)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	orDefault(&o.walPages, defaultWALPages)
	s := &sqliteStore{path: path, o: o, runs: map[string]int64{}, versions: map[versionKey]int64{}}
	if o.ReadOnly {
		return s, s.checkReadable()
	}
	if o.Run == "" {
		s.o.Run = NewRun()
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.prepareFile(); err != nil {
		return nil, err
	}
	if s.w, err = openConn(path, sqlite.SQLITE_OPEN_READWRITE|sqlite.SQLITE_OPEN_CREATE); err != nil {
		return nil, s.explain(err)
	}
	if err := s.begin(); err != nil {
		return nil, s.explain(err)
	}
	return s, nil
}

// NewRun draws the name of a run. Names sort as the runs began.
func NewRun() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16|uint64(b[6])<<8|uint64(b[7]))
	return fmt.Sprintf("%x-%x", b[:8], b[8:])
}

// prepareFile makes the folder, takes the lock and looks at what is there
// without changing it.
func (s *sqliteStore) prepareFile() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
		return fmt.Errorf("experience log %s: %w", s.path, err)
	}
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("experience log: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("experience log %s is no file", s.path)
	case info.Mode()&0o222 == 0:
		return fmt.Errorf("experience log %s: %w: nobody may write to the file (mode %v)", s.path, ErrReadOnly, info.Mode().Perm())
	}
	if s.lock, err = lockFile(s.path + ".lock"); err != nil {
		return err
	}
	if info == nil || info.Size() == 0 {
		return nil
	}
	return s.checkReadable()
}

// checkReadable looks at a file that is there and changes nothing of it.
func (s *sqliteStore) checkReadable() error {
	c, err := s.openReader()
	if err != nil {
		return err
	}
	defer c.close()
	_, err = s.schemaOf(c)
	return err
}

// openReader opens another connection that only reads.
func (s *sqliteStore) openReader() (*conn, error) {
	if _, err := os.Stat(s.path); err != nil {
		return nil, fmt.Errorf("experience log: %w", err)
	}
	c, err := openConn(s.path, sqlite.SQLITE_OPEN_READONLY)
	if err == nil {
		// The file is looked into only when it is first read.
		if err = c.exec("SELECT count(*) FROM sqlite_schema"); err == nil {
			return c, nil
		}
		c.close()
	}
	var e *sqliteError
	if errors.As(err, &e) && (e.primary() == sqlite.SQLITE_CANTOPEN || e.primary() == sqlite.SQLITE_READONLY) && s.alone() {
		// A folder that cannot be written has no place for the shared memory of
		// a log, and no need of it where there is no log.
		return openConn("file:"+escapePath(s.path)+"?immutable=1", sqlite.SQLITE_OPEN_READONLY|sqlite.SQLITE_OPEN_URI)
	}
	return nil, s.explain(err)
}

// alone tells that the file has no log beside it.
func (s *sqliteStore) alone() bool {
	info, err := os.Stat(s.path + "-wal")
	return err != nil || info.Size() == 0
}

func escapePath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// schemaOf returns the number of a file's schema, 0 for a file without one.
func (s *sqliteStore) schemaOf(c *conn) (int, error) {
	id, err := c.number("PRAGMA application_id")
	if err != nil {
		return 0, s.explain(err)
	}
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return 0, s.explain(err)
	}
	tables, err := c.number("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return 0, s.explain(err)
	}
	newest := len(s.migrations())
	switch {
	case tables > 0 && id != applicationID:
		return 0, fmt.Errorf("experience log %s: %w: it is a database of something else", s.path, ErrSchema)
	case int(version) > newest:
		return 0, fmt.Errorf("experience log %s: %w: its schema is %d and this release knows up to %d: use the release that wrote it, or another file", s.path, ErrSchema, version, newest)
	case s.o.ReadOnly && int(version) < newest:
		return 0, fmt.Errorf("experience log %s: %w: its schema is %d, and this release reads %d: a server that is started with it, or carla-rl experience prune, brings it up to date", s.path, ErrSchema, version, newest)
	}
	return int(version), nil
}

// migrations are the files in their order.
func (s *sqliteStore) migrations() []string {
	if s.o.migrations != nil {
		return s.o.migrations
	}
	return readMigrations(sqliteMigrations, "migrations/sqlite")
}

// readMigrations returns the texts of a folder whose files are numbered from 1.
func readMigrations(files fs.FS, folder string) []string {
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		panic("experience: " + err.Error()) // It is embedded.
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	var out []string
	for i, e := range entries {
		if !strings.HasPrefix(e.Name(), fmt.Sprintf("%04d_", i+1)) {
			panic("experience: migration " + e.Name() + " is not number " + fmt.Sprint(i+1))
		}
		text, err := fs.ReadFile(files, folder+"/"+e.Name())
		if err != nil {
			panic("experience: " + err.Error())
		}
		out = append(out, string(text))
	}
	return out
}

// begin makes the connection one that writes, brings the schema up to date and
// notes the run.
func (s *sqliteStore) begin() error {
	if sqlite.Xsqlite3_db_readonly(s.w.tls, s.w.db, mainName) == 1 {
		return fmt.Errorf("%w: the file system or the rights of the file do not let this user write to it", ErrReadOnly)
	}
	for _, pragma := range []string{
		"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA wal_autocheckpoint=0",
		"PRAGMA cache_size=-8192", "PRAGMA temp_store=MEMORY", "PRAGMA foreign_keys=OFF",
	} {
		if err := s.w.exec(pragma); err != nil {
			return err
		}
	}
	if err := s.migrate(); err != nil {
		return err
	}
	if err := s.prepareInserts(); err != nil {
		return err
	}
	if s.o.Run == NoRun {
		return nil
	}
	var err error
	if s.counts, err = mapCounters(s.path + ".run"); err != nil {
		return err
	}
	err = s.transact(func() error {
		if err := s.recover(); err != nil {
			return err
		}
		_, err := s.runID(s.o.Run)
		return err
	})
	if err != nil {
		clear(s.runs)
		return err
	}
	reached("before counting")
	s.counts.begin(s.o.Run)
	reached("after counting")
	return nil
}

// reached is called at each step of what is written, for tests that end the
// process there.
var reached = func(step string) {}

// recover notes what runs took that ended without closing the log.
func (s *sqliteStore) recover() error {
	type lost struct {
		id   int64
		name string
	}
	var list []lost
	err := s.w.query("SELECT id, name FROM runs WHERE ended IS NULL AND found IS NULL", nil, func(r *stmt) error {
		list = append(list, lost{r.int(0), r.text(1)})
		return nil
	})
	if err != nil {
		return err
	}
	now := s.o.Now()
	for _, l := range list {
		highest, err := s.highest(l.id)
		if err != nil {
			return err
		}
		if s.counts.magic == countersMagic && s.counts.name() == l.name && s.counts.total() > highest {
			g := Gap{Run: l.name, First: highest + 1, Last: s.counts.total(), Reason: LostCrash, Time: now}
			if s.counts.failed.Load() != 0 {
				g.Reason = LostFailed
			}
			if err := s.w.run("INSERT OR IGNORE INTO gaps (run, first, last, reason, time) VALUES (?,?,?,?,?)", l.id, g.First, g.Last, g.Reason, now.UnixNano()); err != nil {
				return err
			}
			s.found = append(s.found, g)
		}
		reached("in recovery")
		if err := s.w.run("UPDATE runs SET found = ? WHERE id = ?", now.UnixNano(), l.id); err != nil {
			return err
		}
	}
	return nil
}

// highest is the last sequence that is known of a run.
func (s *sqliteStore) highest(run int64) (uint64, error) {
	n, err := s.w.number(`SELECT max((SELECT coalesce(max(id), 0) & 0xFFFFFFFFFF FROM steps WHERE id > ?1 << 40 AND id < (?1 + 1) << 40),
		(SELECT coalesce(max(last), 0) FROM gaps WHERE run = ?1), (SELECT coalesce(max(pruned), 0) FROM runs WHERE id = ?1))`, run)
	return uint64(n), err
}

// counters are those of the run, which outlive the process.
func (s *sqliteStore) counters() *counters { return s.counts }

// restWith has f called between the steps of long writes.
func (s *sqliteStore) restWith(f func()) { s.rest = f }

// lostBefore lists what runs before this one lost as they ended.
func (s *sqliteStore) lostBefore() []Gap { return s.found }

// NoRun is the Options.Run that opens a store for those who delete, and take no steps.
const NoRun = "-"

var mainName = func() uintptr {
	p, err := libc.CString("main")
	if err != nil {
		panic("experience: " + err.Error())
	}
	return p
}()

// migrate runs what the file has not seen yet, all of it or nothing.
func (s *sqliteStore) migrate() error {
	list := s.migrations()
	at, err := s.schemaOf(s.w)
	if err != nil || at == len(list) {
		return err
	}
	return s.transact(func() error {
		for i, text := range list[at:] {
			reached("before migration")
			if err := s.w.exec(text); err != nil {
				return fmt.Errorf("migration %d: %w", at+i+1, err)
			}
		}
		return s.w.exec(fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d", applicationID, len(list)))
	})
}

// transact runs f in a transaction, which is durable when it returns nil.
func (s *sqliteStore) transact(f func() error) error {
	reached("before begin")
	if err := s.w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	reached("after begin")
	err := f()
	if err == nil {
		reached("before commit")
		if err = s.w.exec("COMMIT"); err == nil {
			reached("after commit")
			return nil
		}
	}
	if sqlite.Xsqlite3_get_autocommit(s.w.tls, s.w.db) == 0 {
		// Some errors have ended the transaction already.
		if undo := s.w.exec("ROLLBACK"); undo != nil {
			err = errors.Join(err, undo)
		}
	}
	return err
}

// explain says what an error of the library means for whoever runs the server.
func (s *sqliteStore) explain(err error) error {
	var e *sqliteError
	if !errors.As(err, &e) {
		if err != nil && !strings.Contains(err.Error(), s.path) {
			return fmt.Errorf("experience log %s: %w", s.path, err)
		}
		return err
	}
	switch e.primary() {
	case sqlite.SQLITE_NOTADB:
		return fmt.Errorf("experience log %s: %w: it is no database of SQLite", s.path, ErrSchema)
	case sqlite.SQLITE_FULL:
		return fmt.Errorf("experience log %s: no room is left on its volume: %w", s.path, err)
	case sqlite.SQLITE_READONLY:
		return fmt.Errorf("experience log %s: %w: %w", s.path, ErrReadOnly, err)
	case sqlite.SQLITE_BUSY, sqlite.SQLITE_LOCKED:
		return fmt.Errorf("experience log %s: %w: %w", s.path, ErrLocked, err)
	case sqlite.SQLITE_CANTOPEN:
		return fmt.Errorf("experience log %s: it cannot be opened or made (is the folder there, and may this user write to it?): %w", s.path, err)
	}
	return fmt.Errorf("experience log %s: %w", s.path, err)
}

// Close implements Store.
func (s *sqliteStore) Close() error {
	var err error
	if s.w != nil {
		if s.failed != nil {
			// What could not be made durable is not moved into the file either.
			s.keepLog()
			s.counts.failed.Store(1)
		} else if s.counts != nil {
			err = s.endRun()
		}
		s.insert.close()
		err = errors.Join(err, s.w.close())
		s.w = nil
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock = nil
	}
	return err
}

// endRun notes that the run has written all that it took; what it has not is
// found by the next one.
func (s *sqliteStore) endRun() error {
	id, ok := s.runs[s.o.Run]
	if !ok {
		var err error
		if id, err = s.w.number("SELECT id FROM runs WHERE name = ?", s.o.Run); err != nil || id == 0 {
			return err
		}
	}
	highest, err := s.highest(id)
	if err != nil || s.counts.total() > highest {
		return err
	}
	reached("before the end")
	return s.transact(func() error {
		return s.w.run("UPDATE runs SET ended = ? WHERE id = ?", s.o.Now().UnixNano(), id)
	})
}

// keepLog leaves the log beside the file when the connection closes.
func (s *sqliteStore) keepLog() {
	list := libc.NewVaList(int32(1), uintptr(0))
	defer libc.Xfree(s.w.tls, list)
	sqlite.Xsqlite3_db_config(s.w.tls, s.w.db, sqlite.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, list)
}

// Stats implements Store.
func (s *sqliteStore) Stats(ctx context.Context) (Stats, error) {
	c, err := s.openReader()
	if err != nil {
		return Stats{}, err
	}
	defer c.close()
	return s.stats(ctx, c)
}

// Check reads the whole file and returns what is wrong with it.
func (s *sqliteStore) Check(ctx context.Context) error {
	c, err := s.openReader()
	if err != nil {
		return err
	}
	defer c.close()
	var wrong []string
	err = c.query("PRAGMA integrity_check", nil, func(r *stmt) error {
		if text := r.text(0); text != "ok" {
			wrong = append(wrong, text)
		}
		return ctx.Err()
	})
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	return s.explain(err)
}
