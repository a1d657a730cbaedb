package server_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// countingMetrics remembers what it was told.
type countingMetrics struct {
	panics, active atomic.Int64
	mu             sync.Mutex // guards what follows
	seen           map[string]int
	open, streams  func() int
	ready          func() bool
}

func (m *countingMetrics) count(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string]int{}
	}
	m.seen[fmt.Sprintf(format, args...)]++
}

func (m *countingMetrics) get(key string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[key]
}

func (m *countingMetrics) Route(method, endpoint string) func(int, time.Duration, string) {
	return func(status int, _ time.Duration, _ string) { m.count("%s %s %d", method, endpoint, status) }
}

func (m *countingMetrics) Inference(model, version string) func(uint32, int, bool, bool, time.Duration, time.Duration, time.Duration, time.Duration) {
	return func(_ uint32, rows int, deterministic, err bool, decode, queued, took, encode time.Duration) {
		m.count("infer %s %s rows=%d deterministic=%v err=%v", model, version, rows, deterministic, err)
		if !err && decode > 0 && queued >= 0 && took > 0 && encode >= 0 {
			m.count("stages of %s %s", model, version)
		}
	}
}

func (m *countingMetrics) Saturation(model, version string, names []string, low, high []float64) func([]float32) {
	m.count("actions of %s %s: %v in %v to %v", model, version, names, low, high)
	return func(actions []float32) { m.count("actions %v", actions) }
}

func (m *countingMetrics) Interventions(model, version string, names []string) func(int, string) {
	return func(value int, kind string) { m.count("%s %s: %s of %s", model, version, kind, names[value]) }
}

func (m *countingMetrics) Rejected(reason string) func() {
	return func() { m.count("rejected %s", reason) }
}
func (m *countingMetrics) Error(code, endpoint string) { m.count("error %s %s", code, endpoint) }
func (m *countingMetrics) Active(delta int)            { m.active.Add(int64(delta)) }
func (m *countingMetrics) Panicked()                   { m.panics.Add(1) }
func (m *countingMetrics) AdminAct(_, _ string)        {}
func (m *countingMetrics) Connections(read func() int) { m.open = read }
func (m *countingMetrics) Ready(read func() bool)      { m.ready = read }
func (m *countingMetrics) Streams(read func() int)     { m.streams = read }
func (m *countingMetrics) StreamMessages(codec, result string) func() {
	return func() { m.count("stream %s %s", codec, result) }
}
func (m *countingMetrics) StreamSkipped() func() { return func() { m.count("stream skipped") } }
func (m *countingMetrics) StreamClosed(code int) { m.count("stream closed %d", code) }

// emptyMetrics answers a scrape with nothing.
var emptyMetrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
})
