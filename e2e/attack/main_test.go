//go:build e2e

// Package attack_test is what clients who mean harm do to a built server: they
// are slow, they lie about lengths, they send bombs and frames without an end,
// and they hide requests in requests. Each test holds that the server cuts them
// off within its limits while clients beside them are answered as ever, and adds
// its rows to the ledger. Its ids are those of the promises in SECURITY.md.
//
// Numbers are small, and limits of time shorter than the server's own, unless
// the environment asks for the full ones: see ledger.Size.
package attack_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/e2e/running"
	"github.com/carla-rl/carla-rl-serving/internal/load"
)

// envAlone is the path of the server, for a process that a test has started.
const envAlone = "CARLA_RL_ATTACK_PROGRAM"

// program is the server, built once.
var program = sync.OnceValues(func() (string, error) {
	if name := os.Getenv(envAlone); name != "" {
		return name, nil
	}
	name := filepath.Join(scratch, "carla-rl")
	cmd := exec.Command("go", "build", "-trimpath", "-o", name, "../../cmd/carla-rl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return name, nil
})

// scratch is the folder of what is built.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "carla-rl-attack-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// full tells that the full numbers are asked for.
func full() bool { return os.Getenv(ledger.EnvFactor) != "" }

// held is how long a form of attack is held.
func held() time.Duration { return time.Duration(ledger.Size(3, 60)) * time.Second }

// process is a running server of the demo policy.
type process struct {
	t       *testing.T
	addr    string
	cmd     *exec.Cmd
	log     *os.File
	secrets []string // that must not be in the log
}

// serve starts a server with settings of the environment. It ends with the test,
// by itself, and without a panic or a secret in its log.
func serve(t *testing.T, env ...string) *process {
	t.Helper()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, log: log, secrets: []string{clientKey}}
	p.cmd = exec.Command(name, "serve", "--host", "127.0.0.1", "--port", "0")
	p.cmd.Dir = t.TempDir()
	// What is tested is not how long a request waits on a busy machine.
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "CARLA_RL_REQUEST_TIMEOUT=30s", "CARLA_RL_SESSION_TTL=20s", "LOG_FORMAT=json"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	url := regexp.MustCompile(`https?://([0-9.]+:[0-9]+)`)
	for begun := time.Now(); p.addr == ""; time.Sleep(10 * time.Millisecond) {
		if m := url.FindStringSubmatch(p.said()); m != nil && strings.Contains(p.said(), "API: /docs") {
			p.addr = m[1]
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("the server does not say where it listens:\n%s", p.said())
		}
	}
	return p
}

func (p *process) said() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// stop ends the server, which has to leave by itself.
func (p *process) stop() {
	if err := running.End(p.cmd.Process, p.cmd.Wait); err != nil {
		p.t.Errorf("the server ended with %v:\n%s", err, tail(p.said()))
	}
	for _, found := range leaks(p.said(), p.secrets...) {
		p.t.Errorf("the log has %s", found)
	}
	_ = p.log.Close()
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// clientKey is what clients who mean harm show as their key, and keyField the field of
// it: whatever they do, it is in no log.
const (
	clientKey = "a-key-of-clients-who-mean-harm"
	keyField  = "X-API-Key: " + clientKey + "\r\n"
)

// goodBody is answered with 200.
const goodBody = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

func (p *process) request(method, path, body string, header ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, p.addr)
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	if body != "" || method == "POST" {
		if !strings.Contains(b.String(), "Content-Type:") {
			b.WriteString("Content-Type: application/json\r\n")
		}
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return append(append(b.Bytes(), "\r\n"...), body...)
}

// dial connects. Nothing of the test's own may be slow about it.
func (p *process) dial() (net.Conn, error) { return net.DialTimeout("tcp", p.addr, 30*time.Second) }

// answer is one answer as it came.
type answer struct {
	status int
	header http.Header
	body   string
}

// answers sends bytes and reads answers until the connection ends, or none comes
// for a time. It reports whether the connection was closed. Where there was none the
// test has failed; it may be called by other goroutines than the test's.
func (p *process) answers(sent []byte, patience time.Duration) (list []answer, closed bool) {
	c, err := p.dial()
	if err != nil {
		p.t.Error(err)
		return nil, false
	}
	defer c.Close()
	go func() { _, _ = c.Write(sent) }() // the server may answer before it has read all
	r := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			var n net.Error
			return list, !(errors.As(err, &n) && n.Timeout())
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return list, true
		}
		list = append(list, answer{resp.StatusCode, resp.Header, string(body)})
	}
}

// good is traffic beside an attack: what was asked and answered, and the slowest
// of a hundred.
type good struct {
	answered, failed uint64
	why              error
	times            load.Histogram
}

// String is the load of a row of the ledger.
func (g *good) String() string {
	return fmt.Sprintf("%s good requests, %d failed", ledger.Thousands(int64(g.answered)), g.failed)
}

// figure is their latency.
func (g *good) figure() string {
	return fmt.Sprintf("good P50 %v, P99 %v", g.times.Percentile(50).Round(10*time.Microsecond), g.times.Percentile(99).Round(10*time.Microsecond))
}

// beside asks good requests, fifty a second, while a function runs; all of them
// have to be answered.
func (p *process) beside(f func()) *good {
	p.t.Helper()
	g := &good{}
	stop, done := make(chan struct{}), make(chan struct{})
	ask := p.request("POST", "/predict", goodBody)
	go func() {
		defer close(done)
		for {
			r, err := load.Run(load.Options{
				Network: "tcp", Address: p.addr, Requests: [][]byte{ask}, Connections: 2, Rate: 50, Duration: time.Second, Grace: 30 * time.Second, Wait: true,
			})
			if err != nil {
				g.failed++
				g.why = err
			} else {
				g.answered += r.Answered
				if err := r.Err(); err != nil {
					g.failed += r.Answered - r.Good + r.Broken
					g.why = err
				}
				g.times.Add(&r.Service)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	f()
	close(stop)
	<-done
	if g.failed > 0 || g.answered == 0 {
		p.t.Errorf("beside: %v: %v", g, g.why)
	}
	return g
}

// status is a number of /proc/PID/status, in KiB where it has a unit.
func (p *process) status(name string) int64 {
	p.t.Helper()
	n, err := running.Status(p.cmd.Process.Pid, name)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// rss is the memory of the server now, in MiB; peak the most that it had.
func (p *process) rss() float64  { return float64(p.status("VmRSS")) / 1024 }
func (p *process) peak() float64 { return float64(p.status("VmHWM")) / 1024 }

// metric sums the series of a metric whose labels contain what is asked for.
func (p *process) metric(name string, labels ...string) float64 {
	p.t.Helper()
	_, _, body, err := load.Ask("tcp", p.addr, p.request("GET", "/metrics", ""), 30*time.Second)
	if err != nil {
		p.t.Fatal(err)
	}
	return running.Metric(body, name, labels...)
}

// settles waits until the server holds few connections again.
func (p *process) settles(most float64) {
	p.t.Helper()
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		n := p.metric("carla_rl_connections_open")
		if n <= most {
			return
		}
		if time.Since(begun) > 2*time.Minute {
			p.t.Fatalf("%.0f connections are open still", n)
		}
	}
}
