package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The version of the format and of the operators that Encode writes. Operator
// set 20 is the first with Gelu; ONNX Runtime reads it from 1.17 on.
const (
	encodeIR    = 9
	encodeOpset = 20
)

// EncodeOptions say how a graph is written.
type EncodeOptions struct {
	// Producer is what the file says of the program that wrote it.
	Producer string
	// Noise makes each random draw an input of the model, named by NoiseName,
	// of float32 and the shape of the draw, behind the inputs of the graph and
	// in the order of the nodes. Without it the model draws by itself, and other
	// numbers in each engine.
	Noise bool
}

// NoiseName is the name of the input that stands for the draws of a stream.
func NoiseName(stream int) string { return "noise_" + strconv.Itoa(stream) }

// Encode writes a graph as an ONNX model. Inputs and outputs keep their names
// and their order; the batch axis is the dimension "batch". An output whose
// name is that of an input, and one that carries a state, is named so that
// Decode finds the pair: see OutputNames. How the states of a graph begin is
// in the metadata of the model, which other readers pass over.
//
// Half precision is computed in single precision and rounded after each
// operator, as the graph's own evaluator does it. What ONNX Runtime has only
// in single precision (erf, gelu, convolutions, inverse functions of sine and
// the like) is computed in single precision for float64 too. Where ONNX leaves
// NaN open, engines differ: argmax, amax and amin of a NaN, and a cast of NaN
// or of a number out of range to an integer. A loop ends at its limit without
// an error.
//
// The bytes are the same for the same graph. The error wraps
// errors.ErrUnsupported for an operator that has no form in ONNX, ErrLimit for
// a model of more than 2 GiB.
func Encode(g *graph.Graph, o EncodeOptions) ([]byte, error) {
	if err := g.Verify(); err != nil {
		return nil, err
	}
	e := &encoder{g: g, o: o, shared: &encoded{
		taken: map[string]bool{}, constants: map[*graph.Tensor]string{}, turned: map[*graph.Tensor]string{}, narrow: map[*graph.Tensor]*graph.Tensor{}, small: map[string]string{},
		names: map[*graph.Value]string{},
	}}
	outputs := OutputNames(g)
	for _, in := range g.Inputs {
		e.shared.taken[in.Name] = true
	}
	for _, name := range outputs {
		e.shared.taken[name] = true
	}
	g.Walk(func(n *graph.Node) bool {
		if n.Op == graph.OpNormal {
			e.shared.taken[NoiseName(n.Attrs.Int("stream"))] = true
		}
		return true
	})
	for _, in := range g.Inputs {
		e.shared.names[in] = in.Name
		e.inputs = append(e.inputs, encodedPort{in.Name, in.DType, in.Shape})
	}
	if err := e.body(outputs); err != nil {
		return nil, err
	}
	e.inputs = append(e.inputs, e.shared.noise...)
	states, err := stateMetadata(g, outputs)
	if err != nil {
		return nil, err
	}
	return e.model(states)
}

// OutputNames are the names that Encode gives the outputs of a graph. They are
// the graph's own but for the output of a state, which is named after its
// input where the two names would not show that they belong together, and for
// one that has the name of an input.
func OutputNames(g *graph.Graph) []string {
	names := make([]string, len(g.Outputs))
	taken := map[string]bool{}
	for _, in := range g.Inputs {
		taken[in.Name] = true
	}
	for i, o := range g.Outputs {
		names[i] = o.Name
	}
	for _, s := range g.States {
		if in := g.Inputs[s.Input].Name; !pairedNames(in, names[s.Output]) {
			names[s.Output] = in + "_out"
		}
	}
	for i, name := range names {
		for taken[name] {
			name += "_out"
		}
		names[i], taken[name] = name, true
	}
	return names
}

// encoder writes one graph: the model's or one inside a node of it.
type encoder struct {
	g      *graph.Graph
	o      EncodeOptions
	nodes  []encodedNode
	inputs []encodedPort
	outs   []encodedPort
	rows   string // the number of rows, where some node needed it
	shared *encoded

	widened map[*graph.Tensor]string // narrow constants, as a node of this graph widens them
}

// encoded is what the graphs of a model share: names are unique in all.
type encoded struct {
	taken     map[string]bool
	last      int
	tensors   []NamedTensor
	constants map[*graph.Tensor]string
	turned    map[*graph.Tensor]string        // weights the other way round
	narrow    map[*graph.Tensor]*graph.Tensor // narrow weights the other way round
	small     map[string]string
	names     map[*graph.Value]string
	noise     []encodedPort
}

type encodedPort struct {
	name  string
	dtype graph.DType
	shape graph.Shape
}

// encodedNode is a node of the model. Attributes are written in their order.
type encodedNode struct {
	op      string
	in, out []string
	attrs   []encodedAttr
}

// encodedAttr has one of its values: an int, a float64, a string, []int or an
// *encoder for a graph.
type encodedAttr struct {
	name  string
	value any
}

