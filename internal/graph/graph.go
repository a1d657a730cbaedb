// Package graph is the intermediate representation in which every policy is
// held between its file and its execution: one graph of named inputs, nodes
// and named outputs, in which preprocessing, network and postprocessing are
// the same kind of thing.
//
// What enters are the calls of a decoder's lowering (package format and those
// below it); what leaves is a verified graph, for package plan to compile, for
// the reference evaluator to run and for the text form to print. The package
// knows nothing of files, CPUs or protocols and imports nothing of this module.
package graph

import "fmt"

// Graph is a directed acyclic graph in static single assignment form. Nodes
// are in an order in which every value is defined before it is used.
type Graph struct {
	Name    string
	Inputs  []*Value // in the order in which the policy takes them
	Nodes   []*Node
	Outputs []Output // in the order in which the policy gives them
	States  []State  // what is carried from one run to the next, in no order that matters

	nextID int
}

// State pairs an input with an output: what leaves one run of an episode by
// the output enters the next by the input, whose type and shape are the same.
type State struct {
	Input, Output int // indices into Graph.Inputs and Graph.Outputs

	// Initial is what enters the first run, in the input's type and shape with
	// the batch axis as 1, the same for every row; nil stands for zeros.
	Initial *Tensor
	// Reset is what enters the first run of each later episode, where that is
	// not Initial; nil stands for Initial.
	Reset *Tensor
}

// Batched tells whether some input has a batch axis. A graph without one is of
// a fixed number of rows, most often one: rows then go through it in turn.
func (g *Graph) Batched() bool {
	for _, in := range g.Inputs {
		if !in.Shape.Fixed() {
			return true
		}
	}
	return false
}

// Output is a value that leaves the graph under a name.
type Output struct {
	Name  string
	Value *Value
}

// Value is the result of a node, an input of the graph or a constant.
// Exactly one of Def, Const and input (neither) holds.
type Value struct {
	ID    int
	Name  string // the input's or parameter's name; may be empty
	DType DType
	Shape Shape

	Def   *Node   // the node that makes it
	Const *Tensor // its data, where it is a constant
}

// Node applies an operator to values.
type Node struct {
	Op    Op
	In    []*Value // an optional operand that is absent at the end is left out
	Out   []*Value
	Attrs Attrs
}

// Attrs are the attributes of a node. The kinds are int, float64, bool,
// string, []int, DType and *Graph; which attribute has which kind is in the
// operator's spec, and Verify holds nodes to it. A graph in an attribute
// belongs to the node alone and must not change.
type Attrs map[string]any

// New returns an empty graph.
func New(name string) *Graph { return &Graph{Name: name} }

// Input adds an input of the graph.
func (g *Graph) Input(name string, dt DType, shape Shape) *Value {
	v := g.value(name, dt, shape)
	g.Inputs = append(g.Inputs, v)
	return v
}

// Constant adds a constant. The tensor is not copied and must not change.
func (g *Graph) Constant(name string, t *Tensor) *Value {
	v := g.value(name, t.DType, t.Shape)
	v.Const = t
	return v
}

// Output names a value as an output of the graph.
func (g *Graph) Output(name string, v *Value) {
	g.Outputs = append(g.Outputs, Output{Name: name, Value: v})
}

// Add appends a node with one result and returns that result. Type and shape
// are inferred; operands that do not fit are an error that names the operator
// and the shapes.
func (g *Graph) Add(op Op, attrs Attrs, in ...*Value) (*Value, error) {
	n, err := g.AddNode(op, attrs, in...)
	if err != nil {
		return nil, err
	}
	if len(n.Out) != 1 {
		return nil, fmt.Errorf("graph: %s has %d results, one was wanted", op, len(n.Out))
	}
	return n.Out[0], nil
}

func (g *Graph) value(name string, dt DType, shape Shape) *Value {
	g.nextID++
	return &Value{ID: g.nextID, Name: name, DType: dt, Shape: shape}
}
