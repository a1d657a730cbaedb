package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/export"
)

// experienceQueryCmd prints steps.
type experienceQueryCmd struct {
	experienceFrom
	experienceFilter
	Limit  int  `default:"20" placeholder:"N" help:"How many at most; 0 is all. Default: 20."`
	Oldest bool `help:"The oldest ones in place of the newest."`
	JSON   bool `name:"json" help:"Print a JSON object a line, as export --format jsonl writes them."`
}

// Help gives examples.
func (c *experienceQueryCmd) Help() string {
	return `Examples:
  carla-rl experience query --session robot-7 --limit 100
  carla-rl experience query --intervened --since 1h --json`
}

// Run reads and prints.
func (c *experienceQueryCmd) Run(s stdio) error {
	q, err := c.query(time.Now())
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return usage(fmt.Errorf("--limit: want 0 or more, got %d", c.Limit))
	}
	q.Limit, q.Newest = c.Limit, !c.Oldest
	return c.read(func(ctx context.Context, store experience.Store) error { return c.print(ctx, s, store, q) })
}

// print writes the steps of a query.
func (c *experienceQueryCmd) print(ctx context.Context, s stdio, store experience.Store, q experience.Query) error {
	if c.JSON {
		out := bufio.NewWriter(s.out)
		if _, err := export.To(ctx, store, out, export.Options{Query: q, Format: export.JSONLines}); err != nil {
			return err
		}
		return out.Flush()
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tRUN\tSEQUENCE\tSESSION\tSTEP\tMODEL\tVERSION\tOBSERVATION\tACTION\tINTERVENTIONS")
	for st, err := range store.Read(ctx, q) {
		if err != nil {
			return err
		}
		kinds := make([]string, len(st.Interventions))
		for i := range kinds {
			kinds[i] = st.Interventions[i].Kind
		}
		step := ""
		if st.Session != "" {
			step = fmt.Sprint(st.SessionStep)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", st.Time.UTC().Format("2006-01-02T15:04:05.000Z"), oneLine(st.Run), st.Sequence,
			oneLine(st.Session), step, oneLine(st.Model), oneLine(st.Version), some(st.Observation), some(st.Action), oneLine(strings.Join(kinds, ",")))
	}
	return w.Flush()
}

// shownValues is the number of values of a list that are printed.
const shownValues = 8

// some prints the first values of a list.
func some(x []float32) string {
	text := strings.Trim(fmt.Sprint(x[:min(len(x), shownValues)]), "[]")
	if len(x) > shownValues {
		text += fmt.Sprintf(" ... (%d)", len(x))
	}
	return text
}

// experienceExportCmd writes steps to a file.
type experienceExportCmd struct {
	experienceFrom
	experienceFilter
	Output string `arg:"" placeholder:"FILE" help:"The file to write."`
	Format string `placeholder:"FORMAT" help:"parquet, csv, jsonl or npz. Default: by the end of the file's name."`
	Limit  int    `placeholder:"N" help:"The oldest N steps. Default: all."`
	Force  bool   `help:"Write over a file that is there."`
}

// Help gives examples.
func (c *experienceExportCmd) Help() string {
	return `Examples:
  carla-rl experience export steps.parquet --from sqlite:///app/logs/experience.db
  carla-rl experience export robot-7.npz --session robot-7
  carla-rl experience export incident.jsonl --since 2026-05-01T12:00:00Z --until 2026-05-01T12:05:00Z

Columns have the names of the policy's features and actions: observation.speed,
action.steer, and raw_action.steer before the safety envelope. Rewards and ends of
episodes are those that /v1/sessions/{id}/outcome was told.`
}

// Run writes.
func (c *experienceExportCmd) Run(s stdio) error {
	q, err := c.query(time.Now())
	if err != nil {
		return err
	}
	format := export.Format(c.Format)
	if c.Format == "" {
		ok := false
		if format, ok = export.ByName(c.Output); !ok {
			return usage(fmt.Errorf("%s: its end names no format: want --format, or a name that ends with .parquet, .csv, .jsonl or .npz", c.Output))
		}
	} else if _, ok := export.ByName("." + c.Format); !ok {
		return usage(fmt.Errorf("--format: want parquet, csv, jsonl or npz, got %q", c.Format))
	}
	if c.Limit < 0 {
		return usage(fmt.Errorf("--limit: want more than 0, got %d", c.Limit))
	}
	q.Limit = c.Limit
	return c.read(func(ctx context.Context, store experience.Store) error {
		return c.write(ctx, s, store, export.Options{Query: q, Format: format, Force: c.Force})
	})
}

// write writes the file, with a bar where somebody watches.
func (c *experienceExportCmd) write(ctx context.Context, s stdio, store experience.Store, o export.Options) error {
	total := uint64(0)
	if !c.filtered() && isTerminal(s.err) {
		st, err := store.Stats(ctx)
		if err != nil {
			return err
		}
		if total = st.Steps; c.Limit > 0 {
			total = min(total, uint64(c.Limit))
		}
	}
	b := newReplayBar(s.err, total)
	o.Progress = b.show
	n, err := export.Write(ctx, store, c.Output, o)
	b.clear()
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s is there already (--force writes over it)", c.Output)
	case err != nil:
		return err
	}
	fmt.Fprintf(s.out, "%s: %d steps\n", oneLine(c.Output), n)
	return nil
}

// experiencePruneCmd deletes the oldest steps.
type experiencePruneCmd struct {
	experienceFrom
	OlderThan string `placeholder:"TIME" help:"Delete steps that are older: 12h, 30d, or a date."`
	MaxSize   string `placeholder:"SIZE" help:"Delete the oldest until the rest takes no more: 10GiB."`
	JSON      bool   `name:"json" help:"Print JSON."`
}

// Help gives examples.
func (c *experiencePruneCmd) Help() string {
	return `Examples:
  carla-rl experience prune --from experience.db --older-than 30d
  carla-rl experience prune --max-size 10GiB

A server deletes by itself what experience.max_age and experience.max_bytes say. A
file that a server writes to is locked: this is for one that none does.`
}

// Run deletes.
func (c *experiencePruneCmd) Run(s stdio) error {
	var p experience.Prune
	var err error
	if p.Before, err = pointInTime(c.OlderThan, time.Now()); err != nil {
		return usage(fmt.Errorf("--older-than: %w", err))
	}
	if c.MaxSize != "" {
		size, err := config.ParseSize(c.MaxSize)
		if err != nil {
			return usage(fmt.Errorf("--max-size: %w", err))
		}
		p.Bytes = int64(size)
	}
	if p == (experience.Prune{}) {
		return usage(errors.New("want --older-than or --max-size"))
	}
	ctx, cancel := interruptible()
	defer cancel()
	store, err := c.open(ctx, experience.Options{Run: experience.NoRun})
	if err != nil {
		return err
	}
	done, err := store.Prune(ctx, p)
	if err = errors.Join(err, store.Close()); err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(s.out, map[string]int64{"steps": int64(done.Steps), "outcomes": int64(done.Outcomes), "bytes": done.Bytes})
	}
	fmt.Fprintf(s.out, "deleted %d steps and %d outcomes; the log has %.1f MiB\n", done.Steps, done.Outcomes, float64(done.Bytes)/(1<<20))
	return nil
}
