//go:build unix

package apptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// waitReady waits until the server has a model.
func (p *process) waitReady() {
	p.t.Helper()
	var a answer
	for begun := time.Now(); time.Since(begun) < startMax; time.Sleep(time.Millisecond) {
		if a = p.get("/readyz"); a.status == http.StatusOK {
			return
		}
	}
	p.t.Fatalf("/readyz: %d %s", a.status, a.body)
}

// guideConfig is the config.yaml of the deployment guide's ConfigMap, but for
// the folder and the port.
const guideConfig = `server:
  host: "0.0.0.0"
  port: %d
  workers: 2
  log_level: "info"

model:
  artifact_dir: %q
  version: "v0.1.0"
  use_gpu: false

monitoring:
  enable_metrics: true
  metrics_port: %d
  enable_tracing: true

optimization:
  enable_memory_pinning: true
  cache_size: 1000
  batch_size: 1
`

// demoArtifact copies the demo's artifact under a folder.
func demoArtifact(t *testing.T, parts ...string) {
	t.Helper()
	dst := filepath.Join(parts...)
	if err := os.MkdirAll(dst, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dst, os.DirFS("../../../internal/demo/artifact")); err != nil {
		t.Fatal(err)
	}
}

func TestTheGuidesConfigurationIsInForce(t *testing.T) {
	dir := t.TempDir()
	demoArtifact(t, dir)
	port := freePort(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, guideConfig, port, dir, port), 0o644); err != nil {
		t.Fatal(err)
	}
	p := launch(t, []string{"CONFIG_FILE=" + file}, "serve")
	p.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	for begun := time.Now(); !strings.Contains(p.stderr(), p.port()) && time.Since(begun) < startMax; {
		time.Sleep(time.Millisecond)
	}
	p.waitReady()
	if a := p.post("/predict", guideRequest); a.status != http.StatusOK {
		t.Errorf("/predict: %d %s", a.status, a.body)
	}
	if a := p.get("/metrics"); a.status != http.StatusOK {
		t.Errorf("/metrics on the server's own port: %d", a.status)
	}
	// What has no effect is told in one line, and what has one in none; tracing
	// without an endpoint is a warning.
	if n := strings.Count(p.stdout(), "no effect yet"); n > 1 || strings.Contains(p.stdout(), "optimization.cache_size") || strings.Contains(p.stdout(), "optimization.batch_size") {
		t.Errorf("%d lines tell of optimization.*:\n%s", n, p.stdout())
	}
	if n := strings.Count(p.stdout(), "tracing is off"); n != 1 {
		t.Errorf("%d lines tell of tracing, want one:\n%s", n, p.stdout())
	}
	p.stop()
}

func (p *process) port() string { return p.url[strings.LastIndexByte(p.url, ':')+1:] }

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestMetricsHaveTheGuidesNames(t *testing.T) {
	p := start(t, nil)
	p.waitReady()
	p.post("/predict", guideRequest)
	p.post("/predict", `{"observations":[]}`)
	p.get("/no/such/" + strings.Repeat("x", 100))
	text := p.get("/metrics").body
	for _, want := range []string{
		`http_requests_total{endpoint="/predict",method="POST",status="200"} 1`,
		`http_requests_total{endpoint="/predict",method="POST",status="422"} 1`,
		`http_requests_total{endpoint="other",method="GET",status="404"} 1`,
		`http_request_duration_seconds_bucket{endpoint="/predict",method="POST",le="5e-05"}`,
		`carla_rl_`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics does not have %s\n%s", want, text)
		}
	}
	if strings.Contains(text, "no/such") {
		t.Error("a path that is no route is a label")
	}
}

func TestMetricsOnAPortOfTheirOwnAndOff(t *testing.T) {
	port := freePort(t)
	p := start(t, []string{fmt.Sprintf("METRICS_PORT=%d", port)})
	if a := p.get("/metrics"); a.status != http.StatusNotFound {
		t.Errorf("/metrics on the server's port: %d, want 404", a.status)
	}
	a, err := request(t.Context(), http.DefaultClient, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/metrics", port), "", nil)
	if err != nil || a.status != http.StatusOK || !strings.Contains(a.body, "carla_rl_") {
		t.Errorf("/metrics on its own port: %v %d", err, a.status)
	}
	p = start(t, []string{"ENABLE_METRICS=false"})
	if a := p.get("/metrics"); a.status != http.StatusNotFound {
		t.Errorf("/metrics when they are off: %d, want 404", a.status)
	}
}

func TestLogFileHoldsJSONLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.log")
	p := start(t, []string{"LOG_FILE=" + file, "ACCESS_LOG=true"})
	p.waitReady()
	p.do(http.MethodPost, "/predict", guideRequest, http.Header{"X-Request-Id": {"trace-me-42"}})
	p.stop()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if m["message"] == nil || m["level"] == nil || m["timestamp"] == nil {
			t.Errorf("a line without message, level or timestamp: %s", line)
		}
	}
	if !strings.Contains(string(data), "trace-me-42") {
		t.Errorf("the access log does not have the request's id:\n%s", data)
	}
	if p.stdout() != "" {
		t.Errorf("standard output has lines too: %s", p.stdout())
	}
}

