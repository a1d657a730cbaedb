package policy_test

import (
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// TestPaceOfRows: what is known of some rows bounds others, and the first number
// of which nothing is known is tried.
func TestPaceOfRows(t *testing.T) {
	p := &policy.Pace{}
	at := time.Unix(1e9, 0)
	note := func(rows int, took time.Duration) {
		for range 2 {
			p.Note(rows, at, took, false)
		}
	}
	f := func(limit time.Duration, want int) {
		t.Helper()
		if got := p.Within(limit); got != want {
			t.Errorf("within %v: %d rows, want %d", limit, got, want)
		}
	}
	f(time.Second, 1)
	note(1, time.Millisecond)
	f(time.Second, 2)
	f(time.Microsecond, 1)
	note(2, 2*time.Millisecond)
	note(4, 4*time.Millisecond)
	f(time.Second, 8)
	f(3*time.Millisecond, 2)
	if got := p.Estimate(16); got != 16*time.Millisecond {
		t.Errorf("16 rows are estimated at %v", got)
	}
	if got := p.Bound(4); got != 4*time.Millisecond {
		t.Errorf("what always takes 4 ms is bounded by %v", got)
	}
	for range 100 {
		p.Note(4, at, 3*time.Millisecond, false)
		p.Note(4, at, 5*time.Millisecond, false)
	}
	if mean, got := p.Expect(4), p.Bound(4); got < mean+4*time.Millisecond || got > mean+7*time.Millisecond {
		t.Errorf("what takes 3 or 5 ms takes %v, and is bounded by %v", mean, got)
	}
}

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	begin := time.Unix(1000, 0)
	var p policy.Pace
	if got := p.Expect(1); got != 0 {
		t.Errorf("%v are expected of what never ran", got)
	}
	p.Note(1, begin, time.Hour, false)
	if got := p.Expect(1); got != 0 {
		t.Errorf("%v are expected after a single run", got)
	}
	p.Note(1, begin, 8*ms, false)
	f := func(what string, rows int, want time.Duration) {
		t.Helper()
		if got := p.Expect(rows); got != want {
			t.Errorf("%s: %v are expected of %d rows, want %v", what, got, rows, want)
		}
	}
	f("the faster of two runs", 1, 8*ms)
	f("no class of its own", 1000, 8*ms)
	f("no rows", 0, 8*ms)
	p.Note(1, begin, 16*ms, false)
	f("an eighth", 1, 9*ms)
	p.Note(1, begin, time.Hour, false)
	f("a spike counts for four times the average", 1, 9*ms+27*ms/8)
	p.Note(3, begin, 20*ms, false)
	f("three rows ran once", 3, 9*ms+27*ms/8)
	p.Note(3, begin, 30*ms, true)
	p.Note(1<<30, begin, 50*ms, false)
	p.Note(1<<30, begin, 50*ms, false)
	f("two rows", 2, 9*ms+27*ms/8)
	f("three rows are of the class of four", 4, 20*ms)
	f("five rows have the class below", 5, 20*ms)
	f("the last class", 1<<40, 50*ms)
	p.Note(4, begin, 4*ms, true)
	f("a trial that was faster", 3, 4*ms)
	p.Note(4, begin, 12*ms, true)
	f("a trial that was not", 3, 5*ms)
	p.Note(8, begin, 0, false)
	p.Note(8, begin, 0, false)
	f("a clock that is too coarse", 8, 1)
}

func TestPaceTries(t *testing.T) {
	begin := time.Unix(1000, 0)
	var p policy.Pace
	if !p.Try(1, begin) {
		t.Error("what never ran is not tried")
	}
	p.Note(1, begin, time.Millisecond, false)
	p.Note(1, begin, time.Millisecond, false)
	f := func(after time.Duration, want bool) {
		t.Helper()
		if got := p.Due(1, begin.Add(after)); got != want {
			t.Errorf("due after %v: %v", after, got)
		}
		if got := p.Try(1, begin.Add(after)); got != want {
			t.Errorf("tried after %v: %v", after, got)
		}
	}
	f(0, false)
	f(100*time.Millisecond-1, false)
	f(100*time.Millisecond, true)
	f(100*time.Millisecond, false) // by the one before
	f(199*time.Millisecond, false)
	f(200*time.Millisecond, true)
	f(-time.Hour, true) // The clock was set back.
	// A class that never ran is tried once, whatever is known of a smaller one.
	if !p.Try(64, begin) || p.Try(64, begin) {
		t.Error("another class has another time")
	}
}

// TestPaceHiccup: what one call in a hundred takes is known though the average
// forgets it, and what stops happening is forgotten.
func TestPaceHiccup(t *testing.T) {
	const ms = time.Millisecond
	p := &policy.Pace{}
	at := time.Unix(1e9, 0)
	if got := p.Hiccup(1); got != 0 {
		t.Errorf("a hiccup of %v before the first call", got)
	}
	calls := func(n int, every int, long time.Duration) {
		for i := range n {
			took := ms
			if every > 0 && i%every == every-1 {
				took = long
			}
			p.Note(1, at, took, false)
		}
	}
	calls(5000, 0, 0)
	if got := p.Hiccup(1); got != 0 {
		t.Errorf("a hiccup of %v where all calls take 1 ms", got)
	}
	calls(5000, 100, 20*ms)
	if got := p.Bound(1) + p.Hiccup(4); got < 10*ms || got > 20*ms {
		t.Errorf("one call in a hundred takes 20 ms, and %v is said to be the most", got)
	}
	calls(5000, 1000, 20*ms)
	if got := p.Bound(1) + p.Hiccup(1); got > 4*ms {
		t.Errorf("one call in a thousand takes 20 ms, and %v is said to be the most", got)
	}
}
