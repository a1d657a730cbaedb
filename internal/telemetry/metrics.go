package telemetry

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

// MetricsOptions configure a Metrics.
type MetricsOptions struct {
	Version, Commit, BuildDate string // for carla_rl_build_info
	// NativeHistograms adds Prometheus' native form to the histograms of
	// requests, which needs the protobuf exposition and costs more for each
	// observation.
	NativeHistograms bool
}

// Metrics is the registry of the process. Its observers are safe for use by
// many goroutines and allocate nothing.
type Metrics struct {
	registry *prometheus.Registry
	handler  http.Handler

	httpRequests *prometheus.CounterVec
	httpDuration *prometheus.HistogramVec

	inference     inference
	saturation    saturation
	interventions *prometheus.CounterVec
	sessions      sessions
	queue         queueMetrics

	active   atomic.Int64
	rejected *prometheus.CounterVec

	streamMessages *prometheus.CounterVec
	streamSkipped  prometheus.Counter
	streamCloses   *prometheus.CounterVec

	errors *prometheus.CounterVec
	panics prometheus.Counter

	reloads        reloads
	modelLoading   prometheus.Summary
	modelLoadFails *prometheus.CounterVec
	modelLimits    *prometheus.CounterVec
}

// Buckets in seconds. A driving policy answers in microseconds, so that those
// of the libraries would put every request into the first.
var (
	requestBuckets   = []float64{50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1, 2, 5}
	inferenceBuckets = []float64{1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1, 2, 5}
	batchBuckets     = prometheus.ExponentialBuckets(1, 2, 11) // 1 to 1024
)

// NewMetrics returns the metrics of a process that starts now.
func NewMetrics(o MetricsOptions) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	start := time.Now()

	m.httpRequests = counters(m, "http_requests_total", "Requests by method, route template and status.", "method", "endpoint", "status")
	duration := prometheus.HistogramOpts{
		Name: "http_request_duration_seconds", Help: "Time from the parsed request to its answer.", Buckets: requestBuckets,
	}
	if o.NativeHistograms {
		duration.NativeHistogramBucketFactor = 1.1
		duration.NativeHistogramMaxBucketNumber = 160
		duration.NativeHistogramMinResetDuration = time.Hour
	}
	m.httpDuration = prometheus.NewHistogramVec(duration, []string{"method", "endpoint"})

	m.interventions = counters(m, "carla_rl_interventions_total", "Values of actions that an envelope changed, by why.", "model", "version", "action", "kind")

	m.gauge("carla_rl_active_requests", "Requests that are being answered.", func() int { return int(m.active.Load()) })
	m.rejected = counters(m, "carla_rl_requests_rejected_total", "Requests and connections that a limit or a check turned away.", "reason")
	m.streamMessages = counters(m, "carla_rl_stream_messages_total", "Messages of streams that were answered, by what they were encoded in and how they were answered.", "codec", "result")
	m.streamSkipped = prometheus.NewCounter(prometheus.CounterOpts{Name: "carla_rl_stream_skipped_total", Help: "Messages of streams that newer ones overtook."})
	m.streamCloses = counters(m, "carla_rl_stream_closes_total", "Streams that ended, by the code that the client was told; 0 where it closed or was gone.", "code")
	for _, code := range []string{"0", "1001"} {
		m.streamCloses.WithLabelValues(code) // there from the start: a counter that begins with 1 has never increased
	}
	m.streamCloses.WithLabelValues("0") // there from the start, so that the first one is an increase
	m.errors = counters(m, "carla_rl_errors_total", "Error answers by code and route template.", "error_type", "endpoint")
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "carla_rl_panics_total", Help: "Panics of handlers that were recovered from."})

	m.sessions.init(m)
	m.queue.init(m)

	m.reloads.init(m)
	m.modelLoading = prometheus.NewSummary(prometheus.SummaryOpts{Name: "carla_rl_model_loading_duration_seconds", Help: "Time to read, verify and compile a version."})
	m.modelLoadFails = counters(m, "carla_rl_model_load_failures_total", "Attempts to load a version that failed.", "model", "version")
	m.modelLimits = counters(m, "carla_rl_model_load_limits_total", "Versions that were refused for going beyond a bound of a load.", "limit")

	m.registry.MustRegister(m.streamSkipped, m.httpDuration, &m.inference, &m.saturation, m.panics, m.modelLoading,
		ancestorNames{requests: m.httpRequests, duration: m.httpDuration},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "carla_rl_service_uptime_seconds", Help: "Time since the process started."},
			func() float64 { return time.Since(start).Seconds() }),
	)
	startup := prometheus.NewGauge(prometheus.GaugeOpts{Name: "carla_rl_service_startup_timestamp_seconds", Help: "When the process started, in seconds since 1970."})
	startup.Set(float64(start.UnixMicro()) / 1e6)
	m.registry.MustRegister(startup)
	memory := prometheus.NewGauge(prometheus.GaugeOpts{Name: "carla_rl_memory_limit_bytes", Help: "Memory limit of the control group, at which the process is killed; +Inf where there is none."})
	memory.Set(machine.MemoryLimit(os.DirFS("/")))
	m.registry.MustRegister(memory)
	gauges(m, "carla_rl_build_info", "1, with what was built as labels.", "version", "commit", "build_date", "go_version").
		WithLabelValues(o.Version, o.Commit, o.BuildDate, runtime.Version()).Set(1)

	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry: m.registry, EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
	return m
}

