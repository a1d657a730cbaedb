// Package repository knows which models and versions there are and which of
// them answer.
//
// What enters is a root: a folder in one of the accepted layouts, or a single
// file. What leaves are versions with their state; a version that is ready
// holds a policy that was verified, warmed and proven against its golden
// vectors. The package knows no protocols and never writes to the root.
//
// Everything that a request needs of a model is read through one atomic pointer
// to a set that never changes, so that a request sees exactly one version
// whatever is loaded beside it. One goroutine, the watcher, owns what is done
// about a root that changes (watch.go): it scans (layout.go), tells by the
// signatures of files which versions are to be loaded (signature.go), loads
// them (load.go), and lets them answer (elect.go). A rollback and a quarantine
// do not wait for it.
package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Options say what a Repository holds. The zero value of each field but the
// root stands for its default.
type Options struct {
	// Root is the path of a folder or single file. FS, where it is not nil,
	// is used instead, and Root only names it in messages.
	Root string
	FS   fs.FS

	// ModelVersion says which version answers: an exact one, "latest",
	// "stable", or constraints such as "^0.1.0". Empty means the latest
	// stable one, or the latest where none is stable. A version that nothing
	// the default model does not carry is an error of Open, never another
	// version; without a default model, every model must carry it. Where
	// another model than the default one does not, it serves its own newest
	// stable one, and Notes say so.
	ModelVersion string
	// DefaultModel is the model that answers where a request names none. It
	// may be empty where there is only one.
	DefaultModel string

	Limits      artifact.Limits
	MaxModels   int // models under the root; default 1024
	MaxVersions int // versions of one model that are loaded; default 16
	Loaders     int // versions that load at the same time; default 2
	Lanes       int // runners to prepare in each policy; default 1

	// Poll is how often the root is looked at for changes; 0 does not look. A
	// change is taken once two looks in a row have seen the same, so that
	// nothing is loaded while it is being copied.
	Poll time.Duration
	// LoadTimeout is how long the load of one version may take; default 60 s.
	LoadTimeout time.Duration
	// MaxLoadMemory is the memory that one load may take, judged as four times
	// the size of its files. 0 is what the memory limit of the process leaves.
	MaxLoadMemory int64
	// Retry is how long after a refusal for a reason that may pass by itself a
	// version is tried again, at first; default 5 s.
	Retry time.Duration
	// QuarantineAfter is the number of unusable answers, one after another,
	// after which a version is taken out of service; 0 never does.
	QuarantineAfter int

	// Open makes a policy of an artifact; nil means policy.Open with its plan.
	Open func(*artifact.Artifact) (*policy.Policy, error)
	// Loaded is called once for each version after its load has ended, well
	// or badly, from the goroutine of a loader. Nil calls nothing.
	Loaded func(*Version)
	// Happened is called of everything else that an operator should know, from
	// any goroutine, and must not block. Nil calls nothing.
	Happened func(Event)
}

const (
	defaultMaxModels   = 1024
	defaultMaxVersions = 16
	defaultLoaders     = 2
	maxFolderEntries   = 4096
	defaultLoadTimeout = time.Minute
)

func (o Options) withDefaults() Options {
	o.MaxModels = cmp.Or(max(0, o.MaxModels), defaultMaxModels)
	o.MaxVersions = cmp.Or(max(0, o.MaxVersions), defaultMaxVersions)
	o.Loaders = cmp.Or(max(0, o.Loaders), defaultLoaders)
	o.Lanes = max(1, o.Lanes)
	o.LoadTimeout = cmp.Or(max(0, o.LoadTimeout), defaultLoadTimeout)
	o.Retry = cmp.Or(max(0, o.Retry), defaultRetry)
	if o.Loaded == nil {
		o.Loaded = func(*Version) {}
	}
	if o.Happened == nil {
		o.Happened = func(Event) {}
	}
	if o.Open == nil {
		o.Open = func(a *artifact.Artifact) (*policy.Policy, error) { return policy.Open(a, policy.Options{}) }
	}
	return o
}

// Errors that Open wraps.
var (
	// ErrEmpty says that nothing under the root could be an artifact.
	ErrEmpty = errors.New("no artifact")
	// ErrTooMany says that there are more models than may be.
	ErrTooMany = errors.New("too many models")
)

// Repository holds the models of one root. It is safe for use by many
// goroutines.
type Repository struct {
	o        Options
	layout   Layout
	notes    []string
	snapshot atomic.Pointer[snapshot]

	mu     sync.Mutex // guards the making of snapshots and models, not their reading
	cancel context.CancelFunc
	done   chan struct{} // closed when every version was tried
	ended  chan struct{} // closed when the watcher has ended
	asked  chan *asked   // reloads
	look   atomic.Pointer[Look]
	alive  atomic.Int64 // policies that were made and not yet collected

	abandoned atomic.Int32 // loads that took too long and go on
}

// Open looks at what is under the root, decides which versions answer, and
// starts to load them. It returns before they are loaded: Wait waits for that,
// and Close must be called in the end. A cancelled ctx stops loading.
//
// Open fails where the server must not start: the root cannot be read, holds
// nothing, or carries nothing of the version or model that was asked for. A
// version that is there but refused is no failure of Open; it has StateFailed,
// and the next one that fits what was asked for answers in its place.
func Open(ctx context.Context, o Options) (*Repository, error) {
	o = o.withDefaults()
	found, err := scan(o)
	if err != nil {
		return nil, err
	}
	s, err := found.choose(o)
	if err != nil {
		return nil, errors.Join(err, found.close())
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Repository{
		o: o, layout: found.layout, notes: found.notes, cancel: cancel,
		done: make(chan struct{}), ended: make(chan struct{}), asked: make(chan *asked),
	}
	r.snapshot.Store(s)
	r.look.Store(&Look{At: time.Now()})
	go r.run(ctx, found)
	return r, nil
}

// Layout returns the layout that the root was found to have when it was opened.
func (r *Repository) Layout() Layout { return r.layout }

// Notes are full sentences for the operator about what was under the root when
// it was opened.
func (r *Repository) Notes() []string { return r.notes }

// Requested returns Options.ModelVersion.
func (r *Repository) Requested() string { return r.o.ModelVersion }

// Poll returns Options.Poll.
func (r *Repository) Poll() time.Duration { return r.o.Poll }

// InMemory returns the number of policies that are held by anything: versions
// that are ready, those kept for a rollback, and those of before that a request
// or a session still uses.
func (r *Repository) InMemory() int { return int(r.alive.Load()) }

// Started reports whether every version was tried once.
func (r *Repository) Started() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Wait returns when every version was tried once, or with the error of ctx.
func (r *Repository) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the first load: %w", ctx.Err())
	}
}

// Close stops loading and looking, and waits for the loaders. Versions that are
// ready stay usable by whoever holds them.
func (r *Repository) Close() error {
	r.cancel()
	<-r.ended
	return nil
}
