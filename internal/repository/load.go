package repository

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// job is one version to load.
type job struct {
	source  *source
	at      *slot
	version *Version // the one that stands for it until it was tried
	// known are versions of that name which are ready. The one whose files these
	// are stays.
	known []*Version
	tries int // refusals for a passing reason before this one
}

// load tries every version once: the current ones first, the default model's
// before all. It owns the loaders.
func (r *Repository) load(ctx context.Context, f *found) {
	jobs := make(chan job)
	var loaders sync.WaitGroup
	for range r.o.Loaders {
		loaders.Go(func() {
			for j := range jobs {
				r.finish(j, r.try(ctx, j), "the first load")
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
	var first, current, rest []job
	for _, at := range s.list {
		m := at.set.Load()
		for i, v := range m.versions {
			j := job{source: f.sources[m.name][i], at: at, version: v}
			switch {
			case v.State == StateFailed:
				r.o.Loaded(v)
			case v.State != StateLoading:
			case v == m.current && at == s.def:
				first = append(first, j)
			case v == m.current:
				current = append(current, j)
			default:
				rest = append(rest, j)
			}
		}
	}
	return append(append(first, current...), rest...)
}

// errChanged says that what was read may be of two versions.
var errChanged = errors.New("the files changed while they were read: they are looked at again")

// try loads one version. It returns one that is ready or failed; or one that was
// known, whose files they are.
func (r *Repository) try(ctx context.Context, j job) *Version {
	start := time.Now()
	next := *j.version
	next.tally = &tally{sig: j.source.signature(), tries: j.tries}
	same, err := r.within(ctx, &next, j)
	if same != nil {
		same.tally.sig = next.tally.sig
		return same
	}
	if !(err == nil && next.Hashed) && j.source.signature() != next.tally.sig {
		// Whatever came of it, it came of no state that the files were in. Where
		// the card has all their digests, they were those that belong together.
		err, next.tally.sig = errChanged, ""
	}
	next.Took = time.Since(start)
	next.Since = time.Now()
	if err != nil {
		next.State, next.Reason, next.Limit, next.Policy = StateFailed, err.Error(), limitOf(err), nil
		if passes(err) {
			next.tally.retry(next.Since, r.o.Retry)
		}
		return &next
	}
	next.State, next.Reason, next.Limit = StateReady, "", ""
	return &next
}

// within loads one version, or gives up on it when its time has passed. What
// cannot be interrupted goes on by itself then, and what becomes of it is
// nobody's; as long as it does, it takes the place of a loader.
func (r *Repository) within(ctx context.Context, v *Version, j job) (same *Version, err error) {
	if n := int(r.abandoned.Load()); n >= r.o.Loaders {
		return nil, &passingError{&limitError{fmt.Errorf("%d loads that took longer than %v (model.load_timeout) go on still", n, r.o.LoadTimeout), LimitTime}}
	}
	type result struct {
		v    Version
		same *Version
		err  error
	}
	ended := make(chan result) // nobody waits for one that was given up
	given := make(chan struct{})
	work := func(v Version) {
		var res result
		res.same, res.err = r.open(&v, j)
		res.v = v
		select {
		case ended <- res:
		case <-given:
			r.abandoned.Add(-1)
		}
	}
	go work(*v)
	limit := time.NewTimer(r.o.LoadTimeout)
	defer limit.Stop()
	select {
	case res := <-ended:
		*v = res.v
		return res.same, res.err
	case <-limit.C:
		err = &limitError{fmt.Errorf("the load took longer than %v (model.load_timeout)", r.o.LoadTimeout), LimitTime}
	case <-ctx.Done():
		err = ErrClosed
	}
	r.abandoned.Add(1)
	close(given)
	return nil, err
}

// open fills in v. A panic of a decoder is a fault of ours, but no reason to
// take the versions that serve down with it.
func (r *Repository) open(v *Version, j job) (same *Version, err error) {
	defer func() {
		if p := recover(); p != nil {
			v.Stack = debug.Stack()
			err = fmt.Errorf("internal error while loading: %v", p)
		}
	}()
	a, err := j.source.open(r.o.Limits)
	if err != nil {
		return nil, err
	}
	defer a.Release()
	v.describe(a)
	v.opened, v.content = len(a.Members), v.Digest
	for _, k := range j.known {
		if k.content == v.content && k.opened == len(k.Members) {
			return k, nil
		}
	}
	if err := agree(v, j.source, a.Card); err != nil {
		return nil, err
	}
	if err := r.affordable(a.Members); err != nil {
		return nil, err
	}
	notes := v.Notes
	v.Policy, err = r.o.Open(a)
	v.describe(a) // The model may have asked for more files.
	v.Notes = notes
	if err != nil {
		return nil, err
	}
	for _, note := range v.Policy.Notes() { // It may repeat those of the artifact.
		if !slices.Contains(v.Notes, note) {
			v.Notes = append(v.Notes, note)
		}
	}
	if r.o.Lanes > 1 { // The first was prepared by policy.Open.
		v.Policy.Prepare(r.o.Lanes)
	}
	r.alive.Add(1)
	runtime.AddCleanup(v.Policy, func(n *atomic.Int64) { n.Add(-1) }, &r.alive)
	return nil, nil
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

// finish puts a version that was tried in the place of the one that was not,
// and lets it answer where it is its turn.
func (r *Repository) finish(j job, v *Version, why string) {
	r.mu.Lock()
	m := j.at.set.Load().clone()
	m.replace(j.version, v)
	if i := slices.Index(m.versions, v); i >= 0 && v.State == StateReady {
		m.stand[i] = nil
	}
	took := m.elect(why)
	m.index()
	j.at.set.Store(m)
	r.mu.Unlock()
	if !slices.Contains(j.known, v) {
		r.o.Loaded(v)
	}
	if took.To != nil {
		r.o.Happened(took)
	}
}
