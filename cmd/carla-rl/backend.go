package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/experience"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// backend is what the server serves: the versions of the repository on the
// lanes of the service.
type backend struct {
	repo    *repository.Repository
	service *serving.Service
	// recorder is nil where nothing is recorded.
	recorder *experience.Recorder
	// drift is nil where none could be measured.
	drift *config.Drift
	root  string // as it is shown to clients
}

var (
	_ server.Backend = (*backend)(nil)
	_ server.Admin   = (*backend)(nil)
	_ server.Crowded = (*backend)(nil)
)

// Resolve implements server.Backend.
func (b *backend) Resolve(model, version string) (server.Target, error) {
	v, err := b.repo.Lookup(model, version)
	if err != nil {
		return server.Target{}, translate(err)
	}
	return server.Target{Model: v.Model, Version: v.Name, Digest: v.Digest, Contract: v.Policy.Contract(), Handle: v}, nil
}

// translate gives an error of the repository the server's name.
func translate(err error) error {
	if n := (*repository.NotReadyError)(nil); errors.As(err, &n) {
		return &server.NotReadyError{Model: n.Model, Version: n.Version, State: n.State.String(), Reason: n.Reason}
	}
	switch {
	case errors.Is(err, repository.ErrModelNotFound):
		return &server.UnknownError{Err: server.ErrModelNotFound, Message: err.Error()}
	case errors.Is(err, repository.ErrNoPrevious):
		return &server.UnknownError{Err: server.ErrNoPrevious, Message: err.Error()}
	case errors.Is(err, repository.ErrClosed):
		return &server.NotReadyError{Reason: err.Error()}
	case errors.Is(err, repository.ErrVersionNotFound):
		return &server.UnknownError{Err: server.ErrVersionNotFound, Message: err.Error()}
	}
	return err
}

// Act implements server.Backend. A version that answers what may not leave is
// counted, and so is one whose request panics; one that was quarantined answers
// no more, also to a session that is to end on it.
func (b *backend) Act(ctx context.Context, t *server.Target, req *serving.Request) error {
	v := t.Handle.(*repository.Version)
	if v.Quarantined() {
		return &server.NotReadyError{Model: v.Model, Version: v.Name, State: repository.StateQuarantined.String(), Reason: "it gave unusable answers"}
	}
	ended := false
	defer func() {
		if !ended {
			b.repo.Unusable(v, "a request panicked")
		}
	}()
	err := b.service.Act(ctx, v.Policy, req)
	ended = true
	if err == nil {
		v.Usable()
		return nil
	}
	if unusable := (*policy.ActionError)(nil); errors.As(err, &unusable) {
		b.repo.Unusable(v, unusable.Error())
	}
	return err
}

// Crowded implements server.Crowded.
func (b *backend) Crowded(now time.Time, wait time.Duration) error {
	return b.service.Crowded(now, wait)
}

// Warmup implements server.Backend: it runs a row of zeros through the current
// version of every model, on a lane as any request does.
func (b *backend) Warmup(ctx context.Context) error {
	for _, m := range b.repo.Models() {
		if m.Version.State != repository.StateReady {
			continue
		}
		p := m.Version.Policy
		req := &serving.Request{Rows: 1, Deterministic: true}
		req.Begin(p.Contract())
		for _, in := range p.Contract().Inputs {
			req.Inputs = append(req.Inputs, make([]float32, in.Width))
		}
		// Zeros may lie outside the contract or be unlike the training, and
		// what comes of them outside the contract too.
		var unusable *policy.ActionError
		var unlike *policy.InputError
		if err := b.service.Act(ctx, p, req); err != nil && !errors.As(err, &unusable) && !errors.As(err, &unlike) {
			return fmt.Errorf("warm up model %s version %s: %w", m.Name, m.Version.Name, err)
		}
	}
	return nil
}

// Readiness implements server.Backend.
func (b *backend) Readiness() error {
	if err := b.repo.Readiness(); err != nil {
		return translate(err)
	}
	if b.recorder != nil {
		if err := b.recorder.Ready(); err != nil {
			return &server.NotReadyError{Reason: "the experience log takes no steps"}
		}
	}
	return nil
}

// Started implements server.Backend.
func (b *backend) Started() bool { return b.repo.Started() }

