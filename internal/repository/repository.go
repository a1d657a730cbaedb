// Package repository knows which models and versions there are and which of
// them answer.
//
// What enters is a root: a folder in one of the accepted layouts, or a single
// file. What leaves are versions with their state; a version that is ready
// holds a policy that was verified, warmed and proven against its golden
// vectors. The package knows no protocols and never writes to the root.
//
// Everything that a request needs is read through one atomic pointer to a
// snapshot that never changes, so that a request sees exactly one version
// whatever is loaded beside it.
package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

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
	MaxModels   int // models under the root; default 64
	MaxVersions int // versions of one model that are loaded; default 16
	Loaders     int // versions that load at the same time; default 2
	Lanes       int // runners to prepare in each policy; default 1

	// Open makes a policy of an artifact; nil means policy.Open with its plan.
	Open func(*artifact.Artifact) (*policy.Policy, error)
	// Loaded is called once for each version after its load has ended, well
	// or badly, from the goroutine of a loader. Nil calls nothing.
	Loaded func(*Version)
}

const (
	defaultMaxModels   = 64
	defaultMaxVersions = 16
	defaultLoaders     = 2
	maxFolderEntries   = 4096
)

func (o Options) withDefaults() Options {
	o.MaxModels = cmp.Or(max(0, o.MaxModels), defaultMaxModels)
	o.MaxVersions = cmp.Or(max(0, o.MaxVersions), defaultMaxVersions)
	o.Loaders = cmp.Or(max(0, o.Loaders), defaultLoaders)
	o.Lanes = max(1, o.Lanes)
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

	mu     sync.Mutex // guards the making of snapshots, not their reading
	root   io.Closer  // nil where there is nothing to close
	cancel context.CancelFunc
	done   chan struct{} // closed when every version was tried
}

// Open looks at what is under the root, decides which versions answer, and
// starts to load them. It returns before they are loaded: Wait waits for that,
// and Close must be called in the end. A cancelled ctx stops loading.
//
// Open fails where the server must not start: the root cannot be read, holds
// nothing, or carries nothing of the version or model that was asked for. A
// version that is there but refused is no failure of Open; it has StateFailed.
func Open(ctx context.Context, o Options) (*Repository, error) {
	o = o.withDefaults()
	found, err := scan(o)
	if err != nil {
		return nil, err
	}
	s, err := found.choose(o)
	if err != nil {
		if found.root != nil {
			err = errors.Join(err, found.root.Close())
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Repository{o: o, layout: found.layout, notes: found.notes, root: found.root, cancel: cancel, done: make(chan struct{})}
	r.snapshot.Store(s)
	go r.load(ctx, found)
	return r, nil
}

// Layout returns the layout that the root was found to have.
func (r *Repository) Layout() Layout { return r.layout }

// Notes are full sentences for the operator about what is under the root.
func (r *Repository) Notes() []string { return r.notes }

// Requested returns Options.ModelVersion.
func (r *Repository) Requested() string { return r.o.ModelVersion }

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

// Close stops loading and waits for the loaders. Versions that are ready stay
// usable by whoever holds them.
func (r *Repository) Close() error {
	r.cancel()
	<-r.done
	if r.root == nil {
		return nil
	}
	return r.root.Close()
}
