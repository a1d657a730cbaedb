package serving

import (
	"testing"
	"time"
)

// TestCacheUseJudges: look-ups that cost more than they save are left out for a
// while, ever longer, and come back when they are worth it.
func TestCacheUseJudges(t *testing.T) {
	u := &cacheUse{}
	gone := func() (n int) { // requests that go by until the next look-up
		for u.skips() {
			n++
		}
		return n
	}
	window := func(saved, spent time.Duration) {
		for range cacheWindow {
			if saved > 0 {
				u.hit(saved, spent)
			} else {
				u.missed(spent)
			}
		}
	}
	if u.skips() {
		t.Fatal("it goes by before anything is known")
	}
	window(300*time.Nanosecond, 100*time.Nanosecond)
	if n := gone(); n != 0 {
		t.Errorf("look-ups that save 200 ns each: %d go by", n)
	}
	for i, want := range []int{minSkip, 2 * minSkip, 4 * minSkip} {
		window(50*time.Nanosecond, 100*time.Nanosecond)
		if n := gone(); n != want {
			t.Errorf("policy cheaper than the look-up, time %d: %d go by, want %d", i, n, want)
		}
	}
	window(0, 100*time.Nanosecond)
	if n := gone(); n != 8*minSkip {
		t.Errorf("nothing found: %d go by, want %d", n, 8*minSkip)
	}
	window(300*time.Nanosecond, 100*time.Nanosecond)
	if n := gone(); n != 0 {
		t.Errorf("worth it again: %d go by", n)
	}
	window(0, time.Microsecond)
	if n := gone(); n != minSkip {
		t.Errorf("in vain again: %d go by, want %d", n, minSkip)
	}
	for range 20 {
		window(0, time.Microsecond)
		u.skip.Store(0)
	}
	if n := u.stretch.Load(); n != maxSkip {
		t.Errorf("after many times %d go by, want %d", n, maxSkip)
	}
}
