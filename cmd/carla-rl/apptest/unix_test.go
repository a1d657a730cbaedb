//go:build unix

package apptest

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// overUnix is a client of a Unix domain socket.
func overUnix(t *testing.T, path string) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestUnixSocket serves on a Unix domain socket that a process before left
// behind, answers under any host, loses no request when it stops, and leaves
// nothing behind itself.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	p := launch(t, []string{"HOST=unix://" + path, "CARLA_RL_SOCKET_MODE=0600", "CARLA_RL_MAX_CONNECTIONS_PER_IP=1", "CARLA_RL_DRAIN_DELAY=100ms"}, "serve")
	for deadline := time.Now().Add(startMax); !strings.Contains(p.stderr(), "unix://"+path); time.Sleep(time.Millisecond) {
		select {
		case <-p.exited:
			t.Fatalf("the server ended: %s", p.stderr())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not say where it listens: %s", p.stderr())
		}
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	client := overUnix(t, path)
	// Peers of a Unix socket have no address, so that two of them are not one.
	other, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ask := func() (int, string) {
		resp, err := client.Post("http://robot.example/predict", "application/json", strings.NewReader(guideBody))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for range 5 {
		if code, body := ask(); code != http.StatusOK || !strings.Contains(body, `"actions":[{"throttle":`) {
			t.Fatalf("%d %s", code, body)
		}
	}
	stopped := make(chan int, 1)
	go func() { stopped <- p.stop() }()
	answered := 0
	for deadline := time.Now().Add(startMax); time.Now().Before(deadline); answered++ {
		if _, err := os.Lstat(path); err != nil {
			break
		}
		resp, err := client.Post("http://localhost/predict", "application/json", strings.NewReader(guideBody))
		if err != nil {
			if _, gone := os.Lstat(path); gone != nil {
				break // the socket is gone, and so nobody took the request
			}
			t.Fatalf("after %d answers: %v", answered, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("after %d answers: %d, %v", answered, resp.StatusCode, err)
		}
	}
	if code := <-stopped; code != 0 || answered == 0 {
		t.Errorf("exit %d, %d answers while it stopped\n%s", code, answered, p.stderr())
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestUnixSocketRefused holds that the server does not take what is no socket,
// or another process's.
func TestUnixSocketRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, nil, "serve", "--host", "unix://"+path)
	if code := p.wait(startMax); code == 0 || !strings.Contains(p.stderr(), "no socket") {
		t.Errorf("exit %d: %s", code, p.stderr())
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "kept" {
		t.Errorf("the file: %q, %v", text, err)
	}
	p = launch(t, []string{"CARLA_RL_SOCKET_MODE=rw"}, "serve", "--host", "unix://relative")
	if code := p.wait(startMax); code != 2 || !strings.Contains(p.stderr(), "unix:///run/carla-rl.sock") || !strings.Contains(p.stderr(), "in octal") {
		t.Errorf("exit %d: %s", code, p.stderr())
	}
}
