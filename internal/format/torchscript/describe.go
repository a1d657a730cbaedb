package torchscript

import (
	"errors"
	"sort"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Input is one input of a method, as far as the file tells.
type Input struct {
	Name  string
	DType graph.DType // Invalid where the file does not tell it
	Shape graph.Shape // nil where the file does not tell it
}

// Methods returns the names of the methods that may be lowered: forward first,
// the others in the order of the file.
func (m *Module) Methods() []string {
	var names []string
	for _, n := range m.root.class.order {
		if !strings.HasPrefix(n, "_") {
			names = append(names, n)
		}
	}
	sort.SliceStable(names, func(i, j int) bool { return names[i] == "forward" && names[j] != "forward" })
	return names
}

// HasMethod reports whether the module has a method of that name.
func (m *Module) HasMethod(name string) bool {
	_, ok := m.root.class.methods[name]
	return ok
}

// HasSampling reports whether the code draws random numbers anywhere.
func (m *Module) HasSampling() bool { return m.code.samples }

// Tensors returns the parameters and buffers in the order of the file. Tied
// weights appear under each of their names with the same tensor.
func (m *Module) Tensors() []NamedTensor { return m.tensors }

// Layers describes the modules that hold no others, one line each.
func (m *Module) Layers() []string { return m.layers }

// Kind tells how the file was made: "trace", "script" or "frozen".
func (m *Module) Kind() string {
	switch {
	case m.traced != nil:
		return "trace"
	case len(m.root.names) == 0 && len(m.constants) > 0:
		return "frozen"
	}
	return "script"
}

// Producer names the program that wrote the file, as far as the file tells.
func (m *Module) Producer() string {
	s := "torch"
	if m.byteorder {
		s += " 2.1 or later"
	} else {
		s += " before 2.1"
	}
	if m.version != "" {
		s += " (TorchScript version " + m.version + ")"
	}
	return s
}

// Inputs returns the inputs of a method, as the graph of the method has them.
// Where it cannot be lowered they are those that the code declares, with the
// shapes that a trace keeps.
func (m *Module) Inputs(o LowerOptions) []Input { return m.Facts(o).Inputs }

// Facts are what lowering a method tells of it.
type Facts struct {
	Inputs []Input
	// States names what is kept between calls: there are none in a method
	// that lowers for any number of rows.
	States []string
	Err    error // why the method does not lower for any number of rows
}

// Facts finds out what a method takes, and what the module keeps between its
// calls.
func (m *Module) Facts(o LowerOptions) Facts {
	g, err := m.Lower(o)
	f := Facts{Err: err}
	if err == nil {
		for _, v := range g.Inputs {
			f.Inputs = append(f.Inputs, Input{v.Name, v.DType, v.Shape})
		}
		return f
	}
	if errors.Is(err, graph.ErrMixesRows) {
		o.Rows = 1
		method, def := m.method(o.Method)
		if in, again := m.lowerRows(method, def, o); again == nil {
			for _, s := range in.slots {
				f.Inputs = append(f.Inputs, Input{s.name, s.v.DType, s.batch})
			}
			for _, s := range in.g.States {
				f.States = append(f.States, in.g.Inputs[s.Input].Name)
			}
			return f
		}
	}
	f.Inputs = m.declared(o)
	return f
}

// declared returns the inputs that the code of a method declares, with the
// shapes that a trace keeps.
func (m *Module) declared(o LowerOptions) []Input {
	var ins []Input
	method, def := m.method(o.Method)
	if def == nil || len(def.params) == 0 {
		return nil
	}
	for i, p := range def.params[1:] {
		if typeName(p.typ) != "Tensor" {
			continue
		}
		in := Input{Name: p.name}
		if ex := m.traced[method]; i < len(ex) {
			if t, ok := ex[i].(*graph.Tensor); ok {
				in.DType, in.Shape = t.DType, exampleShape(t.Shape, t.DType, rowsOfTrace(ex))
			}
		}
		ins = append(ins, in)
	}
	return ins
}
