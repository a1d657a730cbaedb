package ort_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/ort"
)

// touch makes empty files, and returns the folder that holds them.
func touch(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindLibrary(t *testing.T) {
	const capi = "carla-rl/venv-onnxruntime-1/lib/python3.12/site-packages/onnxruntime/capi/"
	cache := touch(t, capi+"libonnxruntime.so.1.9.0", capi+"libonnxruntime.so.1.32.0", capi+"libonnxruntime_providers_shared.so")
	folder := touch(t, "libonnxruntime.so.1.25.1", "libonnxruntime_providers_cuda.so")
	t.Setenv("XDG_CACHE_HOME", cache)
	f := func(explicit string, gpu bool, want string) {
		t.Helper()
		if got, err := ort.FindLibrary(explicit, gpu); err != nil || got != want {
			t.Errorf("%q, GPU %v: %q, %v, want %q", explicit, gpu, got, err, want)
		}
	}
	f("", false, filepath.Join(cache, capi, "libonnxruntime.so.1.32.0"))
	f(folder, false, filepath.Join(folder, "libonnxruntime.so.1.25.1"))
	f(folder, true, filepath.Join(folder, "libonnxruntime.so.1.25.1"))
	f(filepath.Join(folder, "libonnxruntime.so.1.25.1"), true, filepath.Join(folder, "libonnxruntime.so.1.25.1"))

	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	got, err := ort.FindLibrary("", false)
	if err != nil || strings.ContainsAny(got, "/\\") {
		t.Errorf("without a cache: %q, %v, want a bare name for the system's loader", got, err)
	}
}

func TestFindLibraryRefuses(t *testing.T) {
	cpu := touch(t, "libonnxruntime.so.1.32.0")
	f := func(explicit string, gpu bool, want string) {
		t.Helper()
		_, err := ort.FindLibrary(explicit, gpu)
		if !errors.Is(err, ort.ErrLibrary) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, GPU %v: %v, want %q", explicit, gpu, err, want)
		}
	}
	f(filepath.Join(cpu, "nothing.so"), false, "nothing.so")
	f(t.TempDir(), false, "no libonnxruntime in the folder")
	f(cpu, true, "onnxruntime-gpu")
}

// The build without ONNX Runtime names the one with it.
func TestOpenWithoutTheBuild(t *testing.T) {
	if ort.Built {
		return
	}
	if _, err := ort.Open(ort.Options{}); !errors.Is(err, ort.ErrNotBuilt) || !strings.Contains(err.Error(), ":ort") {
		t.Errorf("%v", err)
	}
}
