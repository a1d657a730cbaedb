package graph

import "math"

// Arithmetic on two operands that broadcast. Operands of different types are
// converted to the type of torch's promotion table first.
var binarySpecs = map[Op]spec{
	OpAdd: arithmetic(inferAdd, func(a, b float64) float64 { return a + b }, func(a, b int64) int64 { return a + b }),
	OpSub: arithmetic(inferNumbers, func(a, b float64) float64 { return a - b }, func(a, b int64) int64 { return a - b }),
	OpMul: arithmetic(inferAdd, func(a, b float64) float64 { return a * b }, func(a, b int64) int64 { return a * b }),
	OpDiv: arithmetic(inferDiv, func(a, b float64) float64 { return a / b }, nil),
	OpPow: arithmetic(inferNumbers, math.Pow, powInt),

	OpFmod:      arithmetic(inferNumbers, math.Mod, fmodInt),
	OpRemainder: arithmetic(inferNumbers, remainder, remainderInt),
	OpFloorDiv:  arithmetic(inferNumbers, floorDiv, floorDivInt),
	OpAtan2:     arithmetic(inferDiv, math.Atan2, nil),

	// The built-in functions give NaN where either operand is NaN; those of
	// package math do not beside an infinity.
	OpMinimum: arithmetic(inferAdd, func(a, b float64) float64 { return min(a, b) }, func(a, b int64) int64 { return min(a, b) }),
	OpMaximum: arithmetic(inferAdd, func(a, b float64) float64 { return max(a, b) }, func(a, b int64) int64 { return max(a, b) }),
}

func arithmetic(infer func(n *Node) ([]typ, error), f func(a, b float64) float64, i func(a, b int64) int64) spec {
	return spec{min: 2, max: 2, infer: infer, eval: func(c *evalCall) { evalBinary(c, f, i) }}
}

// powInt is a to the power of b; negative powers are 0 but for 1 and -1, as
// in integer arithmetic of torch.
func powInt(a, b int64) int64 {
	if b < 0 {
		switch {
		case a == 1:
			return 1
		case a == -1 && b&1 == 0:
			return 1
		case a == -1:
			return -1
		default:
			return 0
		}
	}
	p := int64(1)
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			p *= a
		}
		a *= a
	}
	return p
}

// fmodInt is the remainder of the quotient cut toward zero.
func fmodInt(a, b int64) int64 {
	if b == 0 || b == -1 { // The least integer has no quotient by -1.
		return 0
	}
	return a % b
}

// remainder is that of the quotient rounded down: of the sign of b.
func remainder(a, b float64) float64 {
	m := math.Mod(a, b)
	if m != 0 && (m < 0) != (b < 0) {
		m += b
	}
	return m
}

func remainderInt(a, b int64) int64 {
	m := fmodInt(a, b)
	if m != 0 && (m < 0) != (b < 0) {
		m += b
	}
	return m
}

// floorDiv rounds the quotient down by its remainder, so that a quotient that
// rounding has brought up to an integer is not taken for it.
func floorDiv(a, b float64) float64 {
	if b == 0 {
		return a / b
	}
	m := math.Mod(a, b)
	q := (a - m) / b
	if m != 0 && (m < 0) != (b < 0) {
		q--
	}
	if q == 0 {
		return math.Copysign(0, a/b)
	}
	return math.Round(q)
}

func floorDivInt(a, b int64) int64 {
	switch b {
	case 0:
		return 0
	case -1:
		return -a
	}
	return (a - remainderInt(a, b)) / b
}

// inferAdd takes any types; two booleans stay boolean, where + is or and * is
// and.
func inferAdd(n *Node) ([]typ, error) {
	shape, ok := Broadcast(n.In[0].Shape, n.In[1].Shape)
	if !ok {
		return nil, n.shapeError("the shapes do not broadcast")
	}
	return one(promoteAll(n.In), shape)
}

// inferNumbers is inferAdd without booleans.
func inferNumbers(n *Node) ([]typ, error) {
	t, err := inferAdd(n)
	if err == nil && t[0].dtype == Bool {
		return nil, n.fail(ErrDType, "not defined for booleans")
	}
	return t, err
}

// inferDiv is the true quotient: floating point, f32 for integers.
func inferDiv(n *Node) ([]typ, error) {
	t, err := inferAdd(n)
	if err == nil {
		t[0].dtype = floated(t[0].dtype)
	}
	return t, err
}

// evalBinary computes f, or i where the operands meet in an integer type and
// i exists.
func evalBinary(c *evalCall, f func(a, b float64) float64, i func(a, b int64) int64) {
	a, b, out := c.in[0], c.in[1], c.out[0]
	as, bs := a.Shape.broadcastStrides(out.Shape), b.Shape.broadcastStrides(out.Shape)
	meet := promoteAll(c.n.In)
	if !meet.IsFloat() && i != nil {
		eachIndex(out.Shape, func(at int, index []int) {
			out.setInt(at, i(a.I64[dot(index, as)], b.I64[dot(index, bs)]))
		})
		return
	}
	meet = computeType(floated(meet))
	eachIndex(out.Shape, func(at int, index []int) {
		out.set(at, f(roundTo(meet, a.At(dot(index, as))), roundTo(meet, b.At(dot(index, bs)))))
	})
}

// computeType is the type to which operands of the type are converted before
// arithmetic: half precision computes in single.
func computeType(d DType) DType {
	if d == Float64 {
		return Float64
	}
	return Float32
}
