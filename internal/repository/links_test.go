package repository_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// TestRootIsNeverWrittenTo takes every right to write away, as the guide's
// read-only mount does, and looks at what is there afterwards.
func TestRootIsNeverWrittenTo(t *testing.T) {
	dir := t.TempDir()
	for name, file := range files(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad"}) {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, file.Data, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	list := func() string {
		var b strings.Builder
		if err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			fmt.Fprintln(&b, name, info.Mode(), info.ModTime().UnixNano())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := list()
	if got, want := describe(open(t, repository.Options{Root: dir})), "versioned: carla-ppo* v0.2.0(failed) v0.1.0!"; got != want {
		t.Errorf("got %s", got)
	}
	if after := list(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestLinksBetweenVersions may lead through the root, but not out of it.
func TestLinksBetweenVersions(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(at, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "shared", "model.pt"), "x")
	write(filepath.Join(outside, "model.pt"), "x")
	write(filepath.Join(dir, "v0.1.0", "model_card.yaml"), card("carla-ppo", "v0.1.0"))
	write(filepath.Join(dir, "v0.2.0", "model_card.yaml"), card("carla-ppo", "v0.2.0"))
	if err := os.Symlink("../shared/model.pt", filepath.Join(dir, "v0.1.0", "model.pt")); err != nil {
		t.Logf("links cannot be made here, 2 cases are not run: %v", err)
		return
	}
	if err := os.Symlink(filepath.Join(outside, "model.pt"), filepath.Join(dir, "v0.2.0", "model.pt")); err != nil {
		t.Fatal(err)
	}
	r := open(t, repository.Options{Root: dir})
	if got, want := describe(r), "versioned: carla-ppo* v0.2.0(failed) v0.1.0!"; got != want {
		t.Errorf("got %s", got)
	}
	if _, err := r.Lookup("", "v0.2.0"); err == nil || !strings.Contains(err.Error(), "leaves the artifact folder") || strings.Contains(err.Error(), outside) {
		t.Errorf("got %v", err)
	}
}

// TestLinksOutOfTheRoot are not followed, and are called what they are: a
// version is there and refused, a model is not there.
func TestLinksOutOfTheRoot(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "model_card.yaml"), []byte(card("carla-ppo", "v0.1.0")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "v0.1.0")); err != nil {
		t.Logf("links cannot be made here, 2 cases are not run: %v", err)
		return
	}
	r := open(t, repository.Options{Root: dir, ModelVersion: "v0.1.0"})
	err := r.Readiness()
	if err == nil || !strings.Contains(err.Error(), "v0.1.0") || !strings.Contains(err.Error(), "it is a link that leads out of the artifact root") || strings.Contains(err.Error(), outside) {
		t.Errorf("got %v", err)
	}

	if err := os.Rename(filepath.Join(dir, "v0.1.0"), filepath.Join(dir, "highway")); err != nil {
		t.Fatal(err)
	}
	r, err = repository.Open(t.Context(), repository.Options{Root: dir, Open: openFake})
	if err == nil {
		r.Close()
	}
	if !errors.Is(err, repository.ErrEmpty) || !errors.Is(err, artifact.ErrEscape) || !strings.Contains(err.Error(), "highway: leaves the artifact folder: a link out of the root is not followed") || strings.Contains(err.Error(), outside) {
		t.Errorf("got %v", err)
	}
}
