//go:build unix

package apptest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// activate starts the server with listeners that were opened before, as
// systemd does for a socket unit: the shell's process becomes the server's, so
// that LISTEN_PID can be right. names are what FileDescriptorName= says.
func activate(t *testing.T, env []string, names string, listeners ...interface{ File() (*os.File, error) }) *process {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary, "serve", "--port", "1")
	for _, ln := range listeners {
		f, err := ln.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	return launchCommand(t, cmd, append(env, fmt.Sprintf("LISTEN_FDS=%d", len(listeners)), "LISTEN_FDNAMES="+names))
}

func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

const guideBody = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

// TestSocketActivation serves on a socket that was open before, and on one for
// metrics, and closes neither for good.
func TestSocketActivation(t *testing.T) {
	ln, metrics := listenTCP(t), listenTCP(t)
	p := activate(t, nil, "carla-rl.socket:metrics", ln, metrics)
	p.url = "http://" + ln.Addr().String()
	p.waitReady()
	if !strings.Contains(p.stderr()+p.stdout(), ln.Addr().String()) {
		t.Errorf("it does not say where it listens: %s", p.stderr())
	}
	if code := status(t, http.DefaultClient, "http://"+metrics.Addr().String()+"/metrics"); code != http.StatusOK {
		t.Errorf("/metrics: %d", code)
	}
	if code := status(t, http.DefaultClient, "http://"+metrics.Addr().String()+"/predict"); code != http.StatusNotFound {
		t.Errorf("the socket of metrics answers /predict: %d", code)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	again := activate(t, nil, "", ln)
	again.url = p.url
	again.waitReady()
}

func status(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// TestRestartUnderSocketActivationLosesNothing restarts the server under load:
// what comes while no process is there waits in the socket's queue.
func TestRestartUnderSocketActivationLosesNothing(t *testing.T) {
	ln := listenTCP(t)
	url := "http://" + ln.Addr().String()
	// On a busy machine a request may wait, which is no loss.
	patient := []string{"CARLA_RL_REQUEST_TIMEOUT=1m"}
	p := activate(t, patient, "", ln)
	p.url = url
	p.waitReady()

	ctx, cancel := context.WithCancel(t.Context())
	var answered, failed atomic.Int64
	var clients sync.WaitGroup
	for i := range 4 {
		client := &http.Client{Timeout: startMax, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		clients.Go(func() {
			for ctx.Err() == nil {
				res, err := client.Post(url+"/predict", "application/json", strings.NewReader(guideBody))
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if err != nil || res.StatusCode != http.StatusOK {
					t.Logf("%v %v", res, err)
					failed.Add(1)
					continue
				}
				answered.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	for range 3 {
		before := answered.Load()
		if code := p.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		time.Sleep(50 * time.Millisecond) // as between two versions of a package
		p = activate(t, patient, "", ln)
		p.url = url
		p.waitReady()
		for answered.Load() < before+100 {
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	clients.Wait()
	if failed.Load() > 0 || answered.Load() < 300 {
		t.Errorf("%d answered, %d failed", answered.Load(), failed.Load())
	}
}

// TestUnixSocketActivation serves on a socket in the file system, for a proxy
// on the same machine.
func TestUnixSocketActivation(t *testing.T) {
	name := filepath.Join(shortDir(t), "s")
	ln, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	activate(t, nil, "", ln.(*net.UnixListener))
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", name) }}}
	for end := time.Now().Add(startMax); status(t, client, "http://api.example.com/readyz") != http.StatusOK; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not ready")
		}
	}
	res, err := client.Post("http://api.example.com/predict", "application/json", strings.NewReader(guideBody))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

// shortDir is a folder whose name leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestSocketActivationRefuses holds that what is handed over must make sense,
// and that another process's variables are nobody's business.
func TestSocketActivationRefuses(t *testing.T) {
	a, b := listenTCP(t), listenTCP(t)
	f := func(p *process, want string) {
		t.Helper()
		if code := p.wait(startMax); code != 1 || !strings.Contains(p.stderr(), want) {
			t.Errorf("exit code %d, %q, want %q", code, p.stderr(), want)
		}
	}
	f(activate(t, nil, "a:b", a, b), "one too many")
	f(activate(t, nil, "metrics", a), "none for the server")
	f(launchCommand(t, exec.Command("sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve 3</dev/null`, binary), nil), "no socket that listens")
	f(launchCommand(t, exec.Command("sh", "-c", `LISTEN_FDS=x LISTEN_PID=$$ exec "$0" serve`, binary), nil), `LISTEN_FDS is "x"`)
	p := start(t, []string{"LISTEN_FDS=1", "LISTEN_PID=1"})
	p.waitReady()
}

// TestServiceManagerIsTold reads what the server says on NOTIFY_SOCKET.
func TestServiceManagerIsTold(t *testing.T) {
	name := filepath.Join(shortDir(t), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	next := func() string {
		t.Helper()
		b := make([]byte, 4096)
		_ = conn.SetReadDeadline(time.Now().Add(startMax))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	p := start(t, []string{"NOTIFY_SOCKET=" + name})
	if got := next(); got != "READY=1\nSTATUS=ready" {
		t.Errorf("%q", got)
	}
	p.stop()
	if got := next(); got != "STOPPING=1" {
		t.Errorf("%q", got)
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model_card.yaml"), []byte("model_name: a\nversion: v0.1.0\nmodel_type: pytorch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, []string{"NOTIFY_SOCKET=" + name}, dir)
	if got := next(); !strings.HasPrefix(got, "READY=1\nSTATUS=NOT READY: ") || !strings.Contains(got, "model.pt") {
		t.Errorf("%q", got)
	}
	// A manager that is gone is no reason to end.
	start(t, []string{"NOTIFY_SOCKET=" + name + "x"}).waitReady()
}
