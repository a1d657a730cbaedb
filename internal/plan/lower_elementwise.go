package plan

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// tileFloats is the length to which a constant operand that repeats is
// repeated, so that a batch takes few calls.
const tileFloats = 512

var unaryOps = map[graph.Op]kernel.UnaryOp{
	graph.OpRelu: kernel.Relu, graph.OpTanh: kernel.Tanh, graph.OpSigmoid: kernel.Sigmoid, graph.OpSilu: kernel.Silu,
	graph.OpMish: kernel.Mish, graph.OpSoftsign: kernel.Softsign, graph.OpHardswish: kernel.Hardswish,
	graph.OpHardsigmoid: kernel.Hardsigmoid, graph.OpLogSigmoid: kernel.LogSigmoid,
	graph.OpExp: kernel.Exp, graph.OpExpm1: kernel.Expm1, graph.OpLog: kernel.Log, graph.OpLog1p: kernel.Log1p,
	graph.OpSqrt: kernel.Sqrt, graph.OpRsqrt: kernel.Rsqrt, graph.OpReciprocal: kernel.Reciprocal,
	graph.OpAbs: kernel.Abs, graph.OpNeg: kernel.Neg, graph.OpSign: kernel.Sign, graph.OpFloor: kernel.Floor,
	graph.OpCeil: kernel.Ceil, graph.OpRound: kernel.Round, graph.OpSin: kernel.Sin, graph.OpCos: kernel.Cos,
	graph.OpTan: kernel.Tan, graph.OpAsin: kernel.Asin, graph.OpAcos: kernel.Acos, graph.OpAtan: kernel.Atan,
	graph.OpSinh: kernel.Sinh, graph.OpCosh: kernel.Cosh, graph.OpAsinh: kernel.Asinh, graph.OpAcosh: kernel.Acosh,
	graph.OpAtanh: kernel.Atanh, graph.OpTrunc: kernel.Trunc,
	graph.OpErf: kernel.Erf, graph.OpNot: kernel.Not,
}

// The constants of selu, from appendix A.1 of the paper on self-normalising
// networks.
const (
	seluAlpha = 1.6732632423543772848170429916717
	seluScale = 1.0507009873554804934193349852946
)

// unaryOf returns the kernel function of a node, if it is one of a single
// number.
func unaryOf(n *graph.Node) (kernel.Unary, bool) {
	alpha := float32(n.Attrs.Float("alpha"))
	switch n.Op {
	case graph.OpClamp:
		lo, hi := n.Attrs.ClampBounds()
		return kernel.Unary{Op: kernel.Clamp, A: float32(lo), B: float32(hi)}, true
	case graph.OpElu:
		return kernel.Unary{Op: kernel.Elu, A: 1, B: alpha, C: 1}, true
	case graph.OpCelu:
		return kernel.Unary{Op: kernel.Elu, A: 1, B: alpha, C: float32(1 / n.Attrs.Float("alpha"))}, true
	case graph.OpSelu:
		return kernel.Unary{Op: kernel.Elu, A: seluScale, B: float32(seluScale * seluAlpha), C: 1}, true
	case graph.OpLeakyRelu:
		return kernel.Unary{Op: kernel.LeakyRelu, A: alpha}, true
	case graph.OpSoftplus:
		return kernel.Unary{Op: kernel.Softplus, A: float32(n.Attrs.Float("beta")), B: float32(n.Attrs.Float("threshold"))}, true
	case graph.OpGelu:
		if n.Attrs.Text("approximate") == "tanh" {
			return kernel.Unary{Op: kernel.GeluTanh}, true
		}
		return kernel.Unary{Op: kernel.Gelu}, true
	}
	op, ok := unaryOps[n.Op]
	return kernel.Unary{Op: op}, ok
}

var binaryOps = map[graph.Op]kernel.BinaryOp{
	graph.OpAdd: kernel.Add, graph.OpSub: kernel.Sub, graph.OpMul: kernel.Mul, graph.OpDiv: kernel.Div,
	graph.OpPow: kernel.Pow, graph.OpAtan2: kernel.Atan2, graph.OpFmod: kernel.Fmod, graph.OpRemainder: kernel.Remainder,
	graph.OpFloorDiv: kernel.FloorDiv, graph.OpMinimum: kernel.Minimum, graph.OpMaximum: kernel.Maximum,
	graph.OpEq: kernel.Eq, graph.OpNe: kernel.Ne, graph.OpLt: kernel.Lt, graph.OpLe: kernel.Le,
	graph.OpGt: kernel.Gt, graph.OpGe: kernel.Ge, graph.OpAnd: kernel.And, graph.OpOr: kernel.Or,
}

// binaryOf returns the kernel function of a node, if it is one of two numbers.
// The sum of two booleans is their or, the product their and.
func binaryOf(n *graph.Node) (kernel.BinaryOp, bool) {
	op, ok := binaryOps[n.Op]
	if !ok {
		return op, false
	}
	dt := n.Out[0].DType
	if op == kernel.Add && dt == graph.Bool {
		return kernel.Or, true
	}
	if !dt.IsFloat() {
		switch op {
		case kernel.Pow:
			return kernel.PowInt, true
		case kernel.Fmod:
			return kernel.FmodInt, true
		case kernel.Remainder:
			return kernel.RemainderInt, true
		case kernel.FloorDiv:
			return kernel.FloorDivInt, true
		}
	}
	return op, true
}

