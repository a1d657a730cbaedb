package architecture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Options say what a lowering knows beside the spec and the tensors.
type Options struct {
	// InputShapes gives the shape of inputs by name, with graph.Batch for the
	// batch axis, where the spec does not.
	InputShapes map[string][]int
	// Rows asks for exactly that number of rows, without a batch axis; 0 is for
	// any number.
	Rows int
}

// InputNames returns the names of the inputs in their order.
func (s *Spec) InputNames() []string {
	if len(s.Inputs) == 0 {
		return []string{"obs"}
	}
	names := make([]string, len(s.Inputs))
	for i, in := range s.Inputs {
		names[i] = in.Name
	}
	return names
}

// Lower makes the graph of the network. The error names the layer, its key and
// the shapes; it wraps errors.ErrUnsupported where the network is sound but
// cannot be served.
func (s *Spec) Lower(tensors torch.StateDict, o Options) (*graph.Graph, error) {
	var memories []memory
	g, err := torchscript.Build("architecture", torchscript.LowerOptions{InputShapes: o.InputShapes, Rows: o.Rows}, func(c *torchscript.Calls) error {
		b := builder{c: c, byName: make(map[string]*graph.Tensor, len(tensors)), names: map[string]torchscript.Value{}, tensors: tensors}
		for _, t := range tensors {
			b.byName[t.Name] = t.Tensor
		}
		err := b.build(s)
		memories = b.memories
		return err
	})
	if err == nil && len(memories) > 0 {
		err = pair(g, memories)
	}
	if err != nil {
		return nil, fmt.Errorf("architecture: %w", err)
	}
	return g, nil
}

// Unused returns the names of the tensors that no layer uses: a critic, the
// state of a normaliser that the spec forgot.
func (s *Spec) Unused(tensors torch.StateDict) []string {
	used := func(name string) bool {
		for i := range s.Layers {
			l := &s.Layers[i]
			if kinds[l.Op].keyed && (l.Key == "" && !strings.Contains(name, ".") || l.Key != "" && strings.HasPrefix(name, l.Key+".")) {
				return true
			}
			for _, a := range l.Args {
				if a.Name == name {
					return true
				}
			}
			for _, v := range l.Attrs {
				if v == name {
					return true
				}
			}
		}
		return false
	}
	var names []string
	for _, t := range tensors {
		if !used(t.Name) {
			names = append(names, t.Name)
		}
	}
	return names
}

// builder is the state of one lowering.
type builder struct {
	c       *torchscript.Calls
	tensors torch.StateDict
	byName  map[string]*graph.Tensor
	names   map[string]torchscript.Value
	current torchscript.Value // the result of the layer before; nil where there are several inputs and none yet

	memories []memory // of the recurrent layers, in their order
}

func (b *builder) build(s *Spec) error {
	ins := s.Inputs
	if len(ins) == 0 {
		ins = []Input{{Name: "obs"}}
	}
	for _, in := range ins {
		var shape graph.Shape
		if in.Shape != nil {
			shape = append(graph.Shape{graph.Batch}, in.Shape...)
		}
		v := b.c.Input(in.Name, in.DType, shape)
		b.names[in.Name] = v
		if len(ins) == 1 {
			b.current = v
		}
	}
	for i := range s.Layers {
		l := &s.Layers[i]
		b.c.At(fmt.Sprintf("layer %d %s", i+1, l))
		if err := b.layer(l); err != nil {
			return fmt.Errorf("layer %d %s: %w", i+1, l, err)
		}
	}
	b.c.At("outputs")
	defer func() {
		for _, m := range b.memories { // after all others
			b.c.Output(m.name+"_out", m.next)
		}
	}()
	if len(s.Outputs) == 0 {
		b.c.Output("out", b.current)
		return nil
	}
	for _, o := range s.Outputs {
		v, ok := b.names[o.Of]
		if !ok {
			return fmt.Errorf("outputs: there is no value %q; the layers and inputs name %s", o.Of, b.nameList())
		}
		b.c.Output(o.Name, v)
	}
	return nil
}

