//go:build e2e

// Package chaos_test puts on a built server what a good day does not: more
// requests than it can answer, deadlines that it cannot keep, clients of control
// beside a load of batch. It speaks to the server over the wire only, in a
// process of its own, and prints figures with the word "figure:".
//
//	go test -tags e2e -count=1 -v ./e2e/chaos -args -duration 60s
package chaos_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/e2e/running"
	"github.com/carla-rl/carla-rl-serving/internal/load"
)

// duration is how long each load is held: the factor of make chaos makes it longer.
var duration = flag.Duration("duration", time.Duration(ledger.Size(60_000, 60_000))*time.Millisecond, "how long each load is held")

// binary is the server, built once; raceBinary is one with the race detector.
var (
	binary     = built("carla-rl", "CGO_ENABLED=0")
	raceBinary = built("carla-rl-race", "CGO_ENABLED=1", "-race")
)

// built returns a function that builds the server when it is first called.
func built(name, env string, flags ...string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		name := filepath.Join(scratch, name)
		cmd := exec.Command("go", append(append([]string{"build", "-trimpath"}, flags...), "-o", name, "../../cmd/carla-rl")...)
		cmd.Env = append(os.Environ(), env)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build: %w\n%s", err, out)
		}
		return name, nil
	})
}

// scratch is the folder of what is built.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "carla-rl-chaos-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// The policies that are served, each of eight numbers in and four out.
const (
	small = "small" // microseconds a call
	quick = "quick" // some hundred microseconds
	slow  = "slow"  // some milliseconds
)

// policies writes an artifact root with all of them but those that are named.
func policies(t *testing.T, without ...string) string {
	t.Helper()
	root := t.TempDir()
	for name, size := range map[string]struct{ width, layers int }{small: {64, 2}, quick: {768, 3}, slow: {1024, 9}} {
		if slices.Contains(without, name) {
			continue
		}
		m := onnxmodel.New(name)
		x, in := m.Input("obs", onnxmodel.Float, onnxmodel.Batch, 8), 8
		for i := range size.layers {
			x = m.Node("Tanh", nil, m.Dense(x, fmt.Sprint("layer", i), in, size.width))
			in = size.width
		}
		m.Output(m.Dense(x, "out", in, 4), onnxmodel.Float)
		dir := filepath.Join(root, name, "v1.0.0")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		card := "model_name: " + name + "\nversion: v1.0.0\nmodel_type: onnx\nmodel_filename: model.onnx\npostprocess: none\naction: [{name: out, shape: [4]}]\nobservation: [{name: obs, shape: [8]}]\n"
		for file, data := range map[string][]byte{"model.onnx": m.Bytes(), "model_card.yaml": []byte(card)} {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// observations is the JSON of rows for them.
func observations(rows int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(`{"obs":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]},`, rows), ",") + "]"
}

// process is a running server.
type process struct {
	t      *testing.T
	addr   string
	root   string // of its artifacts
	cmd    *exec.Cmd
	log    *os.File
	mortal bool // it may end in any way
	ended  bool
	beside []int // other processes of the test, by number
}

// serve starts a server of the policies with settings of the environment. It ends
// with the test.
func serve(t *testing.T, env ...string) *process {
	t.Helper()
	p := serveRoot(t, binary, policies(t), append([]string{"CARLA_RL_DEFAULT_MODEL=" + small}, env...)...)
	for _, model := range []string{small, quick, slow} {
		p.ready(model, `{"observations":`+observations(1)+`,"deterministic":true}`)
	}
	return p
}

// serveRoot starts a server of an artifact root.
func serveRoot(t *testing.T, build func() (string, error), root string, env ...string) *process {
	t.Helper()
	name, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, exec.Command(name), root, env...)
}

// start runs a command with the arguments of a server.
func start(t *testing.T, cmd *exec.Cmd, root string, env ...string) *process {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, addr: addr, root: root, log: log, cmd: cmd}
	cmd.Args = append(cmd.Args, "serve", root, "--host", "127.0.0.1", "--port", port)
	for _, v := range os.Environ() { // without what sets a server up
		if !strings.HasPrefix(v, "CARLA_RL_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, "CARLA_RL_DRAIN_DELAY=0s"), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// startMax is how long a server may take to be ready: machines may be slow.
const startMax = 2 * time.Minute

// ready waits until a model answers.
func (p *process) ready(model, body string) {
	p.t.Helper()
	ask := p.request(model, body)
	for begun := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		status, _, body, err := load.Ask("tcp", p.addr, ask, 10*time.Second)
		if err == nil && status == 200 {
			return
		}
		if time.Since(begun) > startMax {
			p.t.Fatalf("model %s is not ready: %v %d %s\n%s", model, err, status, body, p.said())
		}
	}
}

// answers returns the version that answers for the linear policy, having
// recomputed its answer.
func (p *process) answers() string {
	p.t.Helper()
	c := &caller{addr: p.addr}
	defer c.close()
	status, _, body, err := c.ask("POST", "/predict", "application/json", []byte(linearBody(3)))
	if err != nil || status != 200 {
		p.t.Fatalf("%d %v %s", status, err, body)
	}
	version, err := checkLinear(body, []float32{3})
	if err != nil {
		p.t.Fatal(err)
	}
	return version
}

// kill ends the server at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	p.wait()
}

func (p *process) wait() error {
	err := p.cmd.Wait()
	p.ended = true
	return err
}

// everything is the whole of the log.
func (p *process) everything() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// said is the end of the log.
func (p *process) said() string {
	text := p.everything()
	return text[max(0, len(text)-4000):]
}

// stop ends the server, which has to leave by itself.
func (p *process) stop() {
	defer p.log.Close()
	if p.ended {
		return
	}
	if err := running.End(p.cmd.Process, p.wait); err != nil && !p.mortal {
		p.t.Errorf("the server ended with %v:\n%s", err, p.said())
	}
}

// request is one to a policy's own route.
func (p *process) request(model, body string) []byte {
	return load.Request("POST", p.addr, "/v1/models/"+model+"/predict", "application/json", []byte(body))
}

// load puts a load on the server: open with a rate, else closed.
func (p *process) load(request []byte, connections int, rate float64, d time.Duration) *load.Result {
	p.t.Helper()
	r, err := load.Run(load.Options{
		Network: "tcp", Address: p.addr, Requests: [][]byte{request}, Connections: connections, Rate: rate, Duration: d, Wait: true,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// metric sums the series of a metric whose labels contain what is asked for.
func (p *process) metric(name string, labels ...string) float64 {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+"/metrics", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return running.Metric(text, name, labels...)
}

// count is the number of answers of a status, and their P99 from the sending.
func count(r *load.Result, status int) (n uint64, p99 time.Duration) {
	if c := r.Status[status]; c != nil {
		return c.Count, c.Service.Percentile(99)
	}
	return 0, 0
}

// alive asks /livez ten times a second until it is told to stop, and returns
// the longest that an answer took.
func (p *process) alive(stop <-chan struct{}) (worst time.Duration) {
	ask := load.Request("GET", p.addr, "/livez", "", nil)
	for {
		begun := time.Now()
		if status, _, _, err := load.Ask("tcp", p.addr, ask, 5*time.Second); err != nil || status != 200 {
			p.t.Errorf("/livez: %d %v", status, err)
		}
		worst = max(worst, time.Since(begun))
		select {
		case <-stop:
			return worst
		case <-time.After(100 * time.Millisecond):
		}
	}
}
