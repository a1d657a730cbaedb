package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ExperienceStats is how the experience log fares. Counts are of this process.
type ExperienceStats struct {
	Recorded, Written, Gaps, Outcomes, Pruned uint64
	Failures, Unconfirmed, Refused            uint64
	Lost                                      map[string]uint64 // by reason

	Queued                 uint64
	BufferUsed, BufferSize int64
	State                  string

	Spool SpoolStats
}

// SpoolStats is what waits for a database that is away.
type SpoolStats struct {
	Bytes, Steps     int64
	Drained, Damaged int64
	Away             bool
}

// experienceBuckets are of a write: some hundred microseconds for a few steps
// and a fast disk, seconds for a slow one.
var experienceBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Experience tells how to read the experience log, of which states lists the
// words that State may be, and returns what is told how long each write took.
func (m *Metrics) Experience(states []string, read func() ExperienceStats, bytes func() int64) (wrote func(steps int, took time.Duration)) {
	took := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "carla_rl_experience_write_seconds", Help: "Time of one write to the experience log, until it was durable.", Buckets: experienceBuckets,
	})
	_ = m.registry.Register(took)
	_ = m.registry.Register(experienceCollector{states, read, bytes})
	return func(_ int, d time.Duration) { took.Observe(d.Seconds()) }
}

// experienceCollector shows one reading of the log.
type experienceCollector struct {
	states []string
	read   func() ExperienceStats
	bytes  func() int64
}

var (
	descExpRecorded = prometheus.NewDesc("carla_rl_experience_recorded_steps_total", "Steps that were put into the buffer of the experience log.", nil, nil)
	descExpWritten  = prometheus.NewDesc("carla_rl_experience_written_steps_total", "Steps that are durable.", nil, nil)
	descExpLost     = prometheus.NewDesc("carla_rl_experience_lost_steps_total", "Steps that were taken and are not kept, by why: buffer_full, too_long, failed, or crash for those of earlier runs.", []string{"reason"}, nil)
	descExpGaps     = prometheus.NewDesc("carla_rl_experience_gaps_total", "Gap records that were written, each of which says how many steps are missing and why.", nil, nil)
	descExpOutcomes = prometheus.NewDesc("carla_rl_experience_outcomes_total", "Outcomes that were written.", nil, nil)
	descExpPruned   = prometheus.NewDesc("carla_rl_experience_pruned_steps_total", "Steps that were deleted because of their age or number.", nil, nil)
	descExpFailures = prometheus.NewDesc("carla_rl_experience_failures_total", "Writes to the experience log that failed.", nil, nil)
	descExpLate     = prometheus.NewDesc("carla_rl_experience_unconfirmed_total", "Answers that did not see their step durable in time, in mode durable.", nil, nil)
	descExpRefused  = prometheus.NewDesc("carla_rl_experience_refused_total", "Answers that were held back because their step could not be recorded.", nil, nil)
	descExpQueued   = prometheus.NewDesc("carla_rl_experience_queued_steps", "Steps that are not written yet.", nil, nil)
	descExpUsed     = prometheus.NewDesc("carla_rl_experience_buffer_used_bytes", "Memory of the buffer that is in use.", nil, nil)
	descExpBuffer   = prometheus.NewDesc("carla_rl_experience_buffer_bytes", "Memory of the buffer.", nil, nil)
	descExpState    = prometheus.NewDesc("carla_rl_experience_state", "1 for the state that the experience log is in: ok, retrying after a write that failed, or failed for good.", []string{"state"}, nil)
	descExpSpool    = prometheus.NewDesc("carla_rl_experience_spool_bytes", "Size of the files in which steps wait for a database that is away.", nil, nil)
	descExpWaiting  = prometheus.NewDesc("carla_rl_experience_spool_steps", "Steps in them.", nil, nil)
	descExpDrained  = prometheus.NewDesc("carla_rl_experience_spool_drained_steps_total", "Steps that came to the database from them.", nil, nil)
	descExpDamaged  = prometheus.NewDesc("carla_rl_experience_spool_damaged_records_total", "Records of them that did not pass their checksum.", nil, nil)
	descExpAway     = prometheus.NewDesc("carla_rl_experience_database_away", "1 while the database cannot be written to.", nil, nil)
	descExpBytes    = prometheus.NewDesc("carla_rl_experience_store_bytes", "Size of the experience log on its disk, where it is a file.", nil, nil)
)

// Describe implements prometheus.Collector.
func (experienceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descExpRecorded, descExpWritten, descExpLost, descExpGaps, descExpOutcomes, descExpPruned, descExpFailures,
		descExpLate, descExpRefused, descExpQueued, descExpUsed, descExpBuffer, descExpState, descExpBytes,
		descExpSpool, descExpWaiting, descExpDrained, descExpDamaged, descExpAway,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c experienceCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.read()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count(descExpRecorded, s.Recorded)
	count(descExpWritten, s.Written)
	for reason, n := range s.Lost {
		count(descExpLost, n, reason)
	}
	count(descExpGaps, s.Gaps)
	count(descExpOutcomes, s.Outcomes)
	count(descExpPruned, s.Pruned)
	count(descExpFailures, s.Failures)
	count(descExpLate, s.Unconfirmed)
	count(descExpRefused, s.Refused)
	gauge(descExpQueued, float64(s.Queued))
	gauge(descExpUsed, float64(s.BufferUsed))
	gauge(descExpBuffer, float64(s.BufferSize))
	for _, state := range c.states {
		v := 0.0
		if state == s.State {
			v = 1
		}
		gauge(descExpState, v, state)
	}
	gauge(descExpBytes, float64(c.bytes()))
	gauge(descExpSpool, float64(s.Spool.Bytes))
	gauge(descExpWaiting, float64(s.Spool.Steps))
	count(descExpDrained, uint64(s.Spool.Drained))
	count(descExpDamaged, uint64(s.Spool.Damaged))
	away := 0.0
	if s.Spool.Away {
		away = 1
	}
	gauge(descExpAway, away)
}
