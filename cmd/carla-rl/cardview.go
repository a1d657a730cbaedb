package main

import "github.com/carla-rl/carla-rl-serving/internal/artifact"

// cardView is a model card as clients see it: what the card says, under its
// own keys.
type cardView struct {
	ModelName            string             `json:"model_name"`
	Version              string             `json:"version"`
	ModelType            string             `json:"model_type"`
	Description          string             `json:"description,omitempty"`
	FrameworkVersion     string             `json:"framework_version,omitempty"`
	InputShape           []int              `json:"input_shape,omitempty"`
	OutputShape          []int              `json:"output_shape,omitempty"`
	PerformanceMetrics   map[string]float64 `json:"performance_metrics,omitempty"`
	ArtifactHashes       map[string]string  `json:"artifact_hashes,omitempty"`
	Observation          []specView         `json:"observation,omitempty"`
	Action               []specView         `json:"action,omitempty"`
	Postprocess          string             `json:"postprocess,omitempty"`
	DeterministicDefault *bool              `json:"deterministic_default,omitempty"`
	ControlHz            float64            `json:"control_hz,omitzero"`
}

// specView is one named feature or action.
type specView struct {
	Name  string   `json:"name"`
	Shape []int    `json:"shape,omitempty"`
	Unit  string   `json:"unit,omitempty"`
	Low   *float64 `json:"low,omitempty"`
	High  *float64 `json:"high,omitempty"`
}

func newCardView(c *artifact.Card) *cardView {
	v := &cardView{
		ModelName:            c.ModelName,
		Version:              c.Version,
		ModelType:            c.ModelType,
		Description:          c.Description,
		FrameworkVersion:     c.FrameworkVersion,
		InputShape:           c.InputShape,
		OutputShape:          c.OutputShape,
		PerformanceMetrics:   c.PerformanceMetrics,
		Postprocess:          c.Postprocess,
		DeterministicDefault: c.DeterministicDefault,
		ControlHz:            c.ControlHz,
	}
	if len(c.ArtifactHashes) > 0 {
		v.ArtifactHashes = make(map[string]string, len(c.ArtifactHashes))
		for _, h := range c.ArtifactHashes {
			v.ArtifactHashes[h.Name] = "sha256:" + h.SHA256
		}
	}
	for _, f := range c.Observation {
		v.Observation = append(v.Observation, specView{f.Name, f.Shape, f.Unit, f.Low, f.High})
	}
	for _, a := range c.Action {
		v.Action = append(v.Action, specView{a.Name, a.Shape, a.Unit, a.Low, a.High})
	}
	return v
}
