package policy

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carla-rl/carla-rl-serving/internal/format"
)

func TestPartOfASpace(t *testing.T) {
	inf := float32(math.Inf(1))
	box := format.Space{Kind: "Box", DType: "float32", Shape: []int{4}, Low: []float32{-4.8, -inf, -0.4, -inf}, High: []float32{4.8, inf, 0.4, inf}}
	image := format.Space{Kind: "Box", DType: "uint8", Shape: []int{1, 2, 3}, Low: make([]float32, 6), High: []float32{255, 255, 255, 255, 255, 255}}
	f := func(name string, s format.Space, width, offset, size int, shape []int, want *Space) {
		t.Helper()
		if diff := cmp.Diff(want, partOf(s, width, offset, size, shape)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	f("a whole Box", box, 4, 0, 4, []int{4}, &Space{Kind: "Box", DType: "float32", Shape: []int{4}, Low: box.Low, High: box.High})
	f("one value of a Box", box, 4, 2, 1, nil, &Space{Kind: "Box", DType: "float32", Low: []float32{-0.4}, High: []float32{0.4}})
	f("two values of a Box", box, 4, 1, 2, []int{2}, &Space{Kind: "Box", DType: "float32", Shape: []int{2}, Low: []float32{-inf, -0.4}, High: []float32{inf, 0.4}})
	f("an image with its channels last", image, 6, 0, 6, []int{2, 3, 1}, &Space{Kind: "Box", DType: "uint8", Shape: []int{2, 3, 1}, Low: image.Low, High: image.High})
	f("a Discrete", format.Space{Kind: "Discrete", DType: "int64", N: []int{5}, Start: 2}, 1, 0, 1, nil, &Space{Kind: "Discrete", DType: "int64", N: []int{5}, Start: 2})
	f("a Discrete of a shape", format.Space{Kind: "Discrete", DType: "int64", N: []int{5}}, 1, 0, 1, []int{1}, &Space{Kind: "MultiDiscrete", DType: "int64", Shape: []int{1}, N: []int{5}})
	choices := format.Space{Kind: "MultiDiscrete", DType: "int64", Shape: []int{3}, N: []int{2, 3, 5}}
	f("one of several choices", choices, 3, 1, 1, nil, &Space{Kind: "Discrete", DType: "int64", N: []int{3}})
	f("two of several choices", choices, 3, 1, 2, []int{2}, &Space{Kind: "MultiDiscrete", DType: "int64", Shape: []int{2}, N: []int{3, 5}})
	switches := format.Space{Kind: "MultiBinary", DType: "int8", Shape: []int{4}}
	f("switches", switches, 4, 0, 4, []int{4}, &Space{Kind: "MultiBinary", DType: "int8", Shape: []int{4}})
	f("one switch", switches, 4, 3, 1, nil, &Space{Kind: "Discrete", DType: "int64", N: []int{2}})
	f("another width", box, 5, 0, 5, []int{5}, nil)
	f("no space", format.Space{}, 1, 0, 1, nil, nil)
}

// TestSpacesOfAContract is of the features and actions that a card names in the
// spaces of a file.
func TestSpacesOfAContract(t *testing.T) {
	c := Contract{
		Inputs:   []Input{{Width: 2}, {Width: 1}},
		Features: []Feature{{Name: "x", Size: 1}, {Name: "y", Offset: 1, Size: 1}, {Name: "gear", Input: 1, Size: 1}},
		Actions:  []Action{{Name: "left", Size: 1}, {Name: "right", Offset: 1, Size: 1}},
	}
	c.keepSpaces(nil)
	if c.Features[0].Space != nil || c.Actions[0].Space != nil {
		t.Error("there are spaces of a file that tells none")
	}
	c.keepSpaces(&format.Spaces{
		Observation: []format.SpaceDescription{
			{Space: format.Space{Kind: "Box", DType: "float64", Shape: []int{2}, Low: []float32{1, 2}, High: []float32{3, 4}}},
			{Space: format.Space{Kind: "Discrete", DType: "int64", N: []int{6}}},
		},
		Action: format.SpaceDescription{Space: format.Space{Kind: "MultiDiscrete", DType: "int64", Shape: []int{2}, N: []int{3, 4}}},
	})
	want := []*Space{{Kind: "Box", DType: "float64", Low: []float32{1}, High: []float32{3}}, {Kind: "Box", DType: "float64", Low: []float32{2}, High: []float32{4}}, {Kind: "Discrete", DType: "int64", N: []int{6}}}
	for i := range c.Features {
		if diff := cmp.Diff(want[i], c.Features[i].Space); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.Features[i].Name, diff)
		}
	}
	for i, n := range []int{3, 4} {
		if diff := cmp.Diff(&Space{Kind: "Discrete", DType: "int64", N: []int{n}}, c.Actions[i].Space); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.Actions[i].Name, diff)
		}
	}
}

// TestSpacesOfAStack is of a file whose space is of all frames together.
func TestSpacesOfAStack(t *testing.T) {
	c := Contract{FrameStack: 2, Inputs: []Input{{Width: 2}, {Width: 4}}, Features: []Feature{{Name: "x", Shape: []int{2}, Size: 2}, {Name: "map", Shape: []int{2, 2}, Input: 1, Size: 4}}}
	c.keepSpaces(&format.Spaces{Observation: []format.SpaceDescription{
		{Space: format.Space{Kind: "Box", DType: "float32", Shape: []int{4}, Low: []float32{1, 2, 1, 2}, High: []float32{3, 4, 3, 4}}},
		{Space: format.Space{Kind: "Box", DType: "float32", Shape: []int{2, 4}, Low: make([]float32, 8), High: make([]float32, 8)}},
	}})
	if diff := cmp.Diff(&Space{Kind: "Box", DType: "float32", Shape: []int{2}, Low: []float32{1, 2}, High: []float32{3, 4}}, c.Features[0].Space); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s := c.Features[1].Space; s != nil {
		t.Errorf("a frame of a matrix: %+v", s)
	}
}
