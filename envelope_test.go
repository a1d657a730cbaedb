package carlarl_test

import (
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	carlarl "github.com/carla-rl/carla-rl-serving"
)

// TestEnvelope opens a policy whose card narrows an action, and has another in
// place of all for an observation unlike the training.
func TestEnvelope(t *testing.T) {
	weights, err := os.ReadFile("testdata/modules/2.8.0/seq_mlp/state_dict.pth")
	if err != nil {
		t.Fatal(err)
	}
	const card = `
model_name: weights
version: v0.1.0
model_type: pytorch
model_filename: model.pth
observation: [{name: obs, shape: [5]}]
action: [{name: a, low: -0.5, high: 1}, {name: b, low: -1, high: 1}, {name: c, low: 0, high: 1}]
postprocess: none
architecture: [{linear: 0}, tanh, {linear: 2}, relu, {linear: 4}]
envelope:
  max_zscore: 5
  statistics: {obs: {mean: 0, std: 1}}
fallback: {a: 0, b: 0, c: 0.125}
`
	p, err := carlarl.OpenFS(fstest.MapFS{"model.pth": {Data: weights}, "model_card.yaml": {Data: []byte(card)}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Act(carlarl.Observation{"obs": []float64{-1.7822044, -0.3122457, -1.7094785, -1.0696787, 0.913396}})
	if err != nil {
		t.Fatal(err)
	}
	got := a.Interventions()
	if len(got) != 1 || got[0].Action != "a" || got[0].Kind != "bound" || got[0].Fallback || math.Abs(got[0].From+0.5753776) > 1e-5 || got[0].To != -0.5 || a.Value("a") != -0.5 {
		t.Errorf("%+v, %v", got, a.Value("a"))
	}
	if a, err = p.Act(carlarl.Observation{"obs": []float64{0, 0, 8, 0, 0}}); err != nil {
		t.Fatal(err)
	}
	if got = a.Interventions(); len(got) != 3 || !got[2].Fallback || got[2].Kind != "out_of_distribution" || a.Value("c") != 0.125 {
		t.Errorf("%+v", got)
	}
	action := make([]float32, 3)
	for i, want := range []int{3, 0} {
		obs := []float32{0, 0, float32(8 * (1 - i)), 0, 0}
		if allocs := testing.AllocsPerRun(10, func() { err = p.ActRow(obs, action) }); err != nil || p.Intervened() != want || allocs > 0 {
			t.Errorf("%v: %v: %d values changed, want %d, %v allocations", obs, err, p.Intervened(), want, allocs)
		}
	}
	if a, err = p.Act(carlarl.Observation{"obs": []float64{0, 0, 0, 0, 0}}); err != nil || len(a.Interventions()) > 0 {
		t.Errorf("%v, %+v", err, a.Interventions())
	}
}

// TestTheActionBefore: the calls of one policy are steps of one stream, until
// Reset begins another.
func TestTheActionBefore(t *testing.T) {
	weights, err := os.ReadFile("testdata/modules/2.8.0/seq_mlp/state_dict.pth")
	if err != nil {
		t.Fatal(err)
	}
	const card = `
model_name: weights
version: v0.1.0
model_type: pytorch
model_filename: model.pth
observation: [{name: obs, shape: [5]}]
action: [{name: a, low: -1, high: 1}, {name: b, low: -1, high: 1}, {name: c, low: 0, high: 1}]
postprocess: none
architecture: [{linear: 0}, tanh, {linear: 2}, relu, {linear: 4}]
control_hz: 10
envelope:
  limits: {c: {rate: 1}}
  max_zscore: 5
  statistics: {obs: {mean: 0, std: 1}}
fallback: hold
`
	p, err := carlarl.OpenFS(fstest.MapFS{"model.pth": {Data: weights}, "model_card.yaml": {Data: []byte(card)}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	step := func(obs ...float64) (c float64, kind string) {
		t.Helper()
		a, err := p.Act(carlarl.Observation{"obs": obs})
		if err != nil {
			return math.NaN(), err.Error()
		}
		for _, v := range a.Interventions() {
			kind = v.Kind
		}
		return math.Round(a.Value("c")*1e4) / 1e4, kind
	}
	for range 2 {
		if _, why := step(0, 0, 8, 0, 0); !strings.HasSuffix(why, "; the fallback hold has no action before this one") {
			t.Errorf("nothing to hold: %s", why)
		}
		if c, kind := step(-1.7822044, -0.3122457, -1.7094785, -1.0696787, 0.913396); c != 0.4184 || kind != "" {
			t.Errorf("first: %v %s", c, kind)
		}
		if c, kind := step(0, 0, 0, 0, 0); c != 0.3184 || kind != "rate" {
			t.Errorf("second: %v %s, want 0.1 less than before", c, kind)
		}
		if c, kind := step(0, 0, 8, 0, 0); c != 0.3184 || kind != "out_of_distribution" {
			t.Errorf("held: %v %s", c, kind)
		}
		p.Reset()
	}
}
