package server

import (
	"math"
	"time"
)

// rejections holds the counter of each reason for which a limit turns a
// request away.
type rejections map[string]func()

func newRejections(m Metrics) rejections {
	r := rejections{}
	for _, f := range faults {
		if f.reason != "" && r[f.reason] == nil {
			r[f.reason] = m.Rejected(f.reason)
		}
	}
	return r
}

func (r rejections) count(f *fault) {
	if f.reason != "" {
		r[f.reason]()
	}
}

// targetKey names a version in the table of observers.
type targetKey struct{ model, version string }

// versionObserver counts the requests of one version.
type versionObserver struct {
	key       targetKey
	digest    string
	inference func(shard uint32, rows int, deterministic, err bool, decode, queued, took, encode time.Duration)
	actions   func(rows []float32)

	interventions func(value int, kind string)
	log           *interventionLog

	observations func(inputs [][]float32, row int) // nil where nobody wants them
}

// observe counts an act that reached the backend, and how it ended; id is for
// the log. The stages are those that an answer tells.
func (a *act) observe(err error, id []byte) {
	t, req := &a.target, &a.req
	// Mostly the version is that of the act before, and its names are the same
	// strings. It is told by its digest: whoever holds the contract keeps the
	// whole of a version that was replaced in memory.
	o := a.observer
	if key := (targetKey{t.Model, t.Version}); o == nil || o.key != key || o.digest != t.Digest {
		var ok bool
		if o, ok = a.s.inference.get(key); !ok || o.digest != t.Digest { // Its actions may be others.
			o = a.s.inference.put(key, newVersionObserver(a.s.metrics, &a.s.o.Observations, t))
		}
		a.observer = o
	}
	if err != nil {
		o.inference(a.shard, req.Rows, req.Deterministic, true, 0, 0, 0, 0)
		return
	}
	if a.postprocess == 0 { // an answer that tells no times
		a.postprocess = a.rest()
	}
	o.inference(a.shard, req.Rows, req.Deterministic, false, a.preprocess(), req.Queue, a.infer(), a.postprocess)
	o.actions(req.Actions)
	if o.observations != nil {
		a.sample(o)
	}
	if len(req.Interventions) > 0 {
		a.observeInterventions(o, id)
	}
}

func newVersionObserver(m Metrics, seen *Observations, t *Target) *versionObserver {
	var names []string
	var low, high []float64
	c := t.Contract
	for i := range c.Actions {
		a := &c.Actions[i]
		lo, hi := a.Low, a.High
		if a.Discrete { // The first and the last choice are choices like others.
			lo, hi = math.Inf(-1), math.Inf(1)
		}
		for range a.Size {
			names, low, high = append(names, actionName(c, i)), append(low, lo), append(high, hi)
		}
	}
	return &versionObserver{
		key: targetKey{t.Model, t.Version}, digest: t.Digest,
		inference: m.Inference(t.Model, t.Version),
		actions:   m.Saturation(t.Model, t.Version, names, low, high),

		interventions: m.Interventions(t.Model, t.Version, names),
		log:           &interventionLog{},

		observations: seen.of(t),
	}
}

// noMetrics counts nothing.
type noMetrics struct{}

func (noMetrics) Route(string, string) func(int, time.Duration, string) {
	return func(int, time.Duration, string) {}
}

func (noMetrics) Inference(string, string) func(uint32, int, bool, bool, time.Duration, time.Duration, time.Duration, time.Duration) {
	return func(uint32, int, bool, bool, time.Duration, time.Duration, time.Duration, time.Duration) {}
}

func (noMetrics) Saturation(string, string, []string, []float64, []float64) func([]float32) {
	return func([]float32) {}
}
func (noMetrics) Interventions(string, string, []string) func(int, string) {
	return func(int, string) {}
}
func (noMetrics) Rejected(string) func() { return func() {} }
func (noMetrics) Error(string, string)   {}
func (noMetrics) Active(int)             {}
func (noMetrics) Panicked()              {}
func (noMetrics) AdminAct(_, _ string)   {}
func (noMetrics) Connections(func() int) {}
func (noMetrics) Ready(func() bool)      {}
func (noMetrics) Streams(func() int)     {}
func (noMetrics) StreamMessages(string, string) func() {
	return func() {}
}
func (noMetrics) StreamSkipped() func() { return func() {} }
func (noMetrics) StreamClosed(int)      {}
