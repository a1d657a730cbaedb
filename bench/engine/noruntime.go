//go:build !ort || !cgo

package main

import "github.com/carla-rl/carla-rl-serving/internal/graph"

type onnxruntime struct{}

// openRuntime tells by an empty version that this build has no ONNX Runtime.
func openRuntime() (*onnxruntime, string, error) { return nil, "", nil }

func (*onnxruntime) prepare([]byte, int, [][]float32, [][]float32, []graph.Shape, []graph.Shape) (func(), error) {
	panic("engine: no ONNX Runtime in this build")
}
