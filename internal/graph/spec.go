package graph

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// spec is what the package knows of one operator. The table is the single
// source for building, verifying, printing, parsing and evaluating.
type spec struct {
	min, max int    // number of operands; max is -1 where there is no limit but MaxOperands
	attrs    []attr // in the order of the text form

	// infer returns the types of the results. The node's operands are there
	// and its attributes have the right kinds; infer checks their values and
	// brings them into their canonical form: axes from 0, defaults that
	// depend on shapes filled in.
	infer func(n *Node) ([]typ, error)

	// eval computes the results, whose tensors are allocated, from operands
	// whose shapes are fixed.
	eval func(c *evalCall)
}

// attr is one attribute of an operator. With neither default nor optional it
// is required.
type attr struct {
	name     string
	kind     kind
	def      any  // filled in where the attribute is absent
	optional bool // may stay absent, or is filled in by infer
}

// typ is the type of a value: element type and shape.
type typ struct {
	dtype DType
	shape Shape
}

func one(dt DType, shape Shape) ([]typ, error) {
	return []typ{{dt, slices.Clone(shape)}}, nil
}

// specs is the table of operators. Each group is in its own op_ file.
var specs = join(linearSpecs, convSpecs, binarySpecs, logicSpecs, unarySpecs, activationSpecs, shapeSpecs, reduceSpecs, indexSpecs, randomSpecs, controlSpecs, modelSpecs)

func join(groups ...map[Op]spec) map[Op]spec {
	all := map[Op]spec{}
	for _, g := range groups {
		maps.Copy(all, g)
	}
	return all
}

// Ops returns the names of all operators but OpModel, sorted.
func Ops() []Op {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(specs)), func(op Op) bool { return op == OpModel })
}

// AddNode appends a node. Its results' types and shapes are inferred, absent
// attributes that have a default are filled in, and axes that count from the
// end are made to count from the start; attrs itself is not kept. The errors
// are those of the operator's spec: ErrUnsupportedOp, ErrOperands,
// ErrAttribute, *ShapeError, ErrDType, ErrMixesRows or ErrLimit. The graph is
// unchanged after an error.
func (g *Graph) AddNode(op Op, attrs Attrs, in ...*Value) (*Node, error) {
	if len(g.Nodes) >= MaxNodes {
		return nil, fmt.Errorf("graph: %s: %w: at most %d nodes", op, ErrLimit, MaxNodes)
	}
	n := &Node{Op: op, In: slices.Clone(in), Attrs: attrs.clone()}
	types, err := n.resolve()
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		v := g.value("", t.dtype, t.shape)
		v.Def = n
		n.Out = append(n.Out, v)
	}
	g.Nodes = append(g.Nodes, n)
	return n, nil
}

// resolve checks a node's operands and attributes against its spec, makes the
// attributes canonical and returns the types of the results.
func (n *Node) resolve() ([]typ, error) {
	s, ok := specs[n.Op]
	if !ok {
		return nil, fmt.Errorf("graph: %w: %q", ErrUnsupportedOp, n.Op)
	}
	for i, v := range n.In {
		if v == nil {
			return nil, fmt.Errorf("graph: %s: %w: operand %d is nil", n.Op, ErrOperands, i)
		}
	}
	if len(n.In) < s.min || s.max >= 0 && len(n.In) > s.max || len(n.In) > MaxOperands {
		return nil, n.fail(ErrOperands, "got %d, takes %s", len(n.In), s.operandCount())
	}
	if err := n.checkAttrs(s); err != nil {
		return nil, err
	}
	types, err := s.infer(n)
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		if err := t.shape.Check(); err != nil {
			return nil, fmt.Errorf("graph: %s%s: result: %w", n.Op, operandList(n.operands()), err)
		}
	}
	return types, nil
}

func (s *spec) operandCount() string {
	switch {
	case s.max < 0:
		return fmt.Sprintf("%d to %d", s.min, MaxOperands)
	case s.min == s.max:
		return fmt.Sprint(s.min)
	default:
		return fmt.Sprintf("%d to %d", s.min, s.max)
	}
}

func (n *Node) checkAttrs(s spec) error {
	known := 0
	for _, a := range s.attrs {
		v, ok := n.Attrs[a.name]
		switch {
		case ok && !a.kind.holds(v):
			return n.fail(ErrAttribute, "%s is %T, must be %s", a.name, v, kindNames[a.kind])
		case ok:
			known++
		case a.def != nil:
			n.setAttr(a.name, a.def)
			known++
		case !a.optional:
			return n.fail(ErrAttribute, "%s is missing", a.name)
		}
	}
	if known == len(n.Attrs) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(n.Attrs)) {
		if !slices.ContainsFunc(s.attrs, func(a attr) bool { return a.name == name }) {
			return n.fail(ErrAttribute, "%q is not one of this operator, which has [%s]", name, s.attrNames())
		}
	}
	return nil
}

func (s *spec) attrNames() string {
	names := make([]string, len(s.attrs))
	for i, a := range s.attrs {
		names[i] = a.name
	}
	return strings.Join(names, ", ")
}

func (n *Node) setAttr(name string, v any) {
	if n.Attrs == nil {
		n.Attrs = Attrs{}
	}
	n.Attrs[name] = v
}

// axis reads an attribute that names a dimension of an operand of the given
// rank, and stores it counted from 0.
func (n *Node) axis(name string, rank int) (int, error) {
	a := n.Attrs.Int(name)
	if a < -rank || a >= rank {
		return 0, n.fail(ErrAttribute, "%s is %d, the operand has %d dimensions", name, a, rank)
	}
	if a < 0 {
		a += rank
	}
	n.Attrs[name] = a
	return a, nil
}

// sameDType checks that the operands from the first on have one floating
// point type.
func (n *Node) sameFloat(count int) error {
	for _, v := range n.In[:min(count, len(n.In))] {
		if !v.DType.IsFloat() {
			return n.fail(ErrDType, "%v is not floating point; cast it first", v.DType)
		}
		if v.DType != n.In[0].DType {
			return n.fail(ErrDType, "%v and %v differ; cast one of them", n.In[0].DType, v.DType)
		}
	}
	return nil
}
