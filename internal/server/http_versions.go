package server

import "time"

// versionInfo is one entry of /versions: the ancestor's members, and the state.
type versionInfo struct {
	Version            string             `json:"version"`
	IsStable           bool               `json:"is_stable"`
	IsCurrent          bool               `json:"is_current"`
	PerformanceMetrics map[string]float64 `json:"performance_metrics"`
	ModelCard          any                `json:"model_card"`

	Model  string `json:"model"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Digest string `json:"digest,omitempty"`
	Hashed bool   `json:"hashed"`
	// Since is when the version came into its state, in seconds since 1970.
	Since float64 `json:"since,omitzero"`
	// Answers tells that the version answers for its model where a request names
	// none, and Previous that a rollback returns to it.
	Answers  bool `json:"answers"`
	Previous bool `json:"previous"`
	// UnderRoot is false for a version that is served from memory, because its
	// files are gone or were replaced.
	UnderRoot bool `json:"under_root"`
	Sessions  int  `json:"sessions"`
	// Drift tells whether it is measured; a version that is not ready has none.
	Drift *DriftStatus `json:"drift,omitempty"`
}

// modelState is one entry of the models of /versions.
type modelState struct {
	Model    string  `json:"model"`
	Version  string  `json:"version"`
	Digest   string  `json:"digest,omitempty"`
	Ready    bool    `json:"ready"`
	Since    float64 `json:"since,omitzero"` // when it took over
	Why      string  `json:"why,omitempty"`  // from what
	Previous string  `json:"previous,omitempty"`
	Pinned   bool    `json:"pinned"` // by a rollback
}

// rootState is what came of looking at the artifact root the last time.
type rootState struct {
	CheckedAt float64 `json:"checked_at,omitzero"`
	Error     string  `json:"error,omitempty"`
	PollS     float64 `json:"poll_interval_s"` // 0: it is looked at when a reload is asked for
}

type versionList struct {
	CurrentVersion    string        `json:"current_version"`
	AvailableVersions []versionInfo `json:"available_versions"`
	SelectionStrategy string        `json:"selection_strategy"`
	ArtifactsRoot     string        `json:"artifacts_root"`
	CurrentModel      string        `json:"current_model"`
	Models            []modelState  `json:"models"`
	Root              rootState     `json:"root"`
}

// seconds is a time in seconds since 1970, 0 for none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

func (x *exchange) versions() error {
	l := x.s.backend.Listing()
	list := versionList{
		CurrentVersion: l.Current, SelectionStrategy: l.Strategy, ArtifactsRoot: l.Root, CurrentModel: l.Model,
		AvailableVersions: []versionInfo{}, Models: []modelState{},
		Root: rootState{CheckedAt: seconds(l.CheckedAt), Error: l.Trouble, PollS: l.Poll.Seconds()},
	}
	sessions := x.s.o.Sessions.Count()
	for i := range l.Versions {
		v := &l.Versions[i]
		metrics := v.Metrics
		if metrics == nil {
			metrics = map[string]float64{}
		}
		list.AvailableVersions = append(list.AvailableVersions, versionInfo{
			Version: v.Version, IsStable: v.Stable, IsCurrent: v.Model == l.Model && v.Answers,
			PerformanceMetrics: metrics, ModelCard: v.Card,
			Model: v.Model, State: v.State, Reason: v.Reason, Digest: v.Digest, Hashed: v.Hashed,
			Since: seconds(v.Since), Answers: v.Answers, Previous: v.Previous, UnderRoot: !v.Kept,
			Sessions: sessions[[3]string{v.Model, v.Version, v.Digest}], Drift: v.Drift,
		})
	}
	for _, m := range l.Models {
		list.Models = append(list.Models, modelState{
			Model: m.Model, Version: m.Version, Digest: m.Digest, Ready: m.Ready, Since: seconds(m.Since), Why: m.Why, Previous: m.Previous, Pinned: m.Pinned,
		})
	}
	return x.answer(&list)
}
