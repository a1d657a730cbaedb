package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// nowhere keeps a test from reading the file of a real installation.
const nowhere = "/nonexistent/config.yaml"

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func load(t *testing.T, o config.Options) (*config.Config, []string) {
	t.Helper()
	if o.DefaultFile == "" {
		o.DefaultFile = nowhere
	}
	c, notes, err := config.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, notes
}

// guide is the configuration file of the deployment guide.
const guide = `server:
  host: "0.0.0.0"
  port: 8080
  workers: 2
  log_level: "info"

model:
  artifact_dir: "/app/artifacts"
  version: "v0.1.0"
  use_gpu: false

monitoring:
  enable_metrics: true
  metrics_port: 8080
  enable_tracing: true

optimization:
  enable_memory_pinning: true
  cache_size: 1000
  batch_size: 1
`

func TestLoadTheGuide(t *testing.T) {
	c, notes := load(t, config.Options{File: write(t, guide)})
	if c.Server.Host != "0.0.0.0" || c.Server.Port != 8080 || c.Server.Workers != 2 || c.Server.LogLevel != "info" ||
		c.Model.ArtifactDir != "/app/artifacts" || c.Model.Version != "v0.1.0" || c.Model.UseGPU ||
		!c.Monitoring.EnableMetrics || c.Monitoring.MetricsPort != 8080 || !c.Monitoring.EnableTracing ||
		!c.Optimization.EnableMemoryPinning || c.Optimization.CacheSize != 1000 || c.Optimization.BatchSize != 1 {
		t.Errorf("got %+v", c)
	}
	text := strings.Join(notes, "\n")
	for _, want := range []string{
		"listens on 0.0.0.0 without an API key",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the notes lack %q: %s", want, text)
		}
	}
}

func TestLoadTheGuidesEnvironment(t *testing.T) {
	c, _ := load(t, config.Options{Environ: []string{
		"ARTIFACT_DIR=/app/artifacts", "MODEL_VERSION=v0.1.0", "USE_GPU=0", "LOG_LEVEL=INFO", "WORKERS=2",
		"CORS_ORIGINS=https://yourdomain.com", "ALLOWED_HOSTS=yourdomain.com,api.yourdomain.com",
	}})
	if c.Model.ArtifactDir != "/app/artifacts" || c.Model.Version != "v0.1.0" || c.Model.UseGPU || c.Server.LogLevel != "info" || c.Server.Workers != 2 ||
		!slices.Equal(c.Security.CORSOrigins, []string{"https://yourdomain.com"}) ||
		!slices.Equal(c.Security.AllowedHosts, []string{"yourdomain.com", "api.yourdomain.com"}) {
		t.Errorf("got %+v", c)
	}
}

func TestLoadTheBareMetalGuide(t *testing.T) {
	c, _ := load(t, config.Options{File: write(t, `
server: {access_log: true}
model: {gpu_memory_fraction: 0.8}
monitoring: {log_format: json}
optimization: {enable_jit: true, enable_avx: true, enable_mkl: true}
security:
  cors_origins: ["https://a.example", "http://b.example:8080"]
  allowed_hosts: ["a.example", "*.b.example"]
  max_request_size: "10MB"
  rate_limit: 1000/min
`)})
	if !c.Server.AccessLog || c.Model.GPUMemoryFraction != 0.8 || c.Monitoring.LogFormat != "json" || !c.Optimization.EnableJIT ||
		len(c.Security.CORSOrigins) != 2 || len(c.Security.AllowedHosts) != 2 || c.Security.MaxRequestSize != 10_000_000 ||
		c.Security.RateLimit != (config.Rate{Count: 1000, Per: time.Minute}) {
		t.Errorf("got %+v", c)
	}
}

