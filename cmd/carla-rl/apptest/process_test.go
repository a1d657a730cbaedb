//go:build unix

// Package apptest starts the built binary and speaks to it as its users do:
// by arguments, files, signals and HTTP. It imports nothing of this module.
package apptest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// binary is the path of the program under test: CARLA_RL_BINARY, or one that
// is built as a release is.
var binary string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if binary = os.Getenv("CARLA_RL_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "carla-rl-apptest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "carla-rl")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// startMax is how long a server may take to say where it listens. It is far
// above what it takes, because tests share their machine.
const startMax = 5 * time.Minute

// process is a server that was started.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	url string

	exited chan struct{} // closed when the process has ended
	err    error         // of Wait, once exited is closed

	// Files hold what it writes: a line is there as soon as it was written, and
	// so before the answer that follows it.
	out, errOut string
}

var urlLine = regexp.MustCompile(`http://[^\s"]+`)

// environment is that of this process without what configures the program.
func environment(extra ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "TMPDIR", "GOCOVERDIR":
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}

// start runs `carla-rl serve` with a free port and returns when it listens.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := launch(t, env, append([]string{"serve", "--port", "0"}, args...)...)
	p.listens()
	return p
}

// listens waits until a server says where it listens.
func (p *process) listens() {
	p.t.Helper()
	t := p.t
	deadline := time.Now().Add(startMax)
	for {
		said := p.stderr()
		p.url = urlLine.FindString(said[:strings.LastIndexByte(said, '\n')+1]) // of whole lines
		if p.url != "" {
			p.url = strings.TrimSuffix(p.url, "/")
			return
		}
		select {
		case <-p.exited:
			t.Fatalf("the server ended before it listened: %v\nstdout: %s\nstderr: %s", p.err, p.stdout(), p.stderr())
		case <-time.After(200 * time.Microsecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server did not say where it listens\nstdout: %s\nstderr: %s", p.stdout(), p.stderr())
		}
	}
}

// launch starts the program. It is killed at the end of the test if it still
// runs.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return launchCommand(t, exec.Command(binary, args...), env)
}

// launchCommand is launch of a command that was made.
func launchCommand(t *testing.T, cmd *exec.Cmd, env []string) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	p.cmd.Env = environment(env...)
	p.cmd.Dir = t.TempDir()
	streams := t.TempDir()
	p.out, p.errOut = filepath.Join(streams, "stdout"), filepath.Join(streams, "stderr")
	stdout, err := os.Create(p.out)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	stderr, err := os.Create(p.errOut)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		select {
		case <-p.exited:
		default:
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	})
	return p
}

func (p *process) stdout() string { return p.read(p.out) }

func (p *process) stderr() string { return p.read(p.errOut) }

func (p *process) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// stop sends SIGTERM and returns the exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("signal: %v", err)
	}
	return p.wait(startMax)
}

// wait returns the exit code of a process that is to end by itself.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("the process did not end within %v\nstdout: %s\nstderr: %s", limit, p.stdout(), p.stderr())
		return -1
	}
}

// answer is an HTTP answer that was read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// json decodes the body.
func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("the body is not a JSON object: %v\n%s", err, a.body)
	}
	return m
}

func (p *process) get(path string) answer { return p.do(http.MethodGet, path, "", nil) }

func (p *process) post(path, body string) answer { return p.do(http.MethodPost, path, body, nil) }

func (p *process) do(method, path, body string, header http.Header) answer {
	p.t.Helper()
	a, err := request(p.t.Context(), http.DefaultClient, method, p.url+path, body, header)
	if err != nil {
		p.t.Fatalf("%s %s: %v\nstderr: %s", method, path, err, p.stderr())
	}
	return a
}

func request(ctx context.Context, c *http.Client, method, url, body string, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(req.Header, header)
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

// result is a command that has ended.
type result struct {
	code           int
	stdout, stderr string
	took           time.Duration // of the processor, whatever else the machine does
	rssMax         int64         // bytes
}

// execute runs a command to its end.
func execute(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = environment()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errOut.String()}
	if cmd.ProcessState == nil {
		t.Fatalf("%v: %v", args, err)
	}
	r.code = cmd.ProcessState.ExitCode()
	r.took = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.rssMax = maxRSS(ru)
	}
	return r
}
