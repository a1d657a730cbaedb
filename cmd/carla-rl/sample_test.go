package main

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

func openTestPolicy(t *testing.T, path, vecNormalize string) *policy.Policy {
	t.Helper()
	p, err := openPolicy(filepath.FromSlash(path), "", filepath.FromSlash(vecNormalize), nil, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSamplesKeepToTheContract(t *testing.T) {
	for _, path := range []string{
		"../../internal/demo/artifact",
		"../../internal/format/sb3/testdata/ppo_dict/model.zip",
		"../../internal/format/sb3/testdata/ppo_images/model.zip",
		"../../internal/format/sb3/testdata/dqn/model.zip",
	} {
		p := openTestPolicy(t, path, "")
		o := newSampler(p, 1).sample(200)
		if err := p.Contract().Check(200, o.in); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if again := newSampler(p, 1).sample(200); !slices.Equal(o.in[0], again.in[0]) {
			t.Errorf("%s: the same seed draws other observations", path)
		}
		if other := newSampler(p, 2).sample(200); slices.Equal(o.in[0], other.in[0]) {
			t.Errorf("%s: another seed draws the same observations", path)
		}
		if slices.Max(o.in[0]) == slices.Min(o.in[0]) {
			t.Errorf("%s: all values are %v", path, o.in[0][0])
		}
	}
}

func TestSamplesOfImagesAreWholeNumbers(t *testing.T) {
	p := openTestPolicy(t, "../../internal/format/sb3/testdata/ppo_images/model.zip", "")
	o := newSampler(p, 1).sample(3)
	high := float32(0)
	for _, f := range o.in[0] {
		if f != float32(math.Trunc(float64(f))) || f < 0 || f > 255 {
			t.Fatalf("a pixel is %v", f)
		}
		high = max(high, f)
	}
	if high < 200 {
		t.Errorf("the brightest pixel is %v", high)
	}
}

// TestSamplesAreThoseOfTheNormaliser finds mean and deviation in a graph.
func TestSamplesAreThoseOfTheNormaliser(t *testing.T) {
	g := graph.New("")
	x := g.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})
	add := func(op graph.Op, a *graph.Value, b ...float32) *graph.Value {
		v, err := g.Add(op, nil, a, g.Constant("", graph.Float32s(b, len(b))))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	y := add(graph.OpMul, add(graph.OpDiv, add(graph.OpSub, x, 100, -5), 4, 0.5), 2)
	g.Output("y", y)
	spans := make([]span, 2)
	statistics(g, x, spans)
	if spans[0].mean != 100 || spans[0].std != 2 || spans[1].mean != -5 || spans[1].std != 0.25 {
		t.Errorf("statistics = %+v, want 100 and -5 with the deviations 2 and 0.25", spans)
	}

	// A scale alone, as of images, is no statistic.
	g = graph.New("")
	x = g.Input("x", graph.Float32, graph.Shape{graph.Batch, 2})
	g.Output("y", add(graph.OpDiv, x, 255))
	spans = make([]span, 2)
	if statistics(g, x, spans); spans[0].std != 0 {
		t.Errorf("statistics of a scale = %+v", spans)
	}
}

func TestMasksLeaveAChoice(t *testing.T) {
	p := openTestPolicy(t, "../../internal/format/sb3/testdata/maskable_multidiscrete/model.zip", "")
	s := newSampler(p, 1)
	o := s.sample(100)
	s.mask(o)
	c := p.Contract()
	closed := 0
	for row := range o.rows {
		masks := o.masks[row*c.Masks:][:c.Masks]
		for _, n := range c.MaskParts {
			if slices.Max(masks[:n]) != 1 {
				t.Fatalf("row %d leaves no choice: %v of %v", row, o.masks[row*c.Masks:][:c.Masks], c.MaskParts)
			}
			if slices.Min(masks[:n]) == 0 {
				closed++
			}
			masks = masks[n:]
		}
	}
	if closed == 0 {
		t.Error("nothing is ever masked")
	}
}
