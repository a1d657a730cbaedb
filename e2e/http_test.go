//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// guideRequest is the body of the guide's curl.
const guideRequest = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

// answer is one answer of the server.
type answer struct {
	status int
	body   string
}

// request sends a request with headers, given as name and value in turn.
func request(method, url, body string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, string(b)}, err
}

// expect sends a request and holds the status to what is wanted.
func expect(t *testing.T, want int, method, url, body string, headers ...string) string {
	t.Helper()
	a, err := request(method, url, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	if a.status != want {
		t.Fatalf("%s %s %v: status %d, want %d: %s", method, url, headers, a.status, want, a.body)
	}
	return a.body
}

// reached waits until a Service leads to its pods. The node's proxy learns of a
// ready pod from the same API server as kubectl and Helm do, and later where the
// machine is busy: until then it refuses every connection. So whoever sends the
// first request to a Service waits here before.
func reached(t *testing.T, at string) {
	t.Helper()
	waitFor(t, "an answer of "+at, func() error {
		_, err := request("GET", at+"/livez", "")
		return err
	})
}

// forwarding is what kubectl port-forward prints when it listens.
var forwarding = regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+)`)

// portForward runs kubectl port-forward to the end of the test and returns the
// address that it listens on. ports is "LOCAL:REMOTE"; an empty LOCAL takes a
// free one.
func portForward(t *testing.T, namespace, target, ports string) string {
	t.Helper()
	cmd := exec.Command("kubectl", "port-forward", "-n", namespace, target, ports)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &lines{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr := ""
	waitFor(t, "kubectl port-forward "+target, func() error {
		m := forwarding.FindStringSubmatch(out.String())
		if m == nil {
			return fmt.Errorf("it printed %q", out.String())
		}
		addr = net.JoinHostPort("127.0.0.1", m[1])
		return nil
	})
	return addr
}

// lines collects output while it is read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
