package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// experienceStatsCmd tells what a log has.
type experienceStatsCmd struct {
	experienceFrom
	JSON bool `name:"json" help:"Print JSON."`
}

// Help gives examples.
func (c *experienceStatsCmd) Help() string {
	return `Examples:
  carla-rl experience stats --from sqlite:///app/logs/experience.db
  carla-rl experience stats --json`
}

// logStats is what is printed of a log as JSON.
type logStats struct {
	Schema   int               `json:"schema"`
	Bytes    int64             `json:"bytes"`
	Steps    uint64            `json:"steps"`
	Outcomes uint64            `json:"outcomes"`
	Sessions uint64            `json:"sessions"`
	First    *time.Time        `json:"first"`
	Last     *time.Time        `json:"last"`
	Lost     map[string]uint64 `json:"lost"`
	Runs     []logRun          `json:"runs"`
	Versions []logVersion      `json:"versions"`
}

type logRun struct {
	Run     string    `json:"run"`
	Began   time.Time `json:"began"`
	Ended   bool      `json:"ended"`
	Steps   uint64    `json:"steps"`
	Lost    uint64    `json:"lost"`
	Pruned  uint64    `json:"pruned"`
	Highest uint64    `json:"highest"`
}

type logVersion struct {
	Model   string `json:"model"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Steps   uint64 `json:"steps"`
}

// Run reads and prints.
func (c *experienceStatsCmd) Run(s stdio) error {
	return c.read(func(ctx context.Context, store experience.Store) error {
		st, err := store.Stats(ctx)
		if err != nil {
			return err
		}
		out := logStats{
			Schema: st.Schema, Bytes: st.Bytes, Steps: st.Steps, Outcomes: st.Outcomes, Sessions: st.Sessions, Lost: st.Lost,
			Runs: []logRun{}, Versions: []logVersion{},
		}
		if st.Steps > 0 {
			out.First, out.Last = &st.First, &st.Last
		}
		for _, r := range st.Runs {
			out.Runs = append(out.Runs, logRun(r))
		}
		for _, v := range st.Versions {
			out.Versions = append(out.Versions, logVersion(v))
		}
		if c.JSON {
			return writeJSON(s.out, &out)
		}
		out.print(s)
		return nil
	})
}

func (l *logStats) print(s stdio) {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "steps\t%d\noutcomes\t%d\nsessions\t%d\nsize\t%.1f MiB\n", l.Steps, l.Outcomes, l.Sessions, float64(l.Bytes)/(1<<20))
	if l.First != nil {
		fmt.Fprintf(w, "first\t%s\nlast\t%s\n", l.First.Format(time.RFC3339), l.Last.Format(time.RFC3339))
	}
	var lost []string
	for _, reason := range slices.Sorted(maps.Keys(l.Lost)) {
		if n := l.Lost[reason]; n > 0 {
			lost = append(lost, fmt.Sprintf("%d %s", n, oneLine(reason)))
		}
	}
	fmt.Fprintf(w, "lost\t%s\n", or(strings.Join(lost, ", "), "0"))
	fmt.Fprint(w, "\nMODEL\tVERSION\tDIGEST\tSTEPS\n")
	for _, v := range l.Versions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", oneLine(v.Model), oneLine(v.Version), oneLine(v.Digest[:min(12, len(v.Digest))]), v.Steps)
	}
	fmt.Fprint(w, "\nRUN\tBEGAN\tENDED\tSTEPS\tLOST\tPRUNED UP TO\n")
	for _, r := range l.Runs {
		ended := "no"
		if r.Ended {
			ended = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\n", oneLine(r.Run), r.Began.Format(time.RFC3339), ended, r.Steps, r.Lost, r.Pruned)
	}
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
