package replay_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// mirror is a policy whose three actions are the three values of what it sees.
func mirror(t testing.TB, more string) string {
	t.Helper()
	m := &mlp{layers: [][]float32{{1, 0, 0, 0, 1, 0, 0, 0, 1}, {0, 0, 0}}, outputs: []int{3}}
	return m.writeCard(t, `model_name: mirror
version: v0.1.0
model_type: pytorch
model_filename: model.safetensors
observation: [{name: x, shape: [3]}]
action: [{name: throttle, low: 0, high: 1}, {name: steer, low: -1, high: 1}, {name: free}]
architecture: [{linear: a}]
postprocess: none
`+more)
}

// pairs are steps in which base was done, and what the mirror will do.
func pairs(base, now [][3]float32) []experience.Step {
	var steps []experience.Step
	for i := range base {
		steps = append(steps, experience.Step{
			Run: "r", Sequence: uint64(i + 1), RequestID: fmt.Sprint("q", i), Model: "mirror", Version: "v0.0.1", Digest: "d",
			Observation: slices.Clone(now[i][:]), Action: slices.Clone(base[i][:]), Deterministic: true,
		})
	}
	return steps
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-12*math.Max(1, math.Abs(want))) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestMeasuresByHand has four steps whose measures anybody can compute.
func TestMeasuresByHand(t *testing.T) {
	base := [][3]float32{{0, -0.5, 10}, {1, 0.25, -10}, {0.5, 0, 0}, {0.5, 1, 3}}
	now := [][3]float32{{0.25, 0.5, 10}, {1, 0.5, 10}, {0, 0.25, 0}, {0.5, -1, 3}}
	r := run(t, pairs(base, now), replay.Options{New: open(t, mirror(t, "")), Margin: 0.001, Worst: 3})
	if r.Steps.Compared != 4 || r.Steps.Different != 4 {
		t.Fatalf("%+v", r.Steps)
	}
	throttle, steer, free := r.Actions[0], r.Actions[1], r.Actions[2]
	near(t, "mean throttle", throttle.Mean, (0.25+0+0.5+0)/4)
	near(t, "bias throttle", throttle.Bias, (0.25-0.5)/4)
	near(t, "max throttle", throttle.Max, 0.5)
	near(t, "mean steer", steer.Mean, (1+0.25+0.25+2)/4)
	near(t, "bias steer", steer.Bias, (1+0.25+0.25-2)/4)
	near(t, "max steer", steer.Max, 2)
	near(t, "mean free", free.Mean, 20.0/4)
	near(t, "max free", free.Max, 20)
	for _, c := range []struct {
		v                                  *replay.Value
		flips, different, saturated, after uint64
	}{
		{&throttle, 0, 2, 2, 2}, // at 0 and 1 before; at 1 and 0 after
		{&steer, 2, 4, 1, 1},    // 0 has no sign
		{&free, 1, 1, 0, 0},     // no bounds
	} {
		if c.v.SignFlips != c.flips || c.v.Different != c.different || c.v.Saturated != (replay.Pair{Base: c.saturated, New: c.after}) {
			t.Errorf("%s: %d flips, %d different, saturated %+v", c.v.Name, c.v.SignFlips, c.v.Different, c.v.Saturated)
		}
	}
	// Scores: steer 1/2, free 20 of no range, throttle 1/2, steer 2/2.
	var order []uint64
	for _, w := range r.Worst {
		order = append(order, w.Sequence)
	}
	if !slices.Equal(order, []uint64{2, 4, 1}) {
		t.Errorf("the worst steps are %v", order)
	}
	w := r.Worst[0]
	if w.Value != "free" || w.Score != 20 || w.RequestID != "q1" || !slices.Equal(w.Base, base[1][:]) || !slices.Equal(w.New, now[1][:]) || !slices.Equal(w.Observation, now[1][:]) {
		t.Errorf("%+v", w)
	}
	if throttle.Low == nil || *throttle.Low != 0 || *throttle.High != 1 || free.Low != nil {
		t.Errorf("%+v %+v", throttle, free)
	}
}

