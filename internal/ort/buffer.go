//go:build ort && cgo

package ort

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/yalue/onnxruntime_go"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// buffer is the memory of one input or output, which the library reads and
// writes in place.
type buffer struct {
	port   Port
	shape  shape
	kind   element
	floats []float32 // aligned; all of the memory, whatever the element type
	bytes  []byte    // the same memory
}

// shape is a graph.Shape.
type shape graph.Shape

// elements returns the number of elements in a run of the given rows.
func (s shape) elements(rows int) int {
	n := 1
	for _, d := range s {
		if d < 0 {
			d *= -rows
		}
		n *= d
	}
	return n
}

func newBuffer(p Port, s graph.Shape) (*buffer, error) {
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("ort: %s: %w", p.Name, err)
	}
	kind, err := elementOf(p.DType)
	if err != nil {
		return nil, fmt.Errorf("ort: %s: %w", p.Name, err)
	}
	return &buffer{port: p, shape: shape(s), kind: kind}, nil
}

// grow takes memory for a number of rows and pins it where it lies.
func (b *buffer) grow(rows int, pinner *runtime.Pinner) {
	size := max(b.shape.elements(rows)*b.kind.size, 1)
	if need := (size + 3) / 4; need > len(b.floats) {
		b.floats = kernel.Aligned(need)
		b.bytes = unsafe.Slice((*byte)(unsafe.Pointer(&b.floats[0])), 4*need)
	}
	pinner.Pin(&b.floats[0])
}

// value makes the library's view of the memory for a number of rows.
func (b *buffer) value(rows int) (onnxruntime_go.Value, error) {
	if len(b.shape) == 0 {
		return b.scalar()
	}
	dims := make(onnxruntime_go.Shape, len(b.shape))
	for i, d := range b.shape {
		if d < 0 {
			d *= -rows
		}
		dims[i] = int64(d)
	}
	size := b.shape.elements(rows) * b.kind.size
	return onnxruntime_go.NewCustomDataTensor(dims, b.bytes[:max(size, 1)], b.kind.onnx)
}

func (b *buffer) put(x []float32) {
	if b.port.DType == graph.Float32 {
		copy(b.floats, x)
		return
	}
	put(b.bytes, b.port.DType, x)
}

func (b *buffer) get(y []float32) {
	if b.port.DType == graph.Float32 {
		copy(y, b.floats)
		return
	}
	get(y, b.port.DType, b.bytes)
}

// scalar makes a value without dimensions of the first element. The library's
// Go package keeps such a value in memory of its own.
func (b *buffer) scalar() (onnxruntime_go.Value, error) {
	var x [1]float32
	b.get(x[:])
	switch b.port.DType {
	case graph.Float32:
		return onnxruntime_go.NewScalar(x[0])
	case graph.Float64:
		return onnxruntime_go.NewScalar(float64(x[0]))
	case graph.Int64:
		return onnxruntime_go.NewScalar(int64(x[0]))
	case graph.Int32:
		return onnxruntime_go.NewScalar(int32(x[0]))
	case graph.Int16:
		return onnxruntime_go.NewScalar(int16(x[0]))
	case graph.Int8:
		return onnxruntime_go.NewScalar(int8(x[0]))
	case graph.Uint8:
		return onnxruntime_go.NewScalar(uint8(x[0]))
	case graph.Bool:
		return onnxruntime_go.NewScalar(x[0] != 0)
	}
	return nil, fmt.Errorf("a %v without dimensions", b.port.DType)
}

func scalarValue(v onnxruntime_go.Value) float32 {
	switch s := v.(type) {
	case *onnxruntime_go.Scalar[float32]:
		return s.GetData()
	case *onnxruntime_go.Scalar[float64]:
		return float32(s.GetData())
	case *onnxruntime_go.Scalar[int64]:
		return float32(s.GetData())
	case *onnxruntime_go.Scalar[int32]:
		return float32(s.GetData())
	case *onnxruntime_go.Scalar[int16]:
		return float32(s.GetData())
	case *onnxruntime_go.Scalar[int8]:
		return float32(s.GetData())
	case *onnxruntime_go.Scalar[uint8]:
		return float32(s.GetData())
	case *onnxruntime_go.Scalar[bool]:
		if s.GetData() {
			return 1
		}
	}
	return 0
}
