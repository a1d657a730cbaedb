package torchmodule

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
)

// The classes of the hooks that are known, which make the weight before each
// call of forward.
var (
	weightNormClass   = pickle.Global{Module: "torch.nn.utils.weight_norm", Name: "WeightNorm"}
	spectralNormClass = pickle.Global{Module: "torch.nn.utils.spectral_norm", Name: "SpectralNorm"}
)

// spectralHooks are what spectral_norm leaves in a module beside its hook.
var spectralHooks = []string{
	"torch.nn.modules.module._WrappedHook",
	"torch.nn.utils.spectral_norm.SpectralNormStateDictHook",
	"torch.nn.utils.spectral_norm.SpectralNormLoadStateDictPreHook",
}

// layers are the classes of torch.nn, by their name below torch.nn.modules,
// and what their forward computes.
var layers map[string]forward

// joint are the classes whose forward takes several inputs.
var joint map[string]several

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

// parallel are the classes that spread a module over devices: forward is that
// of the module.
var parallel = map[string]string{
	"torch.nn.parallel.data_parallel.DataParallel": "module",
}

// inTorch is the package of the classes of torch.
const inTorch = "torch.nn.modules."

// globals is the allow-list of whole modules: that of weights, the classes
// whose forward is known, and those they are held in.
var globals pickle.AllowList

func init() {
	layers, joint = classes(), manyInputs()
	globals = moduleGlobals()
}

func moduleGlobals() pickle.AllowList {
	l := pickle.NewAllowList(weightNormClass.String(), spectralNormClass.String())
	l.Add(spectralHooks...)
	for g := range activations {
		l[g] = struct{}{}
	}
	for g := range torch.WeightGlobals {
		l[g] = struct{}{}
	}
	for name := range layers {
		l.Add(inTorch + name)
	}
	for _, name := range silent {
		l.Add(inTorch + name)
	}
	for name := range joint {
		l.Add(inTorch + name)
	}
	for _, names := range []map[string]string{wrappers, parallel} {
		for name := range names {
			l.Add(name)
		}
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
	if inner, ok := parallel[m.Class]; ok {
		name = inner
	}
	if len(m.children) != 1 || m.children[0].name != name || len(m.tensors) != 0 {
		return nil, fmt.Errorf("%s is known as a class with one submodule %q, which it is not here", m.Class, name)
	}
	return m.children[0].Module, nil
}
