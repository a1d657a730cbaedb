//go:build ort && cgo

package ort

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/yalue/onnxruntime_go"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Session is a model that ONNX Runtime took. It may be shared; each goroutine
// that runs it needs a Runner of its own.
type Session struct {
	handle  *handle
	gpu     bool
	inputs  []Port
	outputs []Port
}

// Port is an input or output of a model.
type Port struct {
	Name  string
	DType graph.DType
	Shape []int // -1 where a dimension is known only in a run
}

// handle is the session of the library, destroyed with the last that uses it.
type handle struct {
	session *onnxruntime_go.DynamicAdvancedSession
	users   atomic.Int32
}

func (h *handle) release() {
	if h.users.Add(-1) == 0 {
		_ = h.session.Destroy()
	}
}

// Load makes a session of the bytes of an ONNX model, which are not kept. The
// error wraps ErrModel and says what the library says.
func (e *Engine) Load(model []byte) (*Session, error) {
	inputs, outputs, err := onnxruntime_go.GetInputOutputInfoWithONNXData(model)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModel, err)
	}
	s := &Session{}
	if s.inputs, err = ports(inputs); err != nil {
		return nil, err
	}
	if s.outputs, err = ports(outputs); err != nil {
		return nil, err
	}
	return s, e.open(s, model)
}

// open makes the library's session of a model whose ports are known.
func (e *Engine) open(s *Session, model []byte) error {
	o, err := e.sessionOptions()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLibrary, err)
	}
	defer func() { _ = o.Destroy() }()
	session, err := onnxruntime_go.NewDynamicAdvancedSessionWithONNXData(model, names(s.inputs), names(s.outputs), o)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	s.gpu = e.options.GPU
	s.handle = &handle{session: session}
	s.handle.users.Store(1)
	runtime.AddCleanup(s, (*handle).release, s.handle)
	return nil
}

// Inputs returns the model's inputs in its own order.
func (s *Session) Inputs() []Port { return s.inputs }

// Outputs returns the model's outputs in its own order.
func (s *Session) Outputs() []Port { return s.outputs }

func names(ports []Port) []string {
	out := make([]string, len(ports))
	for i := range ports {
		out[i] = ports[i].Name
	}
	return out
}

func ports(infos []onnxruntime_go.InputOutputInfo) ([]Port, error) {
	out := make([]Port, len(infos))
	for i, info := range infos {
		if info.OrtValueType != onnxruntime_go.ONNXTypeTensor {
			return nil, fmt.Errorf("%w: %s is a %v, only tensors go in and out of a policy", ErrModel, info.Name, info.OrtValueType)
		}
		d, err := dtypeOf(info.DataType)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", info.Name, err)
		}
		out[i] = Port{Name: info.Name, DType: d}
		for _, n := range info.Dimensions {
			out[i].Shape = append(out[i].Shape, int(n))
		}
		out[i].Shape = slices.Clip(out[i].Shape)
	}
	return out, nil
}
