//go:build ort && cgo

package main

import (
	"os"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
)

type onnxruntime struct{ engine *ort.Engine }

// openRuntime loads the library. An empty version means that this build has
// none.
func openRuntime() (*onnxruntime, string, error) {
	e, err := ort.Open(ort.Options{Library: os.Getenv(ort.LibraryVariable)})
	if err != nil {
		return nil, "", err
	}
	return &onnxruntime{e}, e.Version(), nil
}

// prepare returns a run of the model on buffers that are bound: in is copied
// into them once, and out is filled once, so that it can be compared. What is
// timed is the library's call alone.
func (r *onnxruntime) prepare(file []byte, rows int, in, out [][]float32, inShapes, outShapes []graph.Shape) (func(), error) {
	s, err := r.engine.Load(file)
	if err != nil {
		return nil, err
	}
	bound, err := s.NewRunner(inShapes, outShapes)
	if err != nil {
		return nil, err
	}
	if err := bound.Run(rows, in, out); err != nil {
		return nil, err
	}
	noneIn, noneOut := make([][]float32, len(in)), make([][]float32, len(out))
	if err := bound.Run(rows, noneIn, noneOut); err != nil {
		return nil, err
	}
	return func() {
		if err := bound.Run(rows, noneIn, noneOut); err != nil {
			panic(err) // The same call went well a moment ago.
		}
	}, nil
}
