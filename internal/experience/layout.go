package experience

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// LayoutOf says what the values of a policy's steps mean.
func LayoutOf(c *policy.Contract, model, version, digest string) Layout {
	l := Layout{
		Model: model, Version: version, Digest: digest, Actions: []Part{},
		Recurrent: len(c.State) > 0, Stochastic: c.Stochastic, Masks: c.Masks, ControlHz: c.ControlHz,
	}
	starts := make([]int, 0, len(c.Inputs))
	at := 0
	for i := range c.Inputs {
		in := &c.Inputs[i]
		l.Inputs = append(l.Inputs, Input{Name: in.Name, Shape: slices.Clone(in.Shape), Width: in.Width})
		starts = append(starts, at)
		at += in.Width
	}
	for i := range c.Features {
		f := &c.Features[i]
		l.Features = append(l.Features, Part{
			Name: f.Name, Shape: slices.Clone(f.Shape), Unit: f.Unit, Offset: starts[f.Input] + f.Offset, Size: f.Size,
			Low: finite(f.Low), High: finite(f.High),
		})
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		l.Actions = append(l.Actions, Part{
			Name: a.Name, Shape: slices.Clone(a.Shape), Offset: a.Offset, Size: a.Size,
			Low: finite(a.Low), High: finite(a.High), Discrete: a.Discrete,
		})
	}
	return l
}

// finite is a bound, nil where there is none.
func finite(v float64) *float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	return &v
}
