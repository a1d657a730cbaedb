package preprocess_test

import (
	"math"
	"slices"
	"testing"
)

// TestStatisticsOfWhatDidNotVary: what a library divides such a value by is no
// deviation of the training.
func TestStatisticsOfWhatDidNotVary(t *testing.T) {
	f := func(what, in string, want ...float64) {
		t.Helper()
		p := decode(t, in+".")
		if _, got := p.Statistics(p.Width()); !slices.Equal(got, want) {
			t.Errorf("%s: deviations %v, want %v", what, got, want)
		}
	}
	unknown := math.Inf(1)
	scaler := func(attrs ...string) string { return object(sklearn+"StandardScaler", attrs...) }
	f("a variance of 0", scaler("mean_", list(1, 2), "scale_", list(2, 1), "var_", list(4, 0)), 2, unknown)
	f("a variance of 1", scaler("mean_", list(1, 2), "scale_", list(2, 1), "var_", list(4, 1)), 2, 1)
	f("a scale of 1 and no variance", scaler("mean_", list(1, 2), "scale_", list(2, 1)), 2, unknown)

	// What stable-baselines3 keeps of 100 000 observations: 1e-4 others are
	// among them, of mean 0 and variance 1.
	running := func(mean, variance, count float64) string {
		rms := object(sb3+"running_mean_std.RunningMeanStd", "mean", list(mean, 0), "var", list(variance, 0.25), "count", num(count))
		return vecNormalize("obs_rms", rms, "epsilon", num(1e-8))
	}
	half := math.Sqrt(0.25 + 1e-8)
	f("always 10", running(10, (1+100)*1e-4/1e5, 1e5), unknown, half)
	f("always 0", running(0, 0, 1e5), unknown, half)
	f("a little", running(0, 1e-4, 1e5), math.Sqrt(1e-4+1e-8), half)
}
