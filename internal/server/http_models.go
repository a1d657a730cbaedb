package server

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// metadata is what a client needs to build the spaces of a policy and to drive
// it: the ancestor's members first, from the contract of the version that
// answers, then what those do not tell. A bound that is null is infinite.
type metadata struct {
	ModelName   string                 `json:"modelName"`
	Version     string                 `json:"version"`
	Device      string                 `json:"device"`
	InputShape  []int                  `json:"inputShape"`
	ActionSpace map[string][2]*float64 `json:"actionSpace"`

	Observation          []featureInfo `json:"observation"`
	Action               []actionInfo  `json:"action"`
	Named                bool          `json:"named"`
	Stochastic           bool          `json:"stochastic"`
	DeterministicDefault bool          `json:"deterministicDefault"`
	Digest               string        `json:"digest,omitempty"`

	Name      string     `json:"name"` // as KServe's first protocol has it
	Ready     bool       `json:"ready"`
	Batchable bool       `json:"batchable"`
	Recurrent bool       `json:"recurrent"` // the policy keeps state
	State     *stateInfo `json:"state"`
	// FrameStack is the number of frames that the network sees, where the
	// policy stacks them: a client sends one.
	FrameStack int           `json:"frameStack,omitzero"`
	Masks      *masksInfo    `json:"masks"`
	ControlHz  float64       `json:"controlHz,omitzero"`
	Envelope   *envelopeInfo `json:"envelope"`
	MaxRows    int           `json:"maxRows"`
	// Distribution is the kind that actions are drawn from.
	Distribution string `json:"distribution,omitempty"`
	// Return is what the member "return" of a request may ask for.
	Return          []string `json:"return"`
	OnVersionChange string   `json:"onVersionChange,omitempty"`
}

type featureInfo struct {
	Name  string   `json:"name"`
	Shape []int    `json:"shape"`
	Unit  string   `json:"unit,omitempty"`
	Low   *float64 `json:"low"`
	High  *float64 `json:"high"`
	// Image tells that the values are those of a uint8 image, 0 to 255.
	Image bool `json:"image,omitzero"`
	// Channels is where an image has them: "last" or "first".
	Channels string     `json:"channels,omitempty"`
	Space    *spaceInfo `json:"space,omitempty"`
}

type actionInfo struct {
	Name     string     `json:"name,omitempty"`
	Shape    []int      `json:"shape"`
	Low      *float64   `json:"low"`
	High     *float64   `json:"high"`
	Discrete bool       `json:"discrete"`
	Space    *spaceInfo `json:"space,omitempty"`
}

// spaceInfo is a space in gymnasium's words.
type spaceInfo struct {
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	DType string `json:"dtype"`
	// Low and High are a number, or null for an infinite bound, that holds for
	// every value of a Box; or a flat list with one for each in row-major order.
	Low  any `json:"low,omitzero"`
	High any `json:"high,omitzero"`
	// N is the number of choices of a Discrete, counted from Start.
	N     int `json:"n,omitzero"`
	Start int `json:"start,omitzero"`
	// NVec has the number of choices of each value of a MultiDiscrete.
	NVec []int `json:"nvec,omitzero"`
}

type stateInfo struct {
	Width int         `json:"width"` // values of one row
	Parts []statePart `json:"parts"`
}

type statePart struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
}

type masksInfo struct {
	Width int   `json:"width"` // values of one row
	Parts []int `json:"parts"` // of each of which one action is taken
}

type envelopeInfo struct {
	Limits   []limitInfo `json:"limits"` // one for each value of an action
	Fallback string      `json:"fallback"`
	Constant []float32   `json:"constant,omitempty"`
	// NeedsHistory tells that rate, jerk or the fallback are counted from the
	// action before, which sessions, streams and the state of a request have.
	NeedsHistory bool `json:"needsHistory"`
}

