package policy

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format"
)

// Space is a space of the environment in which a policy was trained, as
// gymnasium has it.
type Space struct {
	Kind  string // "Box", "Discrete", "MultiDiscrete" or "MultiBinary"
	DType string // as numpy names it: "float32"
	Shape []int  // of one value of the space; nil for a single number
	// Low and High bound each value of a Box, in row-major order; a side
	// without a bound is infinite.
	Low, High []float32
	// N are the numbers of categories: one of a Discrete, each of a
	// MultiDiscrete.
	N []int
	// Start is what the environment of a Discrete counts from. The policy
	// counts from 0.
	Start int
}

// Choices is the number of choices that value j of the feature is one of, which
// are whole numbers from 0; 0 where it is a quantity, or nobody says.
func (f *Feature) Choices(j int) int {
	if f.Space == nil {
		return 0
	}
	switch n := f.Space.N; {
	case f.Space.Kind == "MultiBinary":
		return 2
	case f.Space.Kind == "Discrete" && len(n) > 0:
		return n[0]
	case f.Space.Kind == "MultiDiscrete" && j < len(n):
		return n[j]
	}
	return 0
}

// IsChoice reports whether v is one of n choices; a NaN is none.
func IsChoice(v float32, n int) bool {
	return v >= 0 && v < float32(n) && v == float32(math.Trunc(float64(v)))
}

// keepSpaces notes the spaces of the policy's file at the features and actions
// that they are of. A card may name parts of one space: each has its own part.
func (c *Contract) keepSpaces(s *format.Spaces) {
	if s == nil {
		return
	}
	for i := range c.Features {
		if f := &c.Features[i]; f.Input < len(s.Observation) {
			f.Space = partOf(c.frameOf(s.Observation[f.Input].Space), c.Inputs[f.Input].Width, f.Offset, f.Size, f.Shape)
		}
	}
	width := c.ActionWidth()
	for i := range c.Actions {
		a := &c.Actions[i]
		a.Space = partOf(s.Action.Space, width, a.Offset, a.Size, a.Shape)
	}
}

// frameOf is the space of one frame of those that a space stacks: of a stack of
// vectors the first of them. Another stack it returns as it is.
func (c *Contract) frameOf(s format.Space) format.Space {
	if c.FrameStack < 2 || s.Kind != "Box" || len(s.Shape) != 1 {
		return s
	}
	n := s.Shape[0] / c.FrameStack
	s.Shape, s.Low, s.High = []int{n}, s.Low[:n], s.High[:n]
	return s
}

// partOf returns the part of a space of width values that begins at offset and
// has a shape, nil where the space has no such part.
func partOf(s format.Space, width, offset, size int, shape []int) *Space {
	whole := 1
	for _, n := range s.Shape {
		whole *= n
	}
	if s.Kind == "" || whole != width || offset+size > width {
		return nil
	}
	p := Space(s)
	if size == width && slices.Equal(s.Shape, shape) {
		return &p
	}
	p.Shape = slices.Clone(shape)
	switch s.Kind {
	case "Box":
		p.Low, p.High = s.Low[offset:][:size], s.High[offset:][:size]
	case "Discrete": // The card gives its one value a shape.
		p.Kind = "MultiDiscrete"
	case "MultiDiscrete":
		p.N = s.N[offset:][:size]
		if len(shape) == 0 {
			p.Kind = "Discrete"
		}
	case "MultiBinary":
		if len(shape) == 0 {
			p.Kind, p.N, p.DType = "Discrete", []int{2}, "int64"
		}
	}
	return &p
}
