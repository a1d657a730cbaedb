package telemetry

import "github.com/prometheus/client_golang/prometheus"

// CurrentVersion is the version of a model that answers where a request names
// none.
type CurrentVersion struct {
	Model, Version string
	Digest         string // of the artifact, empty until it was read
	Ready          bool
}

// current tells at each scrape which version of each model answers. It asks
// rather than being told, so that no series of a version is left behind when
// another takes its place.
type current struct {
	read func() []CurrentVersion
}

var descCurrent = prometheus.NewDesc("carla_rl_model_current",
	"The version that answers for a model: 1 where it is ready, 0 where it is not. digest begins the artifact's SHA-256.",
	[]string{"model", "version", "digest"}, nil)

// shownDigest is how much of a digest a label carries: enough to tell two
// artifacts apart.
const shownDigest = 12

// Current tells how to read which version of each model answers.
func (m *Metrics) Current(read func() []CurrentVersion) {
	_ = m.registry.Register(current{read}) // a second one is left out, as with gauge
}

// Describe implements prometheus.Collector.
func (c current) Describe(ch chan<- *prometheus.Desc) { ch <- descCurrent }

// Collect implements prometheus.Collector.
func (c current) Collect(ch chan<- prometheus.Metric) {
	for _, v := range c.read() {
		ch <- prometheus.MustNewConstMetric(descCurrent, prometheus.GaugeValue, number(v.Ready), v.Model, v.Version, v.Digest[:min(shownDigest, len(v.Digest))])
	}
}
