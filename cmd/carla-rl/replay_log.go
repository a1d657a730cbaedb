package main

import (
	"context"
	"fmt"
	"io"
	neturl "net/url"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// stepLog is where recorded steps come from.
type stepLog struct {
	name   string // as it may be shown
	store  experience.Store
	export *exported // in the place of a store
}

// openLog opens a log that a server may be writing to, or one that was exported
// as JSON Lines, as the version takes it.
func openLog(ctx context.Context, from string, as *policy.Contract) (*stepLog, error) {
	if isExport(from) {
		e, err := openExport(from, as)
		return &stepLog{name: from, export: e}, err
	}
	store, err := experience.Open(ctx, from, experience.Options{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shownURL(from), err)
	}
	return &stepLog{name: shownURL(from), store: store}, nil
}

// shownURL is a URL without its password.
func shownURL(from string) string {
	if u, err := neturl.Parse(from); err == nil && u.User != nil {
		return u.Redacted()
	}
	return from
}

// layouts returns those of the recorded versions.
func (l *stepLog) layouts(ctx context.Context) ([]experience.Layout, error) {
	if l.export != nil {
		return []experience.Layout{l.export.layout()}, nil
	}
	return l.store.Layouts(ctx)
}

func (l *stepLog) read(ctx context.Context, q experience.Query) replay.Steps {
	if l.export != nil {
		return l.export.read(ctx, q)
	}
	return l.store.Read(ctx, q)
}

// steps returns how many steps a query gives as far as that is known without
// reading them; 0 where it is not.
func (l *stepLog) steps(ctx context.Context, q experience.Query) (uint64, error) {
	if l.export != nil || q.Session != "" || !q.Since.IsZero() || !q.Until.IsZero() {
		return 0, nil
	}
	stats, err := l.store.Stats(ctx)
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	switch {
	case q.Run != "" && (q.Model != "" || q.Version != "" || q.Digest != ""):
		return 0, nil
	case q.Run != "":
		for _, r := range stats.Runs {
			if r.Run == q.Run {
				n += r.Steps
			}
		}
	default:
		for _, v := range stats.Versions {
			if (q.Model == "" || v.Model == q.Model) && (q.Version == "" || v.Version == q.Version) && (q.Digest == "" || v.Digest == q.Digest) {
				n += v.Steps
			}
		}
	}
	if q.Limit > 0 {
		n = min(n, uint64(q.Limit))
	}
	return n, nil
}

// lost returns how many steps the log says it lost of the runs of a query.
func (l *stepLog) lost(ctx context.Context, q experience.Query) (uint64, error) {
	if l.export != nil {
		return 0, nil
	}
	gaps, err := l.store.Gaps(ctx, q)
	n := uint64(0)
	for i := range gaps {
		n += gaps[i].Count()
	}
	return n, err
}

func (l *stepLog) close() error {
	if l.export != nil {
		return l.export.file.Close()
	}
	return l.store.Close()
}

// replayBar shows on a terminal how far a replay is.
type replayBar struct {
	bar
	total uint64 // 0 where it is not known
	began time.Time
	shown time.Time
}

func newReplayBar(w io.Writer, total uint64) *replayBar {
	return &replayBar{bar: newBar(w), total: total, began: time.Now()}
}

const replayBarEvery = 100 * time.Millisecond

// show draws the bar, not more often than can be seen.
func (b *replayBar) show(read uint64) {
	now := time.Now()
	if b.w == nil || now.Sub(b.shown) < replayBarEvery {
		return
	}
	b.shown = now
	rate := float64(read) / max(1e-3, now.Sub(b.began).Seconds())
	if b.total == 0 {
		b.say(fmt.Sprintf("%d steps, %.0f a second", read, rate))
		return
	}
	b.draw(float64(read)/float64(b.total), fmt.Sprintf("%d of %d steps, %.0f a second", read, b.total, rate))
}
