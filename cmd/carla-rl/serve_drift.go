package main

import (
	"log/slog"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/drift"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// measureDrift has a sample of what policies are asked held to what their
// training left.
func measureDrift(cfg *config.Drift, metrics *telemetry.Metrics, log *slog.Logger) server.Observations {
	if cfg.SampleEvery == 0 {
		return server.Observations{}
	}
	m := drift.NewMonitor(cfg.Window)
	metrics.Drift(func() []telemetry.Drift { return driftReports(m) })
	return server.Observations{Every: cfg.SampleEvery, Of: func(t *server.Target) func(inputs [][]float32, row int) {
		v := t.Handle.(*repository.Version)
		measured, err := m.Version(t.Model, t.Version, t.Digest, driftFeatures(v.Policy, cfg.MaxFeatures))
		if err != nil { // The window is checked, and policies have no deciles.
			log.Error("drift is not measured", "event_type", "error", "model", t.Model, "model_version", t.Version, "error", err)
		}
		if measured == nil {
			return nil
		}
		widths := make([]int, len(t.Contract.Inputs))
		for i := range widths {
			widths[i] = t.Contract.Inputs[i].Width
		}
		return func(inputs [][]float32, row int) { measured.Observe(time.Now(), inputs, widths, row) }
	}}
}

// driftFeatures are the values of an observation whose statistics are known.
func driftFeatures(p *policy.Policy, limit int) []drift.Feature {
	var list []drift.Feature
	for _, s := range p.Statistics(limit) {
		list = append(list, drift.Feature(s))
	}
	return list
}

// driftStatus tells of how many values of a version's observations the drift is
// measured, and why of no more.
func driftStatus(p *policy.Policy, cfg *config.Drift) *server.DriftStatus {
	n := len(p.Statistics(-1))
	switch {
	case cfg.SampleEvery == 0:
		return &server.DriftStatus{Why: "drift.sample_every is 0"}
	case n == 0:
		return &server.DriftStatus{Why: "the training left no statistics of observations: neither a preprocessor that begins with them nor statistics of the card"}
	case n > cfg.MaxFeatures:
		return &server.DriftStatus{Values: cfg.MaxFeatures, Why: "there are more than drift.max_features"}
	}
	return &server.DriftStatus{Values: n}
}

// driftNote is what the log says of that.
func driftNote(p *policy.Policy, cfg *config.Drift) string {
	switch d := driftStatus(p, cfg); {
	case d.Why == "":
		return ""
	case d.Values == 0:
		return "drift: not measured, because " + d.Why
	default:
		return "drift: measured of the first values of an observation only, because " + d.Why
	}
}

func driftReports(m *drift.Monitor) []telemetry.Drift {
	var list []telemetry.Drift
	for _, r := range m.Reports(time.Now()) {
		d := telemetry.Drift{Model: r.Model, Version: r.Version, Rows: r.Rows}
		for _, s := range r.Scores {
			d.Features = append(d.Features, telemetry.FeatureDrift(s))
		}
		list = append(list, d)
	}
	return list
}
