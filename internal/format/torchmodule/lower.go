package torchmodule

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Options say what a lowering knows beside the file.
type Options struct {
	// InputShapes gives the shape of the input by name, with graph.Batch for
	// the batch axis, where the layers do not tell it.
	InputShapes map[string][]int
	// Rows asks for exactly that number of rows, without a batch axis; 0 is for
	// any number.
	Rows int
}

// InputName returns the name of the input: that of forward's parameter.
func (m *Module) InputName() string {
	if strings.HasPrefix(m.Class, inTorch) {
		return "input"
	}
	return "x"
}

// Lower makes the graph of forward, outside training.
func (m *Module) Lower(o Options) (*graph.Graph, error) {
	root := m
	if !strings.HasPrefix(m.Class, inTorch) {
		inner, err := m.wrapped()
		if err != nil {
			return nil, &UnsupportedError{What: err.Error() + ". " + waysOut}
		}
		root = inner
	}
	if layers[strings.TrimPrefix(root.Class, inTorch)] == nil {
		return nil, &UnsupportedError{What: fmt.Sprintf("%s has no forward of its own: how its modules are called is code that no file holds. %s", root.Class, waysOut)}
	}
	return torchscript.Build(m.shortClass(), torchscript.LowerOptions{InputShapes: o.InputShapes, Rows: o.Rows}, func(c *torchscript.Calls) error {
		l := lowering{c}
		x := c.Input(m.InputName(), graph.Invalid, nil)
		c.Return(l.call(root, x))
		return nil
	})
}

// lowering calls modules.
type lowering struct{ c *torchscript.Calls }

func (l *lowering) call(m *Module, x torchscript.Value) torchscript.Value {
	f := layers[strings.TrimPrefix(m.Class, inTorch)]
	if f == nil || !strings.HasPrefix(m.Class, inTorch) {
		l.at(m)
		l.c.Unsupported("%s, which has no forward that is known", m.Class)
	}
	l.at(m)
	return f(l, m, x)
}

func (l *lowering) at(m *Module) {
	where := m.shortClass()
	if m.Path != "" {
		where = m.Path + " (" + where + ")"
	}
	l.c.At(where)
}

// attr reads an attribute of a module as an argument of a call.
type attr func(l *lowering, m *Module) torchscript.Value

func always(v torchscript.Value) attr {
	return func(*lowering, *Module) torchscript.Value { return v }
}

// value returns an attribute, or ends the lowering where it is not there.
func (l *lowering) value(m *Module, name string) pickle.Value {
	v, ok := m.state.Get(name)
	if !ok {
		l.c.Errorf("the attribute %s is missing", name)
	}
	return v
}

func number(name string) attr {
	return func(l *lowering, m *Module) torchscript.Value {
		v := l.value(m, name)
		f, ok := pickle.Float(v)
		if !ok {
			l.c.Errorf("%s is a %s, a number was wanted", name, pickle.TypeName(v))
		}
		return f
	}
}

func integer(name string) attr {
	return func(l *lowering, m *Module) torchscript.Value {
		v := l.value(m, name)
		n, ok := pickle.Int(v)
		if !ok {
			l.c.Errorf("%s is a %s, an integer was wanted", name, pickle.TypeName(v))
		}
		return n
	}
}

func flag(name string) attr {
	return func(l *lowering, m *Module) torchscript.Value {
		v := l.value(m, name)
		b, ok := v.(bool)
		if !ok {
			l.c.Errorf("%s is a %s, a boolean was wanted", name, pickle.TypeName(v))
		}
		return b
	}
}

// integers reads a number or a tuple of them, in which None may stand for one
// that stays.
func integers(name string) attr {
	return func(l *lowering, m *Module) torchscript.Value {
		v := l.value(m, name)
		if o, ok := v.(*pickle.Object); ok && len(o.Args) == 1 { // torch.Size
			v = o.Args[0]
		}
		items, ok := pickle.Items(v)
		if !ok {
			items = []pickle.Value{v}
		}
		if len(items) > graph.MaxRank {
			l.c.Errorf("%s has %d numbers", name, len(items))
		}
		list := make([]torchscript.Value, len(items))
		for i, item := range items {
			if _, none := item.(pickle.None); none {
				continue
			}
			n, ok := pickle.Int(item)
			if !ok {
				l.c.Errorf("%s has a %s, integers were wanted", name, pickle.TypeName(item))
			}
			list[i] = n
		}
		return list
	}
}

// tensor returns a parameter or buffer; nil where the module has none of the
// name.
func (l *lowering) tensor(m *Module, name string) torchscript.Value {
	t := m.tensors.Get(name)
	if t == nil {
		return nil
	}
	return l.c.Parameter(join(m.Path, name), t)
}

// needed is tensor for one that must be there.
func (l *lowering) needed(m *Module, name string) torchscript.Value {
	v := l.tensor(m, name)
	if v == nil {
		l.c.Errorf("the tensor %s is missing", name)
	}
	return v
}

// weight returns the weight, put together where it is normalised.
func (l *lowering) weight(m *Module) torchscript.Value {
	if m.hook == nil {
		return l.needed(m, "weight")
	}
	return l.fn("_weight_norm", l.needed(m, "weight_v"), l.needed(m, "weight_g"), m.hook.dim)
}

func (l *lowering) fn(name string, args ...torchscript.Value) torchscript.Value {
	return l.c.Call(name, args, nil)
}
