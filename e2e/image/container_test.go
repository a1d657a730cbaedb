//go:build e2e

package image_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guideRequest is the body of the guide's curl.
const guideRequest = `{
    "observations": [{
      "speed": 25.5,
      "steering": 0.1,
      "sensors": [0.8, 0.2, 0.5, 0.9, 0.1]
    }],
    "deterministic": true
  }`

// patience is how long is waited for what must come. How soon it comes is up to
// the machine and what else it does.
const patience = 5 * time.Minute

// client speaks HTTP in the network of the engine.
var client = &http.Client{
	Timeout: time.Minute,
	Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			type dialed struct {
				conn net.Conn
				err  error
			}
			done := make(chan dialed, 1)
			go func() {
				// The thread changes its network for good, so it ends with the
				// goroutine: it is never unlocked.
				runtime.LockOSThread()
				conn, err := func() (net.Conn, error) {
					ns, err := os.Open("/proc/" + engine + "/ns/net")
					if err != nil {
						return nil, err
					}
					defer ns.Close()
					if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
						return nil, fmt.Errorf("enter the engine's network: %w", err)
					}
					return (&net.Dialer{}).DialContext(ctx, network, address)
				}()
				done <- dialed{conn, err}
			}()
			d := <-done
			return d.conn, d.err
		},
	},
}

// predict sends the guide's request and returns the status and the body.
func predict(port string) (int, string, error) {
	answer, err := client.Post("http://127.0.0.1:"+port+"/predict", "application/json", strings.NewReader(guideRequest))
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// container is a container that was started, and the port it answers at.
type container struct {
	id   string
	port string
}

// start runs an image in the background; the test removes it.
func start(t *testing.T, name, port string, args ...string) container {
	t.Helper()
	run := append([]string{"run", "-d", "--network", "host", "-e", "PORT=" + port}, args...)
	c := container{strings.TrimSpace(must(t, "docker", append(run, name)...)), port}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := output("docker", "logs", c.id)
			t.Logf("log of the container:\n%s", logs)
		}
		_, _ = output("docker", "rm", "-f", "-v", c.id)
	})
	return c
}

// answer waits for the first answer to the guide's request, which must be a 200
// with an action, and returns its body and when it came.
func (c container) answer(t *testing.T) (string, time.Time) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		status, body, err := predict(c.port)
		if err == nil && status == http.StatusOK {
			at := time.Now()
			var answer struct {
				Actions []struct{ Throttle, Brake, Steer *float64 }
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Actions) != 1 || answer.Actions[0].Throttle == nil || answer.Actions[0].Steer == nil {
				t.Fatalf("the answer is %s (%v)", body, err)
			}
			return body, at
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer: status %d, %s, %v", status, body, err)
		}
	}
}

// hardened is how a container is run where nothing is trusted.
var hardened = []string{"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}

// The image runs as its own user and as any other, with or without the group 0
// that some clusters give, on a root that cannot be written to.
func TestImageRunsAsAnyUser(t *testing.T) {
	guide(t)
	for i, user := range []string{"", "1000", "4321:0", "1000650000:0", "31337:31337"} {
		t.Run("user "+user, func(t *testing.T) {
			args := slices.Clone(hardened)
			if user != "" {
				args = append(args, "--user", user)
			}
			c := start(t, image, fmt.Sprint(18100+i), args...)
			c.answer(t)
			answer, err := client.Get("http://127.0.0.1:" + c.port + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("/readyz answers %s", answer.Status)
			}
		})
	}
}

// A volume at /app/logs takes the mode of the image's folder, so that a log file
// is written there by whatever user.
func TestImageWritesItsLogs(t *testing.T) {
	guide(t)
	args := append(slices.Clone(hardened), "--user", "4321:4321", "-v", "/app/logs", "-e", "LOG_FILE=/app/logs/server.log")
	c := start(t, image, "18110", args...)
	c.answer(t)
	copied := must(t, "docker", "cp", c.id+":/app/logs/server.log", "-")
	files, err := archiveFiles([]byte(copied))
	if err != nil {
		t.Fatal(err)
	}
	if e := files["server.log"]; e.header == nil || e.header.Uid != 4321 || !strings.Contains(string(e.data), "startup") {
		t.Errorf("/app/logs/server.log is %+v with\n%s", e.header, e.data)
	}
}

// SIGTERM, which `docker stop` sends to the first process, ends it in order.
func TestImageStopsInOrder(t *testing.T) {
	guide(t)
	c := start(t, image, "18120", hardened...)
	c.answer(t)
	// What does not end by itself is killed after this time, and has another code.
	must(t, "docker", "stop", "-t", "300", c.id)
	if code := strings.TrimSpace(must(t, "docker", "inspect", "-f", "{{.State.ExitCode}}", c.id)); code != "0" {
		t.Errorf("exit code %s", code)
	}
}

// The time is counted from the start of the container's first process, which is
// that of the runtime before it becomes the server. It is said and not judged:
// it is the machine's as much as the image's.
func TestImageAnswersAfterItsStart(t *testing.T) {
	guide(t)
	var times []time.Duration
	for range 5 {
		const port = "18130"
		id := strings.TrimSpace(must(t, "docker", append(append([]string{"create", "--network", "host", "-e", "PORT=" + port}, hardened...), image)...))
		started := make(chan error, 1)
		go func() {
			_, err := output("docker", "start", id)
			started <- err
		}()
		_, at := container{id, port}.answer(t)
		times = append(times, (processAge(t, "PORT="+port) - time.Since(at)).Round(10*time.Millisecond))
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		must(t, "docker", "rm", "-f", id)
	}
	t.Logf("figure: first answer of a container %v after its process began, the best of %v (to 10 ms)", slices.Min(times), times)
}

// processAge returns how long ago the kernel made the server's process with a
// variable in its environment, in steps of 10 ms.
func processAge(t *testing.T, variable string) time.Duration {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		// A process may end while it is looked at.
		environ, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(environ), "\x00"), variable) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		if err != nil || !strings.Contains(string(stat), "(carla-rl)") {
			continue
		}
		uptime, err := os.ReadFile("/proc/uptime")
		if err != nil {
			t.Fatal(err)
		}
		// Field 22 of proc(5), in ticks of 10 ms since the boot; the name, which
		// is the second, may hold spaces.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		ticks, err := strconv.ParseFloat(fields[22-3], 64)
		if err != nil {
			t.Fatal(err)
		}
		var now float64
		if _, err := fmt.Sscan(string(uptime), &now); err != nil {
			t.Fatal(err)
		}
		return time.Duration((now - ticks/100) * float64(time.Second))
	}
	t.Fatal("the server's process is not to be found")
	return 0
}
