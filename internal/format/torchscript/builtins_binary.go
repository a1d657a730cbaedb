package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// binaryBuiltins are functions of two operands that broadcast.
var binaryBuiltins = map[string]builtin{
	"add":          {"x y alpha", func(c *call) value { return c.sum(graph.OpAdd, 0, 1, 2) }},
	"sub":          {"x y alpha", func(c *call) value { return c.sum(graph.OpSub, 0, 1, 2) }},
	"subtract":     {"x y alpha", func(c *call) value { return c.sum(graph.OpSub, 0, 1, 2) }},
	"rsub":         {"x y alpha", func(c *call) value { return c.sum(graph.OpSub, 1, 0, 2) }},
	"mul":          {"x y", binary(graph.OpMul)},
	"multiply":     {"x y", binary(graph.OpMul)},
	"div":          {"x y rounding_mode", divide},
	"divide":       {"x y rounding_mode", divide},
	"true_divide":  {"x y", binary(graph.OpDiv)},
	"floor_divide": {"x y", func(c *call) value { return c.elementwise(0, 1, c.in.floorDivide) }},
	"floordiv":     {"x y", func(c *call) value { return c.elementwise(0, 1, c.in.floorDivide) }},
	"remainder":    {"x y", func(c *call) value { return c.elementwise(0, 1, c.in.remainder) }},
	"pow":          {"x y", binary(graph.OpPow)},
	"minimum":      {"x y", binary(graph.OpMinimum)},
	"maximum":      {"x y", binary(graph.OpMaximum)},

	"eq":            {"x y", binary(graph.OpEq)},
	"ne":            {"x y", binary(graph.OpNe)},
	"not_equal":     {"x y", binary(graph.OpNe)},
	"lt":            {"x y", binary(graph.OpLt)},
	"less":          {"x y", binary(graph.OpLt)},
	"le":            {"x y", binary(graph.OpLe)},
	"less_equal":    {"x y", binary(graph.OpLe)},
	"gt":            {"x y", binary(graph.OpGt)},
	"greater":       {"x y", binary(graph.OpGt)},
	"ge":            {"x y", binary(graph.OpGe)},
	"greater_equal": {"x y", binary(graph.OpGe)},
	"logical_and":   {"x y", binary(graph.OpAnd)},
	"logical_or":    {"x y", binary(graph.OpOr)},
	"logical_xor":   {"x y", logicalXor},

	"where":       {"cond x y", where},
	"masked_fill": {"x mask v", maskedFill},
	"addcmul":     {"x a b value", func(c *call) value { return addProduct(c, graph.OpMul) }},
	"addcdiv":     {"x a b value", func(c *call) value { return addProduct(c, graph.OpDiv) }},
	"lerp":        {"x end weight", lerp},
	"copy":        {"x source non_blocking", func(c *call) value { return newTensor(c.value(1)) }},
	"fill":        {"x v", func(c *call) value { return newTensor(c.operand(1, c.value(0))) }},
	"zero":        {"x", func(c *call) value { return newTensor(c.in.number(int64(0), nil)) }},
}

// operand returns a tensor, or a number as an operand beside like.
func (c *call) operand(i int, like *graph.Value) *graph.Value {
	v := c.args[i]
	if t, ok := v.(*tensor); ok {
		if t.num == nil {
			return c.in.read(t)
		}
		v = t.num
	}
	if _, data := v.(*scalar); !data && !isNumber(v) {
		c.wrong(i, "a tensor or a number")
	}
	return c.in.number(v, like)
}

func binary(op graph.Op) func(c *call) value {
	return func(c *call) value {
		return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value { return c.in.add(op, nil, x, y) })
	}
}

// pyOps are the operations of Python that the functions on tensors are for
// numbers.
var pyOps = map[string]string{
	"add": "add", "sub": "sub", "mul": "mul", "div": "div", "floor_divide": "floordiv", "floordiv": "floordiv",
	"remainder": "remainder", "pow": "pow", "subtract": "sub", "multiply": "mul", "true_divide": "div",
}

// elementwise computes f of arguments i and j. Tensors that the code made of
// numbers, as traces do with sizes, stay numbers; a pending input stays
// pending, or is found out from the other operand.
func (c *call) elementwise(i, j int, f func(x, y *graph.Value) *graph.Value) value {
	if v, ok := c.numbers(i, j); ok {
		return v
	}
	x, xTensor := c.args[i].(*tensor)
	y, yTensor := c.args[j].(*tensor)
	switch {
	case xTensor && x.pending:
		return c.pendingWith(x, j)
	case yTensor && y.pending:
		return c.pendingWith(y, i)
	case !xTensor && !yTensor:
		c.wrong(i, "a tensor")
	case xTensor && x.num == nil:
		v := c.in.read(x)
		return newTensor(f(v, c.operand(j, v)))
	case yTensor && y.num == nil:
		v := c.in.read(y)
		return newTensor(f(c.operand(i, v), v))
	}
	return newTensor(f(c.value(i), c.value(j)))
}

