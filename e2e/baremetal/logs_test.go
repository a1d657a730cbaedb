//go:build e2e && linux

package baremetal_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// jsonLines counts the lines of a log; each must be whole.
func jsonLines(t *testing.T, name string) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(read(t, name)) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("%s: %q is no JSON", name, line)
		}
		n++
	}
	return n
}

// TestLogrotate rotates the log of a running server with the example.
func TestLogrotate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "carla-rl.log")
	port := freePort(t)
	url := "http://127.0.0.1:" + port
	run(t, []string{"PORT=" + port, "LOG_FILE=" + log, "ACCESS_LOG=true", "CARLA_RL_LOG_FILE_MAX_SIZE=10GiB"}, filepath.Join(installed(t), "usr/bin/carla-rl"), "serve")
	predict(t, http.DefaultClient, url)
	before := jsonLines(t, log)

	conf := filepath.Join(dir, "conf")
	write(t, conf, replaced(t, read(t, filepath.Join(root, "deploy/logrotate/carla-rl")), "/var/log/carla-rl/*.log", dir+"/*.log"))
	output(t, "logrotate", "-s", filepath.Join(dir, "state"), "-f", conf)
	if got := jsonLines(t, log+".1"); got != before {
		t.Errorf("%d lines were put aside, %d were there", got, before)
	}
	for range 3 {
		predict(t, http.DefaultClient, url)
	}
	if got := jsonLines(t, log); got != 3 { // and no hole at the front
		t.Errorf("%d lines after the rotation, want 3", got)
	}
}

// TestOwnRotation has the server rotate by itself, which needs no other program.
func TestOwnRotation(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	run(t, []string{"PORT=" + port, "LOG_FILE=" + filepath.Join(dir, "carla-rl.log"), "ACCESS_LOG=true", "CARLA_RL_LOG_FILE_MAX_SIZE=1MiB", "CARLA_RL_LOG_FILE_MAX_COUNT=2"},
		filepath.Join(installed(t), "usr/bin/carla-rl"), "serve")
	for range 6000 {
		predict(t, http.DefaultClient, "http://127.0.0.1:"+port)
		if files, _ := filepath.Glob(dir + "/*.log"); len(files) > 1 {
			break
		}
	}
	files, err := filepath.Glob(dir + "/*.log")
	if err != nil || len(files) < 2 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		jsonLines(t, f)
		if info, err := os.Stat(f); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %v", f, err)
		}
	}
}
