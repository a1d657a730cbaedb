package repository

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// job is one version to load.
type job struct {
	source  *source
	version *Version
}

// load tries every version once: the current ones first, the default model's
// before all. It owns the loaders and closes done when the last has ended.
func (r *Repository) load(ctx context.Context, f *found) {
	defer close(r.done)
	jobs := make(chan job)
	var loaders sync.WaitGroup
	for range r.o.Loaders {
		loaders.Go(func() {
			for j := range jobs {
				r.finish(j.version, r.try(j))
			}
		})
	}
	for _, j := range r.jobs(f) {
		if ctx.Err() != nil {
			break
		}
		select {
		case jobs <- j:
		case <-ctx.Done():
		}
	}
	close(jobs)
	loaders.Wait()
}

// jobs lists the versions to load in order. Versions that failed already are
// told of at once.
func (r *Repository) jobs(f *found) []job {
	s := r.snapshot.Load()
	var current, rest []job
	for _, m := range s.list {
		for i, v := range m.versions {
			j := job{f.sources[m.name][i], v}
			switch {
			case v.State == StateFailed:
				if r.o.Loaded != nil {
					r.o.Loaded(v)
				}
			case v.State != StateLoading:
			case v == m.current && m == s.def:
				current = slices.Insert(current, 0, j)
			case v == m.current:
				current = append(current, j)
			default:
				rest = append(rest, j)
			}
		}
	}
	return append(current, rest...)
}

// try loads one version. It returns one that is ready or failed.
func (r *Repository) try(j job) *Version {
	start := time.Now()
	v := *j.version
	err := r.open(&v, j.source)
	v.Took = time.Since(start)
	if err != nil {
		v.State, v.Reason, v.Policy = StateFailed, err.Error(), nil
		return &v
	}
	v.State, v.Reason = StateReady, ""
	return &v
}

// open fills in v. A panic of a decoder is a fault of ours, but no reason to
// take the versions that serve down with it.
func (r *Repository) open(v *Version, s *source) (err error) {
	defer func() {
		if p := recover(); p != nil {
			v.Stack = debug.Stack()
			err = fmt.Errorf("internal error while loading: %v", p)
		}
	}()
	a, err := s.open(r.o.Limits)
	if err != nil {
		return err
	}
	defer a.Release()
	v.describe(a)
	if err := agree(v, s, a.Card); err != nil {
		return err
	}
	notes := v.Notes
	v.Policy, err = r.o.Open(a)
	v.describe(a) // The model may have asked for more files.
	v.Notes = notes
	if err != nil {
		return err
	}
	for _, note := range v.Policy.Notes() { // It may repeat those of the artifact.
		if !slices.Contains(v.Notes, note) {
			v.Notes = append(v.Notes, note)
		}
	}
	if r.o.Lanes > 1 { // The first was prepared by policy.Open.
		v.Policy.Prepare(r.o.Lanes)
	}
	return nil
}

// describe takes what the artifact says of itself.
func (v *Version) describe(a *artifact.Artifact) {
	v.Card, v.Members, v.Notes, v.Digest = a.Card, a.Members, slices.Clone(a.Notes), a.Digest()
	v.Hashed = !slices.ContainsFunc(a.Members, func(m artifact.Member) bool { return m.Role != artifact.RoleCard && !m.Hashed })
}

// agree compares what the folders say with what the card says. A version that
// calls itself another is refused; a model may have been renamed.
func agree(v *Version, s *source, c *artifact.Card) error {
	if !c.Present {
		return nil
	}
	if c.ModelName != s.model {
		v.Notes = append(v.Notes, fmt.Sprintf("The card calls the model %s; it is served as %s.", c.ModelName, s.model))
	}
	if c.Version == s.name {
		return nil
	}
	if w, err := artifact.ParseVersion(c.Version); err == nil && s.semver != nil && w.Equal(*s.semver) {
		return nil
	}
	if s.fromFolder && s.semver == nil { // A folder with a number or a name of its own.
		v.Notes = append(v.Notes, fmt.Sprintf("The card says version %s; it is served as %s, as the folder is named.", c.Version, s.name))
		return nil
	}
	if s.fromFolder {
		return fmt.Errorf("model_card.yaml: version: expected %s as the folder is named, got %s", s.name, c.Version)
	}
	return fmt.Errorf("model_card.yaml: version: expected %s, got %s: the card changed while it was loaded", s.name, c.Version)
}

// finish puts a version that was tried in the place of the one that was not.
func (r *Repository) finish(old, v *Version) {
	r.mu.Lock()
	r.snapshot.Store(r.snapshot.Load().replace(old, v))
	r.mu.Unlock()
	if r.o.Loaded != nil {
		r.o.Loaded(v)
	}
}
