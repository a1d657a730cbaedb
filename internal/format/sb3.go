package format

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// agentNetwork is an agent of Stable-Baselines3.
type agentNetwork struct {
	p           *sb3.Policy
	description Description
}

func newAgent(p *sb3.Policy) *agentNetwork { return &agentNetwork{p, describeAgent(p)} }

// Lower makes the graph of predict.
func (n *agentNetwork) Lower(o LowerOptions) (*graph.Graph, error) {
	if o.Method != "" && o.Method != "forward" {
		return nil, fmt.Errorf("method %q: an agent of Stable-Baselines3 has only forward", o.Method)
	}
	return n.p.Lower(sb3.LowerOptions{Deterministic: o.Deterministic, InputShapes: o.InputShapes, ActionMasks: o.ActionMasks, Rows: o.Rows})
}

// Describe tells what the zip holds.
func (n *agentNetwork) Describe() Description { return n.description }

func describeAgent(p *sb3.Policy) Description {
	d := Description{
		Format:      "stable-baselines3",
		Producer:    "Stable-Baselines3",
		Methods:     []string{"forward"},
		HasSampling: p.HasSampling(),

		Distribution: p.Distribution(),

		Recurrent:   p.Recurrent,
		ActionMasks: p.ActionMasks(),
		MaskParts:   p.MaskParts(),
		Spaces:      &Spaces{Action: spaceDescription("", p.Action), Named: p.Observation.Kind == sb3.Dict},
	}
	if p.Version != "" {
		d.Producer += " " + p.Version
	}
	for _, in := range p.Inputs() {
		d.Inputs = append(d.Inputs, InputDescription{in.Name, graph.Float32, in.Shape})
		d.Spaces.Observation = append(d.Spaces.Observation, spaceDescription(in.Name, in.Space))
	}
	describeTensors(&d, p.Weights)
	d.Layers = []string{
		fmt.Sprintf("%s (%s)", p.Algorithm, p.PolicyClass),
		"observation: " + p.Observation.String(),
		"action: " + p.Action.String(),
		fmt.Sprintf("net_arch %s, activation %s", p.NetArch, p.Activation),
	}
	if p.UseSDE {
		d.Layers = append(d.Layers, "generalized state-dependent exploration")
		if p.HasSampling() {
			d.Notes = append(d.Notes, "gSDE: its noise is drawn anew for each observation; the library keeps it for some steps.")
		}
	}
	for _, in := range p.Inputs() {
		if in.Space.Image() {
			d.Notes = append(d.Notes, fmt.Sprintf("Images of %s are taken with the channels last, %v, unless a shape says otherwise.", in.Name, []int(in.Shape[1:])))
		}
	}
	d.Notes = append(d.Notes, p.Notes...)
	return d
}

// spaceDescription gives the bounds that hold for every value of a space.
func spaceDescription(name string, s *sb3.Space) SpaceDescription {
	d := SpaceDescription{Name: name, Text: s.String(), Image: s.Image(), Low: math.Inf(-1), High: math.Inf(1)}
	d.Space = Space{Kind: string(s.Kind), DType: s.DType, Shape: s.Shape, Low: s.Low, High: s.High, N: s.N, Start: s.Start}
	switch s.Kind {
	case sb3.Box:
		low, high := s.Low[0], s.High[0]
		for i := range s.Low {
			low, high = min(low, s.Low[i]), max(high, s.High[i])
		}
		d.Low, d.High = float64(low), float64(high)
	case sb3.Discrete, sb3.MultiDiscrete:
		most := 0
		for _, n := range s.N {
			most = max(most, n)
		}
		d.Categories, d.Low, d.High = true, 0, float64(most-1)
		d.Space.DType = "int64"
	case sb3.MultiBinary:
		d.Categories, d.Low, d.High = true, 0, 1
		d.Space.DType = "int8"
	}
	return d
}
