package repository

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Kind says what an Event tells of.
type Kind string

// The kinds of events.
const (
	EventSwap       Kind = "swap"       // another version took over, after a load or because its turn came
	EventRollback   Kind = "rollback"   // somebody asked for the one before
	EventQuarantine Kind = "quarantine" // a version was taken out of service
	EventRoot       Kind = "root"       // the root cannot be read, or can be again; Reason is empty then
	EventGone       Kind = "gone"       // a version or a model is no longer under the root
	EventNote       Kind = "note"       // Reason is a sentence about what is under the root now and was not before; of no model
)

// Event is something that happened to the versions.
type Event struct {
	Kind   Kind
	Model  string
	From   *Version // what answered before, or what was taken out of service; nil for none
	To     *Version // what answers now; nil where nothing else does
	Took   bool     // To did not answer before
	Reason string
}

// elect lets the version answer whose turn it is: the first that is ready of
// those that may, and that was neither rolled back from nor quarantined. Where
// there is none, the one that answers stays. The set must be one of its own,
// and be indexed afterwards.
func (m *modelSet) elect(why string) (took Event) {
	next := m.turn()
	if next == m.current {
		return Event{}
	}
	was := m.current
	m.take(next, why)
	if next.State != StateReady {
		return Event{}
	}
	return Event{Kind: EventSwap, Model: m.name, From: was, To: next, Took: true, Reason: why}
}

func (m *modelSet) turn() *Version {
	for _, i := range m.order {
		v := m.versions[i]
		// Whose files were replaced by others that are refused answers still.
		if s := m.stand[i]; s != nil && v.State != StateReady && v.State != StateLoading {
			v = s
		}
		switch {
		case v == m.current && v.State == StateReady:
			return v
		case v.State == StateLoading:
			// What will become of it is not known yet; meanwhile nothing changes.
			if m.current.State == StateReady {
				return m.current
			}
			return m.versions[m.order[0]]
		case v.State != StateReady || m.barred[v.Digest] || m.pinned[v.Digest]:
		default:
			return v
		}
	}
	if m.current.State == StateReady {
		return m.current
	}
	return m.versions[m.order[0]] // which says why it is not ready
}

// take makes v the one that answers. What answered before is kept.
func (m *modelSet) take(v *Version, why string) {
	if v.State == StateReady {
		switch {
		case m.current.State == StateReady:
			m.previous = m.current
		case m.previous == v:
			m.previous = nil
		}
		if !m.pinned[v.Digest] {
			m.pinned = nil
		}
	}
	m.current, m.changed, m.why = v, time.Now(), why
}

// Errors of Rollback.
var (
	// ErrNoPrevious says that there is nothing to go back to.
	ErrNoPrevious = errors.New("there is no previous version")
)

// back is the version that a rollback returns to: the one that answered before,
// or, where none did since the start, the next that may.
func (m *modelSet) back() *Version {
	if p := m.previous; p != nil && p.State == StateReady {
		return p
	}
	for _, i := range m.order {
		if v := m.versions[i]; v != m.current && v.State == StateReady && !m.barred[v.Digest] {
			return v
		}
	}
	return nil
}

// Rollback lets the previous version of a model answer again; "" is the default
// model. It does not wait for a load. Until there is a version that was not
// known before, or a reload is asked for, no other takes over by itself.
func (r *Repository) Rollback(model string) (Event, error) {
	at, err := r.slotOf(model)
	if err != nil {
		return Event{}, err
	}
	r.mu.Lock()
	m := at.set.Load().clone()
	was, to := m.current, m.back()
	if to == nil {
		r.mu.Unlock()
		return Event{}, fmt.Errorf("%w of model %s: %s has answered since the start, and nothing else that may is ready", ErrNoPrevious, m.name, was.Name)
	}
	m.bar(was)
	delete(m.barred, to.Digest)
	m.pinned = m.digests()
	m.take(to, "rollback from "+was.Name)
	m.index()
	at.set.Store(m)
	r.mu.Unlock()
	e := Event{Kind: EventRollback, Model: m.name, From: was, To: to, Took: true, Reason: "rollback"}
	r.o.Happened(e)
	return e, nil
}

func (r *Repository) slotOf(model string) (*slot, error) {
	s := r.snapshot.Load()
	at := s.def
	if model != "" {
		at = s.models[model]
	}
	switch {
	case at != nil:
		return at, nil
	case model == "":
		return nil, fmt.Errorf("%w: there are several models and no default one: name one of %s", ErrModelNotFound, s.names())
	}
	return nil, fmt.Errorf("%w: %q; there are: %s", ErrModelNotFound, shorten(model), s.names())
}

// digests are those of all versions that are known.
func (m *modelSet) digests() map[string]bool {
	all := map[string]bool{}
	for _, v := range append(m.kept(), m.versions...) {
		if v.Digest != "" {
			all[v.Digest] = true
		}
	}
	return all
}

// bar keeps the content of a version from taking over by itself.
func (m *modelSet) bar(v *Version) {
	if v.Digest == "" {
		return
	}
	if m.barred == nil {
		m.barred = map[string]bool{}
	}
	m.barred[v.Digest] = true
}

// free lets every version take over again, as a reload that was asked for does.
func (m *modelSet) free() { m.pinned, m.barred = nil, nil }

// forget drops what was barred and is neither under the root nor in memory.
func (m *modelSet) forget() {
	known := m.digests()
	for digest := range m.barred {
		if !known[digest] {
			delete(m.barred, digest)
		}
	}
}

// Unusable tells that a version gave an answer that may not leave, or panicked.
// After as many of them in a row as Options.QuarantineAfter it is taken out of
// service: it answers no more, also those who have it, and a version that was
// verified answers in its place, if there is one.
func (r *Repository) Unusable(v *Version, reason string) {
	limit := r.o.QuarantineAfter
	if limit <= 0 || v.tally == nil || int(v.tally.bad.Add(1)) < limit {
		return
	}
	if !v.tally.out.CompareAndSwap(false, true) {
		return // Another request was the last.
	}
	at := r.snapshot.Load().models[v.Model]
	if at == nil {
		return
	}
	bad := *v
	bad.State, bad.Policy, bad.Since = StateQuarantined, nil, time.Now()
	bad.Reason = fmt.Sprintf("it gave %d unusable answers one after another, the last of them: %s", limit, reason)
	e := Event{Kind: EventQuarantine, Model: v.Model, From: &bad, Reason: bad.Reason}
	r.mu.Lock()
	m := at.set.Load().clone()
	answered := m.current == v
	m.replace(v, &bad)
	if m.previous == &bad {
		m.previous = nil
	}
	m.stand = slices.Clone(m.stand)
	for i, s := range m.stand {
		if s == &bad {
			m.stand[i] = nil
		}
	}
	m.bar(&bad)
	if answered {
		if to := m.back(); to != nil {
			m.take(to, "quarantine of "+bad.Name)
			e.To, e.Took = to, true
		}
	} else {
		e.To = m.current
	}
	m.index()
	at.set.Store(m)
	r.mu.Unlock()
	r.o.Happened(e)
}
