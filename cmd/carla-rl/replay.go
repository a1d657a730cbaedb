package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// replayCmd runs recorded steps through another version.
type replayCmd struct {
	From    string `required:"" placeholder:"URL|FILE" help:"The log: sqlite:///path, postgres://..., the path of a file of SQLite, or an export as JSON Lines."`
	Model   string `required:"" placeholder:"PATH" help:"The version that is looked at: artifact folder or model file."`
	Against string `placeholder:"PATH" help:"The version that it is compared with, in place of the recorded actions."`

	replayWhere
	replayLimits

	Raw           bool    `help:"Compare what the policies give before their envelopes hold it."`
	Deterministic bool    `help:"Replay drawn steps as deterministic ones; needs --against."`
	Engine        string  `enum:"plan,reference,onnxruntime" default:"plan" help:"What computes: plan, reference or onnxruntime."`
	Determinism   string  `enum:"strict,fast" default:"strict" help:"What optimization.determinism was when the steps were recorded; fast runs each step alone."`
	Worst         int     `default:"10" placeholder:"N" help:"How many of the worst steps to show."`
	Saturation    float64 `default:"0.001" placeholder:"SHARE" help:"The part of its range from a bound on within which an action counts as saturated."`
	MaxStreams    int     `default:"65536" placeholder:"N" help:"How many sessions have their state kept at the same time."`
	Lanes         int     `placeholder:"N" help:"How many goroutines run each version; by default one a core."`
	HTML          string  `name:"html" placeholder:"FILE" help:"Write a page with plots; one file, which loads nothing."`
	JSON          bool    `name:"json" help:"Print JSON."`
}

// replayWhere narrows the steps.
type replayWhere struct {
	RecordedModel   string `placeholder:"NAME" help:"Only steps of this model."`
	RecordedVersion string `placeholder:"NAME" help:"Only steps of this version."`
	RecordedDigest  string `placeholder:"HEX" help:"Only steps of the version with this digest."`
	Run             string `placeholder:"NAME" help:"Only steps of this run of a server."`
	Session         string `placeholder:"ID" help:"Only steps of this session."`
	Since           string `placeholder:"TIME" help:"Only steps from then on, as 2026-01-31T12:00:00Z, 2026-01-31 or 12h, which is that long ago."`
	Until           string `placeholder:"TIME" help:"Only steps before then."`
	Newest          int    `placeholder:"N" help:"Only the newest N of them."`
}

// replayLimits are the thresholds.
type replayLimits struct {
	MaxMean             []string `sep:"none" placeholder:"[ACTION=]X" help:"Most that the mean of |new - base| may be; for one action, or all. May be given again."`
	MaxP99              []string `name:"max-p99" sep:"none" placeholder:"[ACTION=]X" help:"The same for its 99th percentile."`
	MaxAbs              []string `sep:"none" placeholder:"[ACTION=]X" help:"The same for its largest."`
	MaxSignFlips        []string `sep:"none" placeholder:"[ACTION=]SHARE" help:"Share of the steps in which the sign may be the opposite."`
	MaxDisagree         []string `sep:"none" placeholder:"[ACTION=]SHARE" help:"Share of the steps in which a choice may be another one."`
	MaxSaturationRise   []string `sep:"none" placeholder:"[ACTION=]SHARE" help:"By how much the share of saturated actions may grow."`
	MaxInterventionRise []string `sep:"none" placeholder:"[ACTION=]SHARE" help:"By how much the share of actions that the envelope changes may grow."`
	MaxRefused          float64  `default:"0" placeholder:"SHARE" help:"Share of the steps that the version may refuse or answer with what may not leave."`
	MaxLeftOut          *float64 `placeholder:"SHARE" help:"Share of the steps that may be left out because their state is not in the log or they are of another kind."`
	MinSteps            uint64   `default:"1" placeholder:"N" help:"How many steps have to be compared."`
}

