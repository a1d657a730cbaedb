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

// InputNames returns the names of the inputs: those of forward's parameters.
func (m *Module) InputNames() []string {
	for parallel[m.Class] != "" && len(m.children) == 1 {
		m = m.children[0].Module
	}
	name, torch := strings.CutPrefix(m.Class, inTorch)
	switch {
	case !torch:
		return []string{"x"}
	case joint[name].inputs != nil:
		return joint[name].inputs
	case name == "transformer.TransformerEncoder", name == "transformer.TransformerEncoderLayer":
		return []string{"src"}
	}
	return []string{"input"}
}

// Lower makes the graph of forward, outside training.
func (m *Module) Lower(o Options) (*graph.Graph, error) {
	root := m
	for !strings.HasPrefix(root.Class, inTorch) {
		inner, err := root.wrapped()
		if err != nil {
			return nil, &UnsupportedError{What: err.Error() + ". " + waysOut}
		}
		root = inner
	}
	name := strings.TrimPrefix(root.Class, inTorch)
	if layers[name] == nil && joint[name].forward == nil {
		return nil, &UnsupportedError{What: fmt.Sprintf("%s has no forward of its own: how its modules are called is code that no file holds. %s", root.Class, waysOut)}
	}
	return torchscript.Build(m.shortClass(), torchscript.LowerOptions{InputShapes: o.InputShapes, Rows: o.Rows}, func(c *torchscript.Calls) error {
		l := lowering{c}
		var xs []torchscript.Value
		var shapes []graph.Shape
		if f := joint[name].shapes; f != nil {
			shapes = f(root)
		}
		for i, input := range m.InputNames() {
			var shape graph.Shape
			if i < len(shapes) {
				shape = shapes[i]
			}
			xs = append(xs, c.Input(input, graph.Invalid, shape))
		}
		if j := joint[name]; j.forward != nil {
			l.at(root)
			c.Return(j.forward(&l, root, xs))
			return nil
		}
		c.Return(l.call(root, xs[0]))
		return nil
	})
}

// lowering calls modules.
type lowering struct{ c *torchscript.Calls }

func (l *lowering) call(m *Module, x torchscript.Value) torchscript.Value {
	l.at(m)
	if parallel[m.Class] != "" {
		inner, err := m.wrapped()
		if err != nil {
			l.c.Errorf("%w", err)
		}
		return l.call(inner, x)
	}
	name := strings.TrimPrefix(m.Class, inTorch)
	f := layers[name]
	switch {
	case joint[name].forward != nil:
		l.c.Unsupported("%s, which takes several inputs", m.Class)
	case f == nil || !strings.HasPrefix(m.Class, inTorch):
		l.c.Unsupported("%s, which has no forward that is known", m.Class)
	}
	if _, several := x.([]torchscript.Value); several {
		l.c.Unsupported("%s of the output and the state of a recurrent layer: forward would fail here", m.shortClass())
	}
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
	switch {
	case m.hook == nil:
		return l.needed(m, "weight")
	case m.hook.spectral:
		return l.spectral(m)
	}
	return l.fn("_weight_norm", l.needed(m, "weight_v"), l.needed(m, "weight_g"), m.hook.dim)
}

// spectral is the weight by its largest singular value, as the vectors of the
// power iteration tell it: W / (u·(W·v)), with W as a matrix of which dim is
// the first dimension.
func (l *lowering) spectral(m *Module) torchscript.Value {
	w := l.needed(m, "weight_orig")
	matrix := w
	if m.hook.dim != 0 {
		matrix = l.fn("transpose", w, int64(0), m.hook.dim)
		if shape, _ := l.c.Shape(w); len(shape) > 2 && m.hook.dim != 1 {
			l.c.Unsupported("a spectral norm over dimension %d of %v", m.hook.dim, shape)
		}
	}
	matrix = l.fn("flatten", matrix, int64(1))
	sigma := l.fn("dot", l.needed(m, "weight_u"), l.fn("mv", matrix, l.needed(m, "weight_v")))
	return l.fn("div", w, sigma)
}

func (l *lowering) fn(name string, args ...torchscript.Value) torchscript.Value {
	return l.c.Call(name, args, nil)
}