type limitInfo struct {
	Action string   `json:"action"`
	Low    *float64 `json:"low"`
	High   *float64 `json:"high"`
	Rate   float64  `json:"rate,omitzero"` // in a second
	Jerk   float64  `json:"jerk,omitzero"` // in a second, of the rate
}

// bounded returns a bound, nil for one that is infinite.
func bounded(v float64) *float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	return &v
}

// metadata answers the contract of the version that the path names, of the
// default one of the default model where it names none.
func (x *exchange) metadata() error {
	if err := x.resolve(); err != nil {
		return err
	}
	return x.answer(x.s.describe(&x.target))
}

// describe makes the metadata of a version.
func (s *Server) describe(t *Target) *metadata {
	c := t.Contract
	m := &metadata{
		ModelName: t.Model, Version: t.Version, Device: s.o.Device, ActionSpace: map[string][2]*float64{},
		Named: c.Named, Stochastic: c.Stochastic, DeterministicDefault: c.DeterministicDefault,
		Name: t.Model, Ready: true, Batchable: c.Batchable, ControlHz: c.ControlHz, MaxRows: s.limits.MaxRows,
		State: describeState(c), Masks: describeMasks(c), Envelope: describeEnvelope(c),
		Recurrent: len(c.State) > 0, FrameStack: c.FrameStack, Distribution: c.Distribution, Return: returnable(c), OnVersionChange: c.OnVersionChange,
	}
	for _, v := range s.backend.Listing().Versions {
		if v.Model == t.Model && v.Version == t.Version && (m.Digest == "" || v.Digest == t.Digest) {
			m.InputShape, m.Digest = v.InputShape, v.Digest
		}
	}
	if m.InputShape == nil {
		m.InputShape = inputShape(c)
	}
	for i := range c.Features {
		f := &c.Features[i]
		m.Observation = append(m.Observation, featureInfo{
			Name: f.Name, Shape: shapeOf(f.Shape), Unit: f.Unit, Low: bounded(f.Low), High: bounded(f.High),
			Image: f.Image, Channels: channels(f), Space: featureSpace(f),
		})
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		m.Action = append(m.Action, actionInfo{
			Name: a.Name, Shape: shapeOf(a.Shape), Low: bounded(a.Low), High: bounded(a.High), Discrete: a.Discrete, Space: actionSpace(c, a),
		})
		m.ActionSpace[actionName(c, i)] = [2]*float64{bounded(a.Low), bounded(a.High)}
	}
	return m
}

// channels tells where the channels of an image lie, "" for what is none.
func channels(f *policy.Feature) string {
	s := f.Space
	switch {
	case f.Image:
		return "last"
	case s == nil || s.Kind != "Box" || s.DType != "uint8" || len(f.Shape) != 3:
		return ""
	case f.Shape[0] < f.Shape[1] && f.Shape[0] < f.Shape[2]:
		return "first"
	case f.Shape[2] < f.Shape[0] && f.Shape[2] < f.Shape[1]:
		return "last"
	}
	return ""
}

// featureSpace is the space of a feature: that of the policy's file, else a Box
// of what the contract takes.
func featureSpace(f *policy.Feature) *spaceInfo {
	switch {
	case f.Space != nil:
		return describeSpace(f.Space)
	case f.Image:
		return &spaceInfo{Type: "Box", Shape: shapeOf(f.Shape), DType: "uint8", Low: 0, High: 255}
	}
	return boxOf(f.Shape, f.Low, f.High)
}

