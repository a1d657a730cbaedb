package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// QueueClasses are the priorities of requests, the first to be served first.
var QueueClasses = [2]string{"control", "batch"}

// QueueStats is what a service has done since it was made, and what waits in it.
type QueueStats struct {
	Batches, Joined, Rerun          uint64
	Divided, Slices, Yields         uint64
	Hits, Misses, Bypassed, Evicted uint64
	Kept, KeptBytes                 int64

	Waiting [len(QueueClasses)]int
	Oldest  [len(QueueClasses)]time.Duration
}

// queueMetrics are those of a queue by class.
type queueMetrics struct {
	wait *prometheus.HistogramVec
	shed *prometheus.CounterVec
	// Resolved once.
	waits [len(QueueClasses)]prometheus.Observer
	sheds [len(QueueClasses)]prometheus.Counter
}

func (q *queueMetrics) init(m *Metrics) {
	q.wait = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "carla_rl_queue_wait_seconds", Help: "Time that requests waited which found no lane free, by their priority.", Buckets: inferenceBuckets,
	}, []string{"priority"})
	m.registry.MustRegister(q.wait)
	q.shed = counters(m, "carla_rl_requests_shed_total", "Requests that were refused because the queue was full, or gave up their place in it, by their priority.", "priority")
	for i, class := range QueueClasses {
		q.waits[i], q.sheds[i] = q.wait.WithLabelValues(class), q.shed.WithLabelValues(class)
	}
}

// Waited observes how long a request of a class waited for its lane.
func (m *Metrics) Waited(class int, waited time.Duration) {
	m.queue.waits[class].Observe(waited.Seconds())
}

// Shed counts a request of a class that had no place in the queue.
func (m *Metrics) Shed(class int) { m.queue.sheds[class].Inc() }

// QueueStats tells how to read what the service has done.
func (m *Metrics) QueueStats(read func() QueueStats) {
	_ = m.registry.Register(queueCollector{read})
}

// queueCollector shows one reading of the service, so that its numbers are of
// the same moment.
type queueCollector struct{ read func() QueueStats }

var (
	priorityLabel = []string{"priority"}

	descQueueWaiting = prometheus.NewDesc("carla_rl_queue_requests", "Requests that wait for a lane, by their priority.", priorityLabel, nil)
	descQueueOldest  = prometheus.NewDesc("carla_rl_queue_oldest_seconds", "How long the first of the requests that wait has waited, by their priority.", priorityLabel, nil)
	descBatches      = prometheus.NewDesc("carla_rl_joined_batches_total", "Calls of a policy for several requests that waited for it.", nil, nil)
	descJoined       = prometheus.NewDesc("carla_rl_joined_requests_total", "Requests that ran together with others.", nil, nil)
	descRerun        = prometheus.NewDesc("carla_rl_joined_reruns_total", "Calls for several requests that failed, after which each of them ran alone.", nil, nil)
	descDivided      = prometheus.NewDesc("carla_rl_divided_requests_total", "Requests of many rows that ran in slices.", nil, nil)
	descSlices       = prometheus.NewDesc("carla_rl_slices_total", "Slices of requests of many rows.", nil, nil)
	descYields       = prometheus.NewDesc("carla_rl_slice_yields_total", "Lanes that a request of many rows gave to one of control between two slices.", nil, nil)
	descCacheLooks   = prometheus.NewDesc("carla_rl_cache_requests_total", "Requests whose answer depends on the observation alone, by whether it was kept: hit, miss, or bypassed without a look.", []string{"result"}, nil)
	descCacheEvicted = prometheus.NewDesc("carla_rl_cache_evictions_total", "Answers that were given up for others.", nil, nil)
	descCacheEntries = prometheus.NewDesc("carla_rl_cache_entries", "Answers that are kept.", nil, nil)
	descCacheBytes   = prometheus.NewDesc("carla_rl_cache_bytes", "Memory of the answers that are kept, and of what they answer.", nil, nil)
)

// Describe implements prometheus.Collector.
func (queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descQueueWaiting, descQueueOldest, descBatches, descJoined, descRerun, descDivided, descSlices, descYields,
		descCacheLooks, descCacheEvicted, descCacheEntries, descCacheBytes,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (q queueCollector) Collect(ch chan<- prometheus.Metric) {
	s := q.read()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for i, class := range QueueClasses {
		gauge(descQueueWaiting, float64(s.Waiting[i]), class)
		gauge(descQueueOldest, s.Oldest[i].Seconds(), class)
	}
	count(descBatches, s.Batches)
	count(descJoined, s.Joined)
	count(descRerun, s.Rerun)
	count(descDivided, s.Divided)
	count(descSlices, s.Slices)
	count(descYields, s.Yields)
	count(descCacheLooks, s.Hits, "hit")
	count(descCacheLooks, s.Misses, "miss")
	count(descCacheLooks, s.Bypassed, "bypassed")
	count(descCacheEvicted, s.Evicted)
	gauge(descCacheEntries, float64(s.Kept))
	gauge(descCacheBytes, float64(s.KeptBytes))
}
