//go:build ort && cgo

package ort

import (
	"fmt"

	"github.com/yalue/onnxruntime_go"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// element is what is known of one element type: ONNX Runtime's number for it
// and its size in bytes.
type element struct {
	dtype graph.DType
	onnx  onnxruntime_go.TensorElementDataType
	size  int
}

var elements = []element{
	{graph.Float32, onnxruntime_go.TensorElementDataTypeFloat, 4},
	{graph.Float64, onnxruntime_go.TensorElementDataTypeDouble, 8},
	{graph.Float16, onnxruntime_go.TensorElementDataTypeFloat16, 2},
	{graph.BFloat16, onnxruntime_go.TensorElementDataTypeBFloat16, 2},
	{graph.Int64, onnxruntime_go.TensorElementDataTypeInt64, 8},
	{graph.Int32, onnxruntime_go.TensorElementDataTypeInt32, 4},
	{graph.Int16, onnxruntime_go.TensorElementDataTypeInt16, 2},
	{graph.Int8, onnxruntime_go.TensorElementDataTypeInt8, 1},
	{graph.Uint8, onnxruntime_go.TensorElementDataTypeUint8, 1},
	{graph.Bool, onnxruntime_go.TensorElementDataTypeBool, 1},
}

func elementOf(d graph.DType) (element, error) {
	for _, e := range elements {
		if e.dtype == d {
			return e, nil
		}
	}
	return element{}, fmt.Errorf("%w: element type %v", ErrModel, d)
}

func dtypeOf(t onnxruntime_go.TensorElementDataType) (graph.DType, error) {
	for _, e := range elements {
		if e.onnx == t {
			return e.dtype, nil
		}
	}
	return graph.Invalid, fmt.Errorf("%w: element type %v is not one of ours", ErrModel, t)
}
