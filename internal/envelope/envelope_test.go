package envelope_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

// driving is the contract of a car: throttle, brake, steer.
func driving(f envelope.Fallback) envelope.Spec {
	return envelope.Spec{
		ControlHz: 10,
		Limits: []envelope.Limit{
			{Name: "throttle", Low: 0, High: 1},
			{Name: "brake", Low: 0, High: 0.75},
			{Name: "steer", Low: -1, High: 1, Rate: 2, Jerk: 10},
		},
		Fallback: f,
		Constant: []float32{0.25, 0.5, -1},
	}
}

func make1(t testing.TB, s envelope.Spec) *envelope.Envelope {
	t.Helper()
	e, err := envelope.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func steer(high, rate, jerk float64) envelope.Spec {
	return envelope.Spec{ControlHz: 10, Limits: []envelope.Limit{{Name: "steer", Low: -high, High: high, Rate: rate, Jerk: jerk}}}
}

func TestBounds(t *testing.T) {
	e := make1(t, driving(envelope.FallbackError))
	action := []float32{1.5, 0.75, -1.25}
	found, refused := e.Apply(3, action, nil, nil)
	if refused != -1 || !slices.Equal(action, []float32{1, 0.75, -1}) {
		t.Fatalf("%v, refused %d", action, refused)
	}
	want := []envelope.Intervention{
		{Row: 3, Value: 0, Cause: envelope.Cause{Kind: envelope.Bound, Feature: envelope.NoFeature}, From: 1.5, To: 1},
		{Row: 3, Value: 2, Cause: envelope.Cause{Kind: envelope.Bound, Feature: envelope.NoFeature}, From: -1.25, To: -1},
	}
	if !slices.Equal(found, want) {
		t.Errorf("found %+v\nwant %+v", found, want)
	}
	found, refused = e.Apply(0, action, nil, found)
	if refused != -1 || len(found) != len(want) {
		t.Errorf("an action within its bounds: refused %d, %d interventions", refused, len(found)-len(want))
	}
	if envelope.NoFeature >= 0 {
		t.Error("NoFeature is a feature")
	}
	if e.Width() != 3 || e.Fallback() != envelope.FallbackError {
		t.Errorf("width %d, fallback %v", e.Width(), e.Fallback())
	}
}

// TestBoundsAreOfFloat32: a bound that is no float32 is the nearest one.
func TestBoundsAreOfFloat32(t *testing.T) {
	e := make1(t, steer(0.1, 0, 0))
	action := []float32{0.1}
	if found, _ := e.Apply(0, action, nil, nil); len(found) > 0 {
		t.Errorf("0.1 within 0.1 was moved: %v", found)
	}
}

func TestWithoutBoundsAndBeyondNumbers(t *testing.T) {
	e := make1(t, envelope.Spec{ControlHz: 1, Limits: []envelope.Limit{{Low: math.Inf(-1), High: math.Inf(1), Jerk: 1}}})
	h := envelope.NewHistory(1)
	for _, v := range []float32{-math.MaxFloat32, math.MaxFloat32, -math.MaxFloat32} {
		action := []float32{v}
		found, refused := e.Apply(0, action, h, nil)
		if refused != -1 || action[0]-action[0] != 0 {
			t.Fatalf("%v became %v", v, action[0])
		}
		for _, i := range found {
			if i.To != action[0] {
				t.Errorf("said %v, gave %v", i.To, action[0])
			}
		}
	}
}

// TestRate: 2 per second at 10 Hz is 0.2 a step, in both directions, once
// there was a step.
func TestRate(t *testing.T) {
	e := make1(t, steer(1, 2, 0))
	h := envelope.NewHistory(1)
	if h.Begun() {
		t.Error("a new history has begun")
	}
	f := func(v, want float32, kind envelope.Kind) {
		t.Helper()
		action := []float32{v}
		found, refused := e.Apply(0, action, h, nil)
		if refused != -1 || action[0] != want {
			t.Errorf("%v became %v (refused %d), want %v", v, action[0], refused, want)
		}
		if kind == "" && len(found) > 0 || kind != "" && (len(found) != 1 || found[0].Kind != kind || found[0].From != v || found[0].To != want) {
			t.Errorf("%v: found %+v, want %s", v, found, kind)
		}
		if !h.Begun() {
			t.Error("the history has not begun")
		}
	}
	f(0.5, 0.5, "") // from nothing
	f(1, 0.7, envelope.Rate)
	f(0.8, 0.8, "")
	f(-1, 0.6, envelope.Rate)
	f(0.75, 0.75, "")
	f(2, 0.95, envelope.Rate)
	f(2, 1, envelope.Bound) // the rate moved it too, and the bound last
	h.Reset()
	if h.Begun() {
		t.Error("the history was not reset")
	}
	f(-1, -1, "")
}

// TestJerk: 10 per second per second at 10 Hz lets the step change by 0.1.
func TestJerk(t *testing.T) {
	e := make1(t, steer(1, 0, 10))
	h := envelope.NewHistory(1)
	f := func(v, want float32, kind envelope.Kind) {
		t.Helper()
		action := []float32{v}
		found, _ := e.Apply(0, action, h, nil)
		if math.Abs(float64(action[0]-want)) > 1e-6 {
			t.Errorf("%v became %v, want %v", v, action[0], want)
		}
		if (kind != "") != (len(found) == 1) || kind != "" && found[0].Kind != kind {
			t.Errorf("%v: found %+v, want %q", v, found, kind)
		}
	}
	f(0, 0, "")
	f(1, 0.1, envelope.Jerk) // a step of 0.1 from rest
	f(1, 0.3, envelope.Jerk) // 0.2
	f(1, 0.6, envelope.Jerk) // 0.3
	f(0, 0.8, envelope.Jerk) // no less than 0.2
	f(0.85, 0.9, envelope.Jerk)
	f(0.85, 0.9, envelope.Jerk)
	f(0.82, 0.82, "")
}

// TestLaterLimitsHold: where limits contradict each other, a rate comes before
// jerk and a bound before both.
func TestLaterLimitsHold(t *testing.T) {
	e := make1(t, steer(0.5, 2, 10))
	h := envelope.NewHistory(1)
	last := float32(0)
	for _, v := range []float32{0, 1, 1, 1, 1, 1} {
		action := []float32{v}
		e.Apply(0, action, h, nil)
		if d := action[0] - last; d > 0.2000001 {
			t.Fatalf("a step of %v", d)
		}
		last = action[0]
	}
	if last != 0.5 {
		t.Errorf("came to %v, want the bound", last)
	}
	// A history of other limits: the bound holds at once.
	wide := make1(t, steer(2, 0, 0))
	wide.Apply(0, []float32{2}, h, nil)
	action := []float32{2}
	if found, _ := e.Apply(0, action, h, nil); action[0] != 0.5 || len(found) != 1 || found[0].Kind != envelope.Bound {
		t.Errorf("%v: %+v", action, found)
	}
	// What jerk moves and the rate moves back was not changed.
	same := make1(t, envelope.Spec{ControlHz: 1, Limits: []envelope.Limit{{Low: -9, High: 9, Rate: 1, Jerk: 1}}})
	h.Reset()
	wide.Apply(0, []float32{0}, h, nil)
	wide.Apply(0, []float32{2}, h, nil) // a step of 2
	action[0] = 3
	if found, _ := same.Apply(0, action, h, nil); action[0] != 3 || len(found) != 0 {
		t.Errorf("%v: %+v", action, found)
	}
}

// TestStreamsWithoutHistory: rate and jerk need one.
func TestStreamsWithoutHistory(t *testing.T) {
	e := make1(t, steer(1, 0.1, 0.1))
	for _, v := range []float32{-1, 1, -1} {
		action := []float32{v}
		if found, refused := e.Apply(0, action, nil, nil); len(found) > 0 || refused != -1 || action[0] != v {
			t.Errorf("%v became %v", v, action[0])
		}
	}
	var none *envelope.History
	none.Reset()
}

func TestNotFiniteIsRefusedWithoutFallback(t *testing.T) {
	e := make1(t, driving(envelope.FallbackError))
	for _, bad := range []float32{nan, inf, -inf} {
		h := envelope.NewHistory(3)
		action := []float32{9, bad, 9}
		found, refused := e.Apply(0, action, h, nil)
		if refused != 1 || len(found) > 0 || action[0] != 9 || action[2] != 9 || h.Begun() {
			t.Errorf("%v: refused %d, %v, found %v", bad, refused, action, found)
		}
	}
}

func TestChoices(t *testing.T) {
	s := envelope.Spec{Limits: []envelope.Limit{{Name: "gear", Low: 0, High: 3, Discrete: true}}}
	e := make1(t, s)
	s.Fallback, s.Constant = envelope.FallbackConstant, []float32{2}
	c := make1(t, s)
	f := func(v float32, ok bool) {
		t.Helper()
		action := []float32{v}
		if found, refused := e.Apply(0, action, nil, nil); (refused == -1) != ok || len(found) > 0 || action[0] != v {
			t.Errorf("%v: refused %d, %v", v, refused, found)
		}
		found, refused := c.Apply(0, action, nil, nil)
		if ok {
			if action[0] != v || len(found) > 0 {
				t.Errorf("%v became %v", v, action)
			}
			return
		}
		if refused != -1 || action[0] != 2 || len(found) != 1 || found[0].Kind != envelope.Bound || found[0].Fallback != envelope.FallbackConstant {
			t.Errorf("%v: %v, %+v", v, action, found)
		}
	}
	f(0, true)
	f(3, true)
	f(4, false)
	f(-1, false)
}

func TestNewRefuses(t *testing.T) {
	f := func(change func(*envelope.Spec), want string) {
		t.Helper()
		s := driving(envelope.FallbackConstant)
		change(&s)
		if _, err := envelope.New(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %q", err, want)
		}
	}
	n := math.NaN()
	f(func(s *envelope.Spec) { s.ControlHz = -1 }, "no rate")
	f(func(s *envelope.Spec) { s.ControlHz = n }, "no rate")
	f(func(s *envelope.Spec) { s.ControlHz = math.Inf(1) }, "no rate")
	f(func(s *envelope.Spec) { s.Limits = nil }, "no values")
	f(func(s *envelope.Spec) { s.Limits[0].Low = 2 }, "action throttle: no value is from 2 to 1")
	f(func(s *envelope.Spec) { s.Limits[0].High = n }, "no value")
	f(func(s *envelope.Spec) { s.Limits[0].Low, s.Limits[0].High = 1e39, 1e40 }, "no value")
	f(func(s *envelope.Spec) { s.Limits[0].Low, s.Limits[0].High = -1e40, -1e39 }, "no value")
	f(func(s *envelope.Spec) { s.Limits[2].Rate = -1 }, "want 0 or more")
	f(func(s *envelope.Spec) { s.Limits[2].Jerk = n }, "want 0 or more")
	f(func(s *envelope.Spec) { s.ControlHz = 0; s.Limits[2].Jerk = 0 }, "need control_hz")
	f(func(s *envelope.Spec) { s.ControlHz = 0; s.Limits[2].Rate = 0 }, "need control_hz")
	f(func(s *envelope.Spec) { s.Limits[2].Discrete = true }, "a choice has no rate")
	f(func(s *envelope.Spec) { s.Fallback = 77 }, "fallback 77")
	f(func(s *envelope.Spec) { s.Constant = s.Constant[:2] }, "want 3 values, got 2")
	f(func(s *envelope.Spec) { s.Constant[0] = nan }, "is not from")
	f(func(s *envelope.Spec) { s.Constant[0] = 1.5 }, "1.5 for action throttle is not from 0 to 1")
	f(func(s *envelope.Spec) { s.Constant[0] = -0.5 }, "is not from")
	f(func(s *envelope.Spec) { s.Limits[0].Discrete, s.Constant[0] = true, 0.5 }, "no choice")
	f(func(s *envelope.Spec) { s.Fallback = envelope.FallbackDecay; s.ControlHz = 0; s.Limits = s.Limits[:1] }, "decay needs control_hz")
	f(func(s *envelope.Spec) { s.Fallback = envelope.FallbackDecay; s.Limits[0].Discrete = true }, "nothing between")
	f(func(s *envelope.Spec) { s.Fallback = envelope.FallbackBrake; s.Limits[0].Discrete = true }, "as a constant")
	f(func(s *envelope.Spec) { s.Fallback = envelope.FallbackBrake; s.Limits[1].Name = "halt" }, "no action is named brake")
	f(func(s *envelope.Spec) { s.Fallback = envelope.FallbackBrake; s.Limits[1].High = math.Inf(1) }, "no upper bound")
	f(func(s *envelope.Spec) { s.Fallback = envelope.FallbackBrake; s.Limits[1].High = 0 }, "no upper bound")
	for _, whole := range []float32{0, 1} {
		s := driving(envelope.FallbackConstant)
		s.Limits[0].Discrete, s.Constant[0] = true, whole
		make1(t, s)
	}
	single := envelope.Spec{Limits: []envelope.Limit{{Low: 1, High: 1}, {Low: math.MaxFloat32, High: math.Inf(1)}}}
	make1(t, single) // one value is a range
}
