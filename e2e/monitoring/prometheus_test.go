//go:build e2e

// Package monitoring_test has a real Prometheus scrape the built binary, and asks
// it all that the dashboard and the rules ask. It needs no cluster.
package monitoring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// prometheusServer is a Prometheus that the test started.
type prometheusServer struct {
	t   *testing.T
	url string
}

// needPrometheus returns Prometheus: PROMETHEUS, or the distribution's.
func needPrometheus(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("PROMETHEUS"); program != "" {
		return program
	}
	if out, err := exec.Command("../../tools/need", "prometheus").CombinedOutput(); err != nil {
		t.Fatalf("tools/need prometheus: %v\n%s", err, out)
	}
	return "prometheus"
}

// needPromtool returns promtool: PROMTOOL, or one that tools/cluster/build
// makes. Debian's knows no service discovery of Kubernetes.
func needPromtool(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("PROMTOOL"); program != "" {
		return program
	}
	cmd := exec.Command("../../tools/cluster/build", "promtool")
	cmd.Stderr = os.Stderr
	bin, err := cmd.Output()
	if err != nil {
		t.Fatalf("tools/cluster/build promtool: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(bin)), "promtool")
}

// startPrometheus starts a Prometheus with a configuration, and waits until it
// is ready.
func startPrometheus(t *testing.T, program, config string) *prometheusServer {
	t.Helper()
	addr := "127.0.0.1:" + unusedPort(t)
	startProcess(t, exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(t.TempDir(), "data"),
		"--web.listen-address="+addr, "--log.level=warn"))
	p := &prometheusServer{t, "http://" + addr}
	eventually(t, func() error {
		status, body, err := fetch(http.MethodGet, p.url+"/-/ready", "", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", status, body)
		}
		return err
	})
	return p
}

// sample is one series of an answer with its present value.
type sample struct {
	Metric map[string]string
	Value  float64
}

// query evaluates an expression now.
func (p *prometheusServer) query(expr string) ([]sample, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.get("/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	if data.ResultType != "vector" {
		return nil, fmt.Errorf("%s: a %s", expr, data.ResultType)
	}
	var raw []struct {
		Metric map[string]string
		Value  [2]any
	}
	if err := json.Unmarshal(data.Result, &raw); err != nil {
		return nil, err
	}
	var out []sample
	for _, r := range raw {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", expr, err)
		}
		out = append(out, sample{r.Metric, v})
	}
	return out, nil
}

// numbers evaluates an expression and leaves out what is no number.
func (p *prometheusServer) numbers(expr string) ([]sample, error) {
	all, err := p.query(expr)
	var out []sample
	for _, s := range all {
		if !math.IsNaN(s.Value) {
			out = append(out, s)
		}
	}
	return out, err
}

// firing returns the names of the alerts that fire.
func (p *prometheusServer) firing() map[string]bool {
	p.t.Helper()
	list, err := p.query(`ALERTS{alertstate="firing"}`)
	if err != nil {
		p.t.Fatal(err)
	}
	out := map[string]bool{}
	for _, s := range list {
		out[s.Metric["alertname"]] = true
	}
	return out
}

// get reads the data of an answer of the HTTP API.
func (p *prometheusServer) get(path string, form url.Values, data any) error {
	_, body, err := fetch(http.MethodGet, p.url+path+"?"+form.Encode(), "", nil)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// startProcess starts a program and stops it when the test ends.
func startProcess(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			stopProcess(cmd)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(cmd.Args, " "), out.String())
		}
	})
	return cmd
}

// stopProcess ends a program as its supervisor would, and by force after ten
// seconds.
func stopProcess(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
}

// fetch sends one request on a connection of its own.
func fetch(method, address, body string, header http.Header) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, header)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// eventually repeats f until it succeeds. The limit only ends what never would:
// how soon it does is up to the machine.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	const limit = 5 * time.Minute
	var err error
	for begun := time.Now(); time.Since(begun) < limit; time.Sleep(100 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("not within %v: %v", limit, err)
}

func unusedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
