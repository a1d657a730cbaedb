package server

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// TestKeyTiming (S1): how long it takes to compare a key tells nothing of how much
// of it is right. Samples of one class are held to those of another by Welch's t, of
// which 4.5 is the bound that is usual for leaks. Whatever else runs on the machine can
// move one class and not the other, but not in every attempt the same way.
func TestKeyTiming(t *testing.T) {
	ledger.Begin(t)
	samples := ledger.Size(3000, 100_000)
	const right = "crl_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
	keys, err := NewKeys(PlainKey("another-key-of-someone", ScopeInfer), PlainKey(right, ScopeInfer), PlainKey("a-third-key", ScopeAdmin))
	if err != nil {
		t.Fatal(err)
	}
	wrong := func(from int) []byte {
		b := []byte(right)
		for i := from; i < len(b); i++ {
			b[i] ^= 1
		}
		return b
	}
	classes := [][]byte{wrong(0), wrong(1), wrong(len(right) / 2), wrong(len(right) - 1)} // that all is right is told by the answer
	const attempts = 10
	for attempt := 1; ; attempt++ {
		worst := 0.0
		times := timeClasses(keys, classes, samples)
		for _, other := range times[1:] {
			worst = max(worst, math.Abs(welch(times[0], other)))
		}
		if worst < 4.5 {
			ledger.Add(t, ledger.Row{
				ID: "S1", Test: "the time of comparing keys that begin with right bytes, in the process", Inputs: ledger.N(samples*len(classes), "keys, of %d classes", len(classes)), Lost: ledger.Nothing,
				Figures: []string{fmt.Sprintf("Welch's |t| at most %.2f (limit 4.5), in attempt %d of %d", worst, attempt, attempts)},
			})
			return
		}
		if attempt == attempts {
			t.Fatalf("|t| is %.1f, and was above 4.5 in %d attempts: the time tells of the key", worst, attempts)
		}
	}
}

// timeClasses takes samples of all classes in a random order.
func timeClasses(keys *Keys, classes [][]byte, samples int) [][]float64 {
	const runs = 8 // of one sample: the clock is coarser than one
	// Keys of all classes are read from one place: where a key lies in the lines
	// of the cache takes a time of its own.
	key := make([]byte, len(classes[0]))
	now := time.Now()
	times := make([][]float64, len(classes))
	for range samples {
		for _, c := range rand.Perm(len(classes)) {
			copy(key, classes[c])
			begun := time.Now()
			for range runs {
				keys.match(key, now)
			}
			times[c] = append(times[c], float64(time.Since(begun)))
		}
	}
	for c := range times { // interrupts are not of the comparison
		slices.SortFunc(times[c], cmp.Compare[float64])
		times[c] = times[c][:samples*9/10]
	}
	return times
}

// welch is Welch's t of two samples.
func welch(a, b []float64) float64 {
	mean := func(x []float64) (m, v float64) {
		for _, y := range x {
			m += y / float64(len(x))
		}
		for _, y := range x {
			v += (y - m) * (y - m) / float64(len(x)-1)
		}
		return m, v / float64(len(x))
	}
	am, av := mean(a)
	bm, bv := mean(b)
	return (am - bm) / math.Sqrt(av+bv+1e-9)
}

func TestWelch(t *testing.T) {
	if got := welch([]float64{1, 2, 3, 4}, []float64{1, 2, 3, 4}); got != 0 {
		t.Errorf("of the same: %g", got)
	}
	// Means 2.5 and 12.5, each with variance 5/3 over 4: 10 / sqrt(2·5/12).
	if got := welch([]float64{11, 12, 13, 14}, []float64{1, 2, 3, 4}); math.Abs(got-10/math.Sqrt(10.0/12)) > 1e-6 {
		t.Errorf("got %g", got)
	}
}
