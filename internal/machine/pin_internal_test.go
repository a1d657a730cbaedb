package machine

import (
	"slices"
	"testing"
)

func TestParseCores(t *testing.T) {
	f := func(list string, want ...int) {
		t.Helper()
		got, err := ParseCores(list)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
	}
	f("0", 0)
	f("2,4-7", 2, 4, 5, 6, 7)
	f("3, 1,2-3", 1, 2, 3)
	f("8191", 8191)
}

func TestParseCoresRefuses(t *testing.T) {
	for _, list := range []string{"", "x", "-1", "1-", "3-2", "1,,2", "8192", "1-99999999999999999999", "auto"} {
		if got, err := ParseCores(list); err == nil {
			t.Errorf("%q: %v", list, got)
		}
	}
}

func TestCores(t *testing.T) {
	f := func(want string, cores ...int) {
		t.Helper()
		if got := Cores(cores); got != want {
			t.Errorf("%v: %q, want %q", cores, got, want)
		}
	}
	f("")
	f("3", 3)
	f("0-1", 0, 1)
	f("2,4-7,9", 2, 4, 5, 6, 7, 9)
}

func TestChooseOfEachPhysicalCoreFirst(t *testing.T) {
	f := func(lanes int, allowed []int, pairs bool, want ...int) {
		t.Helper()
		// As most machines count: the second threads behind all the first.
		siblings := func(c int) []int { return []int{c} }
		if pairs {
			siblings = func(c int) []int { return []int{c % 4, c%4 + 4} }
		}
		if got := choose(allowed, lanes, siblings); !slices.Equal(got, want) {
			t.Errorf("%d of %v: %v, want %v", lanes, allowed, got, want)
		}
	}
	f(1, []int{0, 1, 2, 3}, false, 3)
	f(2, []int{0, 1, 2, 3}, false, 2, 3)
	f(2, []int{0, 1, 2, 3, 4, 5, 6, 7}, true, 6, 7)
	f(4, []int{0, 1, 2, 3, 4, 5, 6, 7}, true, 4, 5, 6, 7)
	f(6, []int{0, 1, 2, 3, 4, 5, 6, 7}, true, 2, 3, 4, 5, 6, 7)
	f(2, []int{3, 7, 0}, true, 0, 7)
	f(3, []int{3, 7, 0}, true, 0, 3, 7)
}
