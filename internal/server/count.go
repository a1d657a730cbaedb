package server

import (
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
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

type inferenceObserver func(rows int, deterministic bool, err bool, queued, took time.Duration)

// observeInference counts a request that reached the backend.
func (s *Server) observeInference(t *Target, req *serving.Request, err error) {
	o, ok := s.inference.get(targetKey{t.Model, t.Version})
	if !ok {
		o = s.inference.put(targetKey{t.Model, t.Version}, s.metrics.Inference(t.Model, t.Version))
	}
	o(req.Rows, req.Deterministic, err != nil, req.Queue, req.Infer)
}

// noMetrics counts nothing.
type noMetrics struct{}

func (noMetrics) Route(string, string) func(int, time.Duration, string) {
	return func(int, time.Duration, string) {}
}

func (noMetrics) Inference(string, string) func(int, bool, bool, time.Duration, time.Duration) {
	return func(int, bool, bool, time.Duration, time.Duration) {}
}
func (noMetrics) Rejected(string) func() { return func() {} }
func (noMetrics) Error(string, string)   {}
func (noMetrics) Active(int)             {}
func (noMetrics) Panicked()              {}
func (noMetrics) Connections(func() int) {}
