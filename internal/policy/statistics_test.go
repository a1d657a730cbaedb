package policy

import (
	"math"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

func TestStatisticsOfTheCard(t *testing.T) {
	e := &artifact.Envelope{MaxZScore: 3, Statistics: []artifact.FeatureStatistics{{Feature: "pose", Mean: []float64{0, 1}, Std: []float64{0.5}}}}
	p := mustCompose(t, pedals(t, e, nil))
	got := p.Statistics(10)
	if len(got) != 2 {
		t.Fatalf("got %+v, want both values of pose and not speed, of which nothing is known", got)
	}
	pose := p.Contract().Features[slices.IndexFunc(p.Contract().Features, func(f Feature) bool { return f.Name == "pose" })]
	for i, name := range []string{"pose[0]", "pose[1]"} {
		want := ValueStatistics{Name: name, Input: pose.Input, Offset: pose.Offset + i, Mean: float64(i), Deviation: 0.5, Low: pose.Low, High: pose.High}
		if got[i] != want {
			t.Errorf("got %+v, want %+v", got[i], want)
		}
	}
	if got := p.Statistics(1); len(got) != 1 || got[0].Name != "pose[0]" {
		t.Errorf("one at most: got %+v", got)
	}
	if got := mustCompose(t, pedals(t, nil, nil)).Statistics(10); got != nil {
		t.Errorf("without statistics: got %+v", got)
	}
}

// TestStatisticsOfAnAgent: those of VecNormalize, and the bounds of the space of
// the training, to which nobody holds what is sent.
func TestStatisticsOfAnAgent(t *testing.T) {
	f := Feature{Shape: []int{2}, Size: 2, Low: math.Inf(-1), High: math.Inf(1), Space: &Space{Low: []float32{-1, -2}, High: []float32{3, 4}}}
	if low, high := f.boundsOf(1); low != -2 || high != 4 {
		t.Errorf("got %v to %v, want those of the space", low, high)
	}
	f.Low, f.High = 0, 1
	if low, high := f.boundsOf(1); low != 0 || high != 1 {
		t.Errorf("got %v to %v, want those of the contract", low, high)
	}
}
