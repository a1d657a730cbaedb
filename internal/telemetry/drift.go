package telemetry

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Drift tells how the observations of one version in the last minutes lie
// against those of its training.
type Drift struct {
	Model, Version string
	Rows           int // that were measured
	Features       []FeatureDrift
}

// FeatureDrift is Drift of one value. What is NaN is not told.
type FeatureDrift struct {
	Feature                             string
	ZScore, PSI, OutOfRange, Saturation float64
}

// drift asks at each scrape, so that no series is left behind of a version that
// is asked no more.
type drift struct {
	read func() []Drift
}

var (
	featureLabels = []string{"model", "version", "feature"}

	descDriftRows = prometheus.NewDesc("carla_rl_drift_rows", "Observations that drift was measured of, in its window.", []string{"model", "version"}, nil)
	descDriftZ    = prometheus.NewDesc("carla_rl_drift_z_score", "How far the mean of a feature in the window lies from that of the training, in standard deviations of the training.", featureLabels, nil)
	descDriftPSI  = prometheus.NewDesc("carla_rl_drift_psi", "Population stability index of a feature in the window against the training.", featureLabels, nil)
	descDriftOut  = prometheus.NewDesc("carla_rl_drift_out_of_range_ratio", "Share of the values of a feature in the window that lay beyond its bounds or farther than five standard deviations from the mean of the training.", featureLabels, nil)
	descDriftAt   = prometheus.NewDesc("carla_rl_drift_saturation_ratio", "Share of the values of a feature in the window that lay at one of its bounds.", featureLabels, nil)
)

// Drift tells how to read the drift of each version.
func (m *Metrics) Drift(read func() []Drift) {
	_ = m.registry.Register(drift{read}) // a second one is left out, as with gauge
}

// Describe implements prometheus.Collector.
func (d drift) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{descDriftRows, descDriftZ, descDriftPSI, descDriftOut, descDriftAt} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (d drift) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		if !math.IsNaN(v) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
		}
	}
	for _, v := range d.read() {
		gauge(descDriftRows, float64(v.Rows), v.Model, v.Version)
		for _, f := range v.Features {
			gauge(descDriftZ, f.ZScore, v.Model, v.Version, f.Feature)
			gauge(descDriftPSI, f.PSI, v.Model, v.Version, f.Feature)
			gauge(descDriftOut, f.OutOfRange, v.Model, v.Version, f.Feature)
			gauge(descDriftAt, f.Saturation, v.Model, v.Version, f.Feature)
		}
	}
}
