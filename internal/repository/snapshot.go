package repository

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// snapshot is everything that a request reads. It never changes, but for what
// its slots hold.
type snapshot struct {
	models map[string]*slot
	list   []*slot // in the order of the root
	def    *slot   // nil where there are several models and none is the default
}

// slot is the place of one model. A request reads it once.
type slot struct {
	set atomic.Pointer[modelSet]
}

func newSlot(m *modelSet) *slot {
	s := &slot{}
	s.set.Store(m)
	return s
}

// modelSet is one model. It never changes: another takes its place.
type modelSet struct {
	name     string
	current  *Version
	previous *Version            // what answered before, kept loaded; nil
	versions []*Version          // under the root, newest first
	stand    []*Version          // by version: the one that answers for its name while it is not ready, or nil
	order    []int               // indexes of the versions that may answer, the wanted one first
	byName   map[string]*Version // also without, or with, the leading v

	changed time.Time // when current took over
	why     string
	// pinned are the digests that were there when a rollback was asked for,
	// none of which takes over by itself; nil where there was none.
	pinned map[string]bool
	// barred are the digests that were rolled back from or quarantined.
	barred map[string]bool
}

func (s *snapshot) add(m *slot) {
	s.models[m.set.Load().name] = m
	s.list = append(s.list, m)
}

// newModelSet makes a model whose versions are all still to be loaded. Beyond
// limit versions the oldest are only listed; the current one is always loaded.
func newModelSet(model string, sources []*source, order []int, limit int) *modelSet {
	now := time.Now()
	m := &modelSet{name: model, order: order, stand: make([]*Version, len(sources)), changed: now}
	left := limit - 1
	for i, s := range sources {
		v := &Version{Model: model, Name: s.name, Stable: s.stable(), State: StateLoading, Since: now}
		switch {
		case i == order[0]:
			m.current = v
		case left > 0:
			left--
		default:
			v.State, v.Reason = StateUnloaded, fmt.Sprintf("it is not loaded: only %d versions of a model are (model.max_versions)", limit)
		}
		m.versions = append(m.versions, v)
	}
	// Of two folders that are the same version but for build data or the v,
	// neither may answer in place of the other.
	for i := 1; i < len(sources); i++ {
		a, b := sources[i-1], sources[i]
		if a.name == b.name || a.semver != nil && b.semver != nil && a.semver.Equal(*b.semver) {
			for _, v := range m.versions[i-1 : i+1] {
				v.State = StateFailed
				v.Reason = fmt.Sprintf("%s and %s hold the same version %s: keep one of them", a.where(), b.where(), b.name)
			}
		}
	}
	m.index()
	return m
}

// index fills in byName. A name that two versions have, because the files of
// the one were replaced by those of the other, is that of the one that answers,
// or else of the one that is ready.
func (m *modelSet) index() {
	m.byName = make(map[string]*Version, 2*len(m.versions))
	put := func(v *Version) {
		if _, taken := m.byName[v.Name]; !taken {
			m.byName[v.Name] = v
		}
	}
	if m.current != nil && m.current.State == StateReady {
		put(m.current)
	}
	for i, v := range m.versions {
		if s := m.stand[i]; s != nil && v.State != StateReady {
			v = s
		}
		put(v)
	}
	if m.previous != nil {
		put(m.previous)
	}
	// Names as they are written win over names with the v added or dropped.
	written := slices.Collect(maps.Values(m.byName))
	for _, v := range written {
		other, ok := strings.CutPrefix(v.Name, "v")
		if !ok {
			other = "v" + v.Name
		}
		if _, taken := m.byName[other]; !taken {
			m.byName[other] = v
		}
	}
}

// clone returns a copy to be changed, which must then be indexed.
func (m *modelSet) clone() *modelSet {
	c := *m
	c.versions, c.stand = slices.Clone(m.versions), slices.Clone(m.stand)
	c.pinned, c.barred = maps.Clone(m.pinned), maps.Clone(m.barred)
	return &c
}

// replace puts v in the place of old wherever old is.
func (m *modelSet) replace(old, v *Version) {
	for i := range m.versions {
		if m.versions[i] == old {
			m.versions[i] = v
		}
		if m.stand[i] == old {
			m.stand[i] = v
		}
	}
	if m.current == old {
		m.current = v
	}
	if m.previous == old {
		m.previous = v
	}
}

// kept lists the versions that are in memory and not under the root.
func (m *modelSet) kept() []*Version {
	var list []*Version
	add := func(v *Version) {
		if v != nil && !slices.Contains(m.versions, v) && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	add(m.current)
	add(m.previous)
	for _, v := range m.stand {
		add(v)
	}
	return list
}

// Lookup finds the version that answers for a model and a version; an empty
// name asks for the default. A version that is there but cannot answer is
// returned together with a *NotReadyError; the other errors wrap
// ErrModelNotFound and ErrVersionNotFound. It allocates nothing when the
// version is ready.
func (r *Repository) Lookup(model, version string) (*Version, error) {
	s := r.snapshot.Load()
	at := s.def
	if model != "" {
		at = s.models[model]
	}
	if at == nil {
		if model == "" {
			return nil, fmt.Errorf("%w: there are several models and no default one: name one of %s", ErrModelNotFound, s.names())
		}
		return nil, fmt.Errorf("%w: %q; there are: %s", ErrModelNotFound, shorten(model), s.names())
	}
	m := at.set.Load()
	v := m.current
	if version != "" {
		if v = m.byName[version]; v == nil {
			return nil, fmt.Errorf("%w: model %s has no version %q; there are: %s", ErrVersionNotFound, m.name, shorten(version), m.names())
		}
	}
	if v.State != StateReady {
		return v, &NotReadyError{Model: v.Model, Version: v.Name, State: v.State, Reason: v.Reason}
	}
	return v, nil
}

func (s *snapshot) names() string {
	return list(s.list, func(m *slot) string { return m.set.Load().name })
}

func (m *modelSet) names() string {
	return list(m.versions, func(v *Version) string { return v.Name })
}

// Models returns every model with its versions, the default model first.
func (r *Repository) Models() []Model {
	s := r.snapshot.Load()
	out := make([]Model, 0, len(s.list))
	for _, at := range s.list {
		m := at.set.Load()
		model := Model{
			Name: m.name, Default: at == s.def, Current: m.current.Name, Version: m.current, All: slices.Clone(m.versions),
			Kept: m.kept(), Previous: m.previous, Changed: m.changed, Why: m.why, Pinned: m.pinned != nil,
		}
		if model.Default {
			out = slices.Insert(out, 0, model)
		} else {
			out = append(out, model)
		}
	}
	return out
}

// Readiness returns nil when the server may be sent requests: the current
// version of the default model is ready, or, without a default model, that of
// every model. Otherwise it says what is not and why.
func (r *Repository) Readiness() error {
	return r.snapshot.Load().readiness()
}

func (s *snapshot) readiness() error {
	if s.def != nil {
		return s.def.set.Load().readiness()
	}
	var errs []error
	for _, m := range s.list {
		errs = append(errs, m.set.Load().readiness())
	}
	return errors.Join(errs...)
}

func (m *modelSet) readiness() error {
	if v := m.current; v.State != StateReady {
		return &NotReadyError{Model: v.Model, Version: v.Name, State: v.State, Reason: v.Reason}
	}
	return nil
}
