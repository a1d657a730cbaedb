package artifact_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// besides is a model with tensors in three files.
func besides() map[string]string {
	return map[string]string{
		"policy.onnx": "network", "policy.onnx.data": "tensors", "_Constant_1": "more", "actor.0.weight": "most",
		".hidden": "secret", "sub/weights": "secret",
	}
}

func TestBeside(t *testing.T) {
	m := fstest.MapFS{}
	for name, text := range besides() {
		m["p/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	dir := folder(t, besides())
	f := func(name string, a *artifact.Artifact, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := a.Digest()
		for file, want := range map[string]string{"policy.onnx.data": "tensors", "_Constant_1": "more", "actor.0.weight": "most"} {
			for range 2 {
				data, err := a.Beside(file)
				if err != nil || string(data) != want {
					t.Errorf("%s: %s is %q, %v", name, file, data, err)
				}
			}
		}
		data := 0
		for _, member := range a.Members {
			if member.Role == artifact.RoleModelData {
				data++
				if len(member.SHA256) != 64 || member.Size == 0 {
					t.Errorf("%s: %+v", name, member)
				}
			}
		}
		if data != 3 || a.Digest() == before {
			t.Errorf("%s: %d files of tensors in the digest, want 3", name, data)
		}
		for other, is := range map[string]error{
			"nothing": artifact.ErrMissing, "../p/secret": artifact.ErrName, "sub/weights": artifact.ErrName, `sub\weights`: artifact.ErrName,
			".hidden": artifact.ErrName, "": artifact.ErrName, ".": artifact.ErrName, "..": artifact.ErrName, "a\x00b": artifact.ErrName,
			"policy.onnx": artifact.ErrName, "sub": artifact.ErrNotRegular, strings.Repeat("x", 300): artifact.ErrName,
		} {
			if data, err := a.Beside(other); !errors.Is(err, is) {
				t.Errorf("%s: Beside(%q) = %q, %v; want %v", name, other, data, err, is)
			}
		}
		a.Release()
		if _, err := a.Beside("policy.onnx.data"); !errors.Is(err, artifact.ErrMissing) {
			t.Errorf("%s: after Release: %v", name, err)
		}
	}
	a, err := artifact.Open(m, "p", artifact.Limits{})
	f("a folder", a, err)
	a, err = artifact.OpenFile(m, "p/policy.onnx", artifact.Limits{})
	f("a file", a, err)
	a, err = artifact.OpenPath(dir, artifact.Limits{})
	f("the path of a folder", a, err)
	a, err = artifact.OpenPath(filepath.Join(dir, "policy.onnx"), artifact.Limits{})
	f("the path of a file", a, err)
}

func TestBesideIsHeldToItsDigest(t *testing.T) {
	f := func(l artifact.Limits, hashes, file string, is error) {
		t.Helper()
		fsys := fstest.MapFS{
			"model_card.yaml": {Data: []byte(minimal + "artifact_hashes:\n  model.onnx: " + sum("network") + "\n" + hashes)},
			"model.onnx":      {Data: []byte("network")},
			"w.bin":           {Data: []byte("tensors")},
		}
		a, err := artifact.Open(fsys, ".", l)
		if err == nil {
			var data []byte
			if data, err = a.Beside(file); err == nil && string(data) != "tensors" {
				t.Errorf("got %q", data)
			}
		}
		if is == nil && err != nil || !errors.Is(err, is) {
			t.Errorf("got %v, want %v", err, is)
		}
		if err == nil && !a.Members[len(a.Members)-1].Hashed {
			t.Errorf("got %+v", a.Members)
		}
	}
	f(artifact.Limits{RequireHashes: true}, "  w.bin: "+sum("tensors"), "w.bin", nil)
	f(artifact.Limits{}, "  w.bin: "+sum("others"), "w.bin", artifact.ErrHash)
	f(artifact.Limits{RequireHashes: true}, "", "w.bin", artifact.ErrNoHash)
	f(artifact.Limits{MaxModelBytes: 7}, "", "model_card.yaml", artifact.ErrName)
}

func TestBesideKeepsWithinItsLimit(t *testing.T) {
	fsys := fstest.MapFS{"model.onnx": {Data: []byte("network")}, "a": {Data: []byte("12345")}, "b": {Data: []byte("12345")}}
	a, err := artifact.Open(fsys, ".", artifact.Limits{MaxModelBytes: 8})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Beside("a"); err != nil {
		t.Error(err)
	}
	if _, err := a.Beside("b"); !errors.Is(err, artifact.ErrLimit) {
		t.Errorf("10 bytes where 8 are allowed: %v", err)
	}
}

// A file that was verified and is another one when the model asks for it.
func TestBesideTellsOfAChange(t *testing.T) {
	dir := folder(t, map[string]string{
		"model_card.yaml": minimal + "artifact_hashes:\n  w.bin: " + sum("tensors") + "\n", "model.onnx": "network", "w.bin": "tensors",
	})
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "w.bin"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Beside("w.bin"); !errors.Is(err, artifact.ErrHash) {
		t.Errorf("got %v", err)
	}
}

func TestBesideStaysInside(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("links are not made on Windows: 1 case is not run")
		return
	}
	outside := folder(t, map[string]string{"secret": "outside"})
	dir := folder(t, map[string]string{"model.onnx": "network"})
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "w.bin")); err != nil {
		t.Fatal(err)
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := a.Beside("w.bin"); !errors.Is(err, artifact.ErrEscape) {
		t.Errorf("got %q, %v", data, err)
	}
}

