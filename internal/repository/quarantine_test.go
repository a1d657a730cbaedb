//go:build unix

package repository_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// TestQuarantine takes a version out of service after three unusable answers in
// a row, and puts the one before back.
func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, dir, "v0.1.0", 1)
	r := open(t, repository.Options{Root: dir, Open: real, QuarantineAfter: 3})
	putLinear(t, dir, "v0.2.0", 2)
	wantReload(t, r, "", "linear changed +v0.2.0")
	bad, err := r.Lookup("", "")
	if err != nil {
		t.Fatal(err)
	}
	r.Unusable(bad, "NaN")
	r.Unusable(bad, "NaN")
	bad.Usable()
	r.Unusable(bad, "NaN")
	r.Unusable(bad, "NaN")
	if bad.Quarantined() {
		t.Error("quarantined, although a usable answer was between")
	}
	r.Unusable(bad, "the last one")
	want(t, r, "linear v0.1.0=ready | v0.2.0 quarantined | kept v0.1.0")
	if !bad.Quarantined() {
		t.Error("who has the version is not told")
	}
	var notReady *repository.NotReadyError
	if _, err := r.Lookup("", "v0.2.0"); !errors.As(err, &notReady) || !strings.Contains(err.Error(), "3 unusable answers one after another, the last of them: the last one") {
		t.Errorf("got %v", err)
	}
	if _, err := r.Rollback(""); !errors.Is(err, repository.ErrNoPrevious) {
		t.Errorf("a rollback to what was quarantined: %v", err)
	}
	// A reload that is asked for tries it again.
	wantReload(t, r, "", "linear changed +v0.2.0")
	want(t, r, "linear v0.2.0=ready previous v0.1.0 | v0.2.0 ready | kept v0.1.0")
	if bad.Quarantined() == false {
		t.Error("the version of before is let go")
	}
	// With nothing else to answer, nothing is ready.
	for range 2 {
		v, err := r.Lookup("", "")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r.Unusable(v, "NaN")
		}
	}
	if err := r.Readiness(); !errors.As(err, &notReady) || notReady.State != repository.StateQuarantined {
		t.Errorf("got %v", err)
	}
}

// TestQuarantineBesides takes a version out of service that answers only where it
// is named: what answers goes on, and no other takes over.
func TestQuarantineBesides(t *testing.T) {
	var events []repository.Event
	r := open(t, repository.Options{FS: files(map[string]string{"v0.1.0/": "x", "v0.2.0/": "y"}), QuarantineAfter: 1, Happened: func(e repository.Event) { events = append(events, e) }})
	v, err := r.Lookup("", "v0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	events = nil
	r.Unusable(v, "NaN")
	if len(events) != 1 || events[0].Kind != repository.EventQuarantine || events[0].From.Name != "v0.1.0" || events[0].To.Name != "v0.2.0" || events[0].Took {
		t.Errorf("%+v", events)
	}
	v, err = r.Lookup("", "")
	if err != nil {
		t.Fatal(err)
	}
	r.Unusable(v, "NaN")
	if len(events) != 2 || events[1].From.Name != "v0.2.0" || events[1].To != nil || events[1].Took {
		t.Errorf("%+v", events)
	}
}

// TestQuarantineIsOff with a limit of 0.
func TestQuarantineIsOff(t *testing.T) {
	r := open(t, repository.Options{FS: files(map[string]string{"v0.1.0/": "x"})})
	v, err := r.Lookup("", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		r.Unusable(v, "NaN")
	}
	if v.Quarantined() || r.Readiness() != nil {
		t.Error("quarantined")
	}
}
