//go:build e2e

// Package e2e_test deploys the image and the manifests to a real Kubernetes
// cluster of one node and uses them as the guide tells.
//
// TestMain brings the cluster up by tools/cluster, puts the image into its
// registry, and runs the tests as a process of their own in the network of its
// node, where ClusterIPs, pods and kubectl answer as they do to a user on a node.
// The first process stays outside: whatever becomes of the tests, it takes the
// cluster down.
package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Environment of the inner process.
const (
	insideEnv = "CARLA_RL_E2E_INSIDE" // set in the process that runs the tests
	stateEnv  = "STATE"               // folder of the cluster, with its logs
)

// image is the name that the guide gives the image.
const image = "your-registry/carla-rl-serving:latest"

func TestMain(m *testing.M) {
	listed := slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.list") })
	if listed || os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// outside brings the cluster up, runs the tests inside of it and takes it down.
func outside() (code int, err error) {
	began := time.Now()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)

	state, err := os.MkdirTemp("", "carla-rl-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if code == 0 && err == nil {
			_ = os.RemoveAll(state)
			return
		}
		fmt.Fprintln(os.Stderr, "e2e: logs of the cluster and what failed:", state)
	}()

	tool := func(env []string, name string, args ...string) (string, error) {
		cmd := exec.Command("../tools/"+name, args...)
		cmd.Env = append(append(os.Environ(), stateEnv+"="+state, "OWNED=1"), env...)
		cmd.Stderr = os.Stderr
		out, err := runUntil(cmd, signals)
		if err != nil {
			return "", fmt.Errorf("tools/%s %s: %w", name, strings.Join(args, " "), err)
		}
		return strings.TrimSpace(out), nil
	}
	say := func(format string, args ...any) {
		fmt.Printf("e2e: %5.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}

	// Several runs share the storage in which the image is built.
	cache, err := os.UserCacheDir()
	if err != nil {
		return 1, err
	}
	building, err := locked(filepath.Join(cache, "carla-rl", "image.lock"), signals)
	if err != nil {
		return 1, err
	}
	// Not in the folder of the cluster, which is emptied when it comes up.
	images, err := os.MkdirTemp("", "carla-rl-image-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(images) }()
	archive, err := tool(nil, "image/build", "-t", image, "-o", filepath.Join(images, "image.oci.tar"))
	_ = building.Close()
	if err != nil {
		return 1, err
	}
	say("the image is built")
	if _, err := tool(nil, "cluster/build"); err != nil {
		return 1, err
	}
	// One at a time: two clusters at once make each other slow, and times are tested.
	lock, err := locked(filepath.Join(os.TempDir(), "node-cluster.lock"), signals)
	if err != nil {
		return 1, err
	}
	defer func() { _ = lock.Close() }()
	// The cluster ends by itself when this process is gone.
	owner, err := locked(filepath.Join(state, "owner"), signals)
	if err != nil {
		return 1, err
	}
	defer func() { _ = owner.Close() }()

	defer func() {
		if _, downErr := tool(nil, "cluster/down"); downErr != nil {
			err = errors.Join(err, downErr)
		}
	}()
	if _, err := tool(nil, "cluster/up", "node"); err != nil {
		return 1, err
	}
	say("the cluster is up")
	if _, err := tool(nil, "cluster/push", archive, image); err != nil {
		return 1, err
	}
	say("the image is in its registry")

	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command("../tools/cluster/exec", append([]string{self}, withoutTime(os.Args[1:], time.Since(began))...)...)
	cmd.Env = append(os.Environ(), insideEnv+"=1", stateEnv+"="+state)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			_ = cmd.Process.Signal(sig)
		case err := <-ended:
			exit := (*exec.ExitError)(nil)
			if errors.As(err, &exit) {
				return max(exit.ExitCode(), 1), nil
			}
			return 0, err
		}
	}
}

// locked opens a file and waits for the lock on it.
func locked(name string, signals <-chan os.Signal) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for said := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		if !said {
			fmt.Println("e2e: waiting for the lock on", name)
			said = true
		}
		select {
		case sig := <-signals:
			return nil, fmt.Errorf("%v", sig)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// runUntil runs a command and returns its standard output; a signal ends it.
func runUntil(cmd *exec.Cmd, signals <-chan os.Signal) (string, error) {
	var out strings.Builder
	cmd.Stdout = &out
	// A cluster that goes on in the background must not keep the pipe open.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case sig := <-signals:
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		return "", fmt.Errorf("%v", sig)
	case err := <-ended:
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		return out.String(), err
	}
}

// withoutTime lowers -test.timeout by what is spent, so that the tests end and
// the cluster is taken down before `go test` ends both.
func withoutTime(args []string, spent time.Duration) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "-test.timeout="); ok {
			if d, err := time.ParseDuration(v); err == nil && d > spent+time.Second {
				args[i] = "-test.timeout=" + (d - spent).String()
			}
		}
	}
	return args
}
