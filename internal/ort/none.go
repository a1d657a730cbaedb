//go:build !ort || !cgo

package ort

// Built tells whether this build holds ONNX Runtime.
const Built = false

// Engine runs graphs on ONNX Runtime.
type Engine struct{ never }

// never keeps a type without values from being made outside this package.
type never struct{}

// Open returns ErrNotBuilt.
func Open(Options) (*Engine, error) { return nil, ErrNotBuilt }
