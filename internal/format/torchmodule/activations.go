package torchmodule

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
)

// activations are the functions that a module may keep as an attribute, as the
// layers of a transformer do, by the names that a pickle has for them.
var activations = map[pickle.Global]string{
	{Module: "torch.nn.functional", Name: "relu"}:         "relu",
	{Module: "torch.nn.functional", Name: "gelu"}:         "gelu",
	{Module: "torch.nn.functional", Name: "silu"}:         "silu",
	{Module: "torch.nn.functional", Name: "mish"}:         "mish",
	{Module: "torch.nn.functional", Name: "elu"}:          "elu",
	{Module: "torch.nn.functional", Name: "selu"}:         "selu",
	{Module: "torch.nn.functional", Name: "leaky_relu"}:   "leaky_relu",
	{Module: "torch.nn.functional", Name: "tanh"}:         "tanh",
	{Module: "torch._C._nn", Name: "gelu"}:                "gelu",
	{Module: "torch._C._VariableFunctions", Name: "relu"}: "relu",
	{Module: "torch._C._VariableFunctions", Name: "tanh"}: "tanh",
}

// activation calls what a module keeps under the name activation: a function,
// or a module.
func (l *lowering) activation(m *Module, x torchscript.Value) torchscript.Value {
	if c := m.child("activation"); c != nil {
		y := l.call(c, x)
		l.at(m)
		return y
	}
	v := l.value(m, "activation")
	g, ok := v.(pickle.Global)
	name, known := activations[g]
	if !ok || !known {
		l.c.Unsupported("the activation %.80s", pickle.TypeName(v))
	}
	return l.fn(name, x)
}

// child returns the submodule of a name, nil where there is none.
func (m *Module) child(name string) *Module {
	for _, c := range m.children {
		if c.name == name {
			return c.Module
		}
	}
	return nil
}

// sub returns the submodule of a name, which must be there.
func (l *lowering) sub(m *Module, name string) *Module {
	c := m.child(name)
	if c == nil {
		l.c.Errorf("the module %s is missing", name)
	}
	return c
}