func counters(m *Metrics, name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

func gauges(m *Metrics, name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler { return m.handler }

// Route returns the observer of one method and route template.
func (m *Metrics) Route(method, endpoint string) func(status int, took time.Duration, traceID string) {
	const statuses = 600
	var children [statuses]atomic.Pointer[prometheus.Counter]
	histogram := m.httpDuration.WithLabelValues(method, endpoint)
	exemplars, _ := histogram.(prometheus.ExemplarObserver)
	return func(status int, took time.Duration, traceID string) {
		if status < 0 || status >= statuses {
			status = 0
		}
		c := children[status].Load()
		if c == nil {
			child := m.httpRequests.WithLabelValues(method, endpoint, strconv.Itoa(status))
			c = &child
			children[status].Store(c)
		}
		(*c).Inc()
		if traceID != "" && exemplars != nil {
			exemplars.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traceID})
			return
		}
		histogram.Observe(took.Seconds())
	}
}

// Rejected returns the counter of requests that a limit turned away.
func (m *Metrics) Rejected(reason string) func() { return m.rejected.WithLabelValues(reason).Inc }

// Error counts an error answer.
func (m *Metrics) Error(code, endpoint string) { m.errors.WithLabelValues(code, endpoint).Inc() }

// Active moves the number of requests that are being answered.
func (m *Metrics) Active(delta int) { m.active.Add(int64(delta)) }

// Panicked counts a panic that was recovered from.
func (m *Metrics) Panicked() { m.panics.Inc() }

// Streams tells how to read the number of open streams.
func (m *Metrics) Streams(read func() int) {
	m.gauge("carla_rl_streams", "Open streams.", read)
}

// StreamMessages returns the counter of messages of one encoding that were
// answered in one way.
func (m *Metrics) StreamMessages(codec, result string) func() {
	return m.streamMessages.WithLabelValues(codec, result).Inc
}

// StreamSkipped returns the counter of messages that newer ones overtook.
func (m *Metrics) StreamSkipped() func() { return m.streamSkipped.Inc }

// StreamClosed counts a stream that ended.
func (m *Metrics) StreamClosed(code int) { m.streamCloses.WithLabelValues(strconv.Itoa(code)).Inc() }

// Connections tells how to read the number of open connections.
func (m *Metrics) Connections(read func() int) {
	m.gauge("carla_rl_connections_open", "Open connections.", read)
}

// Queue tells how many lanes there are and how many requests may wait for
// one, and how to read the number of those that wait and of those that are on
// a lane.
func (m *Metrics) Queue(lanes, capacity int, waiting, running func() int) {
	m.gauge("carla_rl_lanes", "Lanes: requests that can run at the same time.", func() int { return lanes })
	m.gauge("carla_rl_lanes_busy", "Lanes that run a request.", running)
	m.gauge("carla_rl_request_queue_capacity", "Requests that may wait for a lane.", func() int { return capacity })
	m.gauge("carla_rl_request_queue_length", "Requests that wait for a lane.", waiting)
}

// Ready tells how to read whether the server should be sent requests.
func (m *Metrics) Ready(read func() bool) {
	m.gauge("carla_rl_ready", "1 where /readyz answers 200.", func() int { return int(number(read())) })
}

// gauge registers a reader; a second of the same name is left out, since a
// process has one queue and one server.
func (m *Metrics) gauge(name, help string, read func() int) {
	_ = m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) }))
}

// ModelLoaded observes an attempt to load a version.
func (m *Metrics) ModelLoaded(model, version string, took time.Duration, err error) {
	// The counter is there from the first attempt on: what begins with 1 has
	// never increased.
	failures := m.modelLoadFails.WithLabelValues(model, version)
	if err != nil {
		failures.Inc()
		return
	}
	m.modelLoading.Observe(took.Seconds())
}

// ModelLimits names the bounds of a load, so that each is there from the start.
func (m *Metrics) ModelLimits(limits ...string) {
	for _, limit := range limits {
		m.modelLimits.WithLabelValues(limit)
	}
}

// ModelBeyond counts a version that was refused for a bound of a load.
func (m *Metrics) ModelBeyond(limit string) { m.modelLimits.WithLabelValues(limit).Inc() }

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
