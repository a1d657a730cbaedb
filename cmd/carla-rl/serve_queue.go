package main

import (
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// newService makes the queue of the configuration, which the metrics read and
// whose answers the log records, where there is one.
func newService(cfg *config.Config, log *experience.Recorder, metrics *telemetry.Metrics) *serving.Service {
	o := serving.Options{
		Lanes: cfg.Server.Workers, MaxQueue: cfg.Server.MaxQueue,
		MaxBatch: cfg.Optimization.BatchSize, MaxDelay: cfg.Optimization.MaxDelay,
		CacheEntries: cfg.Optimization.CacheSize, CacheBytes: int64(cfg.Optimization.CacheMaxBytes),
		Refused: metrics.DeadlineRefused,
		Waited:  func(class serving.Priority, waited time.Duration) { metrics.Waited(int(class), waited) },
		Shed:    func(class serving.Priority) { metrics.Shed(int(class)) },
	}
	if log != nil {
		o.Recorder = log
	}
	s := serving.New(o)
	metrics.Queue(s.Lanes(), cfg.Server.MaxQueue, s.Waiting, s.Active)
	metrics.QueueStats(func() telemetry.QueueStats {
		st := s.Stats()
		return telemetry.QueueStats{
			Batches: st.Batches, Joined: st.Joined, Rerun: st.Rerun,
			Divided: st.Divided, Slices: st.Slices, Yields: st.Yields,
			Hits: st.Hits, Misses: st.Misses, Bypassed: st.Bypassed, Evicted: st.Evicted,
			Kept: int64(st.Kept), KeptBytes: st.KeptBytes,
			Waiting: st.Waiting, Oldest: st.Oldest,
		}
	})
	return s
}
