package main

import (
	"log/slog"
	"os"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

func init() {
	if ort.Built {
		openONNXRuntime = func() (policy.Engine, error) {
			return ort.Open(ort.Options{Library: os.Getenv(ort.LibraryVariable)})
		}
	}
}

// serveEngine opens the engine that the settings name; plan is that of the name. What cannot be opened
// is an error: nothing runs elsewhere than it was told to.
func serveEngine(m *config.Model, plan policy.Engine, log *slog.Logger) (policy.Engine, error) {
	if m.Engine == enginePlan || m.Engine == engineAuto && !ort.Built {
		return plan, nil
	}
	o := ort.Options{Library: m.ONNXRuntimeLibrary, GPU: m.UseGPU, GPUMemoryFraction: m.GPUMemoryFraction}
	if m.Engine == engineAuto {
		return policy.Auto(plan, lazyEngine{engineONNXRuntime, func() (policy.Engine, error) { return ort.Open(o) }}), nil
	}
	e, err := ort.Open(o)
	if err != nil {
		return nil, err
	}
	log.Info("engine", "event_type", "startup", "engine", e.Name(), "library", e.Library(), "library_version", e.Version(), "gpu", m.UseGPU)
	return e, nil
}

// lazyEngine is opened by the first graph: a server whose policies are all
// the plan's needs no library.
type lazyEngine struct {
	name string
	open func() (policy.Engine, error)
}

// Name implements policy.Engine.
func (e lazyEngine) Name() string { return e.name }

// Whole tells that it runs ONNX models as they are.
func (lazyEngine) Whole() bool { return true }

// Compile implements policy.Engine.
func (e lazyEngine) Compile(g *graph.Graph) (policy.Program, error) {
	engine, err := e.open()
	if err != nil {
		return nil, err
	}
	return engine.Compile(g)
}
