package graph

import (
	"fmt"
	"math"
)

// Check reports a tensor whose data does not match its type and shape: the
// wrong slice, the wrong length, a number that its type does not hold. The
// error wraps ErrInvalid, ErrLimit or ErrMixesRows.
func (t *Tensor) Check() error {
	if t == nil {
		return fmt.Errorf("%w: no tensor", ErrInvalid)
	}
	if t.DType.Bytes() == 0 {
		return fmt.Errorf("%w: tensor of type %v", ErrInvalid, t.DType)
	}
	if err := t.Shape.Check(); err != nil {
		return err
	}
	if !t.Shape.Fixed() {
		return fmt.Errorf("%w: tensor of shape %v, which must be fixed", ErrInvalid, t.Shape)
	}
	f32, f64, i64 := t.DType.IsFloat() && t.DType != Float64, t.DType == Float64, !t.DType.IsFloat()
	if !f32 && t.F32 != nil || !f64 && t.F64 != nil || !i64 && t.I64 != nil {
		return fmt.Errorf("%w: the data of a %v tensor is in the wrong slice", ErrInvalid, t.DType)
	}
	if want := t.Shape.RowElements(); t.Len() != want {
		return fmt.Errorf("%w: tensor %v%v has %d elements, its shape has %d", ErrInvalid, t.DType, t.Shape, t.Len(), want)
	}
	return t.checkRange()
}

func (t *Tensor) checkRange() error {
	for i, x := range t.I64 {
		if wrap(t.DType, x) != x {
			return fmt.Errorf("%w: element %d is %d, which is no %v", ErrInvalid, i, x, t.DType)
		}
	}
	if t.DType != Float16 && t.DType != BFloat16 {
		return nil
	}
	for i, x := range t.F32 {
		if y := roundTo(t.DType, float64(x)); y != float64(x) && !math.IsNaN(y) {
			return fmt.Errorf("%w: element %d is %v, which is no %v", ErrInvalid, i, x, t.DType)
		}
	}
	return nil
}

// Verify checks the whole graph: every value is defined before it is used and
// once, inputs and outputs have distinct names, constants hold what their
// type and shape say, each node's attributes and results are what its spec
// infers, streams of random draws are distinct, states pair inputs with outputs
// of their type, and nothing is beyond the maxima of this package. Graphs inside
// are checked too: they have neither states nor a batch axis. Every error names
// the input, node or output that is wrong and wraps ErrInvalid or the error of
// the operator's spec.
func (g *Graph) Verify() error {
	v := newVerifier(g)
	return v.graph(g)
}

// verifier checks one graph. What is shared are the counts that those inside
// share with it.
type verifier struct {
	defined map[*Value]bool
	ids     map[int]bool
	depth   int
	shared  *verified
}

type verified struct {
	constants map[*Tensor]bool // already checked
	bytes     int64            // of the constants
	streams   map[int]bool
	graphs    map[*Graph]bool
	nodes     int
}

func newVerifier(g *Graph) verifier {
	return verifier{
		defined: map[*Value]bool{},
		ids:     map[int]bool{},
		shared: &verified{
			constants: map[*Tensor]bool{},
			streams:   map[int]bool{},
			graphs:    map[*Graph]bool{g: true},
		},
	}
}

func (v *verifier) graph(g *Graph) error {
	if v.shared.nodes += len(g.Nodes); len(g.Inputs) > MaxPorts || len(g.Outputs) > MaxPorts || v.shared.nodes > MaxNodes {
		return fmt.Errorf("graph: %w: %d inputs, %d outputs, %d nodes", ErrLimit, len(g.Inputs), len(g.Outputs), v.shared.nodes)
	}
	if err := v.inputs(g.Inputs); err != nil {
		return err
	}
	for i, n := range g.Nodes {
		if err := v.node(n); err != nil {
			return fmt.Errorf("graph: node %d: %w", i, err)
		}
	}
	names := map[string]bool{}
	for _, o := range g.Outputs {
		if o.Name == "" || names[o.Name] {
			return fmt.Errorf("graph: %w: the output's name %q is empty or there twice", ErrInvalid, o.Name)
		}
		names[o.Name] = true
		if err := v.use(o.Value); err != nil {
			return fmt.Errorf("graph: output %q: %w", o.Name, err)
		}
	}
	return v.states(g)
}

// states checks that each pairs an input with an output of its type, each of
// which is of one state only.
func (v *verifier) states(g *Graph) error {
	ins, outs := map[int]bool{}, map[int]bool{}
	for i, s := range g.States {
		if s.Input < 0 || s.Input >= len(g.Inputs) || s.Output < 0 || s.Output >= len(g.Outputs) || ins[s.Input] || outs[s.Output] {
			return fmt.Errorf("graph: state %d: %w: input %d or output %d is not there or of another state", i, ErrInvalid, s.Input, s.Output)
		}
		ins[s.Input], outs[s.Output] = true, true
		in, out := g.Inputs[s.Input], g.Outputs[s.Output].Value
		if in.DType != out.DType || !in.Shape.Equal(out.Shape) {
			return fmt.Errorf("graph: state %q: %w: it enters as %s and leaves as %s", in.Name, ErrInvalid, typeText(in), typeText(out))
		}
		for _, t := range []*Tensor{s.Initial, s.Reset} {
			if t == nil {
				continue
			}
			if err := t.Check(); err != nil {
				return fmt.Errorf("graph: state %q: %w", in.Name, err)
			}
			if t.DType != in.DType || !t.Shape.Equal(in.Shape.For(1)) {
				return fmt.Errorf("graph: state %q: %w: it begins as %v%v, must be %v%v", in.Name, ErrInvalid, t.DType, t.Shape, in.DType, in.Shape.For(1))
			}
		}
	}
	return nil
}

