package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// ancestorNames gives the metrics of HTTP a second time, under the names that
// dashboards of the Python ancestor query. They are made from the first at
// each scrape, so that a request counts once.
type ancestorNames struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

var (
	ancestorRequests = prometheus.NewDesc("carla_rl_http_requests_total",
		"http_requests_total by the name of the Python ancestor.", []string{"method", "endpoint", "status_code"}, nil)
	ancestorDuration = prometheus.NewDesc("carla_rl_request_duration_seconds",
		"http_request_duration_seconds by the name of the Python ancestor.", []string{"method", "endpoint"}, nil)
)

// Describe implements prometheus.Collector.
func (a ancestorNames) Describe(ch chan<- *prometheus.Desc) {
	ch <- ancestorRequests
	ch <- ancestorDuration
}

// Collect implements prometheus.Collector.
func (a ancestorNames) Collect(ch chan<- prometheus.Metric) {
	each(a.requests, func(m *dto.Metric) (prometheus.Metric, error) {
		return prometheus.NewConstMetric(ancestorRequests, prometheus.CounterValue, m.GetCounter().GetValue(),
			label(m, "method"), label(m, "endpoint"), label(m, "status"))
	}, ch)
	each(a.duration, func(m *dto.Metric) (prometheus.Metric, error) {
		h := m.GetHistogram()
		buckets := make(map[float64]uint64, len(h.GetBucket()))
		for _, b := range h.GetBucket() {
			buckets[b.GetUpperBound()] = b.GetCumulativeCount()
		}
		return prometheus.NewConstHistogram(ancestorDuration, h.GetSampleCount(), h.GetSampleSum(), buckets, label(m, "method"), label(m, "endpoint"))
	}, ch)
}

// each collects from and sends what alias makes of each metric. A metric that
// cannot be read is left out: the first of the two tells of it.
func each(from prometheus.Collector, alias func(*dto.Metric) (prometheus.Metric, error), ch chan<- prometheus.Metric) {
	metrics := make(chan prometheus.Metric)
	go func() {
		from.Collect(metrics)
		close(metrics)
	}()
	for m := range metrics {
		var d dto.Metric
		if m.Write(&d) != nil {
			continue
		}
		if a, err := alias(&d); err == nil {
			ch <- a
		}
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
