//go:build e2e && linux

// Package baremetal_test installs the packages and runs what the bare-metal guide
// tells, on the machine that runs the test: dpkg and rpm in a scratch root,
// systemd's own checks of the unit, nginx with TLS, logrotate. It needs root, as
// the other end-to-end tests do, and changes nothing outside its scratch folders.
package baremetal_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// root is the repository.
const root = "../.."

// packagesEnv names the folder of packages that are there already.
const packagesEnv = "CARLA_RL_PACKAGES"

// needed are the programs of the machine that the tests run.
var needed = []string{"dpkg", "rpm", "nginx", "logrotate", "strace", "systemd-analyze", "systemd-socket-activate"}

func TestMain(m *testing.M) {
	commands := [][]string{append([]string{"tools/need"}, needed...)}
	if os.Getenv(packagesEnv) == "" {
		commands = append(commands, []string{"make", "--no-print-directory", "packages"})
	}
	for _, command := range commands {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir = root
		if strings.Contains(command[0], "/") {
			cmd.Path, _ = filepath.Abs(filepath.Join(root, command[0]))
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", strings.Join(command, " "), err, out)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// packageFile is the one package of this machine's architecture.
func packageFile(t *testing.T, ext string) string {
	t.Helper()
	arch := runtime.GOARCH
	if ext == "rpm" {
		arch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
	}
	dir := os.Getenv(packagesEnv)
	if dir == "" {
		dir = filepath.Join(root, "dist/packages")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+arch+"."+ext))
	if err != nil || len(files) != 1 {
		t.Fatalf("packages: %q, %v", files, err)
	}
	name, err := filepath.Abs(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// output runs a command that must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// installed is a scratch root with the Debian package in it.
func installed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(dir, "var/lib/dpkg", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "var/lib/dpkg/status"), "")
	dpkg(t, dir, "-i", packageFile(t, "deb"))
	return dir
}

func dpkg(t *testing.T, dir string, args ...string) {
	t.Helper()
	output(t, "dpkg", append([]string{"--root=" + dir, "--force-not-root", "--force-script-chrootless", "--log=/dev/null"}, args...)...)
}

// freePort is a port that nothing listens on at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// run starts a program that is ended with the test. Its streams are shown where
// the test fails.
func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		// The whole group: what strace runs outlives it otherwise.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", name, out.String())
		}
	})
}

const guideBody = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

// predict sends the guide's request until it is answered, or for as long as a
// server may take to start.
func predict(t *testing.T, client *http.Client, url string) *http.Response {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		res, err := client.Post(url+"/predict", "application/json", strings.NewReader(guideBody))
		if err == nil {
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			res.Body = io.NopCloser(bytes.NewReader(body))
			if res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusBadGateway || time.Now().After(end) {
				return res
			}
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
