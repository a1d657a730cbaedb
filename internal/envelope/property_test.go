package envelope_test

import (
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
)

// proofs is how many actions TestNothingUnsafeLeaves goes through: `make prove`
// asks for a million.
var proofs = flag.Int("proofs", 100_000, "actions of TestNothingUnsafeLeaves")

// strange are values that arithmetic goes wrong on.
var strange = []float32{nan, inf, -inf, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0, float32(math.Copysign(0, -1)), 1, -1, 0x1p-126}

func draw(r *rand.Rand) float32 {
	switch r.IntN(4) {
	case 0:
		return strange[r.IntN(len(strange))]
	case 1:
		return math.Float32frombits(r.Uint32())
	}
	return float32(r.NormFloat64())
}

// drawSpec returns a spec that New may refuse.
func drawSpec(r *rand.Rand) envelope.Spec {
	s := envelope.Spec{ControlHz: []float64{1, 20, 1e6, 1e-300}[r.IntN(4)], Fallback: envelope.Fallback(r.IntN(5))}
	for range 1 + r.IntN(4) {
		l := envelope.Limit{Name: []string{"brake", "steer"}[r.IntN(2)], Low: math.Inf(-1), High: math.Inf(1)}
		if r.IntN(4) > 0 {
			l.Low, l.High = -math.Abs(r.NormFloat64()), math.Abs(r.NormFloat64())
		}
		if r.IntN(8) == 0 {
			l.Low = float64(draw(r))
		}
		if l.Discrete = r.IntN(8) == 0; !l.Discrete {
			l.Rate = []float64{0, 0, 1, 1e-300, math.MaxFloat64}[r.IntN(5)]
			l.Jerk = []float64{0, 0, 1, 1e-300, math.MaxFloat64}[r.IntN(5)]
		}
		s.Limits = append(s.Limits, l)
		s.Constant = append(s.Constant, 0)
	}
	return s
}

// hold tells what is wrong with an action that left the envelope.
func hold(t *testing.T, s *envelope.Spec, given, action []float32, found []envelope.Intervention, refused int) {
	t.Helper()
	if refused >= 0 {
		if !unchanged(given, action) || len(found) > 0 {
			t.Fatalf("%+v: %v was refused and changed to %v, %+v", s, given, action, found)
		}
		return
	}
	n := 0
	for i, v := range action {
		l := &s.Limits[i]
		if v-v != 0 || v < float32(l.Low) || v > float32(l.High) {
			t.Fatalf("%+v: %v became %v", s, given, action)
		}
		if n < len(found) && found[n].Value == i {
			if f := &found[n]; f.To != v || f.Kind == "" || f.From != given[i] && f.From == f.From || f.Fallback == envelope.FallbackError && (f.Kind == envelope.NotFinite || f.From == f.To) {
				t.Fatalf("%+v: %v became %v, %+v", s, given, action, *f)
			}
			n++
		} else if v != given[i] {
			t.Fatalf("%+v: %v became %v in silence", s, given, action)
		}
	}
	if n != len(found) {
		t.Fatalf("%+v: labels out of place: %+v", s, found)
	}
}

// kept tells what is wrong with how a value moved, by the formulas of Limit: from
// step to step no more than its rate, and from that step to the next no more
// than its jerk, where its rate or a bound is not what stopped it.
func kept(t *testing.T, s *envelope.Spec, before *envelope.History, action []float32) {
	t.Helper()
	last, earlier, begun := before.Actions()
	for i, v := range action {
		l := &s.Limits[i]
		if !begun || l.Discrete {
			continue
		}
		x, y, z := float64(v), float64(last[i]), float64(earlier[i])
		rounding := 0x1p-22*(math.Abs(x)+math.Abs(y)+math.Abs(z)) + math.SmallestNonzeroFloat32
		stopped := v == float32(l.Low) || v == float32(l.High) || math.Abs(x) == math.MaxFloat32
		if l.Rate > 0 {
			if math.Abs(x-y) > l.Rate/s.ControlHz+rounding {
				t.Fatalf("%+v: value %d from %v to %v, faster than its rate", s, i, y, x)
			}
			stopped = stopped || math.Abs(x-y) >= l.Rate/s.ControlHz-rounding
		}
		if l.Jerk > 0 && !stopped && math.Abs((x-y)-(y-z)) > l.Jerk/s.ControlHz/s.ControlHz+rounding {
			t.Fatalf("%+v: value %d from %v and %v to %v, faster than its jerk", s, i, z, y, x)
		}
	}
}