func TestSourcesInOrder(t *testing.T) {
	file := write(t, "server:\n  host: file.example\n  port: 1001\n  workers: 3\n")
	c, _ := load(t, config.Options{
		File:    file,
		Environ: []string{"PORT=1002", "WORKERS=4", "HOST="},
		Flags:   map[string]string{"server.workers": "5"},
	})
	if c.Server.Host != "file.example" || c.Server.Port != 1002 || c.Server.Workers != 5 || c.Server.LogLevel != "info" {
		t.Errorf("got %+v", c.Server)
	}
	for key, want := range map[string]string{
		"server.host":      file + ":2",
		"server.port":      "environment PORT",
		"server.workers":   "command line --workers",
		"server.log_level": "default",
	} {
		if got := c.Source(key).String(); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	if c.File != file {
		t.Errorf("got the file %q", c.File)
	}
}

func TestWhichFile(t *testing.T) {
	first, second, third := write(t, "server: {port: 1}"), write(t, "server: {port: 2}"), write(t, "server: {port: 3}")
	f := func(want int, o config.Options) {
		t.Helper()
		if c, _ := load(t, o); c.Server.Port != want {
			t.Errorf("got %d, want %d", c.Server.Port, want)
		}
	}
	f(1, config.Options{File: first, Environ: []string{"CONFIG_FILE=" + second}, DefaultFile: third})
	f(2, config.Options{Environ: []string{"CONFIG_FILE=" + second}, DefaultFile: third})
	f(3, config.Options{DefaultFile: third})
	f(8080, config.Options{})
	f(8080, config.Options{File: write(t, "")})
	f(8080, config.Options{File: write(t, "# nothing\n")})
	f(8080, config.Options{File: write(t, "server:\nmodel:\n")})
	f(8080, config.Options{File: write(t, "server: {port: }\n")})
}

// failing returns the text of the error.
func failing(t *testing.T, o config.Options) string {
	t.Helper()
	if o.DefaultFile == "" {
		o.DefaultFile = nowhere
	}
	c, _, err := config.Load(o)
	if err == nil {
		t.Errorf("was accepted: %+v", c)
		return ""
	}
	return err.Error()
}

func TestLoadRefusesFiles(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		file := write(t, text)
		got := strings.ReplaceAll(failing(t, config.Options{File: file}), file, "FILE")
		if !strings.Contains(got, want) {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
	f("server:\n  prot: 80\n", "FILE:2: server.prot: unknown key, did you mean server.port?")
	f("server: {log-level: info}", "did you mean server.log_level?")
	f("server: {enable_metrics: true}", "unknown key, did you mean monitoring.enable_metrics?")
	f("server: {colour: red}", "unknown key; server has: host, socket_mode, port, workers")
	f("sever: {port: 1}", "FILE:1: sever: unknown section, did you mean server?")
	f("port: 80", "unknown section; the key port belongs under its section: server.port")
	f("cache: {x: 1}", "unknown section; there are: server, model")
	f("server: 5", "want a section of keys, got \"5\"")
	f("- a", "want sections such as server and model")
	f("server:\n  port: eighty", "FILE:2: server.port: want a whole number, got \"eighty\"")
	f("server: {port: 8080.5}", "want a whole number")
	f("server: {port: 70000}", "server.port: want 0 to 65535, got 70000")
	f("server: {port: [1]}", "want a single value, got a list")
	f("server: {port: {a: 1}}", "want a single value, got a section")
	f("server: {port: 1, port: 2}", "server.port: the key is given twice, first on line 1")
	f("server: {port: 1}\nserver: {port: 2}", "server: the key is given twice, first on line 1")
	f("server: {log_level: loud}", "want one of debug, info, warn, error, got \"loud\"")
	f("server: {log_level: inof}", "did you mean info?")
	f("server: {host: \"\"}", "want an address")
	f("server: {host: \"0.0.0.0:80\"}", "the port has a setting of its own")
	f("server: {host: http://x}", "want an address")
	f("server: {host: true}", "want text, got true")
	f("server: {access_log: maybe}", "want true or false, got \"maybe\"")
	f("server: {request_timeout: soon}", "want a time such as 100ms or 5s")
	f("server: {request_timeout: 0}", "want 1ms to 1h0m0s, got 0s")
	f("server: {idle_timeout: -5s}", "want 1ms to 1h0m0s")
	f("server: {max_header_size: 1}", "want 1KiB to 1MiB, got 1B")
	f("server: {tls_cert_file: a.pem}", "server.tls_cert_file: TLS needs both")
	f("server: {tls_key_file: a.pem}", "server.tls_key_file: TLS needs both")
	f("model: {version: ../v1}", "want a version such as v0.1.0")
	f("model: {use_gpu: true}", "FILE:1: model.use_gpu: this build has no GPU engine")
	f("model: {engine: onnxruntime}", "this build has no ONNX Runtime")
	f("model: {engine: onnx}", "want one of plan, onnxruntime, auto, got \"onnx\"")
	f("model: {gpu_memory_fraction: 0}", "want more than 0 and at most 1")
	f("security: {max_request_size: big}", "want a size such as 10MiB or 10MB, got \"big\"")
	f("security: {rate_limit: 1000}", "want a rate such as 1000/min")
	f("security: {rate_limit: 5/day}", "want a rate such as 1000/min")
	f("security: {allowed_hosts: [https://a.example]}", "entry 1: want a name without a scheme")
	f("security: {allowed_hosts: [a.example, 'b.example:80']}", "entry 2: want a name such as example.com")
	f("security: {cors_origins: [a.example]}", "entry 1: want an origin such as https://example.com")
	f("security: {cors_origins: [https://a.example/]}", "want an origin without a path: https://a.example")
	f("security: {cors_origins: [[a]]}", "entry 1: want plain text")
	f("security: {cors_origins: ['a,b']}", "entry 1: want plain text")
	f("optimization: {batch_size: 0}", "want 1 to 4096, got 0")
	f("x: &x {a: *x}", "unknown section")
	f("server: &s {port: 1}\nmodel: *s", "aliases, merge keys")
	f("server: {<<: {port: 1}}", "aliases, merge keys")
	f("server: {port: !!python/object 1}", "the tag !!python/object is not allowed")
	f("server: [", "FILE: ")
	f("a: \xff", "the text is not valid UTF-8")
	f("server: {}\n---\nmodel: {}", "more than one YAML document")
	f(strings.Repeat("#", 2<<20), "at most 1048576 are read")
}

func TestLoadSaysEverythingAtOnce(t *testing.T) {
	file := write(t, "server:\n  prot: 1\n  workers: many\nmodell: {}\n")
	_, _, err := config.Load(config.Options{File: file, Environ: []string{"PORT=x", "LOG_LEVEL=loud"}, Flags: map[string]string{"server.host": "a b", "server.nope": "1"}})
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range e.Problems {
		got = append(got, strings.ReplaceAll(p.String(), file, "FILE"))
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		"FILE:2: server.prot: unknown key",
		"FILE:3: server.workers: want a whole number, got \"many\"",
		"FILE:4: modell: unknown section, did you mean model?",
		"environment: PORT: want a whole number, got \"x\"",
		"environment: LOG_LEVEL: want one of debug",
		"command line: --host: want an address",
		"command line: server.nope: unknown key",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q in\n%s", want, text)
		}
	}
	if len(got) != 7 {
		t.Errorf("got %d problems:\n%s", len(got), text)
	}
}

func TestLoadRefusesFilesThatAreNotThere(t *testing.T) {
	if got := failing(t, config.Options{File: nowhere}); !strings.Contains(got, "command line: --config: "+nowhere+": no such file") {
		t.Error(got)
	}
	if got := failing(t, config.Options{Environ: []string{"CONFIG_FILE=" + nowhere}}); !strings.Contains(got, "environment: CONFIG_FILE: "+nowhere) {
		t.Error(got)
	}
	if got := failing(t, config.Options{File: t.TempDir()}); !strings.Contains(got, "is not a regular file") {
		t.Error(got)
	}
}

func TestGPUNeedsAnEngine(t *testing.T) {
	if got := failing(t, config.Options{Environ: []string{"USE_GPU=1"}}); !strings.Contains(got, "environment: USE_GPU: this build has no GPU engine") || !strings.Contains(got, ":ort") {
		t.Error(got)
	}
	if c, _ := load(t, config.Options{Environ: []string{"USE_GPU=1"}, ONNXRuntime: true}); !c.Model.UseGPU || c.Model.Engine != "onnxruntime" {
		t.Errorf("USE_GPU=1: %+v", c.Model)
	}
	got := failing(t, config.Options{Environ: []string{"USE_GPU=1", "CARLA_RL_ENGINE=plan"}, ONNXRuntime: true})
	if !strings.Contains(got, "environment: CARLA_RL_ENGINE: model.use_gpu needs onnxruntime, got plan") {
		t.Error(got)
	}
}

func TestEngine(t *testing.T) {
	f := func(value, want string) {
		t.Helper()
		if c, _ := load(t, config.Options{Environ: []string{"CARLA_RL_ENGINE=" + value}, ONNXRuntime: true}); c.Model.Engine != want {
			t.Errorf("%s is %s, want %s", value, c.Model.Engine, want)
		}
	}
	f("plan", "plan")
	f("native", "plan")
	f("Native", "plan")
	f("auto", "auto")
	f("ONNXRuntime", "onnxruntime")
	if c, _ := load(t, config.Options{Environ: []string{"CARLA_RL_ENGINE=auto"}}); c.Model.Engine != "auto" {
		t.Errorf("auto without ONNX Runtime is %s", c.Model.Engine)
	}
}

func TestForms(t *testing.T) {
	f := func(variable string, ok func(*config.Config) bool) {
		t.Helper()
		if c, _ := load(t, config.Options{Environ: []string{variable}}); !ok(c) {
			t.Errorf("%s: got %+v", variable, c)
		}
	}
	f("LOG_LEVEL=Warning", func(c *config.Config) bool { return c.Server.LogLevel == "warn" })
	f("LOG_LEVEL=CRITICAL", func(c *config.Config) bool { return c.Server.LogLevel == "error" })
	f("HOST=[::1]", func(c *config.Config) bool { return c.Server.Host == "::1" && !c.Exposed() })
	f("HOST=localhost", func(c *config.Config) bool { return !c.Exposed() })
	f("HOST=::", func(c *config.Config) bool { return c.Exposed() })
	f("HOST=192.168.1.2", func(c *config.Config) bool { return c.Exposed() })
	f("HOST=unix:///run/carla-rl.sock", func(c *config.Config) bool { return !c.Exposed() && c.Server.SocketPath() == "/run/carla-rl.sock" })
	f("HOST=::1", func(c *config.Config) bool { return c.Server.SocketPath() == "" && c.Server.Mode() == 0o660 })
	f("CARLA_RL_SOCKET_MODE=777", func(c *config.Config) bool { return c.Server.Mode() == 0o777 })
	f("PORT= 9000 ", func(c *config.Config) bool { return c.Server.Port == 9000 })
	f("USE_GPU=off", func(c *config.Config) bool { return !c.Model.UseGPU })
	f("ACCESS_LOG=yes", func(c *config.Config) bool { return c.Server.AccessLog })
	f("CORS_ORIGINS=*", func(c *config.Config) bool { return c.Security.CORSOrigins[0] == "*" })
	f("ALLOWED_HOSTS= a.example , b.example,", func(c *config.Config) bool { return len(c.Security.AllowedHosts) == 2 })
	f("ALLOWED_HOSTS=*,[::1],10.0.0.1", func(c *config.Config) bool { return len(c.Security.AllowedHosts) == 3 })
	f("CARLA_RL_REQUEST_TIMEOUT=250ms", func(c *config.Config) bool { return c.Server.RequestTimeout == 250*time.Millisecond })
	f("CARLA_RL_REQUEST_TIMEOUT=1.5", func(c *config.Config) bool { return c.Server.RequestTimeout == 1500*time.Millisecond })
	f("CARLA_RL_MAX_REQUEST_SIZE=2MiB", func(c *config.Config) bool { return c.Security.MaxRequestSize == 2<<20 })
	f("CARLA_RL_RATE_LIMIT=20/s", func(c *config.Config) bool { return c.Security.RateLimit == config.Rate{Count: 20, Per: time.Second} })
	f("MODEL_VERSION=^0.1.0", func(c *config.Config) bool { return c.Model.Version == "^0.1.0" })
	f("GIT_SHA=abc123", func(c *config.Config) bool { return c.Build.GitSHA == "abc123" })
	f("LOG_FILE=/app/logs/server.log", func(c *config.Config) bool { return c.Monitoring.LogFile == "/app/logs/server.log" })
	f("METRICS_PORT=9090", func(c *config.Config) bool { return c.Monitoring.MetricsPort == 9090 })
	// What Kubernetes makes of a service is no setting of ours.
	f("MODEL_SERVING_SERVICE_PORT=tcp://10.0.0.1:80", func(c *config.Config) bool { return c.Server.Port == 8080 })
	f("CARLA_RL_SERVING_PORT=tcp://10.0.0.1:80", func(c *config.Config) bool { return c.Server.Port == 8080 })
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]config.Size{
		"10": 10, "10B": 10, "10kB": 10_000, "10KiB": 10 << 10, "10MB": 10_000_000, "10MiB": 10 << 20, "10Mi": 10 << 20, "10m": 10_000_000, "1.5 GiB": 3 << 29, "1tib": 1 << 40, "0": 0,
	} {
		if got, err := config.ParseSize(in); err != nil || got != want {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "MB", "-1MB", "1e30TiB", "NaN", "inf", "0x10", "1 0MB", "ten"} {
		if got, err := config.ParseSize(in); err == nil {
			t.Errorf("%q: got %v", in, got)
		}
	}
	for in, want := range map[config.Size]string{0: "0B", 1: "1B", 1024: "1KiB", 10 << 20: "10MiB", 10_000_000: "10000000B", 3 << 30: "3GiB"} {
		if got := in.String(); got != want {
			t.Errorf("%d: got %s", int64(in), got)
		}
		if back, err := config.ParseSize(in.String()); err != nil || back != in {
			t.Errorf("%s: reads back as %v, %v", in, back, err)
		}
	}
}

func TestCheckNamesTheFile(t *testing.T) {
	problems, _ := config.Check(nowhere, config.Options{})
	if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), nowhere+": ") || strings.Count(problems[0].String(), nowhere) != 1 {
		t.Errorf("got %v", problems)
	}
}

