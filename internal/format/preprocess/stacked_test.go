package preprocess_test

import (
	"slices"
	"strings"
	"testing"
)

func TestStacked(t *testing.T) {
	rms := func(mean, variance string) string {
		return object(sb3+"running_mean_std.RunningMeanStd", "mean", mean, "var", variance)
	}
	f := func(in string, k int, x, want []float64) {
		t.Helper()
		p, err := decode(t, in+".").Stacked(k)
		if err != nil {
			t.Error(err)
			return
		}
		if p.Width() != len(x) || !strings.Contains(strings.Join(p.Describe(), "\n"), "stacked observations") {
			t.Errorf("width %d, described as %q", p.Width(), p.Describe())
		}
		check(t, p, [][]float64{x}, [][]float64{want})
	}
	f(vecNormalize(), 2, []float64{2, 2, 1, -1}, []float64{0.5, 0, 0, -1})
	f(vecNormalize(), 1, []float64{2, 2}, []float64{0.5, 0})
	matrix := rms(seq(list(0, 1), list(2, 3)), seq(list(1, 1), list(1, 1))) // frames are joined row by row
	f(vecNormalize("obs_rms", matrix, "clip_obs", num(99)), 2, []float64{0, 0, 0, 0, 0, 0, 0, 0}, []float64{0, -1, 0, -1, -2, -3, -2, -3})
	p, err := decode(t, named()).Stacked(3)
	if err != nil || p.KeyWidth("speed") != 6 || p.KeyWidth("goal") != 3 || !slices.Equal(p.Keys(), []string{"speed", "goal"}) {
		t.Fatalf("%v, %v", p, err)
	}
	checkNamed(t, p, "speed", [][]float64{{2, 2, 1, 5, 3, 2}}, [][]float64{{0.5, 0, 0, 1, 1, 0}})
	if p, err = decode(t, vecNormalize("norm_obs", no)+".").Stacked(3); err != nil || !p.Identity() {
		t.Errorf("without statistics: %v, %v", p, err)
	}
}

func TestStackedFails(t *testing.T) {
	for in, want := range map[string]string{
		object(sklearn+"StandardScaler", "mean_", list(1), "scale_", list(1)): "StandardScaler: of one observation",
		vecNormalize(): "4294967296 observations of 2 values",
	} {
		if _, err := decode(t, in+".").Stacked(1 << 32); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
