package drift_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/drift"
)

var (
	inf   = math.Inf(1)
	begin = time.Unix(1_800_000_000, 0)
)

const window = 10 * time.Minute

// value is a feature without bounds.
func value(mean, deviation float64) drift.Feature {
	return drift.Feature{Name: "x", Mean: mean, Deviation: deviation, Low: -inf, High: inf}
}

func newVersion(t *testing.T, features ...drift.Feature) *drift.Version {
	t.Helper()
	v, err := drift.New(features, window)
	if err != nil || v == nil {
		t.Fatalf("got %v, %v", v, err)
	}
	return v
}

// observe adds rows of a single value.
func observe(v *drift.Version, at time.Time, values ...float32) {
	for _, x := range values {
		v.Observe(at, [][]float32{{x}}, []int{1}, 0)
	}
}

func score(t *testing.T, v *drift.Version, at time.Time) drift.Score {
	t.Helper()
	_, scores := v.Scores(at)
	if len(scores) != 1 {
		t.Fatalf("got %d scores, want one", len(scores))
	}
	return scores[0]
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestPSIByHand(t *testing.T) {
	// With half an observation in each of two bins, 99.5 and 199.5 are shares of
	// 100/300 and 200/300, where half was expected of each:
	// (1/3 - 1/2)·ln(2/3) + (2/3 - 1/2)·ln(4/3) = 0.0675775 + 0.0479470.
	near(t, "two bins", drift.PSI([]float64{99.5, 199.5}), 0.1155245, 1e-7)
	near(t, "as expected", drift.PSI([]float64{10, 10, 10, 10}), 0, 1e-15)
	if got := drift.PSI([]float64{0, 0}); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v", got)
	}
}

func TestZScoreByHand(t *testing.T) {
	v := newVersion(t, value(10, 2))
	for range 50 {
		observe(v, begin, 11, 17) // mean 14: two deviations above
	}
	near(t, "z", score(t, v, begin).ZScore, 2, 1e-12)
}

// TestNormalBins: all values of one bin of the normal distribution are a share
// of 1 where 0.1 was expected, and nothing in nine others.
func TestNormalBins(t *testing.T) {
	f := func(x float32) {
		t.Helper()
		v := newVersion(t, value(5, 2))
		for range 200 {
			observe(v, begin, x)
		}
		full, empty := 200.5/205, 0.5/205
		want := (full-0.1)*math.Log(full/0.1) + 9*(empty-0.1)*math.Log(empty/0.1)
		near(t, "PSI", score(t, v, begin).PSI, want, 1e-9)
	}
	for _, z := range []float64{-3, -1, -0.7, -0.4, -0.1, 0.1, 0.4, 0.7, 1, 3} {
		f(float32(5 + 2*z))
	}
}

func TestRowsOfTheTrainingDoNotDrift(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(v *drift.Version, shift, scale float64) drift.Score {
		for range 5000 {
			observe(v, begin, float32(3+shift+0.5*scale*random.NormFloat64()))
		}
		return score(t, v, begin)
	}
	s := draw(newVersion(t, value(3, 0.5)), 0, 1)
	if math.Abs(s.ZScore) > 0.1 || s.PSI > 0.02 || s.OutOfRange > 0 {
		t.Errorf("rows of the training: %+v", s)
	}
	s = draw(newVersion(t, value(3, 0.5)), 0.75, 1)
	near(t, "z of a shift of 1.5 deviations", s.ZScore, 1.5, 0.1)
	if s.PSI < 1 {
		t.Errorf("the PSI of a shift of 1.5 deviations is %v", s.PSI)
	}
	s = draw(newVersion(t, value(3, 0.5)), 0, 0.1) // the same mean
	if math.Abs(s.ZScore) > 0.1 || s.PSI < 1 {
		t.Errorf("a deviation of a tenth: %+v", s)
	}
}

func TestRangeAndBounds(t *testing.T) {
	f := drift.Feature{Name: "x", Mean: 0.5, Deviation: 0.05, Low: 0, High: 1}
	v := newVersion(t, f)
	for range 25 {
		observe(v, begin, 0, 1, 0.26, 0.24) // the first two at bounds, 0.24 beyond five deviations
	}
	s := score(t, v, begin)
	near(t, "out of range", s.OutOfRange, 0.75, 1e-12)
	near(t, "saturation", s.Saturation, 0.5, 1e-12)

	f.Deviation = 1 // the bounds are the narrower now
	v = newVersion(t, f)
	for range 25 {
		observe(v, begin, -0.5, 0, 1, 1.5)
	}
	s = score(t, v, begin)
	near(t, "out of bounds", s.OutOfRange, 0.5, 1e-12)

	v = newVersion(t, value(0, 1))
	for range 100 {
		observe(v, begin, 0)
	}
	if s = score(t, v, begin); !math.IsNaN(s.Saturation) {
		t.Errorf("a value without bounds has the saturation %v", s.Saturation)
	}
}