// Current implements server.Backend.
func (b *backend) Current() string {
	v, _ := b.repo.Lookup("", "") // also one that is not ready
	if v == nil {
		return ""
	}
	return v.Name
}

// Listing implements server.Backend.
func (b *backend) Listing() server.Listing {
	l := server.Listing{Root: b.root, Strategy: "fallback"}
	if b.repo.Requested() != "" {
		l.Strategy = "environment_with_fallback"
	}
	look := b.repo.Looked()
	l.CheckedAt, l.Trouble, l.Poll = look.At, look.Error, b.repo.Poll()
	for _, m := range b.repo.Models() {
		if m.Default {
			l.Model, l.Current = m.Name, m.Current
		}
		state := server.ModelStatus{
			Model: m.Name, Version: m.Current, Digest: m.Version.Digest, Ready: m.Version.State == repository.StateReady,
			Since: m.Changed, Why: m.Why, Pinned: m.Pinned,
		}
		if m.Previous != nil {
			state.Previous = m.Previous.Name
		}
		l.Models = append(l.Models, state)
		add := func(v *repository.Version, kept bool) {
			s := versionStatus(v)
			s.Answers, s.Previous, s.Kept = v == m.Version, v == m.Previous, kept
			if b.drift != nil && s.Ready && v.Policy != nil {
				s.Drift = driftStatus(v.Policy, b.drift)
			}
			l.Versions = append(l.Versions, s)
		}
		for _, v := range m.Kept {
			add(v, true)
		}
		for _, v := range m.All {
			add(v, false)
		}
	}
	return l
}

// Reload implements server.Admin.
func (b *backend) Reload(ctx context.Context, model string) (server.Reloaded, error) {
	p, err := b.repo.Reload(ctx, model)
	if err != nil {
		return server.Reloaded{}, translate(err)
	}
	r := server.Reloaded{Result: repository.ResultUnchanged, Error: p.Error, TookMS: float64(p.Took.Microseconds()) / 1e3, Models: []server.ModelChange{}}
	for _, m := range p.Models {
		if m.Result != repository.ResultUnchanged {
			r.Result = repository.ResultChanged
		}
		c := server.ModelChange{Model: m.Model, Result: m.Result}
		setAnswers(&c, m.From, m.To)
		for _, v := range m.Loaded {
			c.Loaded = append(c.Loaded, v.Name)
		}
		for _, v := range m.Failed {
			c.Refused = append(c.Refused, server.RefusedChange{Version: v.Name, Reason: v.Reason})
		}
		r.Models = append(r.Models, c)
	}
	if p.Failed() {
		r.Result = repository.ResultFailed
	}
	return r, nil
}

// Rollback implements server.Admin.
func (b *backend) Rollback(model string) (server.ModelChange, error) {
	e, err := b.repo.Rollback(model)
	if err != nil {
		return server.ModelChange{}, translate(err)
	}
	c := server.ModelChange{Model: e.Model, Result: repository.ResultChanged}
	setAnswers(&c, e.From, e.To)
	return c, nil
}

// setAnswers tells which version answers and which did.
func setAnswers(c *server.ModelChange, from, to *repository.Version) {
	if to != nil {
		c.Version, c.Digest = to.Name, to.Digest
	}
	if from != nil && (to == nil || from.Name != to.Name || from.Digest != to.Digest) {
		c.Before, c.BeforeID = from.Name, from.Digest
	}
}

func versionStatus(v *repository.Version) server.VersionStatus {
	s := server.VersionStatus{
		Model:   v.Model,
		Version: v.Name,
		State:   v.State.String(),
		Reason:  v.Reason,
		Digest:  v.Digest,
		Stable:  v.Stable,
		Ready:   v.State == repository.StateReady,
		Since:   v.Since,
		Hashed:  v.Hashed,
	}
	if v.Card != nil {
		s.InputShape = v.Card.InputShape
		s.Metrics = v.Card.PerformanceMetrics
		if v.Card.Present {
			s.Card = newCardView(v.Card)
		}
	}
	if v.Policy != nil && s.InputShape == nil {
		if c := v.Policy.Contract(); len(c.Inputs) == 1 {
			s.InputShape = slices.Clone(c.Inputs[0].Shape)
		}
	}
	return s
}
