package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The ancestor's API fixed the names and ranges of its observation and action
// for every model; an artifact that says nothing else has them still.
var (
	ancestorFeatures = []string{"speed", "steering", "sensors"}
	ancestorBounds   = map[string][2]float64{"speed": {0, 200}, "steering": {-1, 1}, "sensors": {-1000, 1000}}
	ancestorUnits    = map[string]string{"speed": "km/h"}
	ancestorActions  = []Action{
		{Name: "throttle", Low: 0, High: 1, Offset: 0, Size: 1},
		{Name: "brake", Low: 0, High: 1, Offset: 1, Size: 1},
		{Name: "steer", Low: -1, High: 1, Offset: 2, Size: 1},
	}
)

// infer fills in the contract from the card, the preprocessor and the network,
// in that order of precedence, and refuses sources that disagree.
func (c *Contract) infer(src *sources, network *lowered, notes *[]string) error {
	if err := c.inferInputs(src, network); err != nil {
		return err
	}
	if err := c.inferActions(src, network, notes); err != nil {
		return err
	}
	if err := c.inferFeatures(src, notes); err != nil {
		return err
	}
	if d := src.card.DeterministicDefault; d != nil {
		c.DeterministicDefault = *d
	}
	c.OnVersionChange = cmp.Or(src.card.OnVersionChange, "drain")
	return nil
}

func (c *Contract) inferInputs(src *sources, network *lowered) error {
	for _, v := range network.observation {
		row, ok := network.inputRow(v)
		if !ok {
			return fmt.Errorf("input %s has the shape %v, which is not one row an observation", v.Name, v.Shape)
		}
		c.Inputs = append(c.Inputs, Input{Name: v.Name, Shape: row, Width: product(row), DType: v.DType})
	}
	if f := src.frames; f != nil && f.normalizeFirst {
		c.unstackInputs(f)
	}
	if src.preprocessor != nil {
		if err := c.preprocessedInputs(src.preprocessor); err != nil {
			return err
		}
	}
	if f := src.frames; f != nil && !f.normalizeFirst {
		c.unstackInputs(f)
	}
	if len(c.Inputs) != 1 {
		return nil
	}
	if s := src.card.InputShape; len(s) > 0 && product(s) != c.Inputs[0].Width {
		if src.frames != nil {
			return fmt.Errorf("%w: model_card.yaml says input_shape %v; with frame_stack %d one frame is sent, of shape %v", errDisagree, s, src.frames.frames, c.Inputs[0].Shape)
		}
		return fmt.Errorf("%w: model_card.yaml says input_shape %v, the network takes %v", errDisagree, s, c.Inputs[0].Shape)
	}
	return nil
}

// unstackInputs makes the inputs those of one frame.
func (c *Contract) unstackInputs(f *frameStack) {
	for i := range c.Inputs {
		in := &c.Inputs[i]
		in.Shape, in.Width = f.inputs[i].frame, product(f.inputs[i].frame)
	}
}

// preprocessedInputs holds the inputs of the network to what the preprocessor
// gives, and makes them what it takes: those are what a caller sends.
func (c *Contract) preprocessedInputs(p *preprocess.Preprocessor) error {
	switch {
	case p.Identity():
		return nil
	case len(p.Keys()) > 0:
		for _, name := range p.Keys() {
			i := slices.IndexFunc(c.Inputs, func(in Input) bool { return in.Name == name })
			if i < 0 {
				return fmt.Errorf("%w: the preprocessor normalises %s, which is no input of the network", errDisagree, name)
			}
			if w := p.KeyWidth(name); w != c.Inputs[i].Width {
				return fmt.Errorf("%w: the preprocessor takes %d values of %s, the network %v", errDisagree, w, name, c.Inputs[i].Shape)
			}
		}
		return nil
	case len(c.Inputs) != 1:
		return fmt.Errorf("the preprocessor takes one row and the network %d inputs", len(c.Inputs))
	}
	in := &c.Inputs[0]
	w := p.Width()
	if gives := p.OutputWidth(w); w > 0 && gives != in.Width {
		return fmt.Errorf("%w: the preprocessor gives %d features, the network takes %v", errDisagree, gives, in.Shape)
	}
	if w > 0 && w != in.Width {
		in.Shape, in.Width = []int{w}, w
	}
	in.DType = graph.Float32
	return nil
}

