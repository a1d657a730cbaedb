package telemetry

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Why another version took over, and what admins do: each is counted from 0 on,
// or its first one would be no increase.
var (
	swapKinds = []string{"swap", "rollback", "quarantine"}
	adminActs = []string{"reload", "rollback"}
)

// reloads count what becomes of the versions while the server runs.
type reloads struct {
	changes  *prometheus.CounterVec
	trouble  prometheus.Counter
	acts     *prometheus.CounterVec
	security *prometheus.CounterVec

	mu          sync.Mutex            // guards quarantines
	quarantines map[[2]string]float64 // by model and version
}

func (r *reloads) init(m *Metrics) {
	r.changes = counters(m, "carla_rl_version_changes_total", "Times that another version took over, by why: a load (swap), a rollback, a quarantine.", "kind")
	for _, kind := range swapKinds {
		r.changes.WithLabelValues(kind)
	}
	r.quarantines = map[[2]string]float64{}
	r.trouble = prometheus.NewCounter(prometheus.CounterOpts{Name: "carla_rl_root_failures_total", Help: "Times that the artifact root was found to be unreadable or to lack what is asked for."})
	m.registry.MustRegister(r.trouble)
	r.acts = counters(m, "carla_rl_admin_acts_total", "Acts of admins, by what they were and what came of them.", "act", "result")
	for _, act := range adminActs {
		r.acts.WithLabelValues(act, "changed")
	}
	r.security = counters(m, "carla_rl_security_reloads_total", "Times that changed files of keys or certificates were read, by what was in them and what came of it.", "what", "result")
	r.security.WithLabelValues("keys", "ok")
	r.security.WithLabelValues("keys", "failed")
	r.security.WithLabelValues("certificate", "ok")
	r.security.WithLabelValues("certificate", "failed")
}

// VersionChanged counts that another version took over.
func (m *Metrics) VersionChanged(kind string) { m.reloads.changes.WithLabelValues(kind).Inc() }

// Quarantined counts a version that was taken out of service.
func (m *Metrics) Quarantined(model, version string) {
	m.reloads.mu.Lock()
	defer m.reloads.mu.Unlock()
	m.reloads.quarantines[[2]string{model, version}]++
}

// quarantined returns how often each version was taken out of service.
func (r *reloads) quarantined() map[[2]string]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.quarantines)
}

// RootFailed counts that the root was found to be unreadable.
func (m *Metrics) RootFailed() { m.reloads.trouble.Inc() }

// AdminAct counts an act of an admin.
func (m *Metrics) AdminAct(act, result string) { m.reloads.acts.WithLabelValues(act, result).Inc() }

// SecurityReloaded counts that files which had changed were read: "keys" or
// "certificate". Where that failed what was in force stays so.
func (m *Metrics) SecurityReloaded(what string, ok bool) {
	result := "failed"
	if ok {
		result = "ok"
	}
	m.reloads.security.WithLabelValues(what, result).Inc()
}

// CertificateExpiry tells how to read when the certificate of the server ends; it is
// the zero time without one.
func (m *Metrics) CertificateExpiry(read func() time.Time) {
	_ = m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carla_rl_tls_certificate_expiry_timestamp_seconds", Help: "When the certificate of the server ends, in seconds since 1970; 0 without TLS.",
	}, func() float64 {
		if t := read(); !t.IsZero() {
			return float64(t.Unix())
		}
		return 0
	}))
}

// Root tells how to read when the root was looked at the last time, and how many
// policies are held in memory.
func (m *Metrics) Root(checked func() time.Time, inMemory func() int) {
	_ = m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carla_rl_root_checked_timestamp_seconds", Help: "When the artifact root was looked at the last time, in seconds since 1970.",
	}, func() float64 { return float64(checked().UnixMicro()) / 1e6 }))
	m.gauge("carla_rl_versions_in_memory", "Policies in memory: versions that are ready, those kept for a rollback, and those that a request or a session still uses.", inMemory)
}

// VersionState is the state of one version.
type VersionState struct {
	Model, Version string
	Ready, Hashed  bool
	Quarantined    bool
}

// versionStates tells at each scrape of the versions that there are, as current
// does. Quarantines are counted from 0 on for each of them.
type versionStates struct {
	read        func() []VersionState
	quarantines func() map[[2]string]float64
}

var (
	stateLabels     = []string{"model", "version"}
	descLoaded      = prometheus.NewDesc("carla_rl_model_loaded", "1 where the version is ready.", stateLabels, nil)
	descWarm        = prometheus.NewDesc("carla_rl_model_warmed_up", "1 where the version has been run since it was loaded.", stateLabels, nil)
	descHashed      = prometheus.NewDesc("carla_rl_model_hashed", "1 where the version's card carries the hashes of its files.", stateLabels, nil)
	descQuarantined = prometheus.NewDesc("carla_rl_model_quarantined", "1 where the version was taken out of service because of unusable answers.", stateLabels, nil)
	descQuarantines = prometheus.NewDesc("carla_rl_quarantines_total", "Versions that were taken out of service because of unusable answers.", stateLabels, nil)
)

// Versions tells how to read the states of all versions. Of two with the same
// name, because the files of the one were replaced by those of the other, the
// first is told of.
func (m *Metrics) Versions(read func() []VersionState) {
	_ = m.registry.Register(versionStates{read, m.reloads.quarantined})
}

// Describe implements prometheus.Collector.
func (s versionStates) Describe(ch chan<- *prometheus.Desc) {
	ch <- descLoaded
	ch <- descWarm
	ch <- descHashed
	ch <- descQuarantined
	ch <- descQuarantines
}

// Collect implements prometheus.Collector.
func (s versionStates) Collect(ch chan<- prometheus.Metric) {
	seen := map[[2]string]bool{}
	quarantines := s.quarantines()
	for _, v := range s.read() {
		key := [2]string{v.Model, v.Version}
		if seen[key] {
			continue
		}
		seen[key] = true
		quarantines[key] += 0
		for desc, on := range map[*prometheus.Desc]bool{descLoaded: v.Ready, descWarm: v.Ready, descHashed: v.Hashed, descQuarantined: v.Quarantined} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, number(on), v.Model, v.Version)
		}
	}
	for key, n := range quarantines {
		ch <- prometheus.MustNewConstMetric(descQuarantines, prometheus.CounterValue, n, key[0], key[1])
	}
}