// The hub's cache keeps files as links to a folder beside the snapshots.
func TestOpenTheCacheOfTheHub(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("links are not made on Windows: 1 case is not run")
		return
	}
	repo := filepath.Join(folder(t, map[string]string{
		"models--sb3--ppo-Car-v0/blobs/1": "model", "models--sb3--ppo-Car-v0/blobs/2": "statistics", "secret": "outside",
	}), "models--sb3--ppo-Car-v0")
	snapshot := filepath.Join(repo, "snapshots", "abc")
	if err := os.MkdirAll(snapshot, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"ppo-Car-v0.zip": "../../blobs/1", "vec_normalize.pkl": "../../blobs/2", "model.onnx": "../../../secret"} {
		if err := os.Symlink(to, filepath.Join(snapshot, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := artifact.OpenPath(snapshot, artifact.Limits{}); !errors.Is(err, artifact.ErrEscape) {
		t.Errorf("a link out of the repository: %v", err)
	}
	if err := os.Remove(filepath.Join(snapshot, "model.onnx")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{snapshot, filepath.Join(snapshot, "ppo-Car-v0.zip")} {
		a, err := artifact.OpenPath(name, artifact.Limits{})
		if err != nil {
			t.Error(err)
			continue
		}
		data, err := a.Read(artifact.RoleVecNormalize)
		if a.Card.ModelName != "ppo-Car-v0" || a.ModelName() != "ppo-Car-v0.zip" || err != nil || string(data) != "statistics" {
			t.Errorf("%s: %+v, %v", filepath.Base(name), a.Members, err)
		}
	}
	root, err := artifact.OpenRoot(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := root.Open("../../blobs/1"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name that leaves the folder: %v", err)
	}
}

// TestAnEmptyFileBesideIsNone opens what the exporter of torch writes for a model
// whose tensors are all inside it: an empty file beside it.
func TestAnEmptyFileBesideIsNone(t *testing.T) {
	fsys := fstest.MapFS{"model.onnx": {Data: []byte("network")}, "model.onnx.data": {}}
	a, err := artifact.Open(fsys, ".", artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if m := a.Member(artifact.RoleModelData); m != nil {
		t.Errorf("%+v is a member", m)
	}
	if _, err := a.Beside("model.onnx.data"); err == nil {
		t.Error("the empty file is given to a model that names it")
	}
}
