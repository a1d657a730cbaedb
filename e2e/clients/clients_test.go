//go:build e2e

// Package clients_test runs the clients of other projects, as they come from
// PyPI, against the built program. It needs Python and, the first time, the
// network; no root and no cluster.
package clients_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestPythonClients serves policies behind a key and runs the tests that are
// written in Python against each: the demo, which names its features and
// actions, and agents of Stable-Baselines3 that draw their actions, choose among
// some, and see dicts. One that keeps state is asked in sequences only.
func TestPythonClients(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "carla-rl")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/carla-rl").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, policy := range []string{"demo", "ppo_box", "ppo_multidiscrete", "ppo_dict"} {
		t.Run(policy, func(t *testing.T) {
			dir := ""
			if policy != "demo" {
				dir = artifact(t, "../../internal/format/sb3/testdata/"+policy+"/model.zip")
			}
			runClients(t, binary, dir)
		})
	}
	t.Run("rppo_two_layers", func(t *testing.T) {
		runClients(t, binary, artifact(t, "../../internal/format/sb3/testdata/rppo_two_layers/model.zip"), "test_sequences.py")
	})
}

// artifact returns a folder that holds one file.
func artifact(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "policy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func runClients(t *testing.T, binary, artifacts string, tests ...string) {
	t.Helper()
	port := freePort(t)
	url := "http://127.0.0.1:" + port
	server := exec.Command(binary, "serve")
	server.Dir = t.TempDir()
	server.Env = append(os.Environ(), "HOST=127.0.0.1", "PORT="+port, "API_KEY=a-key-of-this-test", "ARTIFACT_DIR="+artifacts, "CARLA_RL_DRAIN_DELAY=0s")
	server.Stderr = t.Output()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := server.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	ready(t, url+"/v2/health/ready")

	pi := []string{"test_openpi.py"}
	if len(tests) > 0 {
		pi = []string{"test_state.py"}
	}
	for script, args := range map[string][]string{"./test.sh": tests, "./openpi/test.sh": pi} {
		test := exec.Command(script, args...)
		test.Env = append(os.Environ(), "CARLA_RL_URL="+url, "API_KEY=a-key-of-this-test")
		out, err := test.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("%s: %v", script, err)
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

// ready waits until a URL answers with 200.
func ready(t *testing.T, url string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", url, err)
		}
	}
}
