package repository_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

func TestModelVersion(t *testing.T) {
	list := map[string]string{"v0.1.0/": "x", "v0.2.0/": "y", "v0.3.0-rc.1/": "z", "v1.0.0+b1/": "w"}
	f := func(version, want string) {
		t.Helper()
		r := open(t, repository.Options{FS: files(list), ModelVersion: version})
		if got := r.Models()[0].Current; got != want {
			t.Errorf("%q: got %s, want %s", version, got, want)
		}
		if r.Requested() != version {
			t.Errorf("got %q", r.Requested())
		}
	}
	f("", "v1.0.0+b1")
	f("v0.1.0", "v0.1.0")
	f("0.1.0", "v0.1.0")
	f(" v0.1.0 ", "v0.1.0")
	f("v1.0.0", "v1.0.0+b1") // build data does not count
	f("v0.3.0-rc.1", "v0.3.0-rc.1")
	f("latest", "v1.0.0+b1")
	f("stable", "v1.0.0+b1")
	f("^0.1.0", "v0.2.0")
	f("~0.1.0", "v0.1.0")
	f(">=0.2.1, <1.0.0", "v0.3.0-rc.1")
}

// TestModelVersionThatNothingCarries is the trap of the Python server, which
// serves another version in silence.
func TestModelVersionThatNothingCarries(t *testing.T) {
	f := func(version string, list map[string]string, want ...string) {
		t.Helper()
		r, err := repository.Open(t.Context(), repository.Options{Root: "models", FS: files(list), ModelVersion: version, Open: openFake})
		if err == nil {
			t.Errorf("%q: was opened: %s", version, describe(r))
			r.Close()
			return
		}
		if !errors.Is(err, artifact.ErrNoVersion) {
			t.Errorf("%q: got %v", version, err)
		}
		for _, w := range append(want, "artifact root models", version) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: got %q, want %q in it", version, err, w)
			}
		}
	}
	versioned := map[string]string{"v0.1.0/": "x", "v0.2.0/": "y"}
	f("v0.3.0", versioned, "there are: v0.2.0, v0.1.0")
	f("v0.1.0-rc.1", versioned)
	f("^1.0.0", versioned)
	f("stable", map[string]string{"v0.1.0-rc.1/": "x"}, "there are: v0.1.0-rc.1")
	f("v0.2.0", map[string]string{"model_card.yaml": card("a", "v0.1.0"), "model.pt": "x"}, "there are: v0.1.0")
	f("v0.1.0", map[string]string{"policy.zip": "x"})
	f("v3.0.0", map[string]string{"a/v1.0.0/": "x", "b/v2.0.0/": "y"})
}

func TestModelVersionOfSeveralModels(t *testing.T) {
	list := map[string]string{"a/v1.0.0/": "x", "a/v2.0.0/": "x", "b/v3.0.0/": "y", "b/v4.0.0-rc.1/": "y", "c/v1.0.0/": "z", "c/v2.0.0/": "z", "d/v0.9.0-rc.1/": "z"}
	f := func(version, def, want string, notes ...string) {
		t.Helper()
		r := open(t, repository.Options{FS: files(list), ModelVersion: version, DefaultModel: def})
		if got := describe(r); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := r.Notes(); !slices.Equal(got, notes) {
			t.Errorf("got notes %q, want %q", got, notes)
		}
	}
	// The default model carries it; another takes it too or says what it does.
	f("v1.0.0", "a", "models: a* v2.0.0 v1.0.0!; b v4.0.0-rc.1 v3.0.0!; c v2.0.0 v1.0.0!; d v0.9.0-rc.1!",
		"MODEL_VERSION v1.0.0 is for the default model a; the model b has no such version and serves v3.0.0, its newest stable one.",
		"MODEL_VERSION v1.0.0 is for the default model a; the model d has no such version and serves v0.9.0-rc.1, its newest.")
	// Without a default model each must carry it.
	f("latest", "", "models: a v2.0.0! v1.0.0; b v4.0.0-rc.1! v3.0.0; c v2.0.0! v1.0.0; d v0.9.0-rc.1!",
		"There are several models and no default one: requests must name a model, or model.default must.")

	refuses := func(version, def string, want ...string) {
		t.Helper()
		r, err := repository.Open(t.Context(), repository.Options{FS: files(list), ModelVersion: version, DefaultModel: def, Open: openFake})
		if err == nil {
			t.Errorf("%q of %q: was opened: %s", version, def, describe(r))
			r.Close()
			return
		}
		for _, w := range want {
			if !errors.Is(err, artifact.ErrNoVersion) || !strings.Contains(err.Error(), w) {
				t.Errorf("got %v, want %q in it", err, w)
			}
		}
	}
	refuses("v1.0.0", "b", "model b: MODEL_VERSION \"v1.0.0\"", "there are: v4.0.0-rc.1, v3.0.0")
	refuses("v1.0.0", "", "of b (there are: v4.0.0-rc.1, v3.0.0), d (there are: v0.9.0-rc.1)", "name the default model with model.default")
	refuses("stable", "", "of d (there are: v0.9.0-rc.1)")
}

func TestDefaultModel(t *testing.T) {
	list := map[string]string{"a/v1.0.0/": "x", "b/v1.0.0/": "y"}
	r := open(t, repository.Options{FS: files(list), DefaultModel: "b"})
	if v, err := r.Lookup("", ""); err != nil || v.Model != "b" {
		t.Errorf("got %+v, %v", v, err)
	}
	_, err := repository.Open(t.Context(), repository.Options{FS: files(list), DefaultModel: "c", Open: openFake})
	if !errors.Is(err, repository.ErrModelNotFound) || !strings.Contains(err.Error(), "there are: a, b") {
		t.Errorf("got %v", err)
	}
	r = open(t, repository.Options{FS: files(list)})
	if _, err := r.Lookup("", ""); !errors.Is(err, repository.ErrModelNotFound) || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("got %v", err)
	}
	if _, err := r.Lookup("c", ""); !errors.Is(err, repository.ErrModelNotFound) || !strings.Contains(err.Error(), `"c"; there are: a, b`) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Lookup("a", "v2.0.0"); !errors.Is(err, repository.ErrVersionNotFound) || !strings.Contains(err.Error(), `model a has no version "v2.0.0"; there are: v1.0.0`) {
		t.Errorf("got %v", err)
	}
	if r.Readiness() != nil {
		t.Error("both models are ready")
	}
}

func TestMaxVersions(t *testing.T) {
	list := map[string]string{}
	for i := range 6 {
		list[fmt.Sprintf("v0.%d.0/", i)] = "x"
	}
	r := open(t, repository.Options{FS: files(list), MaxVersions: 3, ModelVersion: "v0.1.0"})
	if got, want := describe(r), "versioned: carla-ppo* v0.5.0 v0.4.0 v0.3.0(unloaded) v0.2.0(unloaded) v0.1.0! v0.0.0(unloaded)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if v, err := r.Lookup("", "v0.0.0"); err == nil || !strings.Contains(v.Reason, "only 3 versions") {
		t.Errorf("got %+v, %v", v, err)
	}
}
