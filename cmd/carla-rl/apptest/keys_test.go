//go:build unix

package apptest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newKey draws a key and appends it to a file.
func newKey(t *testing.T, file, name string, more ...string) string {
	t.Helper()
	r := execute(t, "", append([]string{"key", "new", "--name", name, "--append", file}, more...)...)
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// TestKeysRotateWithoutARestart, and a file that is broken leaves those that were
// there in force.
func TestKeysRotateWithoutARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	first, ops := newKey(t, file, "robot-1"), newKey(t, file, "ops", "--scope", "admin")
	scrape := newKey(t, file, "prometheus", "--scope", "metrics")
	p := start(t, environment("CARLA_RL_KEYS_FILE="+file, "CARLA_RL_SECURITY_RELOAD_INTERVAL=20ms", "ACCESS_LOG=1", "LOG_LEVEL=debug"))
	p.waitReady()
	status := func(method, path, key string) int {
		t.Helper()
		h := http.Header{}
		if key != "" {
			h.Set("X-API-Key", key)
		}
		return p.do(method, path, "", h).status
	}
	becomes := func(method, path, key string, want int) {
		t.Helper()
		deadline := time.Now().Add(startMax)
		for status(method, path, key) != want {
			if time.Now().After(deadline) {
				t.Fatalf("%s %s is still %d, want %d: %s", method, path, status(method, path, key), want, p.stdout())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	becomes("GET", "/metadata", first, 200)
	for _, c := range []struct {
		path, key string
		want      int
	}{
		{"/metadata", "", 401}, {"/metadata", scrape, 403}, {"/metadata", ops, 200},
		{"/metrics", "", 401}, {"/metrics", first, 403}, {"/metrics", scrape, 200}, {"/healthz", "", 200},
	} {
		if got := status("GET", c.path, c.key); got != c.want {
			t.Errorf("GET %s: %d, want %d", c.path, got, c.want)
		}
	}
	if got := status("POST", "/admin/reload", first); got != 403 {
		t.Errorf("a reload with a key of inference: %d", got)
	}
	if got := status("POST", "/admin/reload", ops); got != 200 {
		t.Errorf("a reload with that of an admin: %d", got)
	}

	second := newKey(t, file, "robot-2")
	becomes("GET", "/metadata", second, 200)
	if got := status("GET", "/metadata", first); got != 200 {
		t.Errorf("the old key beside the new one: %d", got)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, without, _ := strings.Cut(string(data), "\n")
	replaceFile(t, file, without)
	becomes("GET", "/metadata", first, 401)

	replaceFile(t, file, "robot-3 "+second+" infer\n")
	deadline := time.Now().Add(startMax)
	for !strings.Contains(p.stdout(), "changed files are not taken") && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if got := status("GET", "/metadata", second); got != 200 {
		t.Errorf("behind a broken file: %d", got)
	}
	h := http.Header{}
	h.Set("X-API-Key", scrape)
	if m := p.do("GET", "/metrics", "", h).body; !strings.Contains(m, `carla_rl_security_reloads_total{result="failed",what="keys"} 1`) {
		t.Errorf("the failure is not counted: %s", m)
	}
	told := p.stdout() + p.stderr()
	for _, key := range []string{first, second, ops, scrape} {
		if strings.Contains(told, key) {
			t.Errorf("a key is in the log: %s", told)
		}
	}
	for _, want := range []string{`"key":"robot-1"`, `"key":"ops"`, `"event_type":"audit"`} {
		if !strings.Contains(told, want) {
			t.Errorf("the log has no %s: %s", want, told)
		}
	}
}

// replaceFile changes a file in one step, as tools that take care do.
func replaceFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}
