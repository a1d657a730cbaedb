//go:build e2e

// Package console_test opens the console of the built program in Chromium. It
// needs npm the first time, for axe; no root and no cluster.
package console_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// binary is the program, built once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "carla-rl-console")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "carla-rl")
	cmd := exec.Command("go", "build", "-o", name, "../../cmd/carla-rl")
	cmd.Stderr = os.Stderr
	return name, cmd.Run()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if c, err := browser(); err == nil {
		c.stop()
	}
	if name, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(name))
	}
	os.Exit(code)
}

// startServer serves a folder, or the demo policy for "", and returns its
// address.
func startServer(t *testing.T, artifacts string, env ...string) string {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := exec.Command(name, "serve")
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), "HOST=127.0.0.1", "PORT="+port, "ARTIFACT_DIR="+artifacts, "CARLA_RL_DRAIN_ACCEPT=1ms"), env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v\n%s", err, &said)
		}
	})
	url := "http://127.0.0.1:" + port
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get(url + "/startupz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return url
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the server does not start\n%s", &said)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// demoFolder copies the demo policy into a folder of versions.
func demoFolder(t *testing.T, root, version string, change func(dir string)) {
	t.Helper()
	// What is being copied must not be looked at.
	dir := filepath.Join(t.TempDir(), version)
	if err := os.CopyFS(dir, os.DirFS("../../internal/demo/artifact")); err != nil {
		t.Fatal(err)
	}
	card := filepath.Join(dir, "model_card.yaml")
	text, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("version: v0.1.0"), []byte("version: "+version), 1)
	if err := os.WriteFile(card, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(dir)
	}
	if err := os.Rename(dir, filepath.Join(root, version)); err != nil {
		t.Fatal(err)
	}
}

// agentFolder is a folder with one agent of Stable-Baselines3.
func agentFolder(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS("../../internal/format/sb3/testdata/"+name)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "model.zip" {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// ask posts a body as it is, or gets, and decodes the answer.
func ask(t *testing.T, url, body string, to any) int {
	t.Helper()
	var r *http.Response
	var err error
	if body == "" {
		r, err = http.Get(url)
	} else {
		r, err = http.Post(url, "application/json", strings.NewReader(body))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if to != nil {
		decode(t, text, to)
	}
	return r.StatusCode
}
