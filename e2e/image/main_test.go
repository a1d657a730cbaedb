//go:build e2e

// Package image_test builds the container image as the deployment guide does,
// from a clone and on a Docker engine, looks at what is in it, and runs it. It
// needs root and Linux, no cluster and no registry: tools/image brings the
// engine, in namespaces of its own, and a stand-in for the base image.
package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// image is the name in the guide.
const image = "your-registry/carla-rl-serving:latest"

// clone is a clone of the commit that is tested, and engine the process whose
// network the containers are in. TestMain sets both.
var (
	clone  string
	engine string
)

func TestMain(m *testing.M) {
	code, err := outside(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		code = 1
	}
	os.Exit(code)
}

// outside prepares the engine, runs the tests and ends the engine.
func outside(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "carla-rl-image-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// One engine at a time: whoever ends it would end the other's.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "carla-rl-image-engine.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 1, err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return 1, err
	}
	clone = filepath.Join(dir, "carla-rl-serving")
	if _, err := output("git", "clone", "-q", "../..", clone); err != nil {
		return 1, err
	}

	up, err := output(filepath.Join(clone, "tools/image/engine"), "up")
	if err != nil {
		return 1, err
	}
	defer func() {
		_, downErr := output(filepath.Join(clone, "tools/image/engine"), "down")
		err = errors.Join(err, downErr)
	}()
	name, host, ok := strings.Cut(strings.TrimSpace(up), "=")
	if !ok || name != "DOCKER_HOST" {
		return 1, fmt.Errorf("tools/image/engine up printed %q", up)
	}
	if err := os.Setenv(name, host); err != nil {
		return 1, err
	}
	pid, err := os.ReadFile(filepath.Join(filepath.Dir(strings.TrimPrefix(host, "unix://")), "pid"))
	if err != nil {
		return 1, err
	}
	engine = strings.TrimSpace(string(pid))

	archive, err := output(filepath.Join(clone, "tools/image/standins"))
	if err != nil {
		return 1, err
	}
	if err := load(strings.TrimSpace(archive)); err != nil {
		return 1, err
	}
	code = m.Run()
	// What failed and who comes next need no old layers.
	_, _ = output("docker", "image", "prune", "-f")
	return code, nil
}

// load gives the engine the stand-in, unless it has this one from an earlier run.
func load(archive string) error {
	mark := "carla-rl-standin:" + strings.TrimSuffix(filepath.Base(archive), ".tar")
	if _, err := output("docker", "image", "inspect", mark); err == nil {
		return nil
	}
	loaded, err := output("docker", "load", "-q", "-i", archive)
	if err != nil {
		return err
	}
	_, name, ok := strings.Cut(strings.TrimSpace(loaded), "Loaded image: ")
	if !ok {
		return fmt.Errorf("docker load printed %q", loaded)
	}
	_, err = output("docker", "tag", name, mark)
	return err
}

// output runs a command and returns what it prints on its standard output.
func output(name string, args ...string) (string, error) {
	return outputIn("", name, args...)
}

// outputIn is output, in a folder.
func outputIn(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, tail(stdout.String()), tail(stderr.String()))
	}
	return stdout.String(), nil
}

// tail returns the last lines of s, enough to see what went wrong.
func tail(s string) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "")
}

// must returns the output of a command, which must succeed.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// script returns the path of a script of tools/image, which works on the clone.
func script(name string) string { return filepath.Join(clone, "tools/image", name) }

// tool returns the path of a pinned tool.
func tool(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(must(t, script("tool"), name))
}
