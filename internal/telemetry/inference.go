package telemetry

import (
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// inference counts the requests of each version: how they ended, their rows,
// and the time of each stage.
//
// It is a collector of its own because a request tells it six things: as
// histograms of the library they took 200 ns, a fifth of what the server does
// for a request beside its policy. Here each is two additions of integers, in a
// part of the counts that few goroutines share, and what follows from others,
// as the time in the queue from that of each model, is made at the scrape.
type inference struct {
	mu       sync.Mutex // guards versions
	versions []*versionCounts
	byName   map[[2]string]*versionCounts
}

// versionCounts are the counts of one version.
type versionCounts struct {
	model, version string
	shards         []versionShard
}

// versionShard is what the requests of some goroutines were.
type versionShard struct {
	failures, deterministic     atomic.Uint64
	rows                        histogram
	decode, queue, took, encode histogram
	_                           [64]byte // keeps the next one off the last cache line
}

// maxBounds is the number of buckets that a histogram has room for, without the
// last.
const maxBounds = 24

// histogram counts whole numbers in buckets.
type histogram struct {
	counts [maxBounds + 1]atomic.Uint64 // below or at the bound of the same place, the last above all
	sum    atomic.Int64
}

// bounds are the bounds of a histogram, in the unit of what it counts.
type bounds struct {
	upper  []float64 // as they are told
	values []int64
	first  [65]uint8 // place of the first bound that a number of so many bits may lie below
}

func newBounds(upper []float64, unit float64) *bounds {
	b := &bounds{upper: upper}
	for _, u := range upper[:min(len(upper), maxBounds)] {
		b.values = append(b.values, int64(u*unit+0.5))
	}
	for n := range b.first {
		least := int64(0) // of n bits
		if n > 0 {
			least = 1 << min(n-1, 62)
		}
		for int(b.first[n]) < len(b.values) && b.values[b.first[n]] < least {
			b.first[n]++
		}
	}
	return b
}

// count counts a number, which is not below 0.
func (h *histogram) count(b *bounds, v int64) {
	i := int(b.first[bits.Len64(uint64(v))])
	for i < len(b.values) && v > b.values[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(v)
}

// total adds what was counted to counts, one for each bound and one above all,
// and returns its number and sum.
func (h *histogram) total(counts []uint64) (n uint64, sum int64) {
	for i := range counts {
		c := h.counts[i].Load()
		counts[i] += c
		n += c
	}
	return n, h.sum.Load()
}

var (
	timeBounds = newBounds(inferenceBuckets, 1e9)
	rowBounds  = newBounds(batchBuckets, 1)

	versionLabels = []string{"model", "version"}

	descInference     = prometheus.NewDesc("carla_rl_inference_duration_seconds", "Time that a policy took for the rows of one request.", versionLabels, nil)
	descInferences    = prometheus.NewDesc("carla_rl_inference_requests_total", "Requests that reached a policy's queue, by how they ended.", []string{"model", "version", "status"}, nil)
	descBatch         = prometheus.NewDesc("carla_rl_batch_size", "Observations in one request.", versionLabels, nil)
	descDeterministic = prometheus.NewDesc("carla_rl_deterministic_requests_total", "Requests answered deterministically.", versionLabels, nil)
	descStage         = prometheus.NewDesc("carla_rl_stage_duration_seconds", "Time that an answered request spent in each stage: decode, queue, policy, encode.", []string{"model", "stage"}, nil)
	descQueue         = prometheus.NewDesc("carla_rl_queue_seconds", "Time that a request waited for a lane.", nil, nil)
)

// Inference returns the observer of one version: the rows of a request, how it
// ended, and the time of each stage. The shard is any number that few
// goroutines use at the same time.
func (m *Metrics) Inference(model, version string) func(shard uint32, rows int, deterministic, err bool, decode, queued, took, encode time.Duration) {
	return m.inference.version(model, version).count
}

func (s *inference) version(model, version string) *versionCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]string{model, version}
	if c := s.byName[key]; c != nil {
		return c
	}
	const most = 8
	n := 1
	for n < min(runtime.GOMAXPROCS(0), most) {
		n *= 2
	}
	c := &versionCounts{model: model, version: version, shards: make([]versionShard, n)}
	if s.byName == nil {
		s.byName = map[[2]string]*versionCounts{}
	}
	s.byName[key] = c
	s.versions = append(s.versions, c)
	return c
}

