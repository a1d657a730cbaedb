package experience

import (
	"context"
	"fmt"
	"path"
	"strings"
)

// Open opens the store of a URL, or of the path of a file:
//
//	sqlite:///app/logs/experience.db     the file /app/logs/experience.db
//	sqlite:////app/logs/experience.db    the same, as SQLAlchemy writes it
//	sqlite://logs/experience.db          a file below the working directory, as sqlite:logs/experience.db
//	logs/experience.db                   the same
//	postgres://user@host/database        a database
//
// The errors are ErrURL, ErrLocked, ErrSchema and ErrReadOnly, and those of the
// system; each says what was tried.
func Open(ctx context.Context, url string, o Options) (Store, error) {
	kind, rest := ParseURL(url)
	switch kind {
	case KindSQLite:
		return openSQLite(rest, o)
	case KindPostgres:
		return openPostgres(ctx, rest, o)
	}
	return nil, fmt.Errorf("%w: want sqlite:///path, postgres://... or the path of a file", ErrURL)
}

// Kind is what keeps the steps.
type Kind string

// The kinds of store.
const (
	KindNone     Kind = ""
	KindSQLite   Kind = "sqlite"
	KindPostgres Kind = "postgres"
)

// ParseURL tells what a URL names, and the path of a file or the whole URL of a
// database. KindNone is of what names nothing.
func ParseURL(url string) (Kind, string) {
	scheme, rest, ok := strings.Cut(url, ":")
	scheme, _, _ = strings.Cut(scheme, "+") // of SQLAlchemy: postgresql+psycopg
	switch {
	case url == "" || strings.ContainsAny(url, "\x00\n"):
		return KindNone, ""
	case !ok || strings.Contains(scheme, "/"):
		return KindSQLite, path.Clean(url)
	}
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql":
		if !strings.HasPrefix(rest, "//") {
			return KindNone, ""
		}
		return KindPostgres, "postgres:" + rest
	case "sqlite", "sqlite3", "file":
	default:
		return KindNone, ""
	}
	rest, _, _ = strings.Cut(rest, "?")
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		rest = after
	}
	if rest == "" || rest == "/" || strings.Contains(rest, ":memory:") || strings.HasSuffix(rest, "/") {
		return KindNone, ""
	}
	return KindSQLite, path.Clean(rest)
}

// SizeOnDisk is the size of the file of a URL with its log, 0 for one that
// names no file.
func SizeOnDisk(url string) int64 {
	kind, path := ParseURL(url)
	if kind != KindSQLite {
		return 0
	}
	return (&sqliteStore{path: path}).bytesOnDisk()
}
