package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/experience/export"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/replay"
)

// exported is a log that was exported as JSON Lines. It tells nothing of what was
// lost, and not how many steps it has.
type exported struct {
	file   *os.File
	reader *export.Reader
	as     *policy.Contract // of the version that is looked at
}

// isExport tells whether a path is a file that begins with a JSON object.
func isExport(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var first [1]byte
	_, err = io.ReadFull(f, first[:])
	return err == nil && first[0] == '{'
}

func openExport(path string, as *policy.Contract) (*exported, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := export.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return &exported{f, r, as}, nil
}

// layout is that of all steps. The file does not tell whether an action is a
// choice: it is taken for what it is in the version that is looked at.
func (e *exported) layout() experience.Layout {
	l := experience.Layout{Masks: e.as.Masks}
	for _, p := range e.reader.Observation() {
		l.Inputs = append(l.Inputs, experience.Input{Name: p.Name, Width: p.Size})
	}
	if e.as.Named {
		l.Features = e.reader.Observation()
	}
	for _, p := range e.reader.Action() {
		if p.Name == "" && p.Size == e.as.ActionWidth() {
			for i := range e.as.Actions {
				a := &e.as.Actions[i]
				l.Actions = append(l.Actions, experience.Part{Offset: a.Offset, Size: a.Size, Discrete: a.Discrete})
			}
			continue
		}
		i := slices.IndexFunc(e.as.Actions, func(a policy.Action) bool { return a.Name == p.Name })
		if i < 0 {
			i = slices.IndexFunc(e.as.Actions, func(a policy.Action) bool { return a.Offset == p.Offset })
		}
		p.Discrete = i >= 0 && e.as.Actions[i].Discrete
		l.Actions = append(l.Actions, p)
	}
	return l
}

// oneModel refuses steps of several models that nobody chose from.
func oneModel(recorded []replay.Recorded) error {
	var models []string
	for _, r := range recorded {
		if !slices.Contains(models, r.Model) {
			models = append(models, r.Model)
		}
	}
	if len(models) > 1 {
		slices.Sort(models)
		return severalModels(models)
	}
	return nil
}

// read gives the steps that a query names.
func (e *exported) read(ctx context.Context, q experience.Query) replay.Steps {
	return func(yield func(*experience.Step, error) bool) {
		n := 0
		for s, err := range e.reader.Steps() {
			if err == nil {
				if !queried(s, &q) {
					continue
				}
				n++
			}
			if n%1024 == 0 && ctx.Err() != nil {
				err = ctx.Err()
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// queried tells whether a query names a step.
func queried(s *experience.Step, q *experience.Query) bool {
	for _, c := range [][2]string{{q.Run, s.Run}, {q.Session, s.Session}, {q.Model, s.Model}, {q.Version, s.Version}, {q.Digest, s.Digest}} {
		if c[0] != "" && c[0] != c[1] {
			return false
		}
	}
	return (q.Since.IsZero() || !s.Time.Before(q.Since)) && (q.Until.IsZero() || s.Time.Before(q.Until))
}