// Help tells what is compared and the exit codes.
func (c *replayCmd) Help() string {
	return `Runs the observations of an experience log through a version and says how far its
actions are from those that were recorded, or from those of --against. Steps of a session
go through in their order; drawn actions are drawn again with the same numbers. The same
version gives the same bits, so that its divergence is exactly 0.
Exit code 0: every threshold holds (--max-refused 0 and --min-steps 1 unless told
otherwise); 1: one does not; 2: it could not be found out.

Examples:
  carla-rl replay --from sqlite:///app/logs/experience.db --model ./artifacts/v0.2.0
  carla-rl replay --from experience.db --model new --against old --max-abs 0.05 \
    --max-abs steer=0.02 --max-sign-flips 0.001 --html report.html`
}

// Run replays and prints.
func (c *replayCmd) Run(s stdio) error {
	r, err := c.replay(s)
	if err != nil {
		return &exitError{exitTrouble, err}
	}
	if c.HTML != "" {
		if err := writeHTML(c.HTML, r); err != nil {
			return &exitError{exitTrouble, err}
		}
	}
	if c.JSON {
		err = writeJSON(s.out, r)
	} else {
		w := &strings.Builder{}
		if err = r.Text(w); err == nil {
			_, err = io.WriteString(s.out, printable(w.String()))
		}
	}
	if err != nil {
		return &exitError{exitTrouble, err}
	}
	if err := r.Empty(); err != nil {
		return &exitError{exitTrouble, err}
	}
	if !r.Gate.Passed {
		return &exitError{exitDiffers, fmt.Errorf("%s does not hold: %s", c.Model, failedChecks(&r.Gate))}
	}
	return nil
}

// failedChecks names the thresholds that do not hold.
func failedChecks(g *replay.Gate) string {
	var names []string
	for _, k := range g.Checks {
		if !k.Passed {
			names = append(names, fmt.Sprintf("%s of %.6g: %.6g", strings.TrimSpace(k.Name+" "+k.Action), k.Limit, k.Got))
		}
	}
	return strings.Join(names, ", ")
}

