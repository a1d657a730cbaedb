package sb3

import "github.com/carla-rl/carla-rl-serving/internal/graph"

// activations are those of torch.nn, with the arguments they have when a policy
// makes them: none. An activation without an operator leaves values as they are.
var activations = map[string]struct {
	op    graph.Op
	attrs graph.Attrs
}{
	"ReLU":        {graph.OpRelu, nil},
	"Tanh":        {graph.OpTanh, nil},
	"Sigmoid":     {graph.OpSigmoid, nil},
	"SiLU":        {graph.OpSilu, nil},
	"ELU":         {graph.OpElu, graph.Attrs{"alpha": 1.0}},
	"CELU":        {graph.OpCelu, graph.Attrs{"alpha": 1.0}},
	"SELU":        {graph.OpSelu, nil},
	"LeakyReLU":   {graph.OpLeakyRelu, graph.Attrs{"alpha": 0.01}},
	"GELU":        {graph.OpGelu, graph.Attrs{"approximate": "none"}},
	"Softplus":    {graph.OpSoftplus, graph.Attrs{"beta": 1.0, "threshold": 20.0}},
	"Mish":        {graph.OpMish, nil},
	"Softsign":    {graph.OpSoftsign, nil},
	"Hardswish":   {graph.OpHardswish, nil},
	"Hardsigmoid": {graph.OpHardsigmoid, nil},
	"LogSigmoid":  {graph.OpLogSigmoid, nil},
	"ReLU6":       {graph.OpClamp, graph.Attrs{"min": 0.0, "max": 6.0}},
	"Hardtanh":    {graph.OpClamp, graph.Attrs{"min": -1.0, "max": 1.0}},
	"Identity":    {"", nil},
}
