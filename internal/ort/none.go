//go:build !ort || !cgo

package ort

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Built tells whether this build holds ONNX Runtime.
const Built = false

// Engine runs graphs on ONNX Runtime; in this build there is none.
type Engine struct{}

var _ policy.Engine = (*Engine)(nil)

// Open returns ErrNotBuilt.
func Open(Options) (*Engine, error) { return nil, ErrNotBuilt }

// Name implements policy.Engine.
func (*Engine) Name() string { return "onnxruntime" }

// Compile returns ErrNotBuilt.
func (*Engine) Compile(*graph.Graph) (policy.Program, error) { return nil, ErrNotBuilt }

// Version is empty: no library is loaded.
func (*Engine) Version() string { return "" }

// Library is empty: no library is loaded.
func (*Engine) Library() string { return "" }