func TestNotesPointAtNearVariables(t *testing.T) {
	_, notes := load(t, config.Options{Environ: []string{"ARTIFACTS_DIR=/x", "MODEL_VERSON=v1", "ALLOWED_HOST=a", "HOSTNAME=pod-1", "PATH=/bin", "RELOAD=1"}})
	text := strings.Join(notes, "\n")
	for _, want := range []string{"ARTIFACTS_DIR, which is not read; did you mean ARTIFACT_DIR?", "did you mean MODEL_VERSION?", "did you mean ALLOWED_HOSTS?", "RELOAD is an option of the Python server"} {
		if !strings.Contains(text, want) {
			t.Errorf("the notes lack %q: %s", want, text)
		}
	}
	if strings.Contains(text, "HOSTNAME") {
		t.Errorf("HOSTNAME is the system's own: %s", text)
	}
	if _, notes := load(t, config.Options{}); len(notes) != 0 {
		t.Errorf("got notes %v", notes)
	}
}

func TestCheck(t *testing.T) {
	problems, _ := config.Check(write(t, "server: {prot: 1, workers: x}"), config.Options{})
	if len(problems) != 2 {
		t.Errorf("got %v", problems)
	}
	problems, notes := config.Check(write(t, guide), config.Options{})
	if len(problems) != 0 || len(notes) == 0 {
		t.Errorf("got %v, %v", problems, notes)
	}
}

