package policy

import (
	"math"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// With masks, what is not allowed is neither the likeliest nor drawn, and the
// probabilities are those of the rest; without, all is allowed.
func TestDistributionMasks(t *testing.T) {
	p, err := drawnFrom(t, splitter(t, "gear", "lane")(3, 2), artifact.Distribution{Kind: "multi_categorical", Masks: true})
	if err != nil {
		t.Fatal(err)
	}
	c := p.Contract()
	if c.Masks != 5 || !slices.Equal(c.MaskParts, []int{3, 2}) {
		t.Fatalf("%d masks in parts of %v", c.Masks, c.MaskParts)
	}
	obs := []float32{3, 1, 2, 0, 4}
	const rows = 2000
	act := func(deterministic bool, mask ...float32) *Call {
		t.Helper()
		call := p.newCall(rows)
		call.Deterministic, call.Seed = deterministic, 4
		copy(call.In[0], slices.Repeat(obs, rows))
		if mask != nil {
			call.Masks = slices.Repeat(mask, rows)
			if err := c.CheckMasks(rows, call.Masks); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range c.Extras {
			call.Extras = append(call.Extras, make([]float32, rows*e.Width))
		}
		if err := p.Runner(0).Act(call); err != nil {
			t.Fatal(err)
		}
		return call
	}
	if got := act(true).Actions[:2]; !slices.Equal(got, []float32{0, 1}) {
		t.Errorf("without masks %v, want [0 1]", got)
	}
	if got := act(true, 0, 1, 1, 1, 0).Actions[:2]; !slices.Equal(got, []float32{2, 0}) {
		t.Errorf("with masks %v, want [2 0]", got)
	}
	drawn := act(false, 0, 1, 1, 1, 0)
	gears := column(drawn.Actions, 0, 2)
	q := 1 / (1 + math.Exp(1))
	fits(t, "gear", gears, []float64{1e-9, q, 1 - q})
	if lanes := column(drawn.Actions, 1, 2); slices.Max(lanes) != 0 {
		t.Error("a lane that is not allowed was drawn")
	}
	at := slices.IndexFunc(c.Extras, func(e ExtraSpec) bool { return e.Name == "distribution.probs" })
	for i, want := range []float64{0, q, 1 - q, 1, 0} {
		if got := float64(drawn.Extras[at][i]); math.Abs(got-want) > 1e-6 {
			t.Errorf("probability %d is %v, want %v", i, got, want)
		}
	}
	if p, err = drawnFrom(t, splitter(t, "gear", "lane")(3, 2), artifact.Distribution{Kind: "multi_categorical"}); err != nil || p.Contract().Masks != 0 {
		t.Errorf("without the key there are masks, or %v", err)
	}
}
