package experience

import "time"

// SetReached has f called at each step of what is written.
func SetReached(f func(step string)) { reached = f }

// WithWALPages is o with a log that is put into the file after so many pages.
func WithWALPages(o Options, pages int64) Options {
	o.walPages = pages
	return o
}

// WithMigrations is o with the first n of the migrations that there are, and
// others behind them.
func WithMigrations(o Options, n int, more ...string) Options {
	o.migrations = append(readMigrations(sqliteMigrations, "migrations/sqlite")[:n:n], more...)
	return o
}

// NewestSchema is the number of migrations that there are.
func NewestSchema() int { return len(readMigrations(sqliteMigrations, "migrations/sqlite")) }

// WithPruneEvery is o with old steps looked for that often.
func WithPruneEvery(o RecorderOptions, every time.Duration) RecorderOptions {
	o.pruneEvery = every
	return o
}