// numbers computes with tensors that the code made of numbers.
func (c *call) numbers(i, j int) (value, bool) {
	op, ok := pyOps[c.name]
	if !ok {
		return nil, false
	}
	made := false
	nums := [2]value{c.args[i], c.args[j]}
	for k, v := range nums {
		t, isTensor := v.(*tensor)
		if !isTensor {
			continue
		}
		made = made || t.num != nil
		if t.pending || t.num == nil && len(c.in.read(t).Shape) > 0 {
			return nil, false
		}
		if nums[k], ok = c.in.numberOf(t); !ok {
			return nil, false
		}
		if _, data := nums[k].(*scalar); data {
			return nil, false
		}
	}
	if !made || !isNumber(nums[0]) || !isNumber(nums[1]) {
		return nil, false
	}
	return newNumber(c.in.arith(op, nums[0], nums[1])), true
}

// pendingWith is an operation of a pending input with argument j. A constant
// of more than one element tells the width of the row; anything else leaves
// the input pending.
func (c *call) pendingWith(t *tensor, j int) value {
	other, ok := c.args[j].(*tensor)
	if ok && other.pending {
		if other.slot != t.slot {
			c.in.needShape(t)
		}
		return c.in.stillPending(t)
	}
	if ok && other.num == nil {
		v := c.in.read(other)
		if n := len(v.Shape); n > 0 && v.Shape[n-1] != 1 {
			if n > 2 || n == 2 && v.Shape[0] != 1 && v.Shape[0] != graph.Batch || v.Shape[n-1] < 0 {
				t.slot.described = v.Shape.String()
				c.in.needShape(t)
			}
			c.in.learn(t, graph.Shape{graph.Batch, v.Shape[n-1]}, nil)
		}
	}
	return c.in.stillPending(t)
}

// stillPending is the result of an operation that keeps the shape of an input
// that is not known yet.
func (in *interp) stillPending(t *tensor) value {
	return &tensor{slot: t.slot, pending: true, cast: t.cast, lifted: t.lifted, memory: &memory{}}
}

// sum is x ± alpha·y.
func (c *call) sum(op graph.Op, i, j, alpha int) value {
	if c.has(alpha) && c.float(alpha, 1) != 1 {
		a := c.args[alpha]
		return c.elementwise(i, j, func(x, y *graph.Value) *graph.Value {
			// rsub is y - alpha·x: alpha belongs to the first argument there.
			return c.in.add(op, nil, x, c.in.add(graph.OpMul, nil, y, c.in.number(a, y)))
		})
	}
	return c.elementwise(i, j, func(x, y *graph.Value) *graph.Value { return c.in.add(op, nil, x, y) })
}

func divide(c *call) value {
	switch mode := c.str(2, ""); mode {
	case "":
		return binary(graph.OpDiv)(c)
	case "floor":
		return c.elementwise(0, 1, c.in.floorDivide)
	case "trunc":
		return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value {
			dt := graph.Promote(x.DType, y.DType)
			return c.in.cast(c.in.trunc(c.in.add(graph.OpDiv, nil, x, y)), dt)
		})
	default:
		c.in.unsupported("torch.div with rounding mode %q", mode)
		return nil
	}
}

// floorDivide is the floor of the quotient, in the type of the operands.
func (in *interp) floorDivide(x, y *graph.Value) *graph.Value {
	return in.add(graph.OpFloorDiv, nil, x, y)
}

// remainder is x - floor(x/y)·y, with the sign of y.
func (in *interp) remainder(x, y *graph.Value) *graph.Value {
	if x.DType.IsInt() && y.DType.IsInt() {
		return in.add(graph.OpRemainder, nil, x, y)
	}
	return in.add(graph.OpSub, nil, x, in.add(graph.OpMul, nil, in.floorDivide(x, y), y))
}

// trunc rounds towards zero.
func (in *interp) trunc(x *graph.Value) *graph.Value { return in.add(graph.OpTrunc, nil, x) }

func logicalXor(c *call) value {
	return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value {
		return c.in.add(graph.OpNe, nil, c.in.cast(x, graph.Bool), c.in.cast(y, graph.Bool))
	})
}

func where(c *call) value {
	cond := c.booleans(0)
	x, y := c.pair(1, 2)
	return newTensor(c.in.add(graph.OpWhere, nil, cond, x, y))
}

// pair returns two arguments of which either may be a number.
func (c *call) pair(i, j int) (x, y *graph.Value) {
	if t, ok := c.args[i].(*tensor); ok && t.num == nil {
		x = c.in.read(t)
		return x, c.operand(j, x)
	}
	if t, ok := c.args[j].(*tensor); ok && t.num == nil {
		y = c.in.read(t)
		return c.operand(i, y), y
	}
	return c.value(i), c.value(j)
}

func maskedFill(c *call) value {
	x := c.value(0)
	mask := c.booleans(1)
	v := c.in.add(graph.OpWhere, nil, mask, c.operand(2, x), x)
	return newTensor(c.in.cast(v, x.DType))
}

// addProduct is x + value·(a op b).
func addProduct(c *call, op graph.Op) value {
	p := c.in.add(op, nil, c.value(1), c.value(2))
	if k := c.float(3, 1); k != 1 {
		p = c.in.add(graph.OpMul, nil, p, c.in.number(k, p))
	}
	return newTensor(c.in.add(graph.OpAdd, nil, c.value(0), p))
}

// lerp is x + weight·(end - x).
func lerp(c *call) value {
	x := c.value(0)
	d := c.in.add(graph.OpSub, nil, c.value(1), x)
	w := c.operand(2, d)
	return newTensor(c.in.add(graph.OpAdd, nil, x, c.in.add(graph.OpMul, nil, w, d)))
}
