package drift

import (
	"slices"
	"sync"
	"time"
)

// Monitor keeps the measures of the versions that are served.
type Monitor struct {
	window time.Duration

	mu       sync.Mutex // guards versions
	versions []*measured
}

type measured struct {
	model, version, digest string
	*Version
}

// Report are the scores of one version.
type Report struct {
	Model, Version string
	Rows           int // that were measured, in the window
	Scores         []Score
}

// NewMonitor returns a monitor of windows of so long.
func NewMonitor(window time.Duration) *Monitor { return &Monitor{window: window} }

// Version returns the measure of a version, whose files have a digest: the one
// that there is, or a new one in place of that of other files of the same name.
// It is nil where no feature is known.
func (m *Monitor) Version(model, version, digest string, features []Feature) (*Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.IndexFunc(m.versions, func(o *measured) bool { return o.model == model && o.version == version })
	if at >= 0 && m.versions[at].digest == digest {
		return m.versions[at].Version, nil
	}
	v, err := New(features, m.window)
	if at >= 0 {
		m.versions = slices.Delete(m.versions, at, at+1)
	}
	if v != nil {
		m.versions = append(m.versions, &measured{model, version, digest, v})
	}
	return v, err
}

// Reports returns the scores of the versions that were asked in the window that
// ends now, in the order in which they came to be measured.
func (m *Monitor) Reports(now time.Time) []Report {
	m.mu.Lock()
	versions := slices.Clone(m.versions)
	m.mu.Unlock()
	var list []Report
	for _, v := range versions {
		if rows, scores := v.Scores(now); rows > 0 {
			list = append(list, Report{v.model, v.version, rows, scores})
		}
	}
	return list
}
