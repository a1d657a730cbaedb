package envelope_test

import (
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
)

func scorer(t testing.TB, s envelope.Statistics) *envelope.Scorer {
	t.Helper()
	c, err := envelope.NewScorer(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestZScore(t *testing.T) {
	unknown := math.Inf(1)
	c := scorer(t, envelope.Statistics{Mean: []float64{10, -1, 0}, Deviation: []float64{2, 0.5, unknown}, MaxZ: 3})
	f := func(a, b, x float32, value int, z float64, ok bool) {
		t.Helper()
		obs := []float32{a, b, x}
		if v, got := c.ZScore(obs); v != value || math.Abs(got-z) > 1e-9 {
			t.Errorf("%v: value %d at %v, want %d at %v", obs, v, got, value, z)
		}
		cause, like := c.Check(obs)
		if like != ok || !ok && (cause.Kind != envelope.Unlike || cause.Feature != value || math.Abs(cause.Score-z) > 1e-9) {
			t.Errorf("%v: %+v %v", obs, cause, like)
		}
	}
	f(10, -1, 0, 0, 0, true)
	f(16, -1, 1e30, 0, 3, true)
	f(4, -1, 0, 0, 3, true)
	f(10, 1, 0, 1, 4, false)
	f(17, -1, 0, 0, 3.5, false)
	f(16, 0.5, 0, 0, 3, true) // the first of two
	for _, bad := range []float32{nan, inf} {
		for i := range 3 {
			obs := []float32{99, 99, 99}
			obs[i] = bad
			if cause, like := c.Check(obs); like {
				t.Errorf("%v is like the training: %+v", obs, cause)
			}
		}
		if v, z := c.ZScore([]float32{nan, 99, 0}); v != 0 || z == z {
			t.Errorf("value %d at %v", v, z)
		}
	}
}

// TestDistance holds it to the closed form of two values.
func TestDistance(t *testing.T) {
	const s1, s2, rho = 2.0, 0.5, 0.6
	cov := []float64{s1 * s1, rho * s1 * s2, rho * s1 * s2, s2 * s2}
	c := scorer(t, envelope.Statistics{Mean: []float64{1, -1}, Deviation: []float64{s1, s2}, Covariance: cov, MaxDistance: 2.5})
	for _, obs := range [][]float32{{1, -1}, {3, -1}, {1, 0}, {5, 0}, {-3, 0}, {2, -2}} {
		u, v := (float64(obs[0])-1)/s1, (float64(obs[1])+1)/s2
		want := math.Sqrt((u*u - 2*rho*u*v + v*v) / (1 - rho*rho))
		if got := c.Distance(obs); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %v, want %v", obs, got, want)
		}
		cause, like := c.Check(obs)
		if like != (want <= 2.5) || !like && (cause.Feature != envelope.NoFeature || cause.Kind != envelope.Unlike || math.Abs(cause.Score-want) > 1e-9) {
			t.Errorf("%v: %+v %v, distance %v", obs, cause, like, want)
		}
	}
	// At the limit, with no deviations to hold to.
	c = scorer(t, envelope.Statistics{Mean: []float64{0}, Deviation: []float64{1e-9}, Covariance: []float64{4}, MaxDistance: 2})
	if _, like := c.Check([]float32{4}); !like {
		t.Error("a distance of 2 is beyond 2")
	}
	// A covariance that is not looked at.
	c = scorer(t, envelope.Statistics{Mean: []float64{0}, Deviation: []float64{1}, Covariance: []float64{-1}, MaxZ: 1})
	if d := c.Distance([]float32{5}); d != 0 {
		t.Error(d)
	}
}

// TestDistanceOfMoreValues: four values, made of independent ones by a matrix,
// lie as far as those did.
func TestDistanceOfMoreValues(t *testing.T) {
	mix := [4][4]float64{{2, 0, 0, 0}, {0.5, 1, 0, 0}, {-1, 0.25, 0.5, 0}, {0.75, -0.5, 1.5, 3}}
	const n = 4
	cov := make([]float64, n*n)
	for i := range n {
		for j := range n {
			for k := range n {
				cov[i*n+j] += mix[i][k] * mix[j][k]
			}
		}
	}
	mean := []float64{1, 2, 3, 4}
	c := scorer(t, envelope.Statistics{Mean: mean, Deviation: []float64{1, 1, 1, 1}, Covariance: cov, MaxDistance: 1})
	for _, z := range [][n]float64{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}, {1, -2, 3, -4}} {
		obs, want := make([]float32, n), 0.0
		for i := range n {
			x := mean[i]
			for k := range n {
				x += mix[i][k] * z[k]
			}
			obs[i] = float32(x)
			want += z[i] * z[i]
		}
		if got := c.Distance(obs); math.Abs(got-math.Sqrt(want)) > 1e-5 {
			t.Errorf("%v: %v, want %v", z, got, math.Sqrt(want))
		}
	}
}

