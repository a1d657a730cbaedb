package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	root    string // as it is shown to clients
}

var _ server.Backend = (*backend)(nil)

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
	case errors.Is(err, repository.ErrVersionNotFound):
		return &server.UnknownError{Err: server.ErrVersionNotFound, Message: err.Error()}
	}
	return err
}

// Act implements server.Backend.
func (b *backend) Act(ctx context.Context, t *server.Target, req *serving.Request) error {
	return b.service.Act(ctx, t.Handle.(*repository.Version).Policy, req)
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
	return nil
}

// Started implements server.Backend.
func (b *backend) Started() bool { return b.repo.Started() }

// Listing implements server.Backend.
func (b *backend) Listing() server.Listing {
	l := server.Listing{Root: b.root, Strategy: "fallback"}
	if b.repo.Requested() != "" {
		l.Strategy = "environment_with_fallback"
	}
	for _, m := range b.repo.Models() {
		if m.Default {
			l.Model, l.Current = m.Name, m.Current
		}
		for _, v := range m.All {
			l.Versions = append(l.Versions, versionStatus(v))
		}
	}
	return l
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
