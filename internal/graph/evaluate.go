package graph

import "fmt"

// evalRun is one run of the reference evaluator, of a graph and those inside
// it.
type evalRun struct {
	rows     int
	key      NormalKey
	row      uint64 // number of the first row
	fixedRow uint64 // to which draws without a batch axis belong
	budget   *int   // left of StepBudget
}

// evalCall is one node at work in the reference evaluator.
type evalCall struct {
	run *evalRun
	n   *Node
	in  []*Tensor // with fixed shapes
	out []*Tensor // allocated, of the results' types
	err error     // of the operators that run graphs
}

// Evaluate runs the graph on the given number of rows, one tensor for each
// input in the order of the graph, and returns one tensor for each output.
// Shapes are those of the graph with the batch axis set to rows.
//
// This is the slow twin of every fast path: plain loops, arithmetic in
// float64, the result of each node rounded to its element type. Its results
// are what torch computes up to the rounding of sums. NaN goes through every
// operator that torch lets it through.
//
// The graph must verify. Input tensors are not changed; outputs may share
// memory with inputs and constants. The error is a *ShapeError, or wraps
// ErrDType, ErrOperands, ErrLimit or ErrStepBudget.
func Evaluate(g *Graph, rows int, inputs []*Tensor, noise Noise) ([]*Tensor, error) {
	if rows < 0 || rows > MaxEvaluateElements {
		return nil, fmt.Errorf("graph: evaluate: %w: %d rows, must be 0 to %d", ErrLimit, rows, MaxEvaluateElements)
	}
	if len(inputs) != len(g.Inputs) {
		return nil, fmt.Errorf("graph: evaluate: %w: got %d inputs, the graph has %d", ErrOperands, len(inputs), len(g.Inputs))
	}
	for i, v := range g.Inputs {
		if err := checkInput(v, inputs[i], rows); err != nil {
			return nil, err
		}
	}
	budget := StepBudget
	run := &evalRun{rows: rows, key: noise.Key(), row: noise.Row, budget: &budget}
	if !g.Batched() {
		run.fixedRow = noise.Row
	}
	return run.graph(g, inputs)
}

// graph runs a graph whose inputs have been checked.
func (r *evalRun) graph(g *Graph, inputs []*Tensor) ([]*Tensor, error) {
	values := make(map[*Value]*Tensor, len(g.Inputs)+len(g.Nodes))
	for i, v := range g.Inputs {
		values[v] = inputs[i]
	}
	for _, n := range g.Nodes {
		if err := r.node(n, values); err != nil {
			return nil, err
		}
	}
	outputs := make([]*Tensor, len(g.Outputs))
	for i, o := range g.Outputs {
		t, err := operand(o.Value, values)
		if err != nil {
			return nil, fmt.Errorf("graph: output %q: %w", o.Name, err)
		}
		outputs[i] = t
	}
	return outputs, nil
}

func checkInput(v *Value, t *Tensor, rows int) error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("graph: input %q: %w", v.Name, err)
	}
	if t.DType != v.DType {
		return fmt.Errorf("graph: input %q: %w: expected %v, got %v", v.Name, ErrDType, v.DType, t.DType)
	}
	if want := v.Shape.For(rows); !t.Shape.Equal(want) {
		return &ShapeError{Op: "evaluate", DTypes: []DType{t.DType}, Shapes: []Shape{t.Shape},
			Reason: fmt.Sprintf("input %q must be %v", v.Name, want)}
	}
	return nil
}

func operand(v *Value, values map[*Value]*Tensor) (*Tensor, error) {
	if v.Const != nil {
		return v.Const, nil
	}
	if t := values[v]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("%w: value %%%d is used before it is defined", ErrInvalid, v.ID)
}

func (r *evalRun) node(n *Node, values map[*Value]*Tensor) error {
	s, ok := specs[n.Op]
	if !ok {
		return fmt.Errorf("graph: %w: %q", ErrUnsupportedOp, n.Op)
	}
	c := &evalCall{run: r, n: n}
	for _, v := range n.In {
		t, err := operand(v, values)
		if err != nil {
			return fmt.Errorf("graph: %s: %w", n.Op, err)
		}
		c.in = append(c.in, t)
	}
	for _, v := range n.Out {
		each := v.Shape.RowElements()
		if each > MaxEvaluateElements || !v.Shape.Fixed() && each > 0 && r.rows > MaxEvaluateElements/each {
			return fmt.Errorf("graph: evaluate %s: %w: %v of %d rows", n.Op, ErrLimit, v.Shape, r.rows)
		}
		c.out = append(c.out, newTensor(v.DType, v.Shape.For(r.rows)))
	}
	if s.eval(c); c.err != nil {
		return c.err
	}
	for i, v := range n.Out {
		values[v] = c.out[i]
	}
	return nil
}

func newTensor(dt DType, shape Shape) *Tensor {
	t := &Tensor{DType: dt, Shape: shape}
	switch n := shape.RowElements(); {
	case dt == Float64:
		t.F64 = make([]float64, n)
	case dt.IsFloat():
		t.F32 = make([]float32, n)
	default:
		t.I64 = make([]int64, n)
	}
	return t
}

// set stores x as element i, rounded to the type; integers are cut toward
// zero and wrapped, booleans are 1 for all but 0.
func (t *Tensor) set(i int, x float64) {
	switch {
	case t.F64 != nil:
		t.F64[i] = x
	case t.F32 != nil:
		t.F32[i] = float32(roundTo(t.DType, x))
	case t.DType == Bool:
		t.I64[i] = truth(x != 0)
	default:
		t.I64[i] = wrap(t.DType, truncate(x))
	}
}

// setInt stores an integer, which is not rounded on its way to an integer
// type.
func (t *Tensor) setInt(i int, x int64) {
	if t.I64 == nil {
		t.set(i, float64(x))
		return
	}
	t.I64[i] = wrap(t.DType, x)
}

// copyFrom stores element j of s as element i, converted.
func (t *Tensor) copyFrom(i int, s *Tensor, j int) {
	if s.I64 != nil {
		t.setInt(i, s.I64[j])
		return
	}
	t.set(i, s.At(j))
}

// eachIndex calls f for each index of a fixed shape in row-major order. The
// index is reused between calls.
func eachIndex(shape Shape, f func(at int, index []int)) {
	index := make([]int, len(shape))
	for at := range shape.RowElements() {
		f(at, index)
		for i := len(index) - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
}

func dot(a, b []int) int {
	n := 0
	for i, x := range a {
		n += x * b[i]
	}
	return n
}
