package repository

import (
	"errors"
	"time"
)

// A version may be refused for what has nothing to do with its files: there was
// no memory for it at the time, or loads that take too long hold the loaders. It
// is tried again by itself, at first soon and then ever more seldom, whether the
// root is looked at for changes or not. What the files themselves are refused for
// stays so until they change or a reload is asked for.

// The time between two tries for a passing reason is Options.Retry at first,
// doubled with each that fails, and this at most.
const (
	defaultRetry = 5 * time.Second
	retryLongest = 5 * time.Minute
)

// passingError is a refusal for a reason that may pass by itself.
type passingError struct{ error }

// Unwrap returns the reason.
func (e *passingError) Unwrap() error { return e.error }

// passes reports whether what a version was refused for may pass by itself.
// Files that were being written are among that: where the root is looked at for
// changes they are seen when they are whole, elsewhere they are tried again.
func passes(err error) bool {
	var p *passingError
	return errors.As(err, &p) || errors.Is(err, errChanged)
}

// retry sets when the version is tried again.
func (t *tally) retry(now time.Time, first time.Duration) {
	t.again = now.Add(min(first<<min(t.tries, 10), retryLongest))
	t.tries++
}

// due reports whether the version is to be tried again by now.
func (t *tally) due(now time.Time) bool { return !t.again.IsZero() && !now.Before(t.again) }

// nextTry returns when the next version is to be tried again, or the zero time.
// Where the last try came to nothing, as of a root that cannot be read, the next
// one waits as long as a first one.
func (r *Repository) nextTry(last time.Time) (at time.Time) {
	for _, s := range r.snapshot.Load().list {
		for _, v := range s.set.Load().versions {
			if v.tally == nil || v.tally.again.IsZero() {
				continue
			}
			if at.IsZero() || v.tally.again.Before(at) {
				at = v.tally.again
			}
		}
	}
	if soonest := last.Add(r.o.Retry); !at.IsZero() && at.Before(soonest) {
		return soonest
	}
	return at
}
