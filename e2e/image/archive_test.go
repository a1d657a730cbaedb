//go:build e2e

package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// entry is a file or a folder of an image.
type entry struct {
	header *tar.Header
	data   []byte
}

// contents is an image, unpacked: its entries by their paths, without a leading
// slash or a trailing one, and its configuration.
type contents struct {
	entries map[string]entry
	config  imageConfig
	layers  int
}

// imageConfig is the part of an image's configuration that is looked at.
type imageConfig struct {
	Architecture string
	OS           string `json:"os"`
	Config       struct {
		User         string
		ExposedPorts map[string]struct{}
		Env          []string
		Entrypoint   []string
		Cmd          []string
		WorkingDir   string
		Labels       map[string]string
		StopSignal   string
	}
}

// archiveFiles returns the files of a tar archive.
func archiveFiles(data []byte) (map[string]entry, error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		if data, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	files := map[string]entry{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files[strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")] = entry{h, content}
	}
}

// unpack puts an image together from its configuration and layers.
func unpack(config []byte, layers ...[]byte) (*contents, error) {
	c := &contents{entries: map[string]entry{}, layers: len(layers)}
	if err := json.Unmarshal(config, &c.config); err != nil {
		return nil, err
	}
	for _, l := range layers {
		files, err := archiveFiles(l)
		if err != nil {
			return nil, err
		}
		for name, e := range files {
			if strings.HasPrefix(filepath.Base(name), ".wh.") {
				return nil, fmt.Errorf("%s: a layer that removes what another has put there", name)
			}
			c.entries[name] = e
		}
	}
	return c, nil
}

// readOCI reads an OCI archive with one image.
func readOCI(t *testing.T, path string) *contents {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := archiveFiles(data)
	if err != nil {
		t.Fatal(err)
	}
	blob := func(digest string) []byte { return files["blobs/"+strings.ReplaceAll(digest, ":", "/")].data }
	var index struct {
		Manifests []struct{ Digest string }
	}
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal(files["index.json"].data, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("%s: index.json: %v, %d manifests", path, err, len(index.Manifests))
	}
	if err := json.Unmarshal(blob(index.Manifests[0].Digest), &manifest); err != nil {
		t.Fatal(err)
	}
	var layers [][]byte
	for _, l := range manifest.Layers {
		layers = append(layers, blob(l.Digest))
	}
	c, err := unpack(blob(manifest.Config.Digest), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// guided is the image that the guide's own command makes, and its bytes.
type guided struct {
	*contents
	size int64 // As the engine counts it, unpacked.
}

var buildGuided = sync.OnceValues(func() (*guided, error) {
	if _, err := outputIn(clone, "docker", "build", "-t", image, "."); err != nil {
		return nil, err
	}
	saved, err := output("docker", "save", image)
	if err != nil {
		return nil, err
	}
	files, err := archiveFiles([]byte(saved))
	if err != nil {
		return nil, err
	}
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"].data, &manifest); err != nil {
		return nil, err
	}
	var layers [][]byte
	for _, l := range manifest[0].Layers {
		layers = append(layers, files[l].data)
	}
	c, err := unpack(files[manifest[0].Config].data, layers...)
	if err != nil {
		return nil, err
	}
	inspected, err := output("docker", "image", "inspect", "-f", "{{.Size}}", image)
	if err != nil {
		return nil, err
	}
	g := &guided{contents: c}
	_, err = fmt.Sscan(inspected, &g.size)
	return g, err
})

// guide returns the image built by `docker build -t your-registry/... .`.
func guide(t *testing.T) *guided {
	t.Helper()
	g, err := buildGuided()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// program writes the server of an image to a file, to look at or to run.
func (c *contents) program(t *testing.T) string {
	t.Helper()
	e, ok := c.entries["usr/local/bin/carla-rl"]
	if !ok {
		t.Fatal("the image has no /usr/local/bin/carla-rl")
	}
	path := filepath.Join(t.TempDir(), "carla-rl")
	if err := os.WriteFile(path, e.data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
