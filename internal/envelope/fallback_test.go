package envelope_test

import (
	"math"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
)

func TestFallbackWords(t *testing.T) {
	for _, word := range []string{"error", "hold", "decay", "brake", "constant"} {
		f, ok := envelope.ParseFallback(word)
		if !ok || f.String() != word {
			t.Errorf("%s is %v (%v)", word, f, ok)
		}
		if f.NeedsHistory() != (word == "hold" || word == "decay") {
			t.Errorf("%s needs history: %v", word, f.NeedsHistory())
		}
	}
	if _, ok := envelope.ParseFallback("coast"); ok {
		t.Error("coast is a fallback")
	}
	if s := envelope.Fallback(5).String(); s != "fallback 5" {
		t.Error(s)
	}
}

func TestBrakeAndConstant(t *testing.T) {
	f := func(fallback envelope.Fallback, want []float32) {
		t.Helper()
		e := make1(t, driving(fallback))
		action := []float32{0.5, 0.5, nan}
		found, refused := e.Apply(2, action, nil, nil)
		if refused != -1 || !slices.Equal(action, want) {
			t.Fatalf("%v: %v, refused %d, want %v", fallback, action, refused, want)
		}
		for i, v := range found { // every value is labelled, and those that were fine keep what they were
			from := float32(0.5)
			if v.Row != 2 || v.Value != i || v.Kind != envelope.NotFinite || v.Feature != envelope.NoFeature || v.Fallback != fallback || v.To != want[i] ||
				i < 2 && v.From != from || i == 2 && v.From == v.From {
				t.Errorf("%v: %+v", fallback, v)
			}
		}
		if len(found) != 3 {
			t.Errorf("%v: %d labels, want 3", fallback, len(found))
		}
	}
	f(envelope.FallbackBrake, []float32{0, 0.75, 0})
	f(envelope.FallbackConstant, []float32{0.25, 0.5, -1})
}

// TestBrakeIsNeutralElsewhere: zero is not within every range.
func TestBrakeIsNeutralElsewhere(t *testing.T) {
	e := make1(t, envelope.Spec{Fallback: envelope.FallbackBrake, Limits: []envelope.Limit{
		{Name: "idle", Low: 2, High: 3}, {Name: "back", Low: -3, High: -2}, {Name: "brake", Low: 0.5, High: 1}, {Name: "brake", Low: 0, High: 2},
	}})
	action := []float32{nan, 0, 0, 0}
	e.Apply(0, action, nil, nil)
	if want := []float32{2, -2, 1, 2}; !slices.Equal(action, want) {
		t.Errorf("%v, want %v", action, want)
	}
}

func TestHoldAndDecay(t *testing.T) {
	f := func(fallback envelope.Fallback, want ...float32) {
		t.Helper()
		s := driving(fallback)
		s.Limits = append(s.Limits, envelope.Limit{Name: "speed", Low: 1, High: 5})
		e := make1(t, s)
		h := envelope.NewHistory(4)
		action := []float32{1, 0, -1, 5}
		bad := func() []float32 { return []float32{nan, 0, 0, 0} }
		for _, none := range []*envelope.History{nil, h} { // nothing to hold yet
			if found, refused := e.Apply(0, bad(), none, nil); refused != 0 || len(found) > 0 {
				t.Errorf("%v without history: refused %d", fallback, refused)
			}
		}
		e.Apply(0, action, h, nil)
		for _, steps := range []int{1, 2} {
			action = bad()
			found, refused := e.Apply(0, action, h, nil)
			if refused != -1 || len(found) != 4 || found[0].Fallback != fallback {
				t.Fatalf("%v: refused %d, %+v", fallback, refused, found)
			}
			if steps == 1 {
				for i := range want {
					if math.Abs(float64(action[i]-want[i])) > 1e-6 {
						t.Errorf("%v: %v, want %v", fallback, action, want)
					}
				}
			}
		}
	}
	f(envelope.FallbackHold, 1, 0, -1, 5)
	keep := float32(math.Pow(0.5, 0.1/0.25)) // a step of 0.1 s, half in 0.25 s
	f(envelope.FallbackDecay, keep, 0, -keep, 1+4*keep)
}

// TestFallbackIsWithinBounds also when the history is of other limits.
func TestFallbackIsWithinBounds(t *testing.T) {
	h := envelope.NewHistory(2)
	make1(t, envelope.Spec{Limits: []envelope.Limit{{Low: -9, High: 9}, {Low: -9, High: 9}}}).Apply(0, []float32{9, -9}, h, nil)
	e := make1(t, envelope.Spec{Fallback: envelope.FallbackHold, Limits: []envelope.Limit{{Low: -1, High: 1}, {Low: -2, High: 2}}})
	action := []float32{nan, 0}
	if e.Apply(0, action, h, nil); !slices.Equal(action, []float32{1, -2}) {
		t.Error(action)
	}
}

// TestStreamGoesOnFromRest: what a fallback gives is not held to rate and jerk,
// and what comes after it is.
func TestStreamGoesOnFromRest(t *testing.T) {
	s := steer(1, 2, 10)
	s.Fallback, s.Constant = envelope.FallbackConstant, []float32{-1}
	e := make1(t, s)
	h := envelope.NewHistory(1)
	for _, step := range []struct{ give, want float32 }{{1, 1}, {nan, -1}, {1, -0.9}, {1, -0.7}} {
		action := []float32{step.give}
		e.Apply(0, action, h, nil)
		if math.Abs(float64(action[0]-step.want)) > 1e-6 {
			t.Errorf("%v became %v, want %v", step.give, action[0], step.want)
		}
	}
}

func TestReplaceSaysWhy(t *testing.T) {
	e := make1(t, driving(envelope.FallbackBrake))
	cause := envelope.Cause{Kind: envelope.Unlike, Feature: 4, Score: 8.5}
	action := []float32{1, 0, 1}
	found, ok := e.Replace(1, cause, action, nil, nil)
	if !ok || len(found) != 3 || found[2].Cause != cause || found[2].Row != 1 || found[2].From != 1 || found[2].To != 0 {
		t.Errorf("%v, %+v", ok, found)
	}
	e = make1(t, driving(envelope.FallbackError))
	if found, ok := e.Replace(1, cause, action, envelope.NewHistory(3), nil); ok || len(found) > 0 || !slices.Equal(action, []float32{0, 0.75, 0}) {
		t.Errorf("%v, %+v, %v", ok, found, action)
	}
}
