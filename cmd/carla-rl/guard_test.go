package main

import (
	"strings"
	"testing"
)

func TestGuardedMakesAnErrorOfAPanic(t *testing.T) {
	err := guarded(func() error { panic("a file of a stranger\nwith lines") })()
	var w strings.Builder
	if code := report(&w, err); code != exitRefused {
		t.Errorf("exit code %d, want %d", code, exitRefused)
	}
	if got, want := w.String(), "carla-rl: internal error: a file of a stranger with lines\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}
