package repository_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// put writes a file and the folders above it; what was there is another file
// afterwards.
func put(t *testing.T, at, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		t.Fatal(err)
	}
}

// putVersion writes the folder of a version whose model is a text.
func putVersion(t *testing.T, dir, version, text string) {
	t.Helper()
	put(t, filepath.Join(dir, "model_card.yaml"), card("carla-ppo", version))
	put(t, filepath.Join(dir, "model.pt"), text)
}

// state prints what answers, what is kept, and what is under the root.
func state(r *repository.Repository) string {
	var parts []string
	for _, m := range r.Models() {
		text := m.Name + " " + m.Version.Name + "=" + m.Version.State.String()
		if m.Pinned {
			text += " pinned"
		}
		if m.Previous != nil {
			text += " previous " + m.Previous.Name
		}
		for _, v := range m.All {
			text += " | " + v.Name + " " + v.State.String()
		}
		for _, v := range m.Kept {
			text += " | kept " + v.Name
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func want(t *testing.T, r *repository.Repository, state_ string) {
	t.Helper()
	if got := state(r); got != state_ {
		t.Errorf("got  %s\nwant %s", got, state_)
	}
}

// reload asks for a reload and prints what came of it.
func reload(t *testing.T, r *repository.Repository, model string) string {
	t.Helper()
	p, err := r.Reload(t.Context(), model)
	if err != nil {
		return "error: " + err.Error()
	}
	if p.Error != "" {
		return "root: " + p.Error
	}
	var parts []string
	for _, m := range p.Models {
		text := m.Model + " " + m.Result
		for _, v := range m.Loaded {
			text += " +" + v.Name
		}
		for _, v := range m.Failed {
			text += " -" + v.Name + " (" + v.Reason + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func wantReload(t *testing.T, r *repository.Repository, model, result string) {
	t.Helper()
	if got := reload(t, r, model); got != result {
		t.Errorf("got  %s\nwant %s", got, result)
	}
}

// TestReloadKeepsToMaxVersions: what new versions push beyond the limit leaves
// memory, unless it answers or a rollback returns to it.
func TestReloadKeepsToMaxVersions(t *testing.T) {
	dir := t.TempDir()
	add := func(version string) {
		t.Helper()
		putVersion(t, filepath.Join(dir, version), version, version)
	}
	add("v0.1.0")
	add("v0.2.0")
	r := open(t, repository.Options{Root: dir, MaxVersions: 2})
	add("v0.3.0")
	wantReload(t, r, "", "carla-ppo changed +v0.3.0")
	want(t, r, "carla-ppo v0.3.0=ready previous v0.2.0 | v0.3.0 ready | v0.2.0 ready | v0.1.0 unloaded")
	if v, err := r.Lookup("", "v0.1.0"); v == nil || v.State != repository.StateUnloaded {
		t.Errorf("got %+v, %v", v, err)
	}
	if _, err := r.Rollback(""); err != nil {
		t.Fatal(err)
	}
	add("v0.4.0")
	wantReload(t, r, "", "carla-ppo changed +v0.4.0")
	want(t, r, "carla-ppo v0.4.0=ready previous v0.2.0 | v0.4.0 ready | v0.3.0 ready | v0.2.0 unloaded | v0.1.0 unloaded | kept v0.2.0")
	add("v0.5.0")
	wantReload(t, r, "", "carla-ppo changed +v0.5.0")
	want(t, r, "carla-ppo v0.5.0=ready previous v0.4.0 | v0.5.0 ready | v0.4.0 ready | v0.3.0 unloaded | v0.2.0 unloaded | v0.1.0 unloaded")
}

func TestReloadOfVersions(t *testing.T) {
	dir := t.TempDir()
	putVersion(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", "a")
	r := open(t, repository.Options{Root: dir})
	want(t, r, "carla-ppo v0.1.0=ready | v0.1.0 ready")
	wantReload(t, r, "", "carla-ppo unchanged")

	// A new version takes over; the one before is kept.
	putVersion(t, filepath.Join(dir, "v0.2.0"), "v0.2.0", "b")
	wantReload(t, r, "carla-ppo", "carla-ppo changed +v0.2.0")
	want(t, r, "carla-ppo v0.2.0=ready previous v0.1.0 | v0.2.0 ready | v0.1.0 ready")

	// One that is refused does not, and says why.
	putVersion(t, filepath.Join(dir, "v0.3.0"), "v0.3.0", "bad")
	wantReload(t, r, "", "carla-ppo failed -v0.3.0 ("+errBad.Error()+")")
	want(t, r, "carla-ppo v0.2.0=ready previous v0.1.0 | v0.3.0 failed | v0.2.0 ready | v0.1.0 ready")

	// The files of the one that answers are replaced by others that are refused:
	// it answers from memory, under its name as well.
	put(t, filepath.Join(dir, "v0.2.0", "model.pt"), "panic")
	reload(t, r, "")
	want(t, r, "carla-ppo v0.2.0=ready previous v0.1.0 | v0.3.0 failed | v0.2.0 failed | v0.1.0 ready | kept v0.2.0")
	if v, err := r.Lookup("", "v0.2.0"); err != nil || v.State != repository.StateReady {
		t.Errorf("got %v", err)
	}
	// So does one that is only asked for by its name.
	put(t, filepath.Join(dir, "v0.1.0", "model.pt"), "bad")
	reload(t, r, "")
	if v, err := r.Lookup("", "v0.1.0"); err != nil || v.State != repository.StateReady {
		t.Errorf("got %v", err)
	}
	// Once the files are good again, they take the place.
	put(t, filepath.Join(dir, "v0.2.0", "model.pt"), "c")
	reload(t, r, "")
	put(t, filepath.Join(dir, "v0.1.0", "model.pt"), "a")
	wantReload(t, r, "", "carla-ppo failed -v0.3.0 ("+errBad.Error()+")")
	want(t, r, "carla-ppo v0.2.0=ready previous v0.2.0 | v0.3.0 failed | v0.2.0 ready | v0.1.0 ready | kept v0.2.0")

	// A version whose folder is gone gives its place to the next one.
	if err := os.RemoveAll(filepath.Join(dir, "v0.3.0")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "v0.2.0")); err != nil {
		t.Fatal(err)
	}
	wantReload(t, r, "", "carla-ppo changed")
	want(t, r, "carla-ppo v0.1.0=ready previous v0.2.0 | v0.1.0 ready | kept v0.2.0")

	// A root that is gone changes nothing, and is told of without its path.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := reload(t, r, ""); !strings.HasPrefix(got, "root: the artifact root: ") || strings.Contains(got, dir) {
		t.Errorf("got %s", got)
	}
	want(t, r, "carla-ppo v0.1.0=ready previous v0.2.0 | v0.1.0 ready | kept v0.2.0")
	if r.Looked().Error == "" {
		t.Error("the look tells no error")
	}
	if got := reload(t, r, "none"); !strings.HasPrefix(got, "root: ") {
		t.Errorf("got %s", got)
	}
}

// TestReloadTellsOfWhatIsNotUsed, once.
func TestReloadTellsOfWhatIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	putVersion(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", "a")
	put(t, filepath.Join(dir, "old", "model.pt"), "a")
	var notes []string
	r := open(t, repository.Options{Root: dir, Happened: func(e repository.Event) {
		if e.Kind == repository.EventNote {
			notes = append(notes, e.Reason)
		}
	}})
	reload(t, r, "")
	if len(r.Notes()) != 1 || notes != nil {
		t.Errorf("told at the start %v, and again %v", r.Notes(), notes)
	}
	put(t, filepath.Join(dir, "final", "model.pt"), "b")
	reload(t, r, "")
	reload(t, r, "")
	if want := []string{"The folder final is not used: its name is no version such as v0.1.0."}; !slices.Equal(notes, want) {
		t.Errorf("got %q, want %q", notes, want)
	}
}

// TestReloadKeepsTheDefaultModel: a model that is put beside the only one does
// not make requests fail that name none.
func TestReloadKeepsTheDefaultModel(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	add := func(at string) {
		t.Helper()
		put(t, filepath.Join(at, "v0.1.0", "model_card.yaml"), card(filepath.Base(at), "v0.1.0"))
		put(t, filepath.Join(at, "v0.1.0", "model.pt"), at)
	}
	add(first)
	r := open(t, repository.Options{Root: dir})
	add(second)
	wantReload(t, r, "", "first unchanged; second changed +v0.1.0")
	if v, err := r.Lookup("", ""); err != nil || v.Model != "first" {
		t.Errorf("got %v, %v", v, err)
	}
	if v, err := r.Lookup("second", ""); err != nil || v.Model != "second" {
		t.Errorf("got %v, %v", v, err)
	}
	// When it is gone, the one that is left is the default one.
	if err := os.RemoveAll(first); err != nil {
		t.Fatal(err)
	}
	reload(t, r, "")
	if v, err := r.Lookup("", ""); err != nil || v.Model != "second" {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestRollback(t *testing.T) {
	dir := t.TempDir()
	putVersion(t, dir, "v0.1.0", "a")
	var mu sync.Mutex
	var events []string
	r := open(t, repository.Options{Root: dir, Happened: func(e repository.Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, fmt.Sprintf("%s %s->%s", e.Kind, e.From.Name, e.To.Name))
	}})
	if _, err := r.Rollback(""); !errors.Is(err, repository.ErrNoPrevious) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Rollback("other"); !errors.Is(err, repository.ErrModelNotFound) {
		t.Errorf("got %v", err)
	}
	putVersion(t, dir, "v0.2.0", "b")
	wantReload(t, r, "", "carla-ppo changed +v0.2.0")
	want(t, r, "carla-ppo v0.2.0=ready previous v0.1.0 | v0.2.0 ready | kept v0.1.0")
	if v, err := r.Lookup("", "0.1.0"); err != nil || v.Name != "v0.1.0" {
		t.Errorf("the one before is not to be had: %v", err)
	}
	if _, err := r.Rollback("carla-ppo"); err != nil {
		t.Fatal(err)
	}
	want(t, r, "carla-ppo v0.1.0=ready pinned previous v0.2.0 | v0.2.0 ready | kept v0.1.0")
	// Another rollback is the way back.
	if _, err := r.Rollback(""); err != nil {
		t.Fatal(err)
	}
	want(t, r, "carla-ppo v0.2.0=ready pinned previous v0.1.0 | v0.2.0 ready | kept v0.1.0")
	if _, err := r.Rollback(""); err != nil {
		t.Fatal(err)
	}
	// A reload that is asked for ends it.
	wantReload(t, r, "", "carla-ppo changed")
	want(t, r, "carla-ppo v0.2.0=ready previous v0.1.0 | v0.2.0 ready | kept v0.1.0")
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(events, ", "), "swap v0.1.0->v0.2.0, rollback v0.2.0->v0.1.0, rollback v0.1.0->v0.2.0, rollback v0.2.0->v0.1.0, swap v0.1.0->v0.2.0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// eventually waits for what a poll brings about.
func eventually(t *testing.T, r *repository.Repository, state_ string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for state(r) != state_ {
		select {
		case <-ctx.Done():
			t.Fatalf("got  %s\nwant %s", state(r), state_)
		case <-time.After(time.Millisecond):
		}
	}
}

// steady holds that polls change nothing of what answers.
func steady(t *testing.T, r *repository.Repository, state_ string) {
	t.Helper()
	for looks, last := 0, r.Looked().At; looks < 4; {
		if at := r.Looked().At; at != last {
			looks, last = looks+1, at
		}
		if got := state(r); !strings.HasPrefix(got, state_) {
			t.Fatalf("got  %s\nwant %s", got, state_)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestPolling(t *testing.T) {
	dir := t.TempDir()
	putVersion(t, filepath.Join(dir, "v0.1.0"), "v0.1.0", "a")
	r := open(t, repository.Options{Root: dir, Poll: 5 * time.Millisecond})
	putVersion(t, filepath.Join(dir, "v0.2.0"), "v0.2.0", "b")
	eventually(t, r, "carla-ppo v0.2.0=ready previous v0.1.0 | v0.2.0 ready | v0.1.0 ready")
	// The bad one is not brought back by a poll, and neither is it by another
	// that was there already.
	if _, err := r.Rollback(""); err != nil {
		t.Fatal(err)
	}
	steady(t, r, "carla-ppo v0.1.0=ready pinned previous v0.2.0")
	now := time.Now()
	if err := os.Chtimes(filepath.Join(dir, "v0.2.0", "model.pt"), now, now); err != nil {
		t.Fatal(err)
	}
	steady(t, r, "carla-ppo v0.1.0=ready pinned previous v0.2.0")
	// What is new is.
	putVersion(t, filepath.Join(dir, "v0.3.0"), "v0.3.0", "c")
	eventually(t, r, "carla-ppo v0.3.0=ready previous v0.1.0 | v0.3.0 ready | v0.2.0 ready | v0.1.0 ready")
	if err := os.RemoveAll(filepath.Join(dir, "v0.3.0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, r, "carla-ppo v0.1.0=ready previous v0.3.0 | v0.2.0 ready | v0.1.0 ready | kept v0.3.0")
}