func (b *builder) nameList() string {
	var names []string
	for n := range b.names {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (b *builder) layer(l *Layer) error {
	if l.From != "" {
		v, ok := b.names[l.From]
		if !ok {
			return fmt.Errorf("there is no value %q; the layers before and the inputs name %s", l.From, b.nameList())
		}
		b.current = v
	}
	k, ok := kinds[l.Op]
	if !ok {
		_, err := known(l.Op)
		return err
	}
	if b.current == nil && len(l.Args) == 0 {
		return fmt.Errorf("there are several inputs: say from which one with from")
	}
	k.apply(b, l)
	if l.As != "" {
		if _, twice := b.names[l.As]; twice {
			return fmt.Errorf("the name %q is there twice", l.As)
		}
		b.names[l.As] = b.current
	}
	return nil
}

// call makes the result of a function of torch the current value.
func (b *builder) call(name string, args ...torchscript.Value) {
	b.current = b.c.Call(name, args, nil)
}

// only ends the lowering where a layer has an attribute beyond those given.
func (b *builder) only(l *Layer, names ...string) {
	for _, have := range l.order {
		if !slices.Contains(names, have) {
			b.c.Errorf("%s has no attribute %q; it has [%s]", l.Op, have, strings.Join(names, ", "))
		}
	}
}

// join is the name of a parameter below a prefix.
func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// optional returns a parameter of a layer as an argument; nil where there is
// none.
func (b *builder) optional(key, name string) torchscript.Value {
	full := join(key, name)
	t, ok := b.byName[full]
	if !ok {
		return nil
	}
	return b.c.Parameter(full, t)
}

// parameter returns a parameter that must be there.
func (b *builder) parameter(key, name string) torchscript.Value {
	v := b.optional(key, name)
	if v == nil {
		b.missing(join(key, name))
	}
	return v
}

// missing ends the lowering with the keys that are there.
func (b *builder) missing(full string) {
	const most = 6
	parent := full
	var near []string
	for parent != "" && len(near) == 0 {
		parent = parent[:max(strings.LastIndexByte(parent, '.'), 0)]
		for _, t := range b.tensors {
			if parent == "" || strings.HasPrefix(t.Name, parent+".") {
				near = append(near, t.Name+" "+t.Tensor.Shape.String())
			}
		}
	}
	if len(near) > most {
		near = append(near[:most], fmt.Sprintf("%d more", len(near)-most))
	}
	b.c.Errorf("the file has no tensor %q; it has %s", full, strings.Join(near, ", "))
}

// weight returns the weight of a layer, put together where it is normalised.
func (b *builder) weight(key string) torchscript.Value {
	if w := b.optional(key, "weight"); w != nil {
		return w
	}
	v, g := b.optional(key, "weight_v"), b.optional(key, "weight_g")
	if v == nil || g == nil {
		v, g = b.optional(key, "parametrizations.weight.original1"), b.optional(key, "parametrizations.weight.original0")
	}
	if v != nil && g != nil {
		return b.c.Call("_weight_norm", []torchscript.Value{v, g, b.normAxis(g)}, nil)
	}
	if w, u := b.optional(key, "parametrizations.weight.original"), b.optional(key, "parametrizations.weight.0._u"); w != nil && u != nil {
		return b.spectral(w, u, b.parameter(key, "parametrizations.weight.0._v"))
	}
	if w, u := b.optional(key, "weight_orig"), b.optional(key, "weight_u"); w != nil && u != nil {
		return b.spectral(w, u, b.parameter(key, "weight_v"))
	}
	b.missing(join(key, "weight"))
	return nil
}

// normAxis is the dimension of a weight norm, which the shape of its lengths
// tells.
func (b *builder) normAxis(g torchscript.Value) int64 {
	shape, _ := b.c.Shape(g)
	for i, d := range shape {
		if d != 1 {
			return int64(i)
		}
	}
	if len(shape) == 0 {
		return -1
	}
	return 0
}

// spectral divides a weight by its greatest singular value, u·W·v.
func (b *builder) spectral(w, u, v torchscript.Value) torchscript.Value {
	shape, _ := b.c.Shape(w)
	m := w
	if len(shape) > 2 {
		m = b.c.Call("flatten", []torchscript.Value{w, int64(1)}, nil)
	}
	sigma := b.c.Call("dot", []torchscript.Value{u, b.c.Call("mv", []torchscript.Value{m, v}, nil)}, nil)
	return b.c.Call("div", []torchscript.Value{w, sigma}, nil)
}
