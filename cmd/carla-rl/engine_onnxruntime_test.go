package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// beyondThePlan counts in integers that float32 does not hold.
const beyondThePlan = `graph "counter"
%0 = input "x" f32[B,1]
%1 = cast(%0) dtype=i64 i64[B,1]
%2 = const "n" i64[1] {33554433}
%3 = add(%1,%2) i64[B,1]
%4 = const "m" i64[1] {33554432}
%5 = sub(%3,%4) i64[B,1]
output "y" %5
`

func parseGraph(t *testing.T, text string) *graph.Graph {
	t.Helper()
	g, err := graph.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A library that is not there is missed by the first policy that needs it.
func TestLazyEngine(t *testing.T) {
	e := policy.Auto(policy.Plan, lazyEngine{engineONNXRuntime, func() (policy.Engine, error) { return nil, ort.ErrLibrary }})
	if _, err := e.Compile(parseGraph(t, "graph \"g\"\n%0 = input \"x\" f32[B,1]\n%1 = tanh(%0) f32[B,1]\noutput \"y\" %1\n")); err != nil {
		t.Error(err)
	}
	if _, err := e.Compile(parseGraph(t, beyondThePlan)); !errors.Is(err, ort.ErrLibrary) || !strings.Contains(err.Error(), "33554433") {
		t.Errorf("%v", err)
	}
}

// What the settings name is what runs, or an error.
func TestServeEngine(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if e, err := serveEngine(&config.Model{Engine: enginePlan}, policy.Plan, log); err != nil || e != policy.Plan {
		t.Errorf("plan is %v, %v", e, err)
	}
	e, err := serveEngine(&config.Model{Engine: engineONNXRuntime}, policy.Plan, log)
	switch {
	case !ort.Built:
		if !errors.Is(err, ort.ErrNotBuilt) {
			t.Errorf("onnxruntime in a build without it: %v", err)
		}
		return
	case err != nil || e.Name() != engineONNXRuntime:
		t.Fatalf("onnxruntime is %v, %v", e, err)
	}
	if e, err = serveEngine(&config.Model{Engine: engineAuto}, policy.Plan, log); err != nil || e.Name() != engineAuto {
		t.Fatalf("auto is %v, %v", e, err)
	}
	p, err := e.Compile(parseGraph(t, beyondThePlan))
	if err != nil {
		t.Fatal(err)
	}
	out := [][]float32{{0}}
	if err := p.NewRunner().Run(1, [][]float32{{2}}, out, graph.Noise{}); err != nil || out[0][0] != 3 {
		t.Errorf("2+1 is %v, %v", out[0][0], err)
	}
	_, err = serveEngine(&config.Model{Engine: engineONNXRuntime, ONNXRuntimeLibrary: "/nowhere"}, policy.Plan, log)
	if !errors.Is(err, ort.ErrLibrary) {
		t.Errorf("a library that is not there: %v", err)
	}
}