// binary lowers a function of two numbers. An operand that has all elements
// is taken as it is; one that repeats in order, as a vector of features does,
// is repeated; any other is stretched first.
func (c *compiler) binary(n *graph.Node, op kernel.BinaryOp) error {
	v := n.Out[0]
	size := sizeOf(v.Shape)
	a, err := c.operand(n.In[0])
	if err != nil {
		return err
	}
	if op == kernel.Pow && c.power(n, a) {
		return nil
	}
	b, err := c.operand(n.In[1])
	if err != nil {
		return err
	}
	s := step{op: stepBinary, binary: op, note: string(n.Op)}
	fullA, fullB := sizeOf(n.In[0].Shape) == size, sizeOf(n.In[1].Shape) == size
	switch {
	case fullA && fullB:
	case fullA && repeats(n.In[1].Shape, v.Shape):
		s.op, b = stepTile, c.tile(b)
	case fullB && repeats(n.In[0].Shape, v.Shape):
		s.op, s.swapped = stepTile, true
		a, b = b, c.tile(a)
	case fullA && columns(op, n.In[1].Shape, v.Shape) > 0:
		s.op, s.n = stepColumns, columns(op, n.In[1].Shape, v.Shape)
	case fullB && columns(op, n.In[0].Shape, v.Shape) > 0:
		s.op, s.n, s.swapped = stepColumns, columns(op, n.In[0].Shape, v.Shape), true
		a, b = b, a
	default:
		a, b = c.stretch(a, n.In[0].Shape, v.Shape), c.stretch(b, n.In[1].Shape, v.Shape)
	}
	s.a, s.b, s.out = a, b, c.temp(v.Shape)
	c.step(s)
	c.of[v] = s.out
	if v.DType.IsInt() && v.DType.Bytes() < 4 {
		c.of[v] = c.wrap(s.out, v, string(n.Op)) // narrow integers wrap around
	}
	return nil
}

// columns returns how many elements of the shape to share one of an operand of
// shape s, where they follow each other and the operand otherwise has all
// elements or repeats in order; else 0, as where the operation has no such
// step.
func columns(op kernel.BinaryOp, s, to graph.Shape) int {
	if op != kernel.Add && op != kernel.Sub && op != kernel.Mul {
		return 0
	}
	last := len(s)
	for last > 0 && s[last-1] == 1 {
		last--
	}
	split := len(to) - (len(s) - last)
	size, rest := sizeOf(to[split:]), sizeOf(s[:last])
	if size.batch || size.n < kernel.MinColumns || rest.n == 0 || rest != sizeOf(to[:split]) && !repeats(s[:last], to[:split]) {
		return 0
	}
	return size.n
}

// power lowers the constant powers that have a function of their own.
func (c *compiler) power(n *graph.Node, a int) bool {
	x, e, v := n.In[0], n.In[1].Const, n.Out[0]
	if e == nil || e.Len() != 1 || !x.DType.IsFloat() || sizeOf(x.Shape) != sizeOf(v.Shape) {
		return false
	}
	s := step{op: stepUnary, a: a, note: "pow"}
	switch e.At(0) {
	case 2:
		s.op, s.binary, s.b = stepBinary, kernel.Mul, a
	case 3: // as torch: x·x·x
		square := c.temp(v.Shape)
		c.step(step{op: stepBinary, binary: kernel.Mul, a: a, b: a, out: square, note: "pow"})
		s.op, s.binary, s.a, s.b = stepBinary, kernel.Mul, square, a
	case 0.5:
		s.unary.Op = kernel.Sqrt
	case -0.5:
		s.unary.Op = kernel.Rsqrt
	case -1:
		s.unary.Op = kernel.Reciprocal
	default:
		return false
	}
	s.out = c.temp(v.Shape)
	c.step(s)
	c.of[v] = s.out
	return true
}

// repeats reports whether the elements of an operand of shape s, again and
// again in their order, are the operand stretched to the shape to.
func repeats(s, to graph.Shape) bool {
	for len(s) > 0 && s[0] == 1 {
		s = s[1:]
	}
	size := sizeOf(s)
	return !size.batch && size.n > 0 && s.Equal(to[len(to)-len(s):])
}

// tile repeats a short constant.
func (c *compiler) tile(a int) int {
	s := c.plan.slots[a]
	if s.kind != slotConst || len(s.data) >= tileFloats {
		return a
	}
	n := len(s.data)
	s.data = kernel.Aligned(tileFloats / n * n)
	for at := 0; at < len(s.data); at += n {
		copy(s.data[at:], c.plan.slots[a].data)
	}
	s.size = dim{n: len(s.data)}
	return c.slot(s)
}

// where lowers a choice.
func (c *compiler) where(n *graph.Node) error {
	v := n.Out[0]
	var in [3]int
	for i, x := range n.In {
		s, err := c.operand(x)
		if err != nil {
			return err
		}
		in[i] = c.stretch(s, x.Shape, v.Shape)
	}
	c.of[v] = c.temp(v.Shape)
	c.step(step{op: stepWhere, a: in[0], b: in[1], c: in[2], out: c.of[v], note: "where"})
	return nil
}