// actionSpace is the space of an action: that of the policy's file, else what
// the contract says of it, nil where that is not the number of choices.
func actionSpace(c *policy.Contract, a *policy.Action) *spaceInfo {
	switch {
	case a.Space != nil:
		return describeSpace(a.Space)
	case !a.Discrete:
		return boxOf(a.Shape, a.Low, a.High)
	}
	var n []int
	switch {
	case len(c.MaskParts) == c.ActionWidth():
		n = c.MaskParts[a.Offset:][:a.Size]
	case a.Low == 0 && bounded(a.High) != nil:
		for range a.Size {
			n = append(n, int(a.High)+1)
		}
	default:
		return nil
	}
	s := policy.Space{Kind: "MultiDiscrete", DType: "int64", Shape: a.Shape, N: n}
	if len(a.Shape) == 0 {
		s.Kind = "Discrete"
	}
	return describeSpace(&s)
}

func boxOf(shape []int, low, high float64) *spaceInfo {
	return &spaceInfo{Type: "Box", Shape: shapeOf(shape), DType: "float32", Low: bounded(low), High: bounded(high)}
}

func describeSpace(s *policy.Space) *spaceInfo {
	d := &spaceInfo{Type: s.Kind, Shape: shapeOf(s.Shape), DType: s.DType, Start: s.Start}
	switch s.Kind {
	case "Box":
		d.Low, d.High = boundsOf(s.Low), boundsOf(s.High)
	case "Discrete":
		d.N = s.N[0]
	case "MultiDiscrete":
		d.NVec = s.N
	}
	return d
}

// boundsOf is one bound where all values have the same, else the list of them.
func boundsOf(values []float32) any {
	list := make([]*float32, len(values))
	same := true
	for i, v := range values {
		if v-v == 0 {
			list[i] = &v
		}
		same = same && v == values[0]
	}
	if same && len(list) > 0 {
		return list[0]
	}
	return list
}

func describeState(c *policy.Contract) *stateInfo {
	if len(c.State) == 0 {
		return nil
	}
	d := &stateInfo{}
	for i := range c.State {
		d.Width += c.State[i].Width
		d.Parts = append(d.Parts, statePart{c.State[i].Name, shapeOf(c.State[i].Shape)})
	}
	return d
}

func describeMasks(c *policy.Contract) *masksInfo {
	if c.Masks == 0 {
		return nil
	}
	return &masksInfo{c.Masks, c.MaskParts}
}

func describeEnvelope(c *policy.Contract) *envelopeInfo {
	e := c.Envelope
	if e == nil {
		return nil
	}
	d := &envelopeInfo{Fallback: e.Fallback.String(), NeedsHistory: c.NeedsHistory()}
	if e.Fallback == envelope.FallbackConstant {
		d.Constant = e.Constant
	}
	for i := range e.Limits {
		l := &e.Limits[i]
		d.Limits = append(d.Limits, limitInfo{c.ActionName(i), bounded(l.Low), bounded(l.High), l.Rate, l.Jerk})
	}
	return d
}

// modelInfo is one entry of /v1/models.
type modelInfo struct {
	Name    string `json:"name"`
	Default bool   `json:"default"` // answers where no model is named
	Ready   bool   `json:"ready"`
	// Current is the version that answers where none is named, "" where none
	// can.
	Current  string         `json:"current,omitempty"`
	Versions []modelVersion `json:"versions"` // newest first
}

type modelVersion struct {
	Version string `json:"version"`
	State   string `json:"state"`
	Ready   bool   `json:"ready"`
	Stable  bool   `json:"stable"`
	Reason  string `json:"reason,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// models answers the models that there are.
func (x *exchange) models() error {
	l := x.s.backend.Listing()
	list := []*modelInfo{}
	var m *modelInfo
	for i := range l.Versions {
		v := &l.Versions[i]
		if m == nil || m.Name != v.Model {
			m = &modelInfo{Name: v.Model, Default: v.Model == l.Model}
			if t, err := x.s.backend.Resolve(v.Model, ""); err == nil {
				m.Ready, m.Current = true, t.Version
			}
			list = append(list, m)
		}
		m.Versions = append(m.Versions, modelVersion{v.Version, v.State, v.Ready, v.Stable, v.Reason, v.Digest})
	}
	return x.answer(map[string]any{"models": list})
}
