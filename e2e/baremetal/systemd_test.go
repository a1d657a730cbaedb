//go:build e2e && linux

package baremetal_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestUnit has systemd check the units and each drop-in, with the program where
// this test has it, and holds the exposure that it finds.
func TestUnit(t *testing.T) {
	program := filepath.Join(installed(t), "usr/bin/carla-rl")
	verify := func(dropIn string) string {
		t.Helper()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "carla-rl.service"), replaced(t, read(t, filepath.Join(root, "deploy/systemd/carla-rl.service")), "/usr/bin/carla-rl", program))
		write(t, filepath.Join(dir, "carla-rl.socket"), read(t, filepath.Join(root, "deploy/systemd/carla-rl.socket")))
		if dropIn != "" {
			write(t, filepath.Join(dir, "carla-rl.service.d/test.conf"), dropIn)
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, "carla-rl.service"), filepath.Join(dir, "carla-rl.socket")).CombinedOutput()
		if err != nil {
			return err.Error() + "\n" + string(out)
		}
		return string(out)
	}
	for _, dropIn := range []string{"", read(t, filepath.Join(root, "deploy/systemd/gpu.conf")), read(t, filepath.Join(root, "deploy/systemd/api-key.conf"))} {
		if out := verify(dropIn); strings.Contains(out, "carla-rl") || strings.Contains(out, "test.conf") {
			t.Errorf("%s\n%s", dropIn, out)
		}
	}
	if out := verify("[Service]\nProtectSistem=strict\n"); !strings.Contains(out, "ProtectSistem") {
		t.Errorf("a drop-in that is wrong: %s", out)
	}
	// 1.2 of 10; the threshold is in tenths.
	output(t, "systemd-analyze", "security", "--offline=true", "--threshold=12", filepath.Join(root, "deploy/systemd/carla-rl.service"))
}

// TestSocketActivateProgram starts the server by systemd's own program for it,
// at the first request.
func TestSocketActivateProgram(t *testing.T) {
	port := freePort(t)
	run(t, nil, "systemd-socket-activate", "-l", "127.0.0.1:"+port, "--fdname=http", filepath.Join(installed(t), "usr/bin/carla-rl"), "serve")
	if res := predict(t, http.DefaultClient, "http://127.0.0.1:"+port); res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

// filters are the sets of system calls by name, with the sets inside them.
func filters(t *testing.T) func(name string) []string {
	sets := map[string][]string{}
	var current string
	for line := range strings.Lines(output(t, "systemd-analyze", "--no-pager", "syscall-filter")) {
		line = regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(strings.TrimRight(line, "\n"), "")
		name := strings.TrimSpace(line)
		switch {
		case name == "" || strings.HasPrefix(name, "#"):
		case strings.HasPrefix(line, "@"):
			current = name
		case strings.HasPrefix(line, " "):
			sets[current] = append(sets[current], name)
		}
	}
	var flat func(name string) []string
	flat = func(name string) []string {
		var out []string
		for _, s := range sets[name] {
			if strings.HasPrefix(s, "@") {
				out = append(out, flat(s)...)
			} else {
				out = append(out, s)
			}
		}
		return out
	}
	return flat
}

// TestSystemCalls traces a server from its start to its stop and holds its
// system calls to the unit's filter.
func TestSystemCalls(t *testing.T) {
	set := filters(t)
	allowed := set("@system-service")
	if len(allowed) < 100 {
		t.Fatalf("%d system calls in @system-service", len(allowed))
	}
	refused := append(set("@privileged"), set("@resources")...)
	trace := filepath.Join(t.TempDir(), "trace")
	logs := t.TempDir()
	t.Run("served", func(t *testing.T) {
		port := freePort(t)
		run(t, []string{"PORT=" + port, "LOG_FILE=" + logs + "/carla-rl.log"}, "strace", "-f", "-qq", "-o", trace, filepath.Join(installed(t), "usr/bin/carla-rl"), "serve")
		if res := predict(t, http.DefaultClient, "http://127.0.0.1:"+port); res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
		time.Sleep(50 * time.Millisecond)
	})
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\d+ +(?:<\.\.\. )?([a-z0-9_]+)[( ]`).FindAllStringSubmatch(read(t, trace), -1) {
		seen[m[1]] = true
	}
	if !seen["accept4"] || !seen["execve"] || len(seen) < 20 {
		t.Fatalf("the trace has %d kinds of calls", len(seen))
	}
	for name := range seen {
		if !slices.Contains(allowed, name) || slices.Contains(refused, name) {
			t.Errorf("the unit refuses %s, which the server calls", name)
		}
	}
	if _, err := os.Stat(logs + "/carla-rl.log"); err != nil {
		t.Error(err)
	}
}
