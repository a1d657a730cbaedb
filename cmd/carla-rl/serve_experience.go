package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// openExperience opens the experience log of the configuration, nil where it
// has none. Its Close writes what is left.
func openExperience(ctx context.Context, cfg *config.Config, metrics *telemetry.Metrics, log *slog.Logger) (*experience.Recorder, error) {
	url, err := cfg.DatabaseURL()
	if err != nil {
		return nil, usage(err)
	}
	if url == "" {
		return nil, nil
	}
	c := &cfg.Experience
	run := experience.NewRun()
	store, err := experience.Open(ctx, url, experience.Options{Run: run, Spool: experience.SpoolOptions{Dir: spoolDir(c.SpoolDir), MaxBytes: int64(c.SpoolSize)}, Log: log})
	if err != nil {
		return nil, fmt.Errorf("%w (database.url, DATABASE_URL)", err)
	}
	var r *experience.Recorder
	states := make([]string, len(experience.States))
	for i, s := range experience.States {
		states[i] = s.String()
	}
	opened := make(chan struct{})
	wrote := metrics.Experience(states, func() telemetry.ExperienceStats {
		<-opened
		return experienceStats(r, store)
	}, func() int64 { return experience.SizeOnDisk(url) })
	r = experience.NewRecorder(store, experience.RecorderOptions{
		Run: run, Mode: experience.Mode(c.Mode), OnFailure: experience.OnFailure(c.OnFailure), Sample: c.Sample,
		Buffer: int(c.Buffer), Flush: c.FlushInterval, CommitTimeout: c.CommitTimeout,
		MaxAge: c.MaxAge, MaxBytes: int64(c.MaxBytes), Last: 256, Wrote: wrote, Logger: log,
	})
	close(opened)
	kind, _ := experience.ParseURL(url)
	log.Info("experience is recorded", "event_type", "startup", "store", string(kind), "run", run, "mode", c.Mode, "sample", c.Sample, "on_failure", c.OnFailure)
	return r, nil
}

// recorded is the experience log as the server knows it.
type recorded struct{ log *experience.Recorder }

// Outcome implements server.Experience.
func (r recorded) Outcome(ctx context.Context, o *server.Outcome) error {
	return r.log.Outcome(ctx, experience.Outcome{
		ID: o.ID, Session: o.Session, Episode: o.Episode, SessionStep: o.Step, Reward: o.Reward,
		Terminated: o.Terminated, Truncated: o.Truncated, Info: o.Info, Time: time.Now(),
	})
}

// Last implements server.Experience.
func (r recorded) Last(n int) []server.RecordedStep {
	steps := r.log.Last(n)
	out := make([]server.RecordedStep, len(steps))
	for i := range steps {
		s := &steps[i]
		out[i] = server.RecordedStep{
			Run: s.Run, Sequence: s.Sequence, Time: float64(s.Time.UnixMicro()) / 1e6, RequestID: s.RequestID,
			Session: s.Session, Episode: s.Episode, SessionStep: s.SessionStep, Model: s.Model, Version: s.Version, Digest: s.Digest,
			Observation: s.Observation, Action: s.Action, Deterministic: s.Deterministic,
			QueueMS: milliseconds(s.Queue), InferMS: milliseconds(s.Infer),
		}
		for _, v := range s.Interventions {
			out[i].Interventions = append(out[i].Interventions, server.StepIntervention{Value: v.Value, Kind: v.Kind, Fallback: v.Fallback})
		}
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func experienceStats(r *experience.Recorder, store experience.Store) telemetry.ExperienceStats {
	s := r.Stats()
	out := telemetry.ExperienceStats{
		Recorded: s.Recorded, Written: s.Written, Gaps: s.Gaps, Outcomes: s.Outcomes, Pruned: s.Pruned,
		Failures: s.Failures, Unconfirmed: s.Unconfirmed, Refused: s.Refused, Lost: s.Lost,
		Queued: s.Queued, BufferUsed: int64(s.BufferUsed), BufferSize: int64(s.BufferBytes), State: s.State.String(),
	}
	if spooled, ok := store.(interface{ SpoolStats() experience.SpoolStats }); ok {
		p := spooled.SpoolStats()
		out.Spool = telemetry.SpoolStats{Bytes: p.Bytes, Steps: p.Count, Drained: p.Drained, Damaged: p.Damaged, Away: p.Away}
		// The recorder gave them to the spool, and takes them for written.
		out.Lost[experience.LostFailed] += uint64(p.Refused)
	}
	return out
}

// spoolDir is the folder in which steps wait while a database is away: that of
// the settings, or else one that outlives the process wherever this machine has
// such a folder for it. Empty is none.
func spoolDir(set string) string {
	switch set {
	case "off":
		return ""
	case "":
	default:
		return set
	}
	if info, err := os.Stat("/app/logs"); err == nil && info.IsDir() {
		return "/app/logs/spool"
	}
	if dir, _, _ := strings.Cut(os.Getenv("LOGS_DIRECTORY"), ":"); dir != "" { // of systemd
		return filepath.Join(dir, "spool")
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "carla-rl", "spool")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("carla-rl-spool-%d", os.Getuid()))
}

// closeExperience writes what is left, once no request is under way any more.
func closeExperience(r *experience.Recorder, log *slog.Logger) {
	if r != nil {
		shutdown("experience", log, r.Close)
	}
}
