package kernel

import "math"

// BinaryOp names a function of two numbers. A comparison gives 1 or 0, and a
// number is true where it is not 0.
type BinaryOp uint8

// The functions. The first four, Minimum and Maximum have a vector form.
const (
	Add BinaryOp = iota
	Sub
	Mul
	Div

	Pow
	PowInt // of integers, 0 for most negative exponents
	Atan2
	Fmod      // the remainder of the sign of a
	Remainder // the remainder of the sign of b
	FloorDiv
	FmodInt // of integers, as the two below: by 0 they give 0
	RemainderInt
	FloorDivInt
	Minimum
	Maximum
	Eq
	Ne
	Lt
	Le
	Gt
	Ge
	And
	Or
	binaryOps
)

var binaryNames = [binaryOps]string{"add", "sub", "mul", "div", "pow", "powi", "atan2",
	"fmod", "remainder", "floor_div", "fmodi", "remainderi", "floor_divi", "minimum", "maximum", "eq", "ne", "lt", "le", "gt", "ge", "and", "or"}

// String returns the operator's name in the graph.
func (o BinaryOp) String() string {
	if o < binaryOps {
		return binaryNames[o]
	}
	return "unknown"
}

// minVector is the length from which arithmetic goes to the vector kernels.
// Below a whole register the parts in which a tail is stored stall the load of
// the next step; the plain loop gives the same bits.
const minVector = 8

// Binary computes y[i] = op(a[i], b[i]) for the elements of a. y and b are at
// least as long; y may be a or b.
func (k Impl) Binary(op BinaryOp, y, a, b []float32) {
	y, b = y[:len(a)], b[:len(a)]
	if k.vector {
		switch op { // at all lengths: which zero they give differs from the loop
		case Minimum:
			minimumVector(y, a, b)
			return
		case Maximum:
			maximumVector(y, a, b)
			return
		case Pow:
			powVector(y, a, b)
			return
		}
	}
	if k.vector && len(a) >= minVector {
		switch op {
		case Add:
			addVector(y, a, b)
			return
		case Sub:
			subVector(y, a, b)
			return
		case Mul:
			mulVector(y, a, b)
			return
		case Div:
			divVector(y, a, b)
			return
		}
	}
	switch op {
	case Add:
		addGeneric(y, a, b)
	case Sub:
		subGeneric(y, a, b)
	case Mul:
		mulGeneric(y, a, b)
	case Div:
		divGeneric(y, a, b)
	case Pow:
		powGeneric(y, a, b)
	case Minimum:
		minimumGeneric(y, a, b)
	case Maximum:
		maximumGeneric(y, a, b)
	default:
		f := binaryFuncs[op]
		for i, v := range a {
			y[i] = f(v, b[i])
		}
	}
}

// binaryFuncs holds the functions without a loop of their own.
var binaryFuncs = [binaryOps]func(a, b float32) float32{
	PowInt: func(a, b float32) float32 { return float32(powInt(int64(a), int64(b))) },
	Atan2:  func(a, b float32) float32 { return float32(math.Atan2(float64(a), float64(b))) },

	Fmod:      func(a, b float32) float32 { return float32(math.Mod(float64(a), float64(b))) },
	Remainder: func(a, b float32) float32 { return float32(remainder(float64(a), float64(b))) },
	FloorDiv:  func(a, b float32) float32 { return float32(floorDiv(float64(a), float64(b))) },
	FmodInt: func(a, b float32) float32 {
		if b == 0 {
			return 0
		}
		return float32(math.Mod(float64(a), float64(b)))
	},
	RemainderInt: func(a, b float32) float32 {
		if b == 0 {
			return 0
		}
		return float32(remainder(float64(a), float64(b)))
	},
	FloorDivInt: func(a, b float32) float32 {
		if b == 0 {
			return 0
		}
		return float32(floorDiv(float64(a), float64(b)))
	},

	Eq:  func(a, b float32) float32 { return truth32(a == b) },
	Ne:  func(a, b float32) float32 { return truth32(a != b) },
	Lt:  func(a, b float32) float32 { return truth32(a < b) },
	Le:  func(a, b float32) float32 { return truth32(a <= b) },
	Gt:  func(a, b float32) float32 { return truth32(a > b) },
	Ge:  func(a, b float32) float32 { return truth32(a >= b) },
	And: func(a, b float32) float32 { return truth32(a != 0 && b != 0) },
	Or:  func(a, b float32) float32 { return truth32(a != 0 || b != 0) },
}

func truth32(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

// remainder is that of the quotient rounded down: of the sign of b.
func remainder(a, b float64) float64 {
	m := math.Mod(a, b)
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

// powInt is integer arithmetic's power: of the negative exponents only those
// of 1 and -1 give something other than 0.
func powInt(a, b int64) int64 {
	if b < 0 {
		if a != 1 && a != -1 {
			return 0
		}
		b = -b
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

// addGeneric computes y[i] = a[i] + b[i].
func addGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v + b[i]
	}
}

// subGeneric computes y[i] = a[i] - b[i].
func subGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v - b[i]
	}
}

// mulGeneric computes y[i] = a[i] · b[i].
func mulGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v * b[i]
	}
}

// divGeneric computes y[i] = a[i] / b[i].
func divGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v / b[i]
	}
}

// minimumGeneric computes the lesser of both, NaN where either is.
func minimumGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = min(v, b[i])
	}
}

// maximumGeneric computes the greater of both, NaN where either is.
func maximumGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = max(v, b[i])
	}
}

// Where computes y[i] = a[i] where cond[i] is not 0, else b[i].
func Where(y, cond, a, b []float32) {
	for i, c := range cond {
		if c != 0 {
			y[i] = a[i]
		} else {
			y[i] = b[i]
		}
	}
}

// WrapInt converts numbers to integers of the given width, cut toward zero and
// wrapped as two's complement, in place. What no int64 holds, NaN included,
// becomes the least int64 first, as the conversion of amd64 makes it.
func WrapInt(y []float32, bits int, signed bool) {
	for i, v := range y {
		n := int64(math.MinInt64)
		if v >= -(1<<63) && v < 1<<63 {
			n = int64(v)
		}
		shift := 64 - bits
		if signed {
			n = n << shift >> shift
		} else {
			n = int64(uint64(n) << shift >> shift)
		}
		y[i] = float32(n)
	}
}
