package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// LibraryVariable names the environment variable that holds the path of ONNX
// Runtime's library.
const LibraryVariable = "CARLA_RL_ONNXRUNTIME_LIB"

// gpuProvider lies beside the library in a package for CUDA.
const gpuProvider = "libonnxruntime_providers_cuda.so"

// FindLibrary returns the path of the library to load: explicit, where it is
// given (a file, or a folder that holds one); the newest one of a Python
// package of ONNX Runtime that `tools/need onnxruntime` put into the cache; or
// the bare name, which the system's loader looks for. A path that is given and
// does not lead to a library is an error that wraps ErrLibrary, and so is a
// library without CUDA where gpu is wanted.
func FindLibrary(explicit string, gpu bool) (string, error) {
	if explicit != "" {
		return explicitLibrary(explicit, gpu)
	}
	if found := cachedLibraries(gpu); len(found) > 0 {
		return found[0], nil
	}
	return systemLibrary(), nil
}

func systemLibrary() string {
	if runtime.GOOS == "darwin" {
		return "libonnxruntime.dylib"
	}
	return "libonnxruntime.so.1"
}

func explicitLibrary(path string, gpu bool) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrLibrary, err)
	}
	if info.IsDir() {
		found := librariesIn(path)
		if len(found) == 0 {
			return "", fmt.Errorf("%w: no libonnxruntime in the folder %s", ErrLibrary, path)
		}
		path = found[0]
	}
	if gpu && !besideCUDA(path) {
		return "", fmt.Errorf("%w: %s has no %s beside it: a GPU needs the library of the package onnxruntime-gpu", ErrLibrary, path, gpuProvider)
	}
	return path, nil
}

// cachedLibraries lists the libraries of the Python environments in the
// project's cache, the newest version first.
func cachedLibraries(gpu bool) []string {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil
		}
		cache = filepath.Join(home, ".cache")
	}
	// The error of Glob is that of its pattern.
	folders, _ := filepath.Glob(filepath.Join(cache, "carla-rl", "venv-onnxruntime*", "lib", "python3*", "site-packages", "onnxruntime", "capi"))
	var found []string
	for _, f := range folders {
		for _, path := range librariesIn(f) {
			if !gpu || besideCUDA(path) {
				found = append(found, path)
			}
		}
	}
	slices.SortFunc(found, func(a, b string) int { return compareVersions(libraryVersion(b), libraryVersion(a)) })
	return found
}

// librariesIn lists the libraries of a folder, the newest version first.
func librariesIn(folder string) []string {
	var found []string
	for _, pattern := range []string{"libonnxruntime.so*", "libonnxruntime.*dylib"} {
		names, _ := filepath.Glob(filepath.Join(folder, pattern))
		found = append(found, names...)
	}
	slices.SortFunc(found, func(a, b string) int { return compareVersions(libraryVersion(b), libraryVersion(a)) })
	return found
}

func besideCUDA(library string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(library), gpuProvider))
	return err == nil
}

// libraryVersion reads the numbers of libonnxruntime.so.1.32.0; without any it
// is empty, which is older than all.
func libraryVersion(path string) []int {
	var version []int
	for part := range strings.SplitSeq(filepath.Base(path), ".") {
		if n, err := strconv.Atoi(part); err == nil {
			version = append(version, n)
		}
	}
	return version
}

func compareVersions(a, b []int) int {
	return slices.Compare(a, b)
}