func (c *Contract) inferFeatures(src *sources, notes *[]string) error {
	switch {
	case len(src.card.Observation) > 0:
		return c.declaredFeatures(src)
	case len(c.Inputs) != 1 || src.spaces != nil && src.spaces.Named:
		// The network's own inputs are the features of the observation.
		c.Named = true
		for i, in := range c.Inputs {
			low, high := src.observationBounds(i)
			c.Features = append(c.Features, Feature{Name: in.Name, Shape: in.Shape, Low: low, High: high, Input: i, Size: in.Width, Image: src.image(i, in.Shape)})
		}
		return nil
	case c.namesAncestorFeatures(src):
		*notes = append(*notes, "observation: inferred as speed, steering and sensors, with the ancestor's ranges (the card has no `observation`)")
		c.Named = true
		for i, name := range ancestorFeatures {
			f := Feature{Name: name, Unit: ancestorUnits[name], Low: ancestorBounds[name][0], High: ancestorBounds[name][1], Offset: i, Size: 1}
			if name == "sensors" {
				f.Size = c.Inputs[0].Width - i
				f.Shape = []int{f.Size}
			}
			c.Features = append(c.Features, f)
		}
		return nil
	}
	in := c.Inputs[0]
	low, high := src.observationBounds(0)
	c.Features = []Feature{{Name: in.Name, Shape: in.Shape, Low: low, High: high, Size: in.Width, Image: src.image(0, in.Shape)}}
	return nil
}

// image tells whether an input is an image that the network takes with the
// channels last.
func (s *sources) image(input int, shape []int) bool {
	if s.spaces == nil || input >= len(s.spaces.Observation) || !s.spaces.Observation[input].Image || len(shape) != 3 {
		return false
	}
	return shape[2] < shape[0] && shape[2] < shape[1]
}

// observationBounds are those of an input without a card. Categories and bytes
// have them, since there is no other; the bounds of continuous observations are
// not held to, as those of gymnasium are not.
func (s *sources) observationBounds(input int) (low, high float64) {
	if s.spaces != nil && input < len(s.spaces.Observation) {
		switch d := &s.spaces.Observation[input]; {
		case d.Categories:
			return d.Low, d.High
		case d.Space.DType == "uint8":
			return 0, math.MaxUint8
		}
	}
	return math.Inf(-1), math.Inf(1)
}

// ancestral tells whether an artifact is of the ancestor's form: a card that
// declares neither observation nor action, one flat input of at least its
// three features, and three actions.
func (c *Contract) ancestral(src *sources, actions int) bool {
	// Choices, and draws from a range of their own, are not the ancestor's.
	if n := src.drawn(); n != nil && n.spec.Low != nil || slices.ContainsFunc(c.Actions, func(a Action) bool { return a.Discrete }) {
		return false
	}
	return src.spaces == nil && src.card.Present && len(src.card.Observation) == 0 && len(src.card.Action) == 0 &&
		len(c.Inputs) == 1 && len(c.Inputs[0].Shape) == 1 && c.Inputs[0].Width >= len(ancestorFeatures) &&
		actions == len(ancestorActions)
}

// namesAncestorFeatures tells whether the one flat input is speed, steering
// and sensors: because the preprocessor says so, or by the form of the
// artifact.
func (c *Contract) namesAncestorFeatures(src *sources) bool {
	if src.preprocessor != nil && len(src.preprocessor.Features()) > 0 {
		return slices.Equal(src.preprocessor.Features(), ancestorFeatures)
	}
	return c.ancestral(src, c.ActionWidth())
}

