package plan

import (
	"fmt"
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// maxExactInt is the greatest integer up to which float32 holds all.
const maxExactInt = 1 << 24

// compiler lowers the nodes of one graph in their order.
type compiler struct {
	g       *graph.Graph
	plan    *Plan
	options Options

	of        map[*graph.Value]int           // the slot of a value
	consumers map[*graph.Value][]*graph.Node // once for each use, live nodes only
	isOutput  map[*graph.Value]bool
	live      map[*graph.Node]bool
	done      map[*graph.Node]bool // computed by the step of another node
	matrices  map[matrixKey]*kernel.Matrix
	narrows   map[matrixKey]*kernel.Narrow
}

// matrixKey is what a packed matrix is made of: an unrolled layer multiplies
// by the same weights again and again.
type matrixKey struct {
	weight, bias *graph.Tensor
	turned       bool
}

// matrix packs weights once. The weights are out rows and in columns, or the
// other way round where turned tells so.
func (c *compiler) matrix(w, b *graph.Value, turned bool, out, in int) (*kernel.Matrix, error) {
	key := matrixKey{weight: w.Const, turned: turned}
	if b != nil {
		key.bias = b.Const
	}
	if m := c.matrices[key]; m != nil {
		return m, nil
	}
	weights, err := floats(w)
	if err != nil {
		return nil, err
	}
	var bias []float32
	if b != nil {
		if bias, err = floats(b); err != nil {
			return nil, err
		}
	}
	if turned {
		t := make([]float32, len(weights))
		kernel.Move(t, weights, []kernel.Axis{{N: out, Dst: in, Src: 1}, {N: in, Dst: 1, Src: out}})
		weights = t
	}
	c.matrices[key] = kernel.Pack(weights, bias, out, in)
	return c.matrices[key], nil
}

func newCompiler(g *graph.Graph, o Options) *compiler {
	c := &compiler{
		g: g, plan: &Plan{chunked: true, batched: g.Batched()}, options: o,
		of:        map[*graph.Value]int{},
		consumers: map[*graph.Value][]*graph.Node{},
		isOutput:  map[*graph.Value]bool{},
		live:      map[*graph.Node]bool{},
		done:      map[*graph.Node]bool{},
		matrices:  map[matrixKey]*kernel.Matrix{},
		narrows:   map[matrixKey]*kernel.Narrow{},
	}
	for _, o := range g.Outputs {
		c.isOutput[o.Value] = true
	}
	for _, n := range slices.Backward(g.Nodes) {
		for _, v := range n.Out {
			if c.isOutput[v] || len(c.consumers[v]) > 0 {
				c.live[n] = true
			}
		}
		if !c.live[n] {
			continue
		}
		for _, v := range operands(n) {
			c.consumers[v] = append(c.consumers[v], n)
		}
	}
	return c
}

// operands returns the values that a node reads.
func operands(n *graph.Node) []*graph.Value {
	if n.Op == graph.OpNormal {
		return nil // its operand gives the shape alone
	}
	return n.In
}

func (c *compiler) lower() error {
	for i, v := range c.g.Inputs {
		s := c.slot(slot{kind: slotInput, index: i, size: sizeOf(v.Shape), shape: v.Shape})
		c.of[v] = s
		c.plan.inputs = append(c.plan.inputs, port{v.Name, s, sizeOf(v.Shape)})
		c.checkChunked(v.Shape)
	}
	for _, n := range c.g.Nodes {
		if !c.live[n] || c.done[n] {
			continue
		}
		for _, v := range n.Out {
			c.checkChunked(v.Shape)
		}
		if err := c.node(n); err != nil {
			return fmt.Errorf("plan: %s: %w", n.Op, err)
		}
	}
	for i, o := range c.g.Outputs {
		if err := c.output(i, o); err != nil {
			return fmt.Errorf("plan: output %q: %w", o.Name, err)
		}
	}
	return nil
}

// checkChunked notes a value whose rows do not lie one after another.
func (c *compiler) checkChunked(s graph.Shape) {
	if a := s.BatchAxis(); a > 0 && sizeOf(s[:a]) != (dim{n: 1}) {
		c.plan.chunked = false
	}
}

// output makes the caller's memory the slot of a value that was computed for
// it alone, and copies any other.
func (c *compiler) output(i int, o graph.Output) error {
	src, err := c.operand(o.Value)
	if err != nil {
		return err
	}
	size := sizeOf(o.Value.Shape)
	s := &c.plan.slots[src]
	if s.kind == slotTemp {
		s.kind, s.index = slotOutput, i
		c.plan.outputs = append(c.plan.outputs, port{o.Name, src, size})
		return nil
	}
	dst := c.slot(slot{kind: slotOutput, index: i, size: size, shape: o.Value.Shape})
	c.step(step{op: stepCopy, a: src, out: dst, note: "output " + o.Name})
	c.plan.outputs = append(c.plan.outputs, port{o.Name, dst, size})
	return nil
}

func (c *compiler) slot(s slot) int {
	c.plan.slots = append(c.plan.slots, s)
	return len(c.plan.slots) - 1
}

// temp adds a slot of the arena.
func (c *compiler) temp(shape graph.Shape) int {
	return c.slot(slot{size: sizeOf(shape), shape: shape})
}

// step adds a step; b and c are none where they are not given.
func (c *compiler) step(s step) {
	switch s.op {
	case stepLinear, stepNarrow, stepUnary, stepWrap, stepMove, stepSum, stepAmax, stepAmin, stepArgmax, stepSoftmax, stepCopy, stepProd, stepCumulate, stepArgsort, stepConvolve, stepIf, stepLoop:
		s.b, s.c = none, none
	case stepBinary, stepTile, stepMatMul, stepTake, stepGather, stepColumns, stepBeta:
		s.c = none
	case stepNormal:
		s.a, s.b, s.c = none, none, none
	}
	c.plan.steps = append(c.plan.steps, s)
}

// operand returns the slot of a value, which for a constant is made here.
func (c *compiler) operand(v *graph.Value) (int, error) {
	if s, ok := c.of[v]; ok {
		return s, nil
	}
	if v.Const == nil {
		return 0, fmt.Errorf("value %%%d is used before it is defined", v.ID)
	}
	data, err := floats(v)
	if err != nil {
		return 0, err
	}
	c.of[v] = c.slot(slot{kind: slotConst, size: sizeOf(v.Shape), shape: v.Shape, data: data})
	return c.of[v], nil
}

// floats returns a constant in float32.
func floats(v *graph.Value) ([]float32, error) {
	t := v.Const
	if t.F32 != nil {
		return t.F32, nil
	}
	data := make([]float32, t.Len())
	for i := range data {
		data[i] = float32(t.At(i))
	}
	for _, n := range t.I64 {
		if n > maxExactInt || n < -maxExactInt {
			return nil, fmt.Errorf("%w: constant %q holds the integer %d, which float32 does not hold exactly; integers to 2^24 are", ErrUnsupported, v.Name, n)
		}
	}
	return data, nil
}

// only returns the one live consumer of a value that nobody else sees.
func (c *compiler) only(v *graph.Value) *graph.Node {
	if c.isOutput[v] || len(c.consumers[v]) != 1 {
		return nil
	}
	return c.consumers[v][0]
}

// node lowers one node.
func (c *compiler) node(n *graph.Node) error {
	if u, ok := unaryOf(n); ok {
		return c.elementwise(n, u)
	}
	if op, ok := binaryOf(n); ok {
		return c.binary(n, op)
	}
	switch n.Op {
	case graph.OpLinear:
		return c.linear(n)
	case graph.OpMatMul:
		return c.matMul(n)
	case graph.OpConv:
		return c.conv(n)
	case graph.OpWhere:
		return c.where(n)
	case graph.OpCast:
		return c.cast(n)
	case graph.OpReshape:
		return c.alias(n)
	case graph.OpTranspose, graph.OpExpand, graph.OpSlice, graph.OpConcat:
		return c.moves(n)
	case graph.OpConvTranspose:
		return c.conv(n)
	case graph.OpSoftmax, graph.OpLogSoftmax, graph.OpCumsum, graph.OpCumprod, graph.OpArgsort:
		return c.along(n)
	case graph.OpTake:
		return c.take(n)
	case graph.OpGather:
		return c.gather(n)
	case graph.OpIf, graph.OpLoop:
		return c.control(n)
	case graph.OpSum, graph.OpMean, graph.OpAmax, graph.OpAmin, graph.OpArgmax, graph.OpProd:
		return c.reduce(n)
	case graph.OpNormal, graph.OpBeta:
		return c.draw(n)
	default:
		return fmt.Errorf("%w: the operator has no step", ErrUnsupported)
	}
}

// alias gives a node's result the slot of its operand.
func (c *compiler) alias(n *graph.Node) error {
	s, err := c.operand(n.In[0])
	if err != nil {
		return err
	}
	c.of[n.Out[0]] = s
	return nil
}

// elementwise lowers a function of one number. A result is never written into
// an operand here: assign finds out where that is possible.
func (c *compiler) elementwise(n *graph.Node, u kernel.Unary) error {
	a, err := c.operand(n.In[0])
	if err != nil {
		return err
	}
	out := c.temp(n.Out[0].Shape)
	c.step(step{op: stepUnary, unary: u, a: a, out: out, note: string(n.Op)})
	c.of[n.Out[0]] = out
	return nil
}

// cast lowers a change of type. Between floating point types and to a wider
// integer it changes nothing here.
func (c *compiler) cast(n *graph.Node) error {
	from, to := n.In[0].DType, n.Attrs.DType("dtype")
	switch {
	case to == from || to.IsFloat() || from == graph.Bool:
		return c.alias(n)
	case to == graph.Bool:
		return c.elementwise(n, kernel.Unary{Op: kernel.Truth})
	case from.IsInt() && graph.Promote(from, to) == to:
		return c.alias(n)
	}
	a, err := c.operand(n.In[0])
	if err != nil {
		return err
	}
	c.of[n.Out[0]] = c.wrap(a, n.Out[0], "cast")
	return nil
}

// wrap converts a slot to the integer type of v.
func (c *compiler) wrap(a int, v *graph.Value, note string) int {
	out := c.temp(v.Shape)
	c.step(step{op: stepWrap, n: 8 * v.DType.Bytes(), flag: v.DType != graph.Uint8, a: a, out: out, note: note + " " + v.DType.String()})
	return out
}

// draw lowers a draw from a distribution.
func (c *compiler) draw(n *graph.Node) error {
	v := n.Out[0]
	size := sizeOf(v.Shape)
	stream := n.Attrs.Int("stream")
	if stream < 0 || stream > math.MaxInt32 {
		return fmt.Errorf("%w: stream %d", ErrUnsupported, stream)
	}
	s := step{op: stepNormal, n: size.n, flag: size.batch, stream: uint32(stream), note: string(n.Op)}
	if n.Op == graph.OpBeta {
		var err error
		if s.a, s.b, err = c.both(n); err != nil {
			return err
		}
		s.op = stepBeta
	}
	c.plan.draws = true
	c.of[v] = c.temp(v.Shape)
	s.out = c.of[v]
	c.step(s)
	return nil
}
