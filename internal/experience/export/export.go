package export

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// Format is a kind of file.
type Format string

// The formats.
const (
	Parquet   Format = "parquet"
	CSV       Format = "csv"
	JSONLines Format = "jsonl"
	NumPy     Format = "npz"
)

// Formats lists them.
var Formats = []Format{Parquet, CSV, JSONLines, NumPy}

// ByName tells the format that the end of a file's name stands for.
func ByName(name string) (Format, bool) {
	for _, f := range Formats {
		if strings.EqualFold(filepath.Ext(name), "."+string(f)) {
			return f, true
		}
	}
	return "", false
}

// ErrLayouts says that steps have different features or actions, which one file
// of columns cannot hold.
var ErrLayouts = errors.New("the steps have different features or actions")

// Options of Write.
type Options struct {
	Query  experience.Query
	Format Format
	// Force writes over a file that is there.
	Force bool
	// Progress is told of each step that was written; nil tells nobody.
	Progress func(steps uint64)
}

// writer writes the records of one file.
type writer interface {
	write(r *record) error
	// close ends the file, of which nothing may be left where it fails.
	close() error
}

// Write writes the steps that a query names into a file, which is there when it
// is whole, and returns their number.
func Write(ctx context.Context, s experience.Store, name string, o Options) (n uint64, err error) {
	if _, err := os.Lstat(name); err == nil && !o.Force {
		return 0, fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".carla-rl-export-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	buf := bufio.NewWriterSize(f, 1<<20)
	e := &exporter{store: s, o: o, out: buf, dir: dir}
	if n, err = e.run(ctx); err != nil {
		return n, err
	}
	if err := errors.Join(buf.Flush(), f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return n, errors.Join(err, os.Remove(f.Name()))
	}
	return n, os.Rename(f.Name(), name)
}

// To writes the steps that a query names to out, and returns their number. The
// Force of the options is not looked at.
func To(ctx context.Context, s experience.Store, out *bufio.Writer, o Options) (uint64, error) {
	e := &exporter{store: s, o: o, out: out, dir: os.TempDir()}
	return e.run(ctx)
}

// exporter is one export.
type exporter struct {
	store  experience.Store
	o      Options
	out    *bufio.Writer
	dir    string // for what is written on the way
	tables map[[3]string]*table
	w      writer
	table  *table // of the file
}

func (e *exporter) run(ctx context.Context) (n uint64, err error) {
	layouts, err := e.store.Layouts(ctx)
	if err != nil {
		return 0, err
	}
	e.tables = map[[3]string]*table{}
	for i := range layouts {
		l := &layouts[i]
		if len(l.Inputs) > 0 {
			e.tables[[3]string{l.Model, l.Version, l.Digest}] = newTable(l, nil)
		}
	}
	told, err := readOutcomes(ctx, e.store, e.o.Query)
	if err != nil {
		return 0, err
	}
	twice, err := told.successors(ctx, e.store, e.o.Query)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e.w != nil {
			err = errors.Join(err, e.w.close())
		}
	}()
	r := &record{}
	for step, err := range e.store.Read(ctx, e.o.Query) {
		if err != nil {
			return n, err
		}
		if err := e.open(step); err != nil {
			return n, err
		}
		r.Step = step
		if r.outcome = (outcome{}); step.Session != "" && len(told) > 0 {
			r.outcome = told.of(step, after(twice[place{step.Session, step.SessionStep}], step.Time))
		}
		if err := e.w.write(r); err != nil {
			return n, err
		}
		if n++; e.o.Progress != nil {
			e.o.Progress(n)
		}
	}
	if e.w == nil { // Files without steps have the columns that all have.
		e.w, err = e.writer(newTable(nil, &experience.Step{}))
	}
	return n, err
}

// open has the writer ready for a step.
func (e *exporter) open(s *experience.Step) error {
	key := [3]string{s.Model, s.Version, s.Digest}
	t := e.tables[key]
	if t == nil {
		t = newTable(nil, s)
		if e.o.Format == JSONLines {
			e.tables[key] = t
		}
	}
	switch {
	case e.w == nil:
		w, err := e.writer(t)
		e.w, e.table = w, t
		return err
	case t == e.table:
		return nil
	case e.o.Format == JSONLines:
		e.table = t
		e.w.(*jsonWriter).table = t
	case !t.same(e.table):
		return fmt.Errorf("%w: those of %s %s (%.12s) and others before: choose with --model, --version or --digest, or write JSON Lines", ErrLayouts, s.Model, s.Version, s.Digest)
	}
	return nil
}

func (e *exporter) writer(t *table) (writer, error) {
	switch e.o.Format {
	case Parquet:
		return newParquetWriter(e.out, t)
	case CSV:
		return newCSVWriter(e.out, t)
	case JSONLines:
		return &jsonWriter{out: e.out, table: t}, nil
	case NumPy:
		return newNumPyWriter(e.out, t, e.dir)
	}
	return nil, fmt.Errorf("no format %q", e.o.Format)
}