func (c *Contract) declaredFeatures(src *sources) error {
	c.Named = true
	if src.preprocessor != nil && len(src.preprocessor.Features()) > 0 {
		var names []string
		for _, f := range src.card.Observation {
			names = append(names, f.Name)
		}
		if !slices.Equal(names, src.preprocessor.Features()) {
			return fmt.Errorf("%w: model_card.yaml says the observation is %v, the preprocessor says %v", errDisagree, names, src.preprocessor.Features())
		}
	}
	offset := 0
	for _, spec := range src.card.Observation {
		f := Feature{Name: spec.Name, Shape: spec.Shape, Unit: spec.Unit, Low: bound(spec.Low, -1), High: bound(spec.High, 1), Size: product(spec.Shape)}
		if len(c.Inputs) == 1 {
			f.Offset = offset
			offset += f.Size
		} else {
			f.Input = slices.IndexFunc(c.Inputs, func(in Input) bool { return in.Name == spec.Name })
			if f.Input < 0 {
				return fmt.Errorf("%w: model_card.yaml names the feature %s, which is no input of the network", errDisagree, spec.Name)
			}
			if w := c.Inputs[f.Input].Width; f.Size != w {
				return fmt.Errorf("%w: model_card.yaml says feature %s has %d values, the network's input has %d", errDisagree, spec.Name, f.Size, w)
			}
		}
		c.Features = append(c.Features, f)
	}
	if len(c.Inputs) == 1 && offset != c.Inputs[0].Width {
		return fmt.Errorf("%w: the observation of model_card.yaml has %d values, the network takes %v", errDisagree, offset, c.Inputs[0].Shape)
	}
	if len(c.Inputs) > 1 && len(c.Features) != len(c.Inputs) {
		return fmt.Errorf("%w: model_card.yaml names %d features, the network has %d inputs", errDisagree, len(c.Features), len(c.Inputs))
	}
	return nil
}

func (c *Contract) inferActions(src *sources, network *lowered, notes *[]string) error {
	out := network.action.Value
	row, ok := network.row(out)
	if !ok {
		return fmt.Errorf("output %s has the shape %v, which is not one row an observation", network.action.Name, out.Shape)
	}
	width := product(row)
	if s := src.card.OutputShape; len(s) > 0 && product(s) != width {
		return fmt.Errorf("%w: model_card.yaml says output_shape %v, the network gives %v", errDisagree, s, row)
	}
	discrete := !out.DType.IsFloat()
	switch {
	case len(src.card.Action) > 0:
		offset := 0
		for _, spec := range src.card.Action {
			if spec.Discrete && !discrete {
				return fmt.Errorf("%w: model_card.yaml says action %s is discrete, the network gives %v numbers with fractions", errDisagree, spec.Name, out.DType)
			}
			a := Action{Name: spec.Name, Shape: spec.Shape, Low: bound(spec.Low, -1), High: bound(spec.High, 1), Discrete: discrete, Offset: offset, Size: product(spec.Shape)}
			offset += a.Size
			c.Actions = append(c.Actions, a)
		}
		if offset != width {
			return fmt.Errorf("%w: the action of model_card.yaml has %d values, the network gives %v", errDisagree, offset, row)
		}
	case src.spaces != nil:
		a := src.spaces.Action
		c.Actions = []Action{{Shape: row, Low: a.Low, High: a.High, Discrete: discrete, Size: width}}
	case discrete && src.drawn() != nil:
		c.Actions = []Action{{Shape: row, High: float64(src.drawn().most()), Discrete: true, Size: width}}
	case discrete:
		c.Actions = []Action{{Shape: row, Low: math.Inf(-1), High: math.Inf(1), Discrete: true, Size: width}}
	case c.ancestral(src, width):
		*notes = append(*notes, "action: inferred as throttle, brake and steer, clipped to their ranges as the ancestor does (the card has no `action`)")
		c.Actions = slices.Clone(ancestorActions)
	default:
		c.Actions = []Action{{Shape: row, Low: math.Inf(-1), High: math.Inf(1), Size: width}}
	}
	if src.card.Postprocess == "unscale" || src.card.Postprocess == "clip" {
		for i := range c.Actions {
			if a := &c.Actions[i]; math.IsInf(a.Low, 0) || math.IsInf(a.High, 0) {
				return fmt.Errorf("model_card.yaml: postprocess %s needs low and high of every action; action %q lacks one", src.card.Postprocess, a.Name)
			}
		}
	}
	return nil
}

// bound is the declared bound, or infinity on the side of sign.
func bound(declared *float64, sign int) float64 {
	if declared != nil {
		return *declared
	}
	return math.Inf(sign)
}

// rowShape is the shape of one row of a value, nil for a single number.
func rowShape(s graph.Shape) []int {
	if len(s) == 1 {
		return nil
	}
	return slices.Clone([]int(s[1:]))
}