func TestNewScorerRefuses(t *testing.T) {
	f := func(change func(*envelope.Statistics), want string) {
		t.Helper()
		s := envelope.Statistics{Mean: []float64{0, 0}, Deviation: []float64{1, 1}, Covariance: []float64{1, 0.5, 0.5, 1}, MaxZ: 3, MaxDistance: 3}
		change(&s)
		if _, err := envelope.NewScorer(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewScorer = %v, want %q", err, want)
		}
	}
	n, up := math.NaN(), math.Inf(1)
	f(func(s *envelope.Statistics) { s.Mean, s.Deviation = nil, nil }, "0 means")
	f(func(s *envelope.Statistics) { s.Deviation = s.Deviation[:1] }, "1 deviations")
	f(func(s *envelope.Statistics) { s.MaxZ = -1 }, "0 or more")
	f(func(s *envelope.Statistics) { s.MaxDistance = n }, "0 or more")
	f(func(s *envelope.Statistics) { s.MaxZ, s.MaxDistance = 0, 0 }, "neither")
	f(func(s *envelope.Statistics) { s.Covariance = nil }, "needs the covariance")
	f(func(s *envelope.Statistics) { s.Mean[1] = up }, "value 1 has the mean +Inf")
	f(func(s *envelope.Statistics) { s.Deviation[1] = 0 }, "value 1")
	f(func(s *envelope.Statistics) { s.Deviation[1] = n }, "value 1")
	f(func(s *envelope.Statistics) { s.Covariance = s.Covariance[:3] }, "has 3 numbers, want 4")
	f(func(s *envelope.Statistics) { s.Covariance[1] = 0.25 }, "not symmetric at 1 and 0")
	f(func(s *envelope.Statistics) { s.Covariance[0] = 0 }, "positive definite at 0")
	f(func(s *envelope.Statistics) { s.Covariance[1], s.Covariance[2] = 1, 1 }, "positive definite at 1")
	f(func(s *envelope.Statistics) { s.Covariance[3] = up }, "positive definite at 1")
	f(func(s *envelope.Statistics) { s.Covariance[3] = n }, "not symmetric")
	scorer(t, envelope.Statistics{Mean: []float64{0}, Deviation: []float64{1}, MaxZ: 3})
}

// TestCovarianceWithoutInverse: one that is positive definite, and whose
// inverse is beyond all numbers, could measure nothing.
func TestCovarianceWithoutInverse(t *testing.T) {
	const n, d, below = 24, 0x1p-500, 0x1p23 // the factor has d on its diagonal and below·d under it
	cov := make([]float64, n*n)
	for i := range n {
		cov[i*n+i] = d * d * (1 + below*below)
		if i > 0 {
			cov[i*n+i-1], cov[(i-1)*n+i] = below*d*d, below*d*d
		}
	}
	cov[0] = d * d
	ones := make([]float64, n)
	for i := range ones {
		ones[i] = 1
	}
	_, err := envelope.NewScorer(envelope.Statistics{Mean: make([]float64, n), Deviation: ones, Covariance: cov, MaxDistance: 1})
	// Row i of the inverse begins with 2^(500+23i), which is beyond all numbers in
	// the last row.
	if err == nil || !strings.Contains(err.Error(), "has no inverse") || !strings.HasSuffix(err.Error(), " singular at 23") {
		t.Errorf("%v", err)
	}
}