// TestMeasuresAgainstTheirSlowTwin compares with sorted lists and plain sums.
func TestMeasuresAgainstTheirSlowTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const n = 9000
	var base, now [][3]float32
	for range n {
		var x, y [3]float32
		for i := range x {
			x[i] = float32(rng.Float64())
			y[i] = x[i]
			if rng.IntN(3) > 0 {
				y[i] = float32(float64(x[i]) + rng.NormFloat64()*math.Pow(10, -float64(rng.IntN(6))))
			}
			if i < 2 {
				y[i] = min(max(y[i], 0), 1)
			}
		}
		base, now = append(base, x), append(now, y)
	}
	r := run(t, pairs(base, now), replay.Options{New: open(t, mirror(t, "")), Margin: 0.01})
	for i, v := range r.Actions {
		var apart []float64
		var sum, bias, most float64
		var flips, different uint64
		for s := range base {
			d := float64(now[s][i]) - float64(base[s][i])
			apart = append(apart, math.Abs(d))
			sum, bias, most = sum+math.Abs(d), bias+d, math.Max(most, math.Abs(d))
			if base[s][i]*now[s][i] < 0 {
				flips++
			}
			if base[s][i] != now[s][i] {
				different++
			}
		}
		slices.Sort(apart)
		near(t, v.Name+" mean", v.Mean, sum/n)
		near(t, v.Name+" bias", v.Bias, bias/n)
		near(t, v.Name+" max", v.Max, most)
		if v.SignFlips != flips || v.Different != different || v.Steps != n {
			t.Errorf("%s: %d flips of %d, %d different of %d", v.Name, v.SignFlips, flips, v.Different, different)
		}
		for q, got := range map[float64]float64{0.5: v.Quantiles.P50, 0.9: v.Quantiles.P90, 0.99: v.Quantiles.P99, 0.999: v.Quantiles.P999} {
			exact := apart[int(math.Ceil(q*n))-1]
			if got < float64(float32(exact)) || got > exact*(1+1.0/128)+1e-30 {
				t.Errorf("%s: quantile %v is %v, exactly %v", v.Name, q, got, exact)
			}
		}
	}
}

func TestChoicesDisagree(t *testing.T) {
	path := agents + "ppo_multidiscrete/model.zip"
	r := newRecorder(t, open(t, path), "v1")
	for range 100 {
		r.act("", false, nil)
	}
	want := map[int]uint64{}
	for i := range r.steps {
		if i%4 == 0 {
			part := i % len(r.steps[i].Action)
			r.steps[i].Action[part] = 1 - min(1, r.steps[i].Action[part])
			want[part]++
		}
	}
	rep := run(t, r.steps, replay.Options{New: open(t, path)})
	if rep.Steps.Different != 25 {
		t.Errorf("%d steps differ", rep.Steps.Different)
	}
	for i, v := range rep.Actions {
		apart := uint64(0)
		for _, c := range v.Choices {
			if c.Base != c.New {
				apart += c.Steps
			}
		}
		if !v.Discrete || v.Disagree != want[i] || apart != want[i] || v.Mean != 0 || v.SignFlips != 0 {
			t.Errorf("%d: %+v", i, v)
		}
	}
	if rep.Worst[0].Score != 1 || rep.Worst[0].Sequence != 1 {
		t.Errorf("%+v", rep.Worst[0])
	}
}

// TestOnePerturbedWeightIsCaught names the step in which it matters most.
func TestOnePerturbedWeightIsCaught(t *testing.T) {
	m := newMLP(5)
	old := m.write(t, "v0.1.0", "")
	m.layers[4][40] += 0.01 // of the second action
	perturbed := m.write(t, "v0.2.0", "")
	rec := newRecorder(t, open(t, old), "v0.1.0")
	for range 2000 {
		rec.act("", false, nil)
	}
	r := run(t, rec.steps, replay.Options{New: open(t, perturbed)})
	if r.Actions[0].Different != 0 || r.Actions[1].Different == 0 || r.Actions[2].Different != 0 {
		t.Fatalf("%d %d %d", r.Actions[0].Different, r.Actions[1].Different, r.Actions[2].Different)
	}
	// The slow way: each step alone.
	again := newRecorder(t, open(t, perturbed), "v0.2.0")
	worst, most := uint64(0), float32(0)
	for i := range rec.steps {
		s := again.act("", false, nil)
		if !slices.Equal(s.Observation, rec.steps[i].Observation) {
			t.Fatal("other observations")
		}
		if d := max(s.Action[1]-rec.steps[i].Action[1], rec.steps[i].Action[1]-s.Action[1]); d > most {
			worst, most = s.Sequence, d
		}
	}
	if w := r.Worst[0]; w.Sequence != worst || w.Value != "brake" || r.Actions[1].Max != float64(most) {
		t.Errorf("%+v; the worst is %d by %v", w, worst, most)
	}
	against := run(t, rec.steps, replay.Options{New: open(t, perturbed), Against: open(t, old)})
	if against.Actions[1].Mean != r.Actions[1].Mean || against.Worst[0].Sequence != worst {
		t.Errorf("against the version: %+v; against the log: %+v", against.Actions[1], r.Actions[1])
	}
}
