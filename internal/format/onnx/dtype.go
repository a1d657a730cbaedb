package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// scalarTypes are torch's numbers of element types.
var scalarTypes = map[int64]graph.DType{
	0: graph.Uint8, 1: graph.Int8, 2: graph.Int16, 3: graph.Int32, 4: graph.Int64, 5: graph.Float16, 6: graph.Float32, 7: graph.Float64,
	11: graph.Bool, 15: graph.BFloat16,
}

// dtype is the element type of a tensor.
func (l *lowering) dtype(v torchscript.Value) graph.DType {
	n, ok := l.call("dtype", v).(int64)
	if !ok {
		l.c.Errorf("a value without a type")
	}
	return scalarTypes[n]
}

// isFloat reports whether a tensor holds floating point numbers.
func (l *lowering) isFloat(v torchscript.Value) bool { return l.dtype(v).IsFloat() }
