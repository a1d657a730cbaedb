package torchmodule

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
)

// weightNormClass is the class of the one hook that is known.
var weightNormClass = pickle.Global{Module: "torch.nn.utils.weight_norm", Name: "WeightNorm"}

// layers are the classes of torch.nn, by their name below torch.nn.modules,
// and what their forward computes.
var layers map[string]forward

// silent are classes that a module may hold and that compute nothing of their
// own.
var silent = []string{"container.ModuleList", "container.ModuleDict", "container.ParameterList"}

// wrappers are classes outside torch whose forward is known: that of their one
// submodule of the given name.
var wrappers = map[string]string{
	// The example model of the Python server whose artifacts this one reads.
	"scripts.create_example_artifacts.ExampleCarlaModel": "network",
	"create_example_artifacts.ExampleCarlaModel":         "network",
	"__main__.ExampleCarlaModel":                         "network",
}

// inTorch is the package of the classes of torch.
const inTorch = "torch.nn.modules."

// globals is the allow-list of whole modules: that of weights, the classes
// whose forward is known, and those they are held in.
var globals pickle.AllowList

func init() {
	layers = classes()
	globals = moduleGlobals()
}

func moduleGlobals() pickle.AllowList {
	l := pickle.NewAllowList(weightNormClass.String())
	for g := range torch.WeightGlobals {
		l[g] = struct{}{}
	}
	for name := range layers {
		l.Add(inTorch + name)
	}
	for _, name := range silent {
		l.Add(inTorch + name)
	}
	for name := range wrappers {
		l.Add(name)
	}
	return l
}

// shortClass is the name without the package of torch: Linear.
func (m *Module) shortClass() string {
	if rest, ok := strings.CutPrefix(m.Class, inTorch); ok {
		return rest[strings.LastIndexByte(rest, '.')+1:]
	}
	return m.Class
}

// wrapped returns the submodule that a wrapper calls. It holds nothing else.
func (m *Module) wrapped() (*Module, error) {
	name := wrappers[m.Class]
	if len(m.children) != 1 || m.children[0].name != name || len(m.tensors) != 0 {
		return nil, fmt.Errorf("%s is known as a class with one submodule %q, which it is not here", m.Class, name)
	}
	return m.children[0].Module, nil
}
