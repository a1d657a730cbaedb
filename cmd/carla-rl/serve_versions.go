package main

import (
	"errors"
	"log/slog"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// loaded tells of a version whose load has ended.
func loaded(v *repository.Version, measured *config.Drift, metrics *telemetry.Metrics, log *slog.Logger) {
	ready := v.State == repository.StateReady
	l := log.With("model", v.Model, "model_version", v.Name)
	if !ready {
		metrics.ModelLoaded(v.Model, v.Name, v.Took, errors.New(v.Reason))
		if v.Limit != "" {
			metrics.ModelBeyond(string(v.Limit))
		}
		l.Error("version is not ready", "event_type", "model_loading_error", "state", v.State.String(), "reason", v.Reason)
		if len(v.Stack) > 0 {
			l.Error("the load panicked", "event_type", "model_loading_error", "stack", string(v.Stack))
		}
		return
	}
	metrics.ModelLoaded(v.Model, v.Name, v.Took, nil)
	l.Info("version is ready", "event_type", "model_loaded", "duration", v.Took, "digest", v.Digest, "hashed", v.Hashed)
	for _, note := range v.Notes {
		l.Info("about the version", "event_type", "model_loaded", "note", note)
	}
	if note := driftNote(v.Policy, measured); note != "" {
		l.Info("about the version", "event_type", "model_loaded", "note", note)
	}
}

// happened tells of what became of the versions while the server runs.
func happened(e repository.Event, metrics *telemetry.Metrics, log *slog.Logger) {
	l := log.With("event_type", "version_change", "model", e.Model)
	if e.From != nil {
		l = l.With("from_version", e.From.Name, "from_digest", e.From.Digest)
	}
	if e.To != nil {
		l = l.With("model_version", e.To.Name, "digest", e.To.Digest)
	}
	switch e.Kind {
	case repository.EventSwap:
		metrics.VersionChanged("swap")
		l.Info("another version answers", "reason", e.Reason)
	case repository.EventRollback:
		metrics.VersionChanged("rollback")
		l.Warn("rolled back", "reason", e.Reason)
	case repository.EventQuarantine:
		metrics.Quarantined(e.Model, e.From.Name)
		switch {
		case e.To == nil:
			l.Error("version quarantined, and nothing else serves the model", "reason", e.Reason)
		case e.Took:
			metrics.VersionChanged("quarantine")
			l.Error("version quarantined, and another answers in its place", "reason", e.Reason)
		default:
			l.Error("version quarantined, which answered only where it was named", "reason", e.Reason)
		}
	case repository.EventRoot:
		if e.Reason == "" {
			l.Info("the artifact root can be read again")
			return
		}
		metrics.RootFailed()
		l.Error("the artifact root cannot be taken as it is: what is served goes on being served", "reason", e.Reason)
	case repository.EventNote:
		log.Warn("artifact root", "event_type", "version_change", "note", e.Reason)
	case repository.EventGone:
		l.Warn("no longer served", "reason", e.Reason)
	}
}

// current lists the version of each model that answers.
func current(repo *repository.Repository) []telemetry.CurrentVersion {
	var list []telemetry.CurrentVersion
	for _, m := range repo.Models() {
		v := m.Version
		list = append(list, telemetry.CurrentVersion{Model: m.Name, Version: v.Name, Digest: v.Digest, Ready: v.State == repository.StateReady})
	}
	return list
}

// versionStates lists every version. Those that are served from memory come
// first: they answer for the name.
func versionStates(repo *repository.Repository) []telemetry.VersionState {
	var list []telemetry.VersionState
	for _, m := range repo.Models() {
		for _, v := range append(m.Kept, m.All...) {
			list = append(list, telemetry.VersionState{
				Model: v.Model, Version: v.Name, Hashed: v.Hashed,
				Ready: v.State == repository.StateReady, Quarantined: v.State == repository.StateQuarantined,
			})
		}
	}
	return list
}
