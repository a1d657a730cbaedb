package repository

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// snapshot is everything that a request reads. It never changes.
type snapshot struct {
	models map[string]*modelSet
	list   []*modelSet // in the order of the root
	def    *modelSet   // nil where there are several models and none is the default
}

// modelSet is one model of a snapshot.
type modelSet struct {
	name     string
	current  *Version
	versions []*Version          // newest first
	byName   map[string]*Version // also without, or with, the leading v
}

func (s *snapshot) add(m *modelSet) {
	s.models[m.name] = m
	s.list = append(s.list, m)
}

// newModelSet makes a model whose versions are all still to be loaded. Beyond
// limit versions the oldest are only listed; the current one is always loaded.
func newModelSet(model string, sources []*source, current, limit int) *modelSet {
	m := &modelSet{name: model}
	left := limit - 1
	for i, s := range sources {
		v := &Version{Model: model, Name: s.name, Stable: s.stable(), State: StateLoading}
		switch {
		case i == current:
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

func (m *modelSet) index() {
	m.byName = make(map[string]*Version, 2*len(m.versions))
	for _, v := range m.versions {
		other, ok := strings.CutPrefix(v.Name, "v")
		if !ok {
			other = "v" + v.Name
		}
		if _, taken := m.byName[other]; !taken {
			m.byName[other] = v
		}
	}
	// Names as they are written win over names with the v added or dropped.
	for _, v := range m.versions {
		m.byName[v.Name] = v
	}
}

// replace returns the snapshot with v in the place of the version that has its
// name.
func (s *snapshot) replace(old, v *Version) *snapshot {
	next := &snapshot{models: maps.Clone(s.models), list: slices.Clone(s.list), def: s.def}
	m := s.models[v.Model]
	set := &modelSet{name: m.name, current: m.current, versions: slices.Clone(m.versions)}
	for i := range set.versions {
		if set.versions[i] == old {
			set.versions[i] = v
		}
	}
	if m.current == old {
		set.current = v
	}
	set.index()
	next.models[m.name] = set
	next.list[slices.Index(s.list, m)] = set
	if s.def == m {
		next.def = set
	}
	return next
}

// Lookup finds the version that answers for a model and a version; an empty
// name asks for the default. A version that is there but cannot answer is
// returned together with a *NotReadyError; the other errors wrap
// ErrModelNotFound and ErrVersionNotFound. It allocates nothing when the
// version is ready.
func (r *Repository) Lookup(model, version string) (*Version, error) {
	s := r.snapshot.Load()
	m := s.def
	if model != "" {
		m = s.models[model]
	}
	if m == nil {
		if model == "" {
			return nil, fmt.Errorf("%w: there are several models and no default one: name one of %s", ErrModelNotFound, s.names())
		}
		return nil, fmt.Errorf("%w: %q; there are: %s", ErrModelNotFound, shorten(model), s.names())
	}
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
	return list(s.list, func(m *modelSet) string { return m.name })
}

func (m *modelSet) names() string {
	return list(m.versions, func(v *Version) string { return v.Name })
}

// Models returns every model with its versions, the default model first.
func (r *Repository) Models() []Model {
	s := r.snapshot.Load()
	out := make([]Model, 0, len(s.list))
	for _, m := range s.list {
		model := Model{Name: m.name, Default: m == s.def, Current: m.current.Name, Version: m.current, All: slices.Clone(m.versions)}
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
	s := r.snapshot.Load()
	if s.def != nil {
		return s.def.readiness()
	}
	var errs []error
	for _, m := range s.list {
		errs = append(errs, m.readiness())
	}
	return errors.Join(errs...)
}

func (m *modelSet) readiness() error {
	if v := m.current; v.State != StateReady {
		return &NotReadyError{Model: v.Model, Version: v.Name, State: v.State, Reason: v.Reason}
	}
	return nil
}
