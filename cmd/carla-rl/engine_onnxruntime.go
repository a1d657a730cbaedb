package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

func init() {
	if ort.Built {
		openONNXRuntime = func() (policy.Engine, error) {
			return ort.Open(ort.Options{Library: os.Getenv(ort.LibraryVariable)})
		}
	}
}

// serveEngine opens the engine that the settings name. What cannot be opened
// is an error: nothing runs elsewhere than it was told to.
func serveEngine(m *config.Model, log *slog.Logger) (policy.Engine, error) {
	if m.Engine == enginePlan || m.Engine == engineAuto && !ort.Built {
		return policy.Plan, nil
	}
	o := ort.Options{Library: m.ONNXRuntimeLibrary, GPU: m.UseGPU, GPUMemoryFraction: m.GPUMemoryFraction}
	if m.Engine == engineAuto {
		return &autoEngine{open: func() (policy.Engine, error) { return ort.Open(o) }, chosen: func(g *graph.Graph, reason error) {
			log.Warn("policy runs on ONNX Runtime", "event_type", "model_loading", "graph", g.Name, "reason", reason.Error())
		}}, nil
	}
	e, err := ort.Open(o)
	if err != nil {
		return nil, err
	}
	log.Info("engine", "event_type", "startup", "engine", e.Name(), "library", e.Library(), "library_version", e.Version(), "gpu", m.UseGPU)
	return e, nil
}

// autoEngine is the plan for graphs of which it has all operators, and ONNX
// Runtime for the others.
type autoEngine struct {
	open   func() (policy.Engine, error)
	chosen func(g *graph.Graph, reason error) // told of a graph that is not the plan's
}

// Name implements policy.Engine.
func (*autoEngine) Name() string { return engineAuto }

// Compile implements policy.Engine.
func (e *autoEngine) Compile(g *graph.Graph) (policy.Program, error) {
	p, err := policy.Plan.Compile(g)
	if err == nil || !errors.Is(err, plan.ErrUnsupported) && !errors.Is(err, graph.ErrUnsupportedOp) {
		return p, err
	}
	other, openErr := e.open()
	if openErr != nil {
		return nil, fmt.Errorf("%w; and the other engine of auto: %w", err, openErr)
	}
	p, otherErr := other.Compile(g)
	if otherErr != nil {
		return nil, fmt.Errorf("%w; and on ONNX Runtime: %w", err, otherErr)
	}
	e.chosen(g, err)
	return p, nil
}
