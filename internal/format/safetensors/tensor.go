package safetensors

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// dtypes are the types of the format that a graph has.
var dtypes = map[string]graph.DType{
	"F64": graph.Float64, "F32": graph.Float32, "F16": graph.Float16, "BF16": graph.BFloat16,
	"I64": graph.Int64, "I32": graph.Int32, "I16": graph.Int16, "I8": graph.Int8, "U8": graph.Uint8, "BOOL": graph.Bool,
}
