package experience

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"
)

// Errors of a Store.
var (
	// ErrFailed says that the store failed for good: what it has written since
	// its last commit is unknown, and it takes nothing any more until it is
	// opened again. A failed fsync is such, because a second one would succeed
	// without having written anything.
	ErrFailed = errors.New("the experience log has failed")
	// ErrLocked says that another process writes to the store.
	ErrLocked = errors.New("another process writes to the experience log")
	// ErrSchema says that the store was written by a release with another form,
	// or by another program.
	ErrSchema = errors.New("the experience log has another form")
	// ErrReadOnly says that a store that was opened for reading is to be
	// changed, or that a file cannot be written.
	ErrReadOnly = errors.New("the experience log can only be read")
	// ErrURL says that a URL names no store.
	ErrURL = errors.New("not a URL of an experience log")
)

// Batch is what is written together.
type Batch struct {
	// Layouts are those of versions that no batch of this store had before.
	Layouts []Layout
	// Steps are in the order of their sequence. What they point to is valid
	// until Append returns.
	Steps    []Step
	Gaps     []Gap
	Outcomes []Outcome
}

// Empty tells that there is nothing in the batch.
func (b *Batch) Empty() bool {
	return len(b.Layouts)+len(b.Steps)+len(b.Gaps)+len(b.Outcomes) == 0
}

// Store keeps steps. It is safe for use by many goroutines; one of them at a
// time appends.
type Store interface {
	// Append writes a batch, whole or not at all; when it returns nil the batch
	// is durable. The same batch twice is once. An error that is not ErrFailed
	// is one that may pass, and the same batch may be tried again.
	Append(ctx context.Context, b *Batch) error
	// Read gives the steps that a query names, in the order of runs as they
	// began, and of sequence within each. A *Step is valid until the next one.
	Read(ctx context.Context, q Query) iter.Seq2[*Step, error]
	// Layouts gives those of all versions that have steps.
	Layouts(ctx context.Context) ([]Layout, error)
	// Gaps gives those of the runs that a query names, and Outcomes those of
	// its sessions and time; other fields of the query are not looked at.
	Gaps(ctx context.Context, q Query) ([]Gap, error)
	Outcomes(ctx context.Context, q Query) iter.Seq2[*Outcome, error]
	// Stats tells what there is.
	Stats(ctx context.Context) (Stats, error)
	// Prune deletes the oldest steps by what p keeps.
	Prune(ctx context.Context, p Prune) (Pruned, error)
	// Close lets go of the store. What was appended is kept.
	Close() error
}

// Query names steps; the zero Query names all. Fields narrow it together.
type Query struct {
	Run        string
	Session    string
	Model      string
	Version    string
	Digest     string
	Since      time.Time // from then on
	Until      time.Time // before then
	After      uint64    // sequence; only with Run
	Limit      int       // 0 is no limit
	Newest     bool      // the Limit newest in place of the oldest, still in order
	Episode    *uint64   // only with Session
	Intervened bool      // only steps in which the envelope changed something
}

// Stats tells what a store has.
type Stats struct {
	Schema   int
	Bytes    int64 // of the store
	Steps    uint64
	Lost     map[string]uint64 // by reason
	Outcomes uint64
	Sessions uint64
	First    time.Time // of the oldest step
	Last     time.Time // of the newest one
	Runs     []RunStats
	Versions []VersionStats
}

// RunStats tells of one run.
type RunStats struct {
	Run     string
	Began   time.Time
	Ended   bool // it closed the log itself
	Steps   uint64
	Lost    uint64
	Pruned  uint64 // steps up to this sequence were deleted
	Highest uint64 // sequence of its last step or loss
}

// VersionStats tells of one version.
type VersionStats struct {
	Model, Version, Digest string
	Steps                  uint64
}

// Prune says what is kept. Zero fields delete nothing.
type Prune struct {
	Before time.Time // steps older than this are deleted
	Bytes  int64     // the oldest are deleted until the store takes no more
	Limit  int       // steps that are deleted at a time; 0 is no limit
}

// Pruned tells what was deleted.
type Pruned struct {
	Steps, Outcomes uint64
	Bytes           int64 // that the store takes now
	More            bool  // Limit left some
}

// Options of Open.
type Options struct {
	// ReadOnly opens a store that another process may be writing to.
	ReadOnly bool
	// Run names the run that appends; empty draws one where not ReadOnly.
	Run string
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Spool is where steps wait while a database is away, and Log is told of
	// that; nil tells nobody. A file needs neither.
	Spool SpoolOptions
	Log   *slog.Logger

	migrations []string // in place of those that are embedded, for tests
	walPages   int64    // in place of defaultWALPages, for tests
}
