//go:build ort && cgo

package conformance_test

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
)

func init() {
	engines = append(engines, engine{"onnxruntime", func(g *graph.Graph) (compute, error) {
		e, err := ort.Open(ort.Options{})
		if err != nil {
			return nil, err
		}
		p, err := e.Compile(g)
		if err != nil {
			return nil, err
		}
		return narrow(g, p.NewRunner()), nil
	}})
}
