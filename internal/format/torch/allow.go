package torch

import "github.com/carla-rl/carla-rl-serving/internal/format/pickle"

// WeightGlobals are the globals that files of weights may name: those of
// tensors, those of plain containers and those of the numbers that training
// loops leave beside their weights.
var WeightGlobals = weightGlobals()

func weightGlobals() pickle.AllowList {
	l := pickle.NewAllowList(
		"collections.OrderedDict",
		"builtins.set",
		"builtins.frozenset",
		"builtins.bytearray",
		"torch._utils._rebuild_tensor",
		"torch._utils._rebuild_tensor_v2",
		"torch._utils._rebuild_parameter",
		"torch._utils._rebuild_parameter_with_state",
		"torch._tensor._rebuild_from_type_v2",
		"torch.Tensor",
		"torch.nn.parameter.Parameter",
		"torch.Size",
		"torch.device",
	)
	l.Add(pickle.NumpyGlobals()...)
	for name := range storageTypes {
		l.Add("torch."+name, "torch.cuda."+name)
	}
	for _, dt := range []string{"float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"} {
		l.Add("torch." + dt)
	}
	return l
}