func (c *versionCounts) count(shard uint32, rows int, deterministic, err bool, decode, queued, took, encode time.Duration) {
	s := &c.shards[int(shard)&(len(c.shards)-1)]
	if err {
		s.failures.Add(1)
		return
	}
	if deterministic {
		s.deterministic.Add(1)
	}
	s.rows.count(rowBounds, int64(max(0, rows)))
	s.decode.count(timeBounds, int64(max(0, decode)))
	s.queue.count(timeBounds, int64(max(0, queued)))
	s.took.count(timeBounds, int64(max(0, took)))
	s.encode.count(timeBounds, int64(max(0, encode)))
}

// Describe implements prometheus.Collector.
func (s *inference) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descInference, descInferences, descBatch, descDeterministic, descStage, descQueue} {
		ch <- d
	}
}

// tally is a histogram at a scrape.
type tally struct {
	bounds *bounds
	counts []uint64
	n      uint64
	sum    int64
	unit   float64
}

func newTally(b *bounds, unit float64) *tally {
	return &tally{bounds: b, counts: make([]uint64, len(b.values)+1), unit: unit}
}

func newTimes() *tally { return newTally(timeBounds, 1e9) }

func (t *tally) add(h *histogram) {
	n, sum := h.total(t.counts)
	t.n, t.sum = t.n+n, t.sum+sum
}

func (t *tally) send(ch chan<- prometheus.Metric, d *prometheus.Desc, labels ...string) {
	buckets := make(map[float64]uint64, len(t.counts))
	below := uint64(0)
	for i := range t.bounds.values {
		below += t.counts[i]
		buckets[t.bounds.upper[i]] = below
	}
	ch <- prometheus.MustNewConstHistogram(d, t.n, float64(t.sum)/t.unit, buckets, labels...)
}

// stages are the times of one model.
type stages struct{ decode, queue, took, encode *tally }

// Collect implements prometheus.Collector.
func (s *inference) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	versions := slices.Clip(s.versions)
	s.mu.Unlock()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	models := map[string]*stages{}
	queue := newTimes()
	for _, c := range versions {
		m := models[c.model]
		if m == nil {
			m = &stages{newTimes(), newTimes(), newTimes(), newTimes()}
			models[c.model] = m
		}
		took, rows := newTimes(), newTally(rowBounds, 1)
		var failures, deterministic uint64
		for i := range c.shards {
			v := &c.shards[i]
			failures += v.failures.Load()
			// Read before what is counted behind it, or it could be more than all.
			deterministic += v.deterministic.Load()
			took.add(&v.took)
			rows.add(&v.rows)
			m.decode.add(&v.decode)
			m.queue.add(&v.queue)
			m.took.add(&v.took)
			m.encode.add(&v.encode)
			queue.add(&v.queue)
		}
		took.send(ch, descInference, c.model, c.version)
		rows.send(ch, descBatch, c.model, c.version)
		counter(descInferences, took.n, c.model, c.version, "success")
		counter(descInferences, failures, c.model, c.version, "error")
		counter(descDeterministic, deterministic, c.model, c.version)
	}
	for model, m := range models {
		m.decode.send(ch, descStage, model, "decode")
		m.queue.send(ch, descStage, model, "queue")
		m.took.send(ch, descStage, model, "policy")
		m.encode.send(ch, descStage, model, "encode")
	}
	queue.send(ch, descQueue)
}
