package repository

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Look is what came of looking at the root.
type Look struct {
	At    time.Time
	Error string // why it could not be looked at, "" where it could; names no path of the machine
}

// Looked returns what came of looking at the root the last time.
func (r *Repository) Looked() Look { return *r.look.Load() }

// Report is what came of a reload that was asked for.
type Report struct {
	Took   time.Duration
	Error  string // why the root could not be looked at, "" where it could
	Models []ModelReport
}

// Results of a reload for one model.
const (
	ResultUnchanged = "unchanged" // the files are those that are served
	ResultChanged   = "changed"   // another version answers, or other versions are there
	ResultFailed    = "failed"    // a version was refused; what answered before does so still
)

// ModelReport is what came of a reload for one model.
type ModelReport struct {
	Model  string
	Result string
	From   *Version // what answered before, nil for a model that is new
	To     *Version // what answers now, nil for a model that is gone
	Loaded []*Version
	Failed []*Version
}

// Failed reports whether anything was refused.
func (p *Report) Failed() bool {
	return p.Error != "" || slices.ContainsFunc(p.Models, func(m ModelReport) bool { return m.Result == ResultFailed })
}

// asked is a reload that somebody waits for.
type asked struct {
	model  string
	answer chan<- Report // has room for one
}

// Reload looks at the root now, reads the files of a model, or of all where it
// is "", whatever their times say, and loads what is not served yet. Versions
// that were rolled back from or quarantined may answer again. It returns when
// all of it was tried. The error is that of ctx or wraps ErrModelNotFound or
// ErrClosed.
func (r *Repository) Reload(ctx context.Context, model string) (Report, error) {
	answer := make(chan Report, 1)
	select {
	case r.asked <- &asked{model, answer}:
	case <-r.ended:
		return Report{}, ErrClosed
	case <-ctx.Done():
		return Report{}, fmt.Errorf("reload: %w", ctx.Err())
	}
	select {
	case report := <-answer:
		if model != "" && report.Error == "" && len(report.Models) == 0 {
			_, err := r.slotOf(model)
			return report, err
		}
		return report, nil
	case <-r.ended:
		return Report{}, ErrClosed
	case <-ctx.Done():
		return Report{}, fmt.Errorf("reload: %w", ctx.Err())
	}
}

// ErrClosed says that the repository was closed.
var ErrClosed = errors.New("the server is stopping")

