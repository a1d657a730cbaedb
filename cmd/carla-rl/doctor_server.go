package main

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/doctor"
	"github.com/carla-rl/carla-rl-serving/internal/machine"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// routes are the templates of what the server answers; a test holds them to
// the server's own table.
var routes = []string{
	"/predict", "/v1/models/{model}/predict", "/v1/models/{model}/versions/{version}/predict",
	"/v1/models", "/v1/models/{model}", "/v1/models/{model}/versions/{version}",
	"/v1/stream", "/v1/sessions", "/v1/sessions/{id}", "/v1/sessions/{id}/act", "/v1/sessions/{id}/reset",
	"/v1/sessions/{id}/outcome", "/v1/experience",
	"/healthz", "/livez", "/readyz", "/startupz", "/metadata", "/warmup", "/versions", "/admin/reload", "/admin/rollback",
	"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{model}", "/v2/models/{model}/ready", "/v2/models/{model}/infer",
	"/v2/models/{model}/versions/{version}", "/v2/models/{model}/versions/{version}/ready", "/v2/models/{model}/versions/{version}/infer",
	"/openapi.json", "/docs", "/docs/docs.js", "/docs/docs.css", "/console", "/console/{file}", "/", "/metrics",
}

// doctorServer tells what this program reads, answers and measures.
func doctorServer() doctor.Server {
	s := doctor.Server{Routes: routes, Metrics: exposed(), CheckConfig: checkConfigText, LockLimit: machine.LockLimit()}
	for _, r := range config.Reference() {
		s.Settings = append(s.Settings, doctor.Setting{Key: r.Key, Env: r.Env, Default: r.Default, Idle: r.Idle})
	}
	return s
}

// elsewhere are settings that name files of the machine that will read them.
var elsewhere = []string{"security.api_key_file", "security.admin_key_file", "security.keys_file", "sessions.token_key_file", "server.tls_cert_file", "server.tls_key_file", "server.tls_client_ca_file", "database.url_file"}

// checkConfigText checks a configuration that is not a file here, and an
// environment that is not this one.
func checkConfigText(text string, environ []string, gpu bool) (problems, notes []string) {
	dir, err := os.MkdirTemp("", "carla-rl-doctor-")
	if err != nil {
		return []string{err.Error()}, nil
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return []string{err.Error()}, nil
	}
	var found []config.Problem
	if environ == nil {
		found, notes = config.Check(name, config.Options{ONNXRuntime: gpu})
	} else {
		environ = slices.DeleteFunc(slices.Clone(environ), func(s string) bool { return strings.HasPrefix(s, "CONFIG_FILE=") })
		var err error
		_, notes, err = config.Load(config.Options{DefaultFile: name, Environ: environ, ONNXRuntime: gpu})
		if list := (*config.Error)(nil); errors.As(err, &list) {
			found = list.Problems
		}
	}
	for _, p := range found {
		if slices.Contains(elsewhere, p.Key) {
			continue
		}
		problems = append(problems, strings.ReplaceAll(p.String(), name, "config.yaml"))
	}
	return problems, notes
}

// exposed lists the metrics of a server that has done everything once, as a
// scrape shows them.
func exposed() []doctor.Metric {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	m.Route(http.MethodGet, "/")(http.StatusOK, 0, "")
	m.Inference("model", "version")(0, 1, true, false, 0, 0, 0, 0)
	m.Saturation("model", "version", []string{"action"}, []float64{0}, []float64{1})([]float32{1})
	m.Interventions("model", "version", []string{"action"})(0, "kind")
	m.Rejected("reason")()
	m.ModelLimits("limit")
	m.Error("CODE", "/")
	zero := func() int { return 0 }
	m.Connections(zero)
	m.Streams(zero)
	m.StreamMessages("codec", "result")()
	m.StreamSkipped()()
	m.StreamClosed(0)
	m.Queue(1, 1, zero, zero)
	m.QueueStats(func() telemetry.QueueStats { return telemetry.QueueStats{} })
	m.Sessions(zero, func() int64 { return 0 }, zero)
	none := func() int64 { return 0 }
	m.LockedMemory(none, none)
	m.Ready(func() bool { return true })
	m.Current(func() []telemetry.CurrentVersion {
		return []telemetry.CurrentVersion{{Model: "model", Version: "version"}}
	})
	m.Versions(func() []telemetry.VersionState { return []telemetry.VersionState{{Model: "model", Version: "version"}} })
	m.Quarantined("model", "version")
	m.Experience([]string{"ok"}, func() telemetry.ExperienceStats {
		return telemetry.ExperienceStats{Lost: map[string]uint64{"reason": 0}}
	}, none)(0, 0)
	m.Drift(func() []telemetry.Drift {
		return []telemetry.Drift{{Model: "model", Version: "version", Features: []telemetry.FeatureDrift{{Feature: "feature"}}}}
	})
	m.SecurityReloaded("what", true)
	m.CertificateExpiry(time.Now)
	m.Root(time.Now, zero)
	m.ModelLoaded("model", "version", 0, errors.New("reason"))
	r, err := http.NewRequest(http.MethodGet, "/metrics", nil)
	if err != nil {
		panic(err) // The line above is wrong.
	}
	w := &page{header: http.Header{}}
	m.Handler().ServeHTTP(w, r)

	var out []doctor.Metric
	index := map[string]int{}
	for lines := bufio.NewScanner(&w.Buffer); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.IndexAny(line, "{ ")
		name := line[:end]
		i, ok := index[name]
		if !ok {
			i = len(out)
			index[name] = i
			out = append(out, doctor.Metric{Name: name})
		}
		labels, _, _ := strings.Cut(strings.TrimPrefix(line[end:], "{"), "}")
		for pair := range strings.SplitSeq(labels, ",") {
			label, value, ok := strings.Cut(pair, "=")
			if !ok {
				continue
			}
			if label == "le" {
				if b, err := strconv.ParseFloat(strings.Trim(value, `"`), 64); err == nil {
					out[i].Buckets = append(out[i].Buckets, b)
				}
			}
			if !slices.Contains(out[i].Labels, label) {
				out[i].Labels = append(out[i].Labels, label)
			}
		}
	}
	return out
}

// page takes the answer of a handler.
type page struct {
	bytes.Buffer
	header http.Header
}

func (p *page) Header() http.Header { return p.header }
func (p *page) WriteHeader(int)     {}