func TestWindow(t *testing.T) {
	v := newVersion(t, value(0, 1))
	for range drift.MinRows - 1 {
		observe(v, begin, 1)
	}
	if rows, scores := v.Scores(begin); rows != drift.MinRows-1 || scores != nil {
		t.Errorf("%d rows have the scores %v", rows, scores)
	}
	observe(v, begin, 1)
	near(t, "z", score(t, v, begin).ZScore, 1, 1e-12)

	later := begin.Add(window / 2)
	for range drift.MinRows {
		observe(v, later, 3)
	}
	near(t, "z of both halves", score(t, v, later).ZScore, 2, 1e-12)
	near(t, "z of the later half", score(t, v, begin.Add(window)).ZScore, 3, 1e-12)
	if rows, _ := v.Scores(begin.Add(2 * window)); rows != 0 {
		t.Errorf("%d rows are older than the window", rows)
	}
	// A part of the ring that comes round again begins anew.
	for range drift.MinRows {
		observe(v, begin.Add(3*window), -1)
	}
	near(t, "z of the ring's next round", score(t, v, begin.Add(3*window)).ZScore, -1, 1e-12)
}

func TestUnknownFeatures(t *testing.T) {
	for _, deviation := range []float64{0, inf, math.NaN(), -1} {
		if v, err := drift.New([]drift.Feature{value(0, deviation)}, window); v != nil || err != nil {
			t.Errorf("a deviation of %v: %v, %v", deviation, v, err)
		}
	}
	if _, err := drift.New([]drift.Feature{value(0, 1)}, 0); err == nil {
		t.Error("a window of nothing was taken")
	}
	// The position of a feature is its own, also where others are not known.
	f := value(0, 1)
	f.Input, f.Offset = 1, 2
	v := newVersion(t, value(0, inf), f)
	for range drift.MinRows {
		v.Observe(begin, [][]float32{{9}, {0, 0, 0, 7, 7, 4}}, []int{1, 3}, 1)
	}
	near(t, "z", score(t, v, begin).ZScore, 4, 1e-12)
}

func TestMonitor(t *testing.T) {
	m := drift.NewMonitor(window)
	get := func(model, version, digest string) *drift.Version {
		t.Helper()
		v, err := m.Version(model, version, digest, []drift.Feature{value(0, 1)})
		if err != nil || v == nil {
			t.Fatal(v, err)
		}
		return v
	}
	a := get("m", "v1", "1")
	if get("m", "v1", "1") != a {
		t.Error("the same version is measured twice")
	}
	for range drift.MinRows {
		observe(a, begin, 1)
	}
	b := get("m", "v2", "2")
	observe(b, begin, 1)
	got := m.Reports(begin)
	if len(got) != 2 || got[0].Version != "v1" || len(got[0].Scores) != 1 || got[1].Rows != 1 || got[1].Scores != nil {
		t.Errorf("got %+v", got)
	}
	if get("m", "v1", "3") == a {
		t.Error("other files are measured as those before")
	}
	if got := m.Reports(begin); len(got) != 1 || got[0].Version != "v2" {
		t.Errorf("of other files: got %+v", got)
	}
	if v, err := m.Version("m", "v3", "", nil); v != nil || err != nil {
		t.Errorf("without statistics: %v, %v", v, err)
	}
}

func TestObserveByMany(t *testing.T) {
	v := newVersion(t, value(0, 1))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				observe(v, begin.Add(time.Duration(i)*time.Second), 2)
				v.Scores(begin.Add(time.Duration(i) * time.Second))
			}
		})
	}
	wg.Wait()
	for range drift.MinRows {
		observe(v, begin, 2)
	}
	near(t, "z", score(t, v, begin).ZScore, 2, 1e-12)
}

func TestObserveAllocatesNothing(t *testing.T) {
	v := newVersion(t, value(0, 1), value(1, 1))
	inputs, widths := [][]float32{{1}}, []int{1}
	at := begin
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(time.Second)
		v.Observe(at, inputs, widths, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	features := make([]drift.Feature, 7)
	for i := range features {
		features[i] = drift.Feature{Name: "x", Offset: i, Mean: 0.5, Deviation: 0.2, High: 1}
	}
	v, err := drift.New(features, window)
	if err != nil {
		b.Fatal(err)
	}
	inputs, widths := [][]float32{{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7}}, []int{7}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		v.Observe(now, inputs, widths, 0)
	}
}
