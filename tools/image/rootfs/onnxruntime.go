package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// libraryDir is where ONNX Runtime lies in the image.
const libraryDir = "usr/local/lib/onnxruntime"

// onnxRuntimeVersion is the release of wheels, the one that
// tools/requirements-onnxruntime.txt names.
const onnxRuntimeVersion = "1.32.0"

// maxWheelBytes bounds a download; the wheels have 28 MB at most.
const maxWheelBytes = 256 << 20

// wheel is a file of the Python Package Index. Of its contents only the C
// library is taken, which does not depend on the version of Python.
type wheel struct {
	url    string
	sha256 string
}

// wheels are those of onnxRuntimeVersion, by GOARCH.
var wheels = map[string]wheel{
	"amd64": {
		"https://files.pythonhosted.org/packages/92/74/1f7c51522822e93aa91f633ebcd75688e2deebeca5901b2e6da8a8c5ad7c/onnxruntime-1.32.0-cp313-cp313-manylinux_2_28_x86_64.whl",
		"02ea12a28c069ea8510093d95a7f6ff8126bfd9fc5c0d3381c03b80fb2b424ba",
	},
	"arm64": {
		"https://files.pythonhosted.org/packages/96/c7/26be6be3ebe42597a521645a7bb18701ce0716af87af0cd2c9281d2e84a5/onnxruntime-1.32.0-cp313-cp313-manylinux_2_28_aarch64.whl",
		"54d02baff2df38777b4c3cc7af326406fe8b8a48f54720f4c446d2d327920a79",
	},
}

// addOnnxRuntime puts ONNX Runtime's library into the tree, from PyPI, a wheel,
// a library or a folder, and where the image has no libc of its own, what the
// program and the library are linked to. It returns the components for the
// bill of materials.
func addOnnxRuntime(o options, program string) ([]component, error) {
	dir := filepath.Join(o.out, libraryDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	version, err := copyOnnxRuntime(o.ort, o.arch, dir)
	if err != nil {
		return nil, fmt.Errorf("ONNX Runtime: %w", err)
	}
	url := "pkg:pypi/onnxruntime@" + version
	parts := []component{{Ref: url, Type: "library", Name: "onnxruntime", Version: version, Scope: "required", PackageURL: url}}
	if !o.libc {
		return parts, nil
	}
	libraries, err := filepath.Glob(filepath.Join(dir, "*.so*"))
	if err != nil {
		return nil, err
	}
	files, err := copyLinked(o.out, append(libraries, program))
	if err != nil {
		return nil, err
	}
	return append(parts, files...), nil
}

// copyOnnxRuntime copies the library from where the user says and returns its
// version, as the file's name tells it.
func copyOnnxRuntime(from, arch, dir string) (string, error) {
	if from == "pypi" {
		w, ok := wheels[arch]
		if !ok {
			return "", fmt.Errorf("there is no wheel for %s", arch)
		}
		data, err := fetch(w)
		if err != nil {
			return "", err
		}
		return unpackWheel(data, dir)
	}
	info, err := os.Stat(from)
	switch {
	case err != nil:
		return "", err
	case info.IsDir():
		return copyLibraries(from, dir)
	case strings.HasSuffix(from, ".whl"):
		data, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		return unpackWheel(data, dir)
	default:
		return libraryVersion(from), copyFile(from, filepath.Join(dir, filepath.Base(from)))
	}
}

// fetch downloads a wheel and compares its digest.
func fetch(w wheel) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Minute}
	answer, err := client.Get(w.url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", w.url, answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxWheelBytes))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != w.sha256 {
		return nil, fmt.Errorf("%s: its SHA-256 is %x, not %s", w.url, sum, w.sha256)
	}
	return data, nil
}

// unpackWheel writes the libraries in a wheel to dir.
func unpackWheel(data []byte, dir string) (string, error) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	version := ""
	for _, member := range archive.File {
		name := path.Base(member.Name)
		if !wanted(name) {
			continue
		}
		version = max(version, libraryVersion(name))
		r, err := member.Open()
		if err != nil {
			return "", err
		}
		content, err := io.ReadAll(io.LimitReader(r, int64(member.UncompressedSize64)))
		r.Close()
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	if version == "" {
		return "", fmt.Errorf("the wheel holds no libonnxruntime.so")
	}
	return version, nil
}

// copyLibraries copies the libraries of a folder to dir.
func copyLibraries(from, dir string) (string, error) {
	members, err := os.ReadDir(from)
	if err != nil {
		return "", err
	}
	version := ""
	for _, m := range members {
		if !wanted(m.Name()) {
			continue
		}
		version = max(version, libraryVersion(m.Name()))
		if err := copyFile(filepath.Join(from, m.Name()), filepath.Join(dir, m.Name())); err != nil {
			return "", err
		}
	}
	if version == "" {
		return "", fmt.Errorf("the folder %s holds no libonnxruntime.so", from)
	}
	return version, nil
}

// wanted tells the C library and its providers from the module for Python.
func wanted(name string) bool {
	return strings.HasPrefix(name, "libonnxruntime") && strings.Contains(name, ".so")
}

// libraryVersion returns 1.32.0 for libonnxruntime.so.1.32.0, and "" for the
// name of a provider.
func libraryVersion(name string) string {
	base := filepath.Base(name)
	if !strings.HasPrefix(base, "libonnxruntime.so") {
		return ""
	}
	if v := strings.TrimPrefix(strings.TrimPrefix(base, "libonnxruntime.so"), "."); v != "" {
		return v
	}
	return unknown
}
