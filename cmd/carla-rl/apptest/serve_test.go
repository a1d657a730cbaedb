//go:build unix

package apptest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// guideRequest is the request of the deployment guide's curl.
const guideRequest = `{
    "observations": [{
      "speed": 25.5,
      "steering": 0.1,
      "sensors": [0.8, 0.2, 0.5, 0.9, 0.1]
    }],
    "deterministic": true
  }`

// guideCard is the model card of the deployment guide's ConfigMap.
const guideCard = `model_name: "carla-ppo"
version: "v0.1.0"
model_type: "pytorch"
description: "CarlaRL PPO policy for autonomous driving"
input_shape: [5]
output_shape: [3]
framework_version: "2.1.0"
performance_metrics:
  reward: 850.5
  success_rate: 0.95
artifact_hashes:
  model.pt: "sha256:abc123..."
  preprocessor.pkl: "sha256:def456..."
`

func TestTheGuidesCurlAnswers(t *testing.T) {
	p := start(t, nil)
	a := p.post("/predict", guideRequest)
	if a.status != http.StatusOK {
		t.Fatalf("status %d, want 200: %s", a.status, a.body)
	}
	body := a.json(t)
	actions, _ := body["actions"].([]any)
	if len(actions) != 1 {
		t.Fatalf("one observation gave %d actions: %s", len(actions), a.body)
	}
	action, _ := actions[0].(map[string]any)
	for name, low := range map[string]float64{"throttle": 0, "brake": 0, "steer": -1} {
		v, ok := action[name].(float64)
		if !ok || v < low || v > 1 {
			t.Errorf("%s is %v, want a number of %v to 1", name, action[name], low)
		}
	}
	if body["deterministic"] != true {
		t.Errorf("deterministic is %v, want it echoed as true", body["deterministic"])
	}
	if body["version"] != "v0.1.0" {
		t.Errorf("version is %v, want the demo's v0.1.0", body["version"])
	}
	if a.header.Get("X-Request-ID") == "" || a.header.Get("X-Process-Time") == "" {
		t.Errorf("X-Request-ID and X-Process-Time are %q and %q, want both", a.header.Get("X-Request-ID"), a.header.Get("X-Process-Time"))
	}
	if again := p.post("/predict", guideRequest); fmt.Sprint(again.json(t)["actions"]) != fmt.Sprint(body["actions"]) {
		t.Errorf("the same deterministic request was answered twice with different actions: %s, %s", a.body, again.body)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// TestFirstAnswer starts the server several times and says how long each took to
// its first action. How soon that is depends on what else the machine does, so
// only a start without an action fails.
func TestFirstAnswer(t *testing.T) {
	var took []time.Duration
	for range 10 {
		begun := time.Now()
		p := start(t, nil)
		for {
			a, err := request(t.Context(), http.DefaultClient, http.MethodPost, p.url+"/predict", guideRequest, nil)
			if err == nil && a.status == http.StatusOK {
				break
			}
			if time.Since(begun) > startMax {
				t.Fatalf("no answer: %v %v", a, err)
			}
			time.Sleep(200 * time.Microsecond)
		}
		took = append(took, time.Since(begun).Round(100*time.Microsecond))
		p.stop()
	}
	t.Logf("figure: first action of the program %v after its start, the best of %v", slices.Min(took), took)
}

// TestDrainLosesNothing stops a server under load: every request that found it
// listening is answered with 200.
func TestDrainLosesNothing(t *testing.T) {
	// On a busy machine a request may wait, which is no loss.
	p := start(t, []string{"CARLA_RL_REQUEST_TIMEOUT=1m"})
	for range 1000 {
		if a, err := request(t.Context(), http.DefaultClient, http.MethodGet, p.url+"/readyz", "", nil); err == nil && a.status == http.StatusOK {
			break
		}
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var answered, failed atomic.Int64
	var wg sync.WaitGroup
	var first sync.Once
	for range 16 {
		wg.Go(func() {
			for {
				a, err := request(context.Background(), client, http.MethodPost, p.url+"/predict", guideRequest, nil)
				switch {
				case err == nil && a.status == http.StatusOK:
					answered.Add(1)
				case notDialled(err):
					return // The server has closed its door: no request was sent.
				default:
					failed.Add(1)
					first.Do(func() { t.Errorf("a request failed: %v %d %s", err, a.status, a.body) })
					return
				}
			}
		})
	}
	for answered.Load() < 50 && failed.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	before := answered.Load()
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d, want 0\nstderr: %s", code, p.stderr())
	}
	wg.Wait()
	t.Logf("%d requests answered, %d of them while draining; %d failed", answered.Load(), answered.Load()-before, failed.Load())
}

// notDialled tells that no connection came about, so that nothing was sent.
func notDialled(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func TestPortInUseIsOneLine(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
	p := launch(t, nil, "serve", "--port", port)
	if code := p.wait(startMax); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	oneLineWith(t, p.stderr(), port, "in use", "--port")
}

func TestMissingFolderIsOneLine(t *testing.T) {
	p := launch(t, nil, "serve", "--port", "0", filepath.Join(t.TempDir(), "nowhere"))
	if code := p.wait(startMax); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	oneLineWith(t, p.stderr(), "nowhere")
}

func TestUseGPUIsRefused(t *testing.T) {
	p := launch(t, []string{"USE_GPU=1"}, "serve", "--port", "0")
	if code := p.wait(startMax); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	oneLineWith(t, p.stderr(), "USE_GPU", "ort")
}

// oneLineWith holds standard error to one line that has all of the words, once
// warnings are left out.
func oneLineWith(t *testing.T, stderr string, words ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if len(lines) != 1 {
		t.Errorf("standard error has %d lines, want one:\n%s", len(lines), stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("standard error does not say %q:\n%s", w, stderr)
		}
	}
}

// configMap lays files out as Kubernetes mounts a ConfigMap: links through
// ..data into a folder with a date.
func configMap(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	dated := filepath.Join(dir, "..2026_01_01_00_00_00.000000001")
	if err := os.Mkdir(dated, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Base(dated), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dated, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheGuidesConfigMapStaysNotReady(t *testing.T) {
	dir := configMap(t, map[string]string{"model_card.yaml": guideCard})
	p := start(t, []string{"ARTIFACT_DIR=" + dir, "MODEL_VERSION=v0.1.0"})
	var ready answer
	for begun := time.Now(); time.Since(begun) < startMax; time.Sleep(time.Millisecond) {
		// Until the load has ended it is not ready for another reason.
		if ready = p.get("/readyz"); strings.Contains(ready.body, "model.pt") {
			break
		}
	}
	if ready.status != http.StatusServiceUnavailable || !strings.Contains(ready.body, "model.pt") {
		t.Errorf("/readyz: %d %s, want 503 naming model.pt", ready.status, ready.body)
	}
	for path, want := range map[string]int{"/healthz": 200, "/livez": 200, "/startupz": 200, "/versions": 200} {
		if a := p.get(path); a.status != want {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.body, want)
		}
	}
	if a := p.get("/versions"); !strings.Contains(a.body, "model.pt") {
		t.Errorf("/versions does not name the missing file: %s", a.body)
	}
	if a := p.post("/predict", guideRequest); a.status != http.StatusServiceUnavailable {
		t.Errorf("/predict: %d %s, want 503", a.status, a.body)
	}
	if !strings.Contains(p.stdout(), "model.pt") {
		t.Errorf("the log does not name the missing file:\n%s", p.stdout())
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestUnknownModelVersionIsARefusal(t *testing.T) {
	dir := configMap(t, map[string]string{"model_card.yaml": guideCard})
	p := launch(t, []string{"ARTIFACT_DIR=" + dir, "MODEL_VERSION=v9.9.9"}, "serve", "--port", "0")
	if code := p.wait(startMax); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	oneLineWith(t, p.stderr(), "v9.9.9", "v0.1.0")
}

func TestHostListSparesProbes(t *testing.T) {
	p := start(t, []string{"ALLOWED_HOSTS=yourdomain.com,api.yourdomain.com"})
	with := func(host string) http.Header { return http.Header{"Host": {host}} }
	if a := p.do(http.MethodPost, "/predict", guideRequest, with("evil.example")); a.status != http.StatusMisdirectedRequest {
		t.Errorf("another host: %d, want 421", a.status)
	}
	if a := p.do(http.MethodPost, "/predict", guideRequest, with("api.yourdomain.com:8080")); a.status == http.StatusMisdirectedRequest {
		t.Errorf("an allowed host with a port: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/metrics"} {
		if a := p.do(http.MethodGet, path, "", with("10.1.2.3:8080")); a.status == http.StatusMisdirectedRequest {
			t.Errorf("%s for a probe's host: %d %s", path, a.status, a.body)
		}
	}
}

func TestExposedWithoutKeyWarns(t *testing.T) {
	p := start(t, nil, "--host", "0.0.0.0")
	if all := p.stdout() + p.stderr(); !strings.Contains(all, "API_KEY") {
		t.Errorf("no warning that names API_KEY:\n%s", all)
	}
	p = start(t, nil)
	if all := p.stdout() + p.stderr(); strings.Contains(all, "API_KEY") {
		t.Errorf("a warning on the loopback address:\n%s", all)
	}
	p = start(t, []string{"API_KEY=correct-horse-battery-staple"}, "--host", "0.0.0.0")
	if all := p.stdout() + p.stderr(); strings.Contains(all, "battery") {
		t.Errorf("the key is in the log:\n%s", all)
	}
}

func TestAPIKeyGuardsPredict(t *testing.T) {
	p := start(t, []string{"API_KEY=correct-horse-battery-staple"})
	if a := p.post("/predict", guideRequest); a.status != http.StatusUnauthorized {
		t.Errorf("without a key: %d, want 401", a.status)
	}
	for name, value := range map[string]string{
		"X-Api-Key":     "correct-horse-battery-staple",
		"Authorization": "Bearer correct-horse-battery-staple",
	} {
		h := http.Header{name: {value}}
		for begun := time.Now(); time.Since(begun) < startMax; time.Sleep(time.Millisecond) {
			if a := p.do(http.MethodPost, "/predict", guideRequest, h); a.status == http.StatusServiceUnavailable {
				continue
			} else if a.status != http.StatusOK {
				t.Errorf("%s: %d %s, want 200", name, a.status, a.body)
			}
			break
		}
	}
	if a := p.get("/livez"); a.status != http.StatusOK {
		t.Errorf("/livez without a key: %d, want 200", a.status)
	}
}

// TestForcedStopSaysSo stops a server while a client is in the middle of a
// request that it does not end.
func TestForcedStopSaysSo(t *testing.T) {
	// The server asks for the rest when it has begun to read the request.
	half := func(p *process) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%q, %v", line, err)
		}
		fmt.Fprint(conn, "{")
	}
	p := start(t, []string{"CARLA_RL_DRAIN_TIMEOUT=500ms"})
	half(p)
	if code := p.stop(); code != 3 {
		t.Errorf("exit code %d when the time to drain has passed, want 3\n%s", code, p.stderr())
	}
	p = start(t, []string{"CARLA_RL_DRAIN_TIMEOUT=1h"})
	half(p)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); !strings.Contains(p.stdout()+p.stderr(), "told to stop") && time.Since(begun) < startMax; {
		time.Sleep(time.Millisecond)
	}
	if code := p.stop(); code != 3 {
		t.Errorf("exit code %d after a second signal, want 3\n%s", code, p.stderr())
	}
}
