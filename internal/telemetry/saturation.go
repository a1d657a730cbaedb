package telemetry

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// maxActionNames is how many actions of a version are counted by name; those
// beyond are counted together as otherActions. A card may name thousands, and
// each would be three series.
const (
	maxActionNames = 32
	otherActions   = "other"
)

// saturation counts, for each version and action, the values that a policy
// gave and those that lay at a bound. A policy whose actions stay at a bound
// has lost its way: its observations are scaled otherwise than in training.
//
// It is a collector of its own because the number of values follows from that
// of the rows: a request costs one addition, and two comparisons a value.
type saturation struct {
	mu       sync.Mutex // guards versions
	versions []*actionCounts
	byName   map[[2]string]*actionCounts
}

// actionCounts are the counts of one version.
type actionCounts struct {
	model, version string
	low, high      []float32 // of each value of a row; infinite where there is none
	action         []int     // of each value of a row, index into actions; -1 is not counted
	actions        []actionCount

	rows atomic.Uint64
}

type actionCount struct {
	name      string
	low, high float64 // what its values have in common, NaN where they differ or there is none
	values    uint64  // in a row
	atLow     atomic.Uint64
	atHigh    atomic.Uint64
}

var (
	actionLabels = []string{"model", "version", "action"}
	boundLabels  = []string{"model", "version", "action", "bound"}

	descActionValues = prometheus.NewDesc("carla_rl_action_values_total", "Values of actions that policies gave, those with a bound.", actionLabels, nil)
	descActionAt     = prometheus.NewDesc("carla_rl_action_saturated_total", "Values of actions that lay at a bound.", boundLabels, nil)
	descActionBound  = prometheus.NewDesc("carla_rl_action_bound", "The bound of an action, in the action's own unit.", boundLabels, nil)
)

// Saturation returns the counter of the actions of one version. Of each value
// of an action row it is told the name of the action, whose values share their
// counts, and the bounds; a value without a finite bound is not counted. What
// is returned takes whole rows.
func (m *Metrics) Saturation(model, version string, names []string, low, high []float64) func(actions []float32) {
	c := m.saturation.version(model, version, func() *actionCounts { return newActionCounts(names, low, high) })
	return c.count
}

func (s *saturation) version(model, version string, fresh func() *actionCounts) *actionCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]string{model, version}
	old, c := s.byName[key], fresh()
	if old != nil && old.same(c) {
		return old
	}
	c.model, c.version = model, version
	// The files of the version were replaced, and its actions are others.
	s.versions = slices.DeleteFunc(slices.Clone(s.versions), func(v *actionCounts) bool { return v == old })
	if s.byName == nil {
		s.byName = map[[2]string]*actionCounts{}
	}
	s.byName[key] = c
	s.versions = append(s.versions, c)
	return c
}

func newActionCounts(names []string, low, high []float64) *actionCounts {
	c := &actionCounts{}
	index := map[string]int{}
	for i, name := range names {
		c.low, c.high = append(c.low, float32(low[i])), append(c.high, float32(high[i]))
		if math.IsInf(low[i], 0) && math.IsInf(high[i], 0) {
			c.action = append(c.action, -1)
			continue
		}
		if _, ok := index[name]; !ok && len(index) >= maxActionNames {
			name = otherActions
		}
		at, ok := index[name]
		if !ok {
			at = len(index)
			index[name] = at
		}
		c.action = append(c.action, at)
	}
	c.actions = make([]actionCount, len(index))
	for name, at := range index {
		c.actions[at].name = name
	}
	for i, at := range c.action {
		if at < 0 {
			continue
		}
		a := &c.actions[at]
		if a.values++; a.values == 1 {
			a.low, a.high = finite(low[i]), finite(high[i])
			continue
		}
		if a.low != low[i] {
			a.low = math.NaN()
		}
		if a.high != high[i] {
			a.high = math.NaN()
		}
	}
	return c
}

// same reports whether two versions have the same actions with the same bounds.
func (c *actionCounts) same(o *actionCounts) bool {
	return slices.Equal(c.low, o.low) && slices.Equal(c.high, o.high) && slices.Equal(c.action, o.action) && slices.Equal(c.names(), o.names())
}

func (c *actionCounts) names() []string {
	list := make([]string, len(c.actions))
	for i := range c.actions {
		list[i] = c.actions[i].name
	}
	return list
}

func finite(v float64) float64 {
	if math.IsInf(v, 0) {
		return math.NaN()
	}
	return v
}

// count takes whole rows of actions.
func (c *actionCounts) count(actions []float32) {
	width := len(c.action)
	if width == 0 || len(actions)%width != 0 {
		return
	}
	for row := actions; len(row) > 0; row = row[width:] {
		for i, at := range c.action {
			switch {
			case at < 0:
			case row[i] <= c.low[i]:
				c.actions[at].atLow.Add(1)
			case row[i] >= c.high[i]:
				c.actions[at].atHigh.Add(1)
			}
		}
	}
	c.rows.Add(uint64(len(actions) / width))
}

// Describe implements prometheus.Collector.
func (s *saturation) Describe(ch chan<- *prometheus.Desc) {
	ch <- descActionValues
	ch <- descActionAt
	ch <- descActionBound
}

// Collect implements prometheus.Collector.
func (s *saturation) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	versions := slices.Clip(s.versions)
	s.mu.Unlock()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, c := range versions {
		for i := range c.actions {
			a := &c.actions[i]
			// Read before the rows, or a share could be more than all.
			low, high := a.atLow.Load(), a.atHigh.Load()
			counter(descActionAt, low, c.model, c.version, a.name, "low")
			counter(descActionAt, high, c.model, c.version, a.name, "high")
			counter(descActionValues, a.values*c.rows.Load(), c.model, c.version, a.name)
			for bound, v := range map[string]float64{"low": a.low, "high": a.high} {
				if !math.IsNaN(v) {
					ch <- prometheus.MustNewConstMetric(descActionBound, prometheus.GaugeValue, v, c.model, c.version, a.name, bound)
				}
			}
		}
	}
}