// run loads what there is, and then looks for changes until ctx ends. It is the
// one goroutine that scans, and it loads one version at a time: a load takes one
// core at most from the requests beside it. It does so at their priority. A
// thread of a lower one holds a processor of the runtime while it waits for its
// turn, and every collection of garbage waits for it.
func (r *Repository) run(ctx context.Context, f *found) {
	defer close(r.ended)
	r.load(ctx, f)
	// The handle of the root may only fail to close.
	_ = f.close()
	close(r.done)
	w := &watcher{r: r, notes: r.notes}
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	var tried time.Time // when versions were tried again the last time
	var tick <-chan time.Time
	if r.o.Poll > 0 {
		t := time.NewTicker(r.o.Poll)
		defer t.Stop()
		tick = t.C
	}
	for {
		again.Stop()
		if at := r.nextTry(tried); !at.IsZero() {
			again.Reset(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
			w.poll(ctx)
		case tried = <-again.C:
			w.check(ctx, nil)
		case a := <-r.asked:
			w.answer(ctx, r.waiting(a))
		}
	}
}

// waiting returns a reload and those that wait behind it, which the same look
// answers: whatever they are about was there before it began.
func (r *Repository) waiting(first *asked) []*asked {
	list := []*asked{first}
	for {
		select {
		case a := <-r.asked:
			list = append(list, a)
		default:
			return list
		}
	}
}

// watcher knows what it saw of the root.
type watcher struct {
	r       *Repository
	seen    signature // of the root that was acted upon
	pending signature // of the one that has to be seen twice
	trouble string    // what was told of the root
	notes   []string  // likewise, which is no trouble
}

// poll acts upon a change that it sees for the second time.
func (w *watcher) poll(ctx context.Context) {
	sig := signRoot(w.r.o)
	switch {
	case sig == w.seen:
		w.pending = ""
		w.looked(w.trouble)
	case sig != w.pending:
		w.pending = sig
	default:
		w.pending, w.seen = "", sig
		w.check(ctx, nil)
	}
}

// answer looks at the root for those who asked.
func (w *watcher) answer(ctx context.Context, list []*asked) {
	start := time.Now()
	all := slices.ContainsFunc(list, func(a *asked) bool { return a.model == "" })
	scope := map[string]bool{}
	for _, a := range list {
		scope[a.model] = true
	}
	if all {
		scope = map[string]bool{"": true}
	}
	sig := signRoot(w.r.o)
	if all {
		w.pending, w.seen = "", sig
	}
	models := w.check(ctx, scope)
	for _, a := range list {
		report := Report{Took: time.Since(start), Error: w.trouble}
		for _, m := range models {
			if a.model == "" || a.model == m.Model {
				report.Models = append(report.Models, m)
			}
		}
		a.answer <- report
	}
}

// looked remembers what came of a look, and tells of it where it is news.
func (w *watcher) looked(trouble string) {
	if trouble != w.trouble {
		w.r.o.Happened(Event{Kind: EventRoot, Reason: trouble})
	}
	w.trouble = trouble
	w.r.look.Store(&Look{At: time.Now(), Error: trouble})
}

// check scans the root and loads what changed. scope names the models whose
// files are read whatever their signatures say; nil reads none of them so, and
// looks at all.
func (w *watcher) check(ctx context.Context, scope map[string]bool) []ModelReport {
	r := w.r
	f, err := scan(r.o)
	var sets []*modelSet
	var def string
	if err == nil {
		defer f.close() //nolint:errcheck // A read-only folder handle has nothing to lose.
		sets, def, err = f.sets(r.o)
	}
	if err != nil {
		// Whatever is served goes on being served.
		w.looked(hidePath(err.Error(), r.o.Root))
		return nil
	}
	w.looked("")
	for _, note := range f.notes {
		if !slices.Contains(w.notes, note) {
			r.o.Happened(Event{Kind: EventNote, Reason: note})
		}
	}
	w.notes = f.notes
	forced := func(model string) bool { return scope[""] || scope[model] }
	before := r.currents()
	var jobs []job
	wanted := map[string]bool{}
	for _, m := range sets {
		wanted[m.name] = true
		if scope == nil || forced(m.name) {
			jobs = append(jobs, w.place(f, m, forced(m.name))...)
		}
	}
	all := scope == nil || scope[""]
	if all {
		w.choose(f, def, wanted, false)
	}
	tried := map[string]*ModelReport{}
	for _, j := range sorted(jobs, def) {
		if ctx.Err() != nil {
			break
		}
		v := r.try(ctx, j)
		if v.tally != nil && v.tally.sig == "" {
			w.seen = "" // to be looked at again
		}
		r.finish(j, v, "reload")
		m := tried[v.Model]
		if m == nil {
			m = &ModelReport{}
			tried[v.Model] = m
		}
		switch {
		case slices.Contains(j.known, v):
		case v.State == StateReady:
			m.Loaded = append(m.Loaded, v)
		default:
			m.Failed = append(m.Failed, v)
		}
	}
	if all {
		w.choose(f, def, wanted, true)
	}
	return r.report(before, tried, scope)
}

// hidePath takes the root's path out of a message: who asks over the network is
// told what is wrong, and not where it is.
func hidePath(text, root string) string {
	return strings.ReplaceAll(text, "artifact root "+root, "the artifact root")
}

// place puts the versions that were found into the place of those that were
// there, and lists those which have to be loaded. What answers goes on
// answering.
func (w *watcher) place(f *found, m *modelSet, force bool) []job {
	r := w.r
	now := time.Now()
	// A disk that does not answer holds up neither a rollback nor a quarantine.
	sigs := make([]signature, len(m.versions))
	for i, src := range f.sources[m.name] {
		if m.versions[i].State == StateLoading {
			sigs[i] = src.signature()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.snapshot.Load().models[m.name]
	var old *modelSet
	if at == nil {
		at = newSlot(m)
		old = &modelSet{name: m.name}
	} else {
		old = at.set.Load()
	}
	var jobs []job
	for i, src := range f.sources[m.name] {
		v := m.versions[i]
		tried, ready := old.known(v.Name)
		if len(ready) > 0 {
			m.stand[i] = ready[0]
		}
		switch {
		case v.State == StateFailed:
			if j := slices.IndexFunc(tried, func(t *Version) bool { return t.Reason == v.Reason }); j >= 0 {
				m.versions[i] = tried[j]
			} else {
				v.tally = &tally{}
				r.o.Loaded(v)
			}
		case v.State != StateLoading: // It is beyond the limit, and so is what was loaded of it.
			m.stand[i] = nil
		default:
			j := slices.IndexFunc(tried, func(t *Version) bool { return t.tally.sig == sigs[i] })
			if j >= 0 && !force && !tried[j].tally.due(now) {
				m.versions[i] = tried[j]
				break
			}
			next := job{source: src, at: at, version: v, known: ready}
			if j >= 0 && !force {
				next.tries = tried[j].tally.tries
			}
			jobs = append(jobs, next)
		}
		if m.versions[i].State == StateReady {
			m.stand[i] = nil
		}
	}
	if old.current != nil {
		m.current, m.previous, m.changed, m.why = old.current, old.previous, old.changed, old.why
		m.pinned, m.barred = maps.Clone(old.pinned), maps.Clone(old.barred)
		if force {
			m.free()
		}
		m.forget()
	}
	took := m.elect("a version is no longer under the root")
	m.index()
	at.set.Store(m)
	if r.snapshot.Load().models[m.name] == nil {
		s := r.snapshot.Load().clone()
		s.add(at)
		r.snapshot.Store(s)
	}
	if took.To != nil {
		r.o.Happened(took)
	}
	return jobs
}

// known lists the versions of a name that were tried, and those of them that
// are ready: the one under the root, the one that stands in for it, and those
// whose files may be back.
func (m *modelSet) known(name string) (tried, ready []*Version) {
	add := func(v *Version) {
		if v == nil || v.Name != name || v.tally == nil || slices.Contains(tried, v) {
			return
		}
		tried = append(tried, v)
		if v.State == StateReady {
			ready = append(ready, v)
		}
	}
	for i, v := range m.versions {
		add(v)
		add(m.stand[i])
	}
	add(m.current)
	add(m.previous)
	return tried, ready
}

// sorted has the jobs of the default model first, and of each model what it is
// to answer with.
func sorted(jobs []job, def string) []job {
	rank := func(j job) int {
		m := j.at.set.Load()
		wanted := len(m.order) > 0 && m.versions[m.order[0]] == j.version
		switch {
		case wanted && m.name == def:
			return 0
		case wanted:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return rank(a) - rank(b) })
	return jobs
}

// clone returns a copy to be changed.
func (s *snapshot) clone() *snapshot {
	return &snapshot{models: maps.Clone(s.models), list: slices.Clone(s.list), def: s.def}
}

// choose makes the models those that are under the root, in its order, with its
// default one. Models that are gone are kept until those which are there are
// ready: what is served is not given up for what may be refused. Before
// anything was loaded (final is false) only what is new is added.
func (w *watcher) choose(f *found, def string, wanted map[string]bool, final bool) {
	r := w.r
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.snapshot.Load()
	next := &snapshot{models: map[string]*slot{}}
	for _, model := range f.models {
		if at := old.models[model]; at != nil {
			next.add(at)
		}
	}
	next.def = next.models[def]
	if d := old.def; def == "" && d != nil && wanted[d.set.Load().name] {
		next.def = d // What is put beside it does not make requests fail that name no model.
	}
	drop := final && next.readiness() == nil
	var gone []string
	for _, at := range old.list {
		name := at.set.Load().name
		switch {
		case wanted[name]:
		case drop:
			gone = append(gone, name)
		default:
			next.add(at)
		}
	}
	if d := old.def; d != nil && d != next.def && !drop && next.models[d.set.Load().name] != nil && d.set.Load().readiness() == nil {
		next.def = d // until the other one is ready
	}
	r.snapshot.Store(next)
	for _, name := range gone {
		r.o.Happened(Event{Kind: EventGone, Model: name, From: old.models[name].set.Load().current, Reason: "the model is no longer under the root"})
	}
}

// currents are the versions that answer, by model.
func (r *Repository) currents() map[string]*Version {
	all := map[string]*Version{}
	for _, at := range r.snapshot.Load().list {
		m := at.set.Load()
		all[m.name] = m.current
	}
	return all
}

// report tells what became of each model.
func (r *Repository) report(before map[string]*Version, tried map[string]*ModelReport, scope map[string]bool) []ModelReport {
	after := r.currents()
	var list []ModelReport
	for _, name := range slices.Sorted(maps.Keys(union(before, after))) {
		if scope != nil && !scope[""] && !scope[name] {
			continue
		}
		p := ModelReport{Model: name, Result: ResultUnchanged, From: before[name], To: after[name]}
		if t := tried[name]; t != nil {
			p.Loaded, p.Failed = t.Loaded, t.Failed
		}
		switch {
		case len(p.Failed) > 0:
			p.Result = ResultFailed
		case len(p.Loaded) > 0, p.From == nil, p.To == nil, p.From.Digest != p.To.Digest, p.From.Name != p.To.Name:
			p.Result = ResultChanged
		}
		list = append(list, p)
	}
	return list
}

func union(a, b map[string]*Version) map[string]*Version {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