// inner checks a graph of an attribute.
func (v *verifier) inner(name string, g *Graph) error {
	switch {
	case v.depth+1 >= MaxDepth:
		return fmt.Errorf("%w: more than %d graphs inside each other", ErrLimit, MaxDepth)
	case v.shared.graphs[g]:
		return fmt.Errorf("%w: the graph of %s is there twice", ErrInvalid, name)
	case len(g.States) > 0:
		return fmt.Errorf("%w: the graph of %s has states", ErrInvalid, name)
	}
	v.shared.graphs[g] = true
	in := verifier{defined: map[*Value]bool{}, ids: map[int]bool{}, depth: v.depth + 1, shared: v.shared}
	if err := in.graph(g); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for x := range in.defined {
		if !x.Shape.Fixed() {
			return fmt.Errorf("%s: %w: value %%%d has a batch axis", name, ErrMixesRows, x.ID)
		}
	}
	return nil
}

func (v *verifier) inputs(ins []*Value) error {
	names := map[string]bool{}
	for i, in := range ins {
		if in == nil {
			return fmt.Errorf("graph: input %d: %w: no value", i, ErrInvalid)
		}
		if in.Name == "" || names[in.Name] {
			return fmt.Errorf("graph: %w: the input's name %q is empty or there twice", ErrInvalid, in.Name)
		}
		names[in.Name] = true
		if in.Def != nil || in.Const != nil || in.DType.Bytes() == 0 {
			return fmt.Errorf("graph: input %q: %w: it is of type %v, or made by a node, or constant", in.Name, ErrInvalid, in.DType)
		}
		if err := in.Shape.Check(); err != nil {
			return fmt.Errorf("graph: input %q: %w", in.Name, err)
		}
		if err := v.define(in); err != nil {
			return fmt.Errorf("graph: input %q: %w", in.Name, err)
		}
	}
	return nil
}

func (v *verifier) define(x *Value) error {
	if v.defined[x] || v.ids[x.ID] {
		return fmt.Errorf("%w: value %%%d is defined twice", ErrInvalid, x.ID)
	}
	v.defined[x], v.ids[x.ID] = true, true
	return nil
}

// use checks a value where it is needed; a constant is defined by its first
// use.
func (v *verifier) use(x *Value) error {
	switch {
	case x == nil:
		return fmt.Errorf("%w: no value", ErrInvalid)
	case v.defined[x]:
		return nil
	case x.Const == nil:
		return fmt.Errorf("%w: value %%%d is used before it is defined", ErrInvalid, x.ID)
	case x.Def != nil:
		return fmt.Errorf("%w: constant %%%d is made by a node", ErrInvalid, x.ID)
	case x.DType != x.Const.DType || !x.Shape.Equal(x.Const.Shape):
		return fmt.Errorf("%w: constant %%%d is %v%v, its data %v%v", ErrInvalid, x.ID, x.DType, x.Shape, x.Const.DType, x.Const.Shape)
	}
	if !v.shared.constants[x.Const] {
		if err := x.Const.Check(); err != nil {
			return fmt.Errorf("constant %%%d %q: %w", x.ID, x.Name, err)
		}
		v.shared.constants[x.Const] = true
		if v.shared.bytes += int64(x.Const.Len()) * int64(x.DType.Bytes()); v.shared.bytes > MaxConstantBytes {
			return fmt.Errorf("%w: the constants are more than %d bytes", ErrLimit, int64(MaxConstantBytes))
		}
	}
	return v.define(x)
}

func (v *verifier) node(n *Node) error {
	if n == nil {
		return fmt.Errorf("%w: no node", ErrInvalid)
	}
	for i, x := range n.In {
		if err := v.use(x); err != nil {
			return fmt.Errorf("%s: operand %d: %w", n.Op, i, err)
		}
	}
	again := Node{Op: n.Op, In: n.In, Attrs: n.Attrs.clone()}
	types, err := again.resolve()
	if err != nil {
		return err
	}
	if !again.Attrs.equal(n.Attrs) {
		return fmt.Errorf("%s: %w: attributes %v are not canonical, which is %v", n.Op, ErrInvalid, n.Attrs, again.Attrs)
	}
	if len(types) != len(n.Out) {
		return fmt.Errorf("%s: %w: %d results, its spec has %d", n.Op, ErrInvalid, len(n.Out), len(types))
	}
	for i, out := range n.Out {
		if out == nil || out.Def != n || out.Const != nil {
			return fmt.Errorf("%s: %w: result %d is not defined by its node", n.Op, ErrInvalid, i)
		}
		if out.DType != types[i].dtype || !out.Shape.Equal(types[i].shape) {
			return fmt.Errorf("%s: %w: result %d is %v%v, its spec says %v%v",
				n.Op, ErrInvalid, i, out.DType, out.Shape, types[i].dtype, types[i].shape)
		}
		if err := v.define(out); err != nil {
			return fmt.Errorf("%s: %w", n.Op, err)
		}
	}
	if n.Op.draws() {
		s := n.Attrs.Int("stream")
		if v.shared.streams[s] {
			return fmt.Errorf("%s: %w: stream %d is there twice", n.Op, ErrInvalid, s)
		}
		v.shared.streams[s] = true
	}
	for _, a := range specs[n.Op].attrs {
		if sub := n.Attrs.Graph(a.name); sub != nil {
			if err := v.inner(a.name, sub); err != nil {
				return fmt.Errorf("%s: %w", n.Op, err)
			}
		}
	}
	return nil
}
