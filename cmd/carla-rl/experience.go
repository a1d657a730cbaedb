package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// experienceCmd reads the experience log and deletes from it.
type experienceCmd struct {
	Stats  experienceStatsCmd  `cmd:"" help:"Tell how many steps there are, of which runs and versions, and what was lost."`
	Query  experienceQueryCmd  `cmd:"" help:"Print steps."`
	Export experienceExportCmd `cmd:"" help:"Write steps to a file: Parquet, CSV, JSON Lines or NumPy."`
	Prune  experiencePruneCmd  `cmd:"" help:"Delete the oldest steps."`
}

// experienceFrom says which log.
type experienceFrom struct {
	From string `placeholder:"URL|FILE" help:"The log: sqlite:///path, postgres://user@host/database, or a file. Default: DATABASE_URL, or what the file DATABASE_URL_FILE holds. A password is better in one of these: others see arguments."`
}

// open opens the log.
func (f *experienceFrom) open(ctx context.Context, o experience.Options) (experience.Store, error) {
	url := f.From
	if url == "" {
		environ := slices.DeleteFunc(os.Environ(), func(v string) bool { return !strings.HasPrefix(v, "DATABASE_URL") })
		cfg, _, err := config.Load(config.Options{Environ: environ})
		if err == nil {
			url, err = cfg.DatabaseURL()
		}
		if err != nil {
			return nil, usage(err)
		}
	}
	if url == "" {
		return nil, usage(errors.New("--from: want the log to read, or DATABASE_URL"))
	}
	store, err := experience.Open(ctx, url, o)
	if errors.Is(err, experience.ErrURL) {
		return nil, usage(fmt.Errorf("--from: %w", err))
	}
	return store, err
}

// read has do read the log, until it ends or the user has had enough.
func (f *experienceFrom) read(do func(ctx context.Context, store experience.Store) error) error {
	ctx, cancel := interruptible()
	defer cancel()
	store, err := f.open(ctx, experience.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	return do(ctx, store)
}

// interruptible is a context that ends when the user has had enough.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// experienceFilter says which steps.
type experienceFilter struct {
	Model      string  `placeholder:"NAME" help:"Of this model."`
	Version    string  `placeholder:"VERSION" help:"Of this version."`
	Digest     string  `placeholder:"DIGEST" help:"Of the artifact with this digest."`
	Session    string  `placeholder:"ID" help:"Of this session."`
	Episode    *uint64 `placeholder:"N" help:"Of this episode of the session."`
	Run        string  `placeholder:"RUN" help:"Of this run of a server."`
	Since      string  `placeholder:"TIME" help:"Taken then or later: 2026-05-01, 2026-05-01T12:00:00Z, or back from now 90m, 12h, 30d."`
	Until      string  `placeholder:"TIME" help:"Taken before then."`
	Intervened bool    `help:"Only steps in which the safety envelope changed something."`
}

func (f *experienceFilter) query(now time.Time) (q experience.Query, err error) {
	q = experience.Query{
		Model: f.Model, Version: f.Version, Digest: f.Digest, Session: f.Session, Episode: f.Episode, Run: f.Run, Intervened: f.Intervened,
	}
	if f.Episode != nil && f.Session == "" {
		return q, usage(errors.New("--episode: want --session with it"))
	}
	if q.Since, err = pointInTime(f.Since, now); err != nil {
		return q, usage(fmt.Errorf("--since: %w", err))
	}
	if q.Until, err = pointInTime(f.Until, now); err != nil {
		return q, usage(fmt.Errorf("--until: %w", err))
	}
	return q, nil
}

// filtered tells whether less than everything is asked for.
func (f *experienceFilter) filtered() bool { return *f != experienceFilter{} }

// pointInTime reads a date, a time of RFC 3339, or how long ago.
func pointInTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	d, err := howLong(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("want a date, a time of RFC 3339, or how long ago such as 12h or 30d, got %q", text)
	}
	return now.Add(-d), nil
}

// howLong reads a time such as 12h or 30d.
func howLong(text string) (time.Duration, error) {
	days := 0
	if n, err := fmt.Sscanf(text, "%dd", &days); n == 1 && err == nil && fmt.Sprintf("%dd", days) == text && days > 0 && days <= 36500 {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("want more than nothing")
	}
	return d, err
}