// replay opens what is needed and runs it.
func (c *replayCmd) replay(s stdio) (r *replay.Report, err error) {
	limits, err := c.thresholds()
	if err != nil {
		return nil, err
	}
	switch {
	case c.Worst < 0 || c.Newest < 0:
		return nil, errors.New("--worst and --newest must be at least 0")
	case !(c.Saturation >= 0 && c.Saturation < 0.5):
		return nil, fmt.Errorf("--saturation: expected a share from 0 to 0.5, got %v", c.Saturation)
	}
	o := replay.Options{Raw: c.Raw, Deterministic: c.Deterministic, Lanes: c.Lanes, Worst: c.Worst, Margin: c.Saturation, MaxStreams: c.MaxStreams, Alone: c.Determinism == "fast"}
	if o.Lanes < 1 {
		o.Lanes = runtime.GOMAXPROCS(0)
	}
	var sides [2]replay.Side
	if o.New, sides[0], err = c.open(c.Model); err != nil {
		return nil, err
	}
	if c.Against != "" {
		if o.Against, sides[1], err = c.open(c.Against); err != nil {
			return nil, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	log, err := openLog(ctx, c.From, o.New.Contract())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	if o.Layouts, err = log.layouts(ctx); err != nil {
		return nil, err
	}
	if err := c.chooseModel(o.Layouts, sides[0].Model); err != nil {
		return nil, err
	}
	q, err := c.query(time.Now())
	if err != nil {
		return nil, err
	}
	if log.export != nil && q.Newest {
		return nil, errors.New("--newest: an exported file is read from its beginning")
	}
	total, err := log.steps(ctx, q)
	if err != nil {
		return nil, err
	}
	bar := newReplayBar(s.err, total)
	o.Progress = bar.show
	r, err = replay.Run(ctx, log.read(ctx, q), o)
	bar.clear()
	if err != nil {
		return nil, err
	}
	if log.export != nil {
		if err := oneModel(r.Recorded); err != nil {
			return nil, err
		}
	}
	r.New, r.From = sides[0], log.name
	if c.Against != "" {
		r.Against = &sides[1]
	}
	if r.Steps.Lost, err = log.lost(ctx, q); err != nil {
		return nil, err
	}
	return r, r.Hold(limits)
}

// open opens a version as it is served, and names it.
func (c *replayCmd) open(path string) (*policy.Policy, replay.Side, error) {
	side := replay.Side{Path: path}
	engine, err := openEngine(c.Engine)
	if err != nil {
		return nil, side, err
	}
	if engine == policy.Plan && c.Determinism == "fast" {
		engine = policy.PlanWith(plan.Options{Fast: true})
	}
	dir, _, err := artifactFolder(path)
	if err != nil {
		return nil, side, err
	}
	a, err := artifact.OpenPath(dir, artifact.Limits{})
	if err != nil {
		return nil, side, err
	}
	defer a.Release()
	p, err := policy.Open(a, policy.Options{Engine: engine})
	if err != nil {
		return nil, side, fmt.Errorf("%s: %w", path, err)
	}
	side.Digest = a.Digest()
	if a.Card != nil {
		side.Model, side.Version = a.Card.ModelName, a.Card.Version
	}
	return p, side, nil
}

// chooseModel names the model whose steps are replayed where the log has several
// and none was named: the one that the version is of.
func (c *replayCmd) chooseModel(layouts []experience.Layout, model string) error {
	var models []string
	for i := range layouts {
		l := &layouts[i]
		if (c.RecordedVersion == "" || l.Version == c.RecordedVersion) && (c.RecordedDigest == "" || l.Digest == c.RecordedDigest) && !slices.Contains(models, l.Model) {
			models = append(models, l.Model)
		}
	}
	switch {
	case c.RecordedModel != "" || len(models) < 2:
	case slices.Contains(models, model):
		c.RecordedModel = model
	default:
		slices.Sort(models)
		return severalModels(models)
	}
	return nil
}

func severalModels(models []string) error {
	return fmt.Errorf("the log has steps of %d models (%s): name one with --recorded-model", len(models), strings.Join(models, ", "))
}

// query names the steps.
func (w *replayWhere) query(now time.Time) (experience.Query, error) {
	q := experience.Query{
		Run: w.Run, Session: w.Session, Model: w.RecordedModel, Version: w.RecordedVersion, Digest: w.RecordedDigest,
		Limit: w.Newest, Newest: w.Newest > 0,
	}
	var err error
	if q.Since, err = moment(w.Since, now); err != nil {
		return q, fmt.Errorf("--since: %w", err)
	}
	if q.Until, err = moment(w.Until, now); err != nil {
		return q, fmt.Errorf("--until: %w", err)
	}
	return q, nil
}

// moment reads a time, a day, or how long ago it was; the zero time of nothing.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("expected a time such as 2026-01-31T12:00:00Z, a day such as 2026-01-31, or a span such as 12h, got %q", text)
}

// thresholds reads those of the command line.
func (c *replayCmd) thresholds() (replay.Thresholds, error) {
	t := replay.Thresholds{Refused: &c.MaxRefused, LeftOut: c.MaxLeftOut, MinSteps: c.MinSteps}
	for _, list := range []struct {
		flag  string
		texts []string
		to    *[]replay.Limit
	}{
		{"max-mean", c.MaxMean, &t.Mean},
		{"max-p99", c.MaxP99, &t.P99},
		{"max-abs", c.MaxAbs, &t.Abs},
		{"max-sign-flips", c.MaxSignFlips, &t.SignFlips},
		{"max-disagree", c.MaxDisagree, &t.Disagree},
		{"max-saturation-rise", c.MaxSaturationRise, &t.SaturationRise},
		{"max-intervention-rise", c.MaxInterventionRise, &t.InterventionRise},
	} {
		for _, text := range list.texts {
			l, err := replay.ParseLimit(text)
			if err != nil {
				return t, fmt.Errorf("--%s %w", list.flag, err)
			}
			*list.to = append(*list.to, l)
		}
	}
	return t, nil
}

// writeHTML writes the page in place of one that is there, whole or not at all.
func writeHTML(path string, r *replay.Report) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = r.WriteHTML(f)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
