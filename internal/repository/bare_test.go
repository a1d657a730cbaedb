package repository_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// openBare stands for policy.Open of models that need not be a file.
func openBare(a *artifact.Artifact) (*policy.Policy, error) {
	if a.Unzipped() {
		_, err := a.ModelMember("data")
		return &policy.Policy{}, err
	}
	return openFake(a)
}

const zooArgs = "!!python/object/apply:collections.OrderedDict\n- - - algo\n    - ppo\n  - - env\n    - Car-v1\n"

// Roots without a card, as training and the hub leave them.
func TestBareRoots(t *testing.T) {
	f := func(root string, list map[string]string, want, noted string) {
		t.Helper()
		r := open(t, repository.Options{Root: root, FS: files(list), Open: openBare})
		if got := describe(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if notes := strings.Join(r.Notes(), "\n"); !strings.Contains(notes, noted) || noted == "" && notes != "" {
			t.Errorf("got notes %q, want %q", notes, noted)
		}
		at, err := repository.Locate(repository.Options{Root: root, FS: files(list)})
		if len(r.Models()) == 1 && (err != nil || r.Layout() == repository.LayoutFlat && at.Path != root) {
			t.Errorf("located at %+v, %v", at, err)
		}
	}
	hub := map[string]string{
		"sac-Car-v0.zip": "x", "sac-Car-v0/data": "{}", "sac-Car-v0/policy.pth": "x", "config.json": "{}", "vec_normalize.pkl": "x", "README.md": "x",
	}
	f("abc123", hub, "flat: sac-Car-v0* unversioned!", "")
	delete(hub, "sac-Car-v0.zip")
	f("abc123", hub, "flat: sac-Car-v0* unversioned!", "")
	f("Car-v1_2", map[string]string{
		"Car-v1.zip": "x", "best_model.zip": "y", "evaluations.npz": "z", "Car-v1/args.yml": zooArgs, "Car-v1/vecnormalize.pkl": "x",
	}, "flat: ppo-Car-v1* unversioned!", "")
	f("models", map[string]string{"Car-v1_1/Car-v1.zip": "x", "Car-v1_1/Car-v1/args.yml": zooArgs, "sac-Car-v0/sac-Car-v0.zip": "y", "plots/a.png": "z"},
		"models: ppo-Car-v1 unversioned!; sac-Car-v0 unversioned!", "The folder plots is not used")
	f("models", map[string]string{"Car-v1_1/Car-v1.zip": "x", "Car-v1_1/Car-v1/args.yml": zooArgs, "Car-v1_2/Car-v1.zip": "y", "Car-v1_2/Car-v1/args.yml": zooArgs},
		"models: ppo-Car-v1 unversioned!; Car-v1_2 unversioned!", "several models")
	f("logs", map[string]string{
		"ppo/Car-v1_1/Car-v1.zip": "x", "ppo/Car-v1_1/Car-v1/args.yml": zooArgs, "sac/Car-v0_1/Car-v0.zip": "y", "sac/Car-v0_1/Car-v0/config.yml": "normalize: true\n", "videos/a.mp4": "z",
	}, "models: ppo-Car-v1 unversioned!; Car-v0_1 unversioned!", "The folder videos is not used")
	f("logs", map[string]string{"ppo/Car-v1_1/Car-v1.zip": "x"}, "models: Car-v1_1* unversioned!", "")
	f("models", map[string]string{"a/": "x", "b/policy.zip": "y"}, "models: a* v1.0.0!", "The folder b is not used")
	f("models", map[string]string{"a/": "x", "policy.zip": "y"}, "models: a* v1.0.0!", "")
}

// A root that is an unzipped model uses what lies beside it, as its zip would.
func TestUnzippedRoot(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"ppo-Car-v1/data": "{}", "ppo-Car-v1/policy.pth": "x", "vec_normalize.pkl": "statistics"} {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	statistics := ""
	r := open(t, repository.Options{Root: filepath.Join(dir, "ppo-Car-v1"), Open: func(a *artifact.Artifact) (*policy.Policy, error) {
		data, err := a.Read(artifact.RoleVecNormalize)
		statistics = string(data)
		if err != nil {
			return nil, err
		}
		return openBare(a)
	}})
	if got := describe(r); got != "file: ppo-Car-v1* unversioned!" || statistics != "statistics" {
		t.Errorf("got %q with %q", got, statistics)
	}
}

// What a model asks for after it was opened is part of the version.
func TestDigestHasTheFilesBeside(t *testing.T) {
	list := map[string]string{"model.onnx": "network", "w.bin": "tensors"}
	digest := func(ask bool) string {
		r := open(t, repository.Options{FS: files(list), Open: func(a *artifact.Artifact) (*policy.Policy, error) {
			if ask {
				if _, err := a.Beside("w.bin"); err != nil {
					return nil, err
				}
			}
			return &policy.Policy{}, nil
		}})
		v, err := r.Lookup("models", "")
		if err != nil {
			t.Fatal(err)
		}
		return v.Digest
	}
	if digest(true) == digest(false) {
		t.Error("the digest does not change with the tensors")
	}
}
