package preprocess_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// named is a VecNormalize of two parts, of which one is normalised.
func named(changes ...string) string {
	rms := func(mean, variance []float64) string {
		return object(sb3+"running_mean_std.RunningMeanStd", "mean", list(mean...), "var", list(variance...))
	}
	both := dict("speed", rms([]float64{1, 2}, []float64{4, 9}), "goal", rms([]float64{3}, []float64{1}))
	return vecNormalize(append([]string{"obs_rms", both}, changes...)...) + "."
}

func TestNamed(t *testing.T) {
	p := decode(t, named())
	if got := p.Keys(); !slices.Equal(got, []string{"speed", "goal"}) {
		t.Errorf("keys %q: before norm_obs_keys all are normalised", got)
	}
	p = decode(t, named("norm_obs_keys", "("+str("speed")+str("speed")+"l"))
	if got := p.Keys(); !slices.Equal(got, []string{"speed"}) {
		t.Errorf("keys %q, want speed once", got)
	}
	if p.Identity() || p.Width() != 0 || p.KeyWidth("speed") != 2 || p.KeyWidth("goal") != 0 {
		t.Errorf("identity %v, width %d, %d values of speed, %d of goal", p.Identity(), p.Width(), p.KeyWidth("speed"), p.KeyWidth("goal"))
	}
	checkNamed(t, p, "speed", [][]float64{{2, 2}, {9, -9}}, [][]float64{{0.5, 0}, {1, -1}})
	checkNamed(t, p, "goal", [][]float64{{70}}, [][]float64{{70}})
	want := []string{"VecNormalize", `"speed": (x - [1 2]) / [2 3]`, `"speed": clip to [-1, 1]`}
	if got := p.Describe(); !slices.Equal(got, want) {
		t.Errorf("described as %q, want %q", got, want)
	}
}

func TestNamedPasses(t *testing.T) {
	p := decode(t, named("norm_obs_keys", "(l"))
	if !p.Identity() || len(p.Keys()) != 0 {
		t.Errorf("no keys: identity %v, keys %q", p.Identity(), p.Keys())
	}
	for _, in := range []string{named("norm_obs", no), named("norm_obs_keys", "(l"), vecNormalize("norm_obs", no) + "."} {
		checkNamed(t, decode(t, in), "speed", [][]float64{{2, 2}}, [][]float64{{2, 2}})
	}
}

func TestNamedFails(t *testing.T) {
	f := func(in, key string, shape graph.Shape, want string) {
		t.Helper()
		g := graph.New("preprocess")
		x := g.Input("obs", graph.Float32, shape)
		var err error
		if p := decode(t, in); key == "" {
			_, err = p.Lower(g, x)
		} else {
			_, err = p.LowerNamed(g, key, x)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	f(named(), "", graph.Shape{graph.Batch, 3}, "takes an observation of parts (speed, goal), got a flat row")
	f(named(), "speed", graph.Shape{graph.Batch, 3}, `part "speed": preprocessor VecNormalize: takes 2 values, got 3`)
	f(named(), "speed", graph.Shape{2}, "takes rows [B,N]")
	f(vecNormalize()+".", "speed", graph.Shape{graph.Batch, 2}, `takes one row of the whole observation, got the part "speed"`)
}