// body encodes the nodes, and the outputs under the given names.
func (e *encoder) body(outputs []string) error {
	for i, n := range e.g.Nodes {
		f, ok := encoders[n.Op]
		if !ok {
			return unsupportedf("operator %s, which has no form in ONNX, in node %d", n.Op, i)
		}
		if err := f(e, n); err != nil {
			var refused *unsupportedError
			if errors.As(err, &refused) {
				return unsupportedf("%s in node %d (%s)", refused.what, i, n.Op)
			}
			return fmt.Errorf("onnx: node %d (%s): %w", i, n.Op, err)
		}
	}
	renamed := map[string]string{}
	for i, o := range e.g.Outputs {
		from := e.name(o.Value)
		if _, twice := renamed[from]; twice || !e.makes(from) {
			from = e.node("Identity", nil, from)
		}
		renamed[from] = outputs[i]
		e.outs = append(e.outs, encodedPort{outputs[i], o.Value.DType, o.Value.Shape})
	}
	e.rename(renamed)
	return nil
}

// makes reports whether a node of this graph makes the value.
func (e *encoder) makes(name string) bool {
	for _, n := range slices.Backward(e.nodes) {
		if slices.Contains(n.out, name) {
			return true
		}
	}
	return false
}

// rename gives values their final names, in the graphs of nodes too.
func (e *encoder) rename(names map[string]string) {
	for i := range e.nodes {
		n := &e.nodes[i]
		for _, list := range [][]string{n.in, n.out} {
			for k, name := range list {
				if to, ok := names[name]; ok {
					list[k] = to
				}
			}
		}
		for _, a := range n.attrs {
			if sub, ok := a.value.(*encoder); ok {
				sub.rename(names)
			}
		}
	}
}

// fresh is a name that no other value has.
func (e *encoder) fresh(prefix string) string {
	for {
		e.shared.last++
		if name := prefix + strconv.Itoa(e.shared.last); !e.shared.taken[name] {
			e.shared.taken[name] = true
			return name
		}
	}
}

// name is the name of a value of the graph. A constant is kept once.
func (e *encoder) name(v *graph.Value) string {
	if v.Const == nil {
		return e.shared.names[v]
	}
	if v.Const.AsNarrow() != nil {
		return e.narrowConstant(v.Name, v.Const)
	}
	if name, ok := e.shared.constants[v.Const]; ok {
		return name
	}
	name := v.Name
	if name == "" || e.shared.taken[name] {
		name = e.fresh("c")
	}
	e.shared.taken[name] = true
	e.shared.constants[v.Const] = name
	e.shared.tensors = append(e.shared.tensors, NamedTensor{name, v.Const})
	return name
}

// node adds a node with one result and returns its name.
func (e *encoder) node(op string, attrs []encodedAttr, in ...string) string {
	out := e.fresh("v")
	e.nodes = append(e.nodes, encodedNode{op, in, []string{out}, attrs})
	return out
}

// constant is a small constant, kept once for each content.
func (e *encoder) constant(t *graph.Tensor) string {
	key := fmt.Sprint(t.DType, t.Shape, t.F32, t.F64, t.I64)
	if name, ok := e.shared.small[key]; ok {
		return name
	}
	name := e.fresh("c")
	e.shared.small[key] = name
	e.shared.tensors = append(e.shared.tensors, NamedTensor{name, t})
	return name
}

// number is a constant without dimensions.
func (e *encoder) number(dt graph.DType, x float64) string {
	t := &graph.Tensor{DType: dt, Shape: graph.Shape{}}
	switch {
	case dt == graph.Float64:
		t.F64 = []float64{x}
	case dt == graph.Float32:
		t.F32 = []float32{float32(x)}
	default:
		t.I64 = []int64{int64(x)}
	}
	return e.constant(t)
}

// ints is a list of integers.
func (e *encoder) ints(list ...int) string {
	t := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(list)}, I64: make([]int64, len(list))}
	for i, x := range list {
		t.I64[i] = int64(x)
	}
	return e.constant(t)
}

// dims is a shape as a list of integers, which holds the number of rows where
// the shape has it.
func (e *encoder) dims(s graph.Shape) string {
	at := s.BatchAxis()
	if at < 0 {
		return e.ints(s...)
	}
	rows := e.batch()
	if s[at] != graph.Batch {
		rows = e.node("Mul", nil, rows, e.ints(-s[at]))
	}
	var parts []string
	if at > 0 {
		parts = append(parts, e.ints(s[:at]...))
	}
	parts = append(parts, rows)
	if at < len(s)-1 {
		parts = append(parts, e.ints(s[at+1:]...))
	}
	if len(parts) == 1 {
		return rows
	}
	return e.node("Concat", []encodedAttr{{"axis", 0}}, parts...)
}

// batch is the number of rows, a list of one integer.
func (e *encoder) batch() string {
	if e.rows != "" {
		return e.rows
	}
	for _, in := range e.g.Inputs {
		at := in.Shape.BatchAxis()
		if at < 0 {
			continue
		}
		e.rows = e.node("Shape", []encodedAttr{{"start", at}, {"end", at + 1}}, e.name(in))
		if in.Shape[at] != graph.Batch {
			e.rows = e.node("Div", nil, e.rows, e.ints(-in.Shape[at]))
		}
		break
	}
	return e.rows
}
