// Package ort runs graphs and ONNX files on ONNX Runtime: on a GPU, for files
// with operators that the plan lacks, and as an independent check of the
// plan's numbers.
//
// What enters are the bytes of an ONNX model, or a graph that package onnx
// writes out as such; what leaves are float32 outputs. ONNX Runtime is a
// shared library, looked for when the engine is opened. It is linked in the
// build with the tag ort and cgo alone; elsewhere Open returns ErrNotBuilt.
// The package knows nothing of protocols.
package ort

import (
	"errors"
)

// Options of Open. The zero Options find the library and run on the CPU.
type Options struct {
	// Library is the path of ONNX Runtime's shared library, or of the folder
	// that holds it. Empty looks where FindLibrary says.
	Library string
	// Threads is the number of threads inside one run; 0 is one. Each lane
	// runs on a thread of its own, so that more is rarely of use.
	Threads int
	// GPU runs on the first CUDA device. A model of which some operator would
	// be left to the CPU is refused.
	GPU bool
	// GPUMemoryFraction is the part of the device's memory that one session
	// may take, above 0 and up to 1; 0 is no limit.
	GPUMemoryFraction float64
}

var (
	// ErrNotBuilt is the answer of a build without ONNX Runtime.
	ErrNotBuilt = errors.New("this build has no ONNX Runtime: use the build with it (tag ort, image tag :ort)")
	// ErrLibrary is a shared library that is not there or cannot be used.
	ErrLibrary = errors.New("ONNX Runtime's library cannot be used")
	// ErrModel is a model that ONNX Runtime does not take.
	ErrModel = errors.New("ONNX Runtime refuses the model")
	// ErrArguments is a call of Run with slices that do not fit the model.
	ErrArguments = errors.New("wrong arguments")
)