func TestSeveralModelsAndVersions(t *testing.T) {
	dir := t.TempDir()
	demoArtifact(t, dir, "highway", "v0.1.0")
	demoArtifact(t, dir, "parking", "v0.1.0")
	if err := os.Remove(filepath.Join(dir, "parking", "v0.1.0", "model.pt")); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"CARLA_RL_DEFAULT_MODEL=highway"}, dir)
	p.waitReady()
	f := func(path string, want int) {
		t.Helper()
		if a := p.post(path, guideRequest); a.status != want {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.body, want)
		}
	}
	f("/predict", 200)
	f("/v1/models/highway/predict", 200)
	f("/v1/models/highway/versions/v0.1.0/predict", 200)
	f("/v1/models/highway/versions/v0.2.0/predict", 404)
	f("/v1/models/parking/predict", 503)
	f("/v1/models/nowhere/predict", 404)
	f("/v1/models/../predict", 404)
	f("//predict", 404)
}

func TestADigestThatDiffersIsNotServed(t *testing.T) {
	dir := t.TempDir()
	demoArtifact(t, dir)
	model := filepath.Join(dir, "model.pt")
	data, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(model, data, 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, dir)
	var a answer
	for begun := time.Now(); time.Since(begun) < startMax; time.Sleep(time.Millisecond) {
		if a = p.get("/startupz"); a.status == http.StatusOK {
			break
		}
	}
	if a = p.get("/readyz"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "digest") {
		t.Errorf("/readyz: %d %s, want 503 that tells of the digest", a.status, a.body)
	}
}

func TestAGoldenVectorThatIsMissedIsNotServed(t *testing.T) {
	dir := t.TempDir()
	demoArtifact(t, dir)
	card := filepath.Join(dir, "model_card.yaml")
	data, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(data), "brake: 0.12720178", "brake: 0.13", 1)
	if changed == string(data) {
		t.Fatal("the demo's card has another first golden vector")
	}
	if err := os.WriteFile(card, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, dir)
	for begun := time.Now(); time.Since(begun) < startMax; time.Sleep(time.Millisecond) {
		if p.get("/startupz").status == http.StatusOK {
			break
		}
	}
	a := p.get("/readyz")
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "golden vector 0") || !strings.Contains(a.body, "brake") {
		t.Errorf("/readyz: %d %s, want 503 that names the vector and the action", a.status, a.body)
	}
}

func TestDocsWorkOffline(t *testing.T) {
	p := start(t, nil)
	outside := regexp.MustCompile(`(?:src|href)="?(?:https?:)?//`)
	for _, path := range []string{"/docs", "/docs/docs.js", "/docs/docs.css"} {
		a := p.get(path)
		if a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
		if m := outside.FindString(a.body); m != "" {
			t.Errorf("%s reaches out: %s", path, m)
		}
	}
	var description map[string]any
	if err := json.Unmarshal([]byte(p.get("/openapi.json").body), &description); err != nil {
		t.Fatal(err)
	}
	if v, _ := description["openapi"].(string); !strings.HasPrefix(v, "3.") {
		t.Errorf("openapi is %q, want 3.x", v)
	}
}

func TestTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	p := launch(t, []string{"CARLA_RL_TLS_CERT_FILE=" + cert, "CARLA_RL_TLS_KEY_FILE=" + key}, "serve", "--port", "0")
	secured := regexp.MustCompile(`https://[^\s"]+`)
	for begun := time.Now(); p.url == "" && time.Since(begun) < startMax; time.Sleep(time.Millisecond) {
		p.url = secured.FindString(p.stderr())
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	a, err := request(t.Context(), client, http.MethodPost, p.url+"/predict", guideRequest, nil)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("over TLS: %v %d %s\n%s", err, a.status, a.body, p.stderr())
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}}}
	if _, err := request(t.Context(), old, http.MethodGet, p.url+"/livez", "", nil); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// certificate writes a certificate of 127.0.0.1 and its key.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), pool
}

// TestResidentAfterManyRequests holds the promise of 32 MiB after 100,000
// requests.
func TestResidentAfterManyRequests(t *testing.T) {
	const requests, promised = 100_000, 32 << 20
	p := start(t, nil)
	p.waitReady()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	var left, failed atomic.Int64
	left.Store(requests)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if a, err := request(t.Context(), client, http.MethodPost, p.url+"/predict", guideRequest, nil); err != nil || a.status != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	resident, ok := residentNow(p.cmd.Process.Pid)
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, requests)
	}
	if !ok {
		t.Log("resident memory is not told on this system")
		return
	}
	t.Logf("resident after %d requests: %.1f MiB", requests, float64(resident)/(1<<20))
	if resident > promised {
		t.Errorf("resident after %d requests: %.1f MiB, want at most %d", requests, float64(resident)/(1<<20), promised>>20)
	}
}