func TestReference(t *testing.T) {
	rows := config.Reference()
	keys, envs := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		if keys[r.Key] || r.Env == "" || envs[r.Env] {
			t.Errorf("%s (%s) is there twice or has no variable", r.Key, r.Env)
		}
		keys[r.Key], envs[r.Env] = true, true
		if !strings.HasSuffix(r.Doc, ".") || r.Type == "" {
			t.Errorf("%s: %q", r.Key, r.Doc)
		}
	}
	// The names that the guides know.
	for _, key := range []string{
		"server.host", "server.port", "server.workers", "server.log_level", "server.access_log", "model.artifact_dir", "model.version", "model.use_gpu",
		"model.gpu_memory_fraction", "model.require_hashes", "monitoring.enable_metrics", "monitoring.metrics_port", "monitoring.enable_tracing", "monitoring.log_format",
		"optimization.enable_memory_pinning", "optimization.cache_size", "optimization.batch_size", "optimization.enable_jit", "optimization.enable_avx",
		"optimization.enable_mkl", "security.cors_origins", "security.allowed_hosts", "security.max_request_size", "security.rate_limit",
	} {
		if !keys[key] {
			t.Errorf("there is no %s", key)
		}
	}
	for _, env := range []string{"ARTIFACT_DIR", "MODEL_VERSION", "USE_GPU", "LOG_LEVEL", "LOG_FILE", "HOST", "PORT", "WORKERS", "CORS_ORIGINS", "ALLOWED_HOSTS", "API_KEY", "API_KEY_FILE", "DATABASE_URL", "GIT_SHA", "METRICS_PORT"} {
		if !envs[env] {
			t.Errorf("there is no %s", env)
		}
	}
	text := config.Markdown()
	for _, r := range rows {
		if strings.Count(text, "| `"+r.Key+"` |") != 1 {
			t.Errorf("the reference does not have %s once", r.Key)
		}
	}
}

// TestDefaultsAreValid reads each default back through its own setting.
func TestDefaultsAreValid(t *testing.T) {
	for _, r := range config.Reference() {
		if r.Default == "" || r.Key == "server.workers" {
			continue
		}
		c, _ := load(t, config.Options{Flags: map[string]string{r.Key: r.Default}})
		i := slices.IndexFunc(c.Values(), func(v config.Value) bool { return v.Key == r.Key })
		if got := c.Values()[i].Value; got != r.Default {
			t.Errorf("%s: %q reads back as %q", r.Key, r.Default, got)
		}
	}
	if c, _ := load(t, config.Options{}); c.Server.Workers < 1 || c.Exposed() {
		t.Errorf("got %+v", c.Server)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(guide)
	f.Add("server: {port: 1, prot: 2}")
	f.Add("security: {cors_origins: [a, b], max_request_size: 1e3kb}")
	f.Add("x: &x\n  <<: *x\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := config.Load(config.Options{File: file})
		if err != nil {
			return
		}
		if c.Server.Port < 0 || c.Server.Port > 65535 || c.Server.Workers < 1 || c.Security.MaxRequestSize < 1024 {
			t.Errorf("accepted %+v", c)
		}
	})
}