func unchanged(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

// TestNothingUnsafeLeaves gives random and adversarial actions to random
// envelopes, with and without history: what leaves is finite and within its
// bounds, moves no faster than it may, and whatever was changed is labelled.
func TestNothingUnsafeLeaves(t *testing.T) {
	actions := *proofs
	r := rand.New(rand.NewPCG(7, 11))
	var given, action [4]float32
	var found []envelope.Intervention
	var s envelope.Spec
	var e *envelope.Envelope
	var h *envelope.History
	fallbacks := 0
	for i := range actions {
		if i%100 == 0 {
			for err := errors.New("none yet"); err != nil; {
				s = drawSpec(r)
				e, err = envelope.New(s)
			}
			h = nil
			if r.IntN(4) > 0 {
				h = envelope.NewHistory(e.Width())
			}
		}
		if r.IntN(50) == 0 {
			h.Reset()
		}
		g, a := given[:e.Width()], action[:e.Width()]
		for j := range g {
			g[j] = draw(r)
		}
		copy(a, g)
		before := envelope.NewHistory(e.Width())
		if h != nil {
			before.Copy(h)
		}
		var refused int
		found, refused = e.Apply(i, a, h, found[:0])
		hold(t, &s, g, a, found, refused)
		fell := len(found) > 0 && found[0].Fallback != envelope.FallbackError
		switch {
		case refused >= 0 && h != nil && !reflect.DeepEqual(before, h):
			t.Fatalf("%+v: a refused action is in the history", s)
		case refused < 0 && !fell:
			kept(t, &s, before, a)
		}
		if fell {
			fallbacks++
			if len(found) != e.Width() {
				t.Fatalf("a fallback with %d labels for %d values", len(found), e.Width())
			}
		}
	}
	t.Logf("figure: %d actions through random envelopes, %d fallbacks: none left that was not finite, out of bounds, too fast or unlabelled", actions, fallbacks)
	if fallbacks < actions/20 {
		t.Errorf("only %d fallbacks were tried", fallbacks)
	}
}

// TestRatesHold: a stream of random actions never moves faster than its rate,
// from step to step, once rounding to float32 is allowed for.
func TestRatesHold(t *testing.T) {
	e := make1(t, envelope.Spec{ControlHz: 20, Limits: []envelope.Limit{{Low: -1, High: 1, Rate: 4, Jerk: 100}}})
	h := envelope.NewHistory(1)
	r := rand.New(rand.NewPCG(1, 2))
	action := []float32{0}
	e.Apply(0, action, h, nil)
	for last := action[0]; r.IntN(20_000) > 0; last = action[0] {
		action[0] = float32(r.NormFloat64())
		e.Apply(0, action, h, nil)
		if step := math.Abs(float64(action[0] - last)); step > 0.2+1e-6 {
			t.Fatalf("a step of %v", step)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := rand.New(rand.NewPCG(a, b))
		s := drawSpec(r)
		e, err := envelope.New(s)
		if err != nil {
			return
		}
		h := envelope.NewHistory(e.Width())
		for range 8 {
			given := make([]float32, e.Width())
			for i := range given {
				given[i] = draw(r)
			}
			action := append([]float32(nil), given...)
			found, refused := e.Apply(0, action, h, nil)
			hold(t, &s, given, action, found, refused)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	e := make1(t, driving(envelope.FallbackBrake))
	c := scorer(t, envelope.Statistics{Mean: []float64{0, 0}, Deviation: []float64{1, 1}, Covariance: []float64{1, 0, 0, 1}, MaxZ: 9, MaxDistance: 9})
	h := envelope.NewHistory(3)
	found := make([]envelope.Intervention, 0, 3)
	action, obs := make([]float32, 3), []float32{1, 2}
	n := 0
	if allocs := testing.AllocsPerRun(1000, func() {
		n++
		action[0], action[1], action[2] = 2, 2, float32(n%3-1)
		if n%5 == 0 {
			action[1] = nan
		}
		c.Check(obs)
		e.Apply(0, action, h, found[:0])
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkApply(b *testing.B) {
	e := make1(b, driving(envelope.FallbackBrake))
	h := envelope.NewHistory(3)
	action := []float32{0.5, 0, 0.1}
	b.ReportAllocs()
	for b.Loop() {
		e.Apply(0, action, h, nil)
	}
}
