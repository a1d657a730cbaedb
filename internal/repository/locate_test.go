package repository_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// TestLocate finds what Open answers with, without opening it.
func TestLocate(t *testing.T) {
	f := func(list map[string]string, o repository.Options, want repository.Location) {
		t.Helper()
		o.Root, o.FS = "models", files(list)
		got, err := repository.Locate(o)
		want.Path = filepath.FromSlash(want.Path)
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	flat := map[string]string{"model_card.yaml": card("a", "v0.3.0"), "model.pt": "x"}
	f(flat, repository.Options{}, repository.Location{Path: "models", Model: "a", Version: "v0.3.0", Versions: 1})
	f(map[string]string{"v0.1.0/": "x", "v0.2.0/": "bad", "v0.3.0-rc.1/": "z"}, repository.Options{}, repository.Location{Path: "models/v0.2.0", Model: "carla-ppo", Version: "v0.2.0", Versions: 3})
	f(map[string]string{"v0.1.0/": "x", "v0.2.0/": "y"}, repository.Options{ModelVersion: "v0.1.0"}, repository.Location{Path: "models/v0.1.0", Model: "carla-ppo", Version: "v0.1.0", Versions: 2})
	f(map[string]string{"v0.1.0/": "x", "model_card.yaml": card("carla-ppo", "v0.3.0"), "model.pt": "y"}, repository.Options{}, repository.Location{Path: "models", Model: "carla-ppo", Version: "v0.3.0", Versions: 2})
	f(map[string]string{"a/v0.1.0/": "x"}, repository.Options{}, repository.Location{Path: "models/a/v0.1.0", Model: "a", Version: "v0.1.0", Versions: 1})
	f(map[string]string{"a/v0.1.0/": "x", "b/": "y"}, repository.Options{DefaultModel: "b"}, repository.Location{Path: "models/b", Model: "b", Version: "v1.0.0", Versions: 1})
}

func TestLocateRefuses(t *testing.T) {
	f := func(list map[string]string, is error, want string) {
		t.Helper()
		at, err := repository.Locate(repository.Options{Root: "models", FS: files(list)})
		if !errors.Is(err, is) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v, want %q in it", at, err, want)
		}
	}
	f(map[string]string{"a/v0.1.0/": "x", "b/": "y"}, repository.ErrSeveral, "models is a folder of several models (a, b): name one of them")
	f(map[string]string{"old/x": ""}, repository.ErrEmpty, "artifact root models: no artifact")
}
