package torchscript

import (
	"math"
	"math/bits"
)

// scalarMath is arithmetic on Python numbers, strings and lists.
var scalarMath = map[string]builtin{
	"add":               {"a b alpha", arithmetic("add")},
	"sub":               {"a b alpha", arithmetic("sub")},
	"mul":               {"a b", arithmetic("mul")},
	"div":               {"a b", arithmetic("div")},
	"truediv":           {"a b", arithmetic("div")},
	"floordiv":          {"a b", arithmetic("floordiv")},
	"floor_divide":      {"a b", arithmetic("floordiv")},
	"remainder":         {"a b", arithmetic("remainder")},
	"pow":               {"a b", arithmetic("pow")},
	"__lshift__":        {"a b", arithmetic("lshift")},
	"__rshift__":        {"a b", arithmetic("rshift")},
	"neg":               {"a", func(c *call) value { return c.in.arith("sub", int64(0), c.args[0]) }},
	"abs":               {"a", scalarAbs},
	"min":               {"a b", func(c *call) value { return scalarExtreme(c, "lt") }},
	"max":               {"a b", func(c *call) value { return scalarExtreme(c, "gt") }},
	"floor":             {"a", func(c *call) value { return roundToInt(c, math.Floor) }},
	"ceil":              {"a", func(c *call) value { return roundToInt(c, math.Ceil) }},
	"round":             {"a", func(c *call) value { return math.RoundToEven(c.float(0, 0)) }},
	"sqrt":              {"a", func(c *call) value { return math.Sqrt(c.float(0, 0)) }},
	"exp":               {"a", func(c *call) value { return math.Exp(c.float(0, 0)) }},
	"log":               {"a", func(c *call) value { return math.Log(c.float(0, 0)) }},
	"sin":               {"a", func(c *call) value { return math.Sin(c.float(0, 0)) }},
	"cos":               {"a", func(c *call) value { return math.Cos(c.float(0, 0)) }},
	"tanh":              {"a", func(c *call) value { return math.Tanh(c.float(0, 0)) }},
	"isinf":             {"a", func(c *call) value { return math.IsInf(c.float(0, 0), 0) }},
	"isnan":             {"a", func(c *call) value { return math.IsNaN(c.float(0, 0)) }},
	"int":               {"a", func(c *call) value { return c.in.toIntValue(c.args[0]) }},
	"Int":               {"a", func(c *call) value { return c.in.toIntValue(c.args[0]) }},
	"float":             {"a", func(c *call) value { return c.in.toFloatValue(c.args[0]) }},
	"Float":             {"a", func(c *call) value { return c.in.toFloatValue(c.args[0]) }},
	"bool":              {"a", toBool},
	"Bool":              {"a", toBool},
	"__range_length":    {"lo hi step", func(c *call) value { return int64(rangeLength(c)) }},
	"__derive_index":    {"i start step", func(c *call) value { return int64(c.int(1, 0) + c.int(0, 0)*c.int(2, 1)) }},
	"range":             {"start end step", scalarRange},
	"NumToTensor":       {"a", func(c *call) value { return newNumber(c.number(0)) }},
	"__round_to_zero__": {"a", func(c *call) value { return roundToInt(c, math.Trunc) }},
}

func arithmetic(op string) func(c *call) value {
	return func(c *call) value { return c.in.arith(op, c.args[0], c.args[1]) }
}

// number returns an argument that is a number.
func (c *call) number(i int) value {
	if !isNumber(c.args[i]) {
		c.wrong(i, "a number")
	}
	return c.args[i]
}

// arith computes a binary operation of Python.
func (in *interp) arith(op string, a, b value) value {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok && op == "add" {
			if len(x)+len(y) > maxStringLen {
				in.limit("string of more than %d bytes", maxStringLen)
			}
			return x + y
		}
	case *list:
		switch y := b.(type) {
		case *list:
			if op == "add" {
				in.listLen(len(x.elems) + len(y.elems))
				return &list{elems: append(append([]value(nil), x.elems...), y.elems...)}
			}
		case int64:
			if op == "mul" {
				return in.repeatList(x, y)
			}
		}
	}
	if !isNumber(a) || !isNumber(b) {
		in.unsupported("%s of a %s and a %s", op, kindName(a), kindName(b))
	}
	ra, aRows := a.(rows)
	rb, bRows := b.(rows)
	if aRows || bRows {
		return in.rowsArith(op, a, b, int64(ra), int64(rb))
	}
	x, xInt := toInt(a)
	y, yInt := toInt(b)
	if xInt && yInt && op != "div" && !(op == "pow" && y < 0) {
		return in.intArith(op, x, y)
	}
	f, _ := toFloat(a)
	g, _ := toFloat(b)
	return in.floatArith(op, f, g)
}

func (in *interp) listLen(n int) {
	if n > maxListLen {
		in.limit("list of more than %d elements", maxListLen)
	}
	in.cost(n / 4)
}

func (in *interp) repeatList(l *list, n int64) value {
	out := &list{}
	for range max(n, 0) {
		if len(l.elems) == 0 {
			break
		}
		in.listLen(len(out.elems) + len(l.elems))
		out.elems = append(out.elems, l.elems...)
	}
	return out
}

// rowsArith is arithmetic with the number of rows, as far as its result is
// again a multiple of it, or a number.
func (in *interp) rowsArith(op string, a, b value, ra, rb int64) value {
	const most = 1 << 30
	n, nInt := toInt(b)
	if ra == 0 {
		n, nInt = toInt(a)
	}
	switch {
	case op == "mul" && nInt && (ra == 0 || rb == 0):
		if n == 0 {
			return int64(0)
		}
		if k := max(ra, rb); n > 0 && n < most && k*n < most {
			return rows(k * n)
		}
	case op == "add" && nInt && n == 0 && (ra == 0 || rb == 0):
		return rows(max(ra, rb))
	case op == "add" && ra > 0 && rb > 0 && ra+rb < most:
		return rows(ra + rb)
	case op == "sub" && rb == 0 && nInt && n == 0:
		return rows(ra)
	case op == "sub" && ra > 0 && ra == rb:
		return int64(0)
	case op == "sub" && ra > rb && rb > 0:
		return rows(ra - rb)
	case op == "floordiv" && ra > 0 && rb > 0 && ra%rb == 0:
		return ra / rb
	case op == "floordiv" && rb == 0 && nInt && n > 0 && ra%n == 0:
		return rows(ra / n)
	case op == "div" && ra > 0 && rb > 0:
		return float64(ra) / float64(rb)
	case op == "remainder" && ra > 0 && rb > 0 && ra%rb == 0, op == "remainder" && rb == 0 && nInt && n > 0 && ra%n == 0:
		return int64(0)
	}
	in.mixes("%s with the number of rows", op)
	return nil
}

func (in *interp) intArith(op string, x, y int64) value {
	switch op {
	case "add":
		return x + y
	case "sub":
		return x - y
	case "mul":
		return x * y
	case "floordiv", "remainder":
		if y == 0 {
			in.errorf("division by zero")
		}
		if y == -1 { // the one quotient that overflows
			return map[string]int64{"floordiv": -x, "remainder": 0}[op]
		}
		q, r := x/y, x%y
		if r != 0 && (r < 0) != (y < 0) {
			q, r = q-1, r+y
		}
		if op == "floordiv" {
			return q
		}
		return r
	case "pow":
		p := int64(1)
		for e := y; e > 0; e >>= 1 {
			if e&1 == 1 {
				p *= x
			}
			x *= x
		}
		return p
	case "lshift", "rshift":
		if y < 0 || y >= bits.UintSize {
			in.errorf("shift by %d", y)
		}
		if op == "lshift" {
			return x << y
		}
		return x >> y
	}
	in.unsupported("%s of integers", op)
	return nil
}

func (in *interp) floatArith(op string, x, y float64) value {
	switch op {
	case "add":
		return x + y
	case "sub":
		return x - y
	case "mul":
		return x * y
	case "div", "floordiv", "remainder":
		if y == 0 {
			in.errorf("division by zero")
		}
		switch op {
		case "div":
			return x / y
		case "floordiv":
			return math.Floor(x / y)
		}
		r := math.Mod(x, y)
		if r != 0 && (r < 0) != (y < 0) {
			r += y
		}
		return r
	case "pow":
		return math.Pow(x, y)
	}
	in.unsupported("%s of floats", op)
	return nil
}

func scalarAbs(c *call) value {
	switch v := c.number(0).(type) {
	case int64:
		return max(v, -v)
	case float64:
		return math.Abs(v)
	}
	return c.args[0]
}

func scalarExtreme(c *call, op string) value {
	if l, ok := c.args[0].(*list); ok && !c.has(1) {
		if len(l.elems) == 0 {
			c.in.errorf("%s of an empty list", c.name)
		}
		best := l.elems[0]
		for _, e := range l.elems[1:] {
			if c.in.compare(op, e, best) {
				best = e
			}
		}
		return best
	}
	if !c.has(1) {
		c.wrong(1, "a number")
	}
	if c.in.compare(op, c.args[1], c.args[0]) {
		return c.args[1]
	}
	return c.args[0]
}

func roundToInt(c *call, f func(float64) float64) value {
	if n, ok := toInt(c.args[0]); ok {
		return n
	}
	return c.in.floatToInt(f(c.float(0, 0)))
}

func (in *interp) floatToInt(f float64) value {
	if !(math.Abs(f) < 1<<63) {
		in.errorf("%v is no 64-bit integer", f)
	}
	return int64(f)
}

func (in *interp) toIntValue(v value) value {
	switch v := v.(type) {
	case rows:
		return v
	case *tensor:
		return in.toIntValue(in.numberIn(v))
	case *scalar:
		return in.scalarOf(v.v, "int")
	case float64:
		return in.floatToInt(math.Trunc(v))
	}
	n, ok := toInt(v)
	if !ok {
		in.unsupported("int of a %s", kindName(v))
	}
	return n
}

func (in *interp) toFloatValue(v value) value {
	if t, ok := v.(*tensor); ok {
		v = in.numberIn(t)
	}
	if n, ok := v.(*scalar); ok {
		return in.scalarOf(n.v, "float")
	}
	if s, ok := v.(string); ok {
		switch s {
		case "inf":
			return math.Inf(1)
		case "-inf":
			return math.Inf(-1)
		case "nan":
			return math.NaN()
		}
	}
	f, ok := toFloat(v)
	if !ok {
		in.unsupported("float of a %s", kindName(v))
	}
	return f
}

func rangeLength(c *call) int {
	lo, hi, step := c.int(0, 0), c.int(1, 0), c.int(2, 1)
	switch {
	case step == 0:
		c.in.errorf("range with a step of 0")
	case step > 0 && lo < hi:
		return (hi - lo + step - 1) / step
	case step < 0 && lo > hi:
		return (lo - hi - step - 1) / -step
	}
	return 0
}

// scalarRange is range(end) or range(start, end, step). Its length counts
// against the steps.
func scalarRange(c *call) value {
	if !c.has(1) {
		c.args[0], c.args[1] = int64(0), c.args[0]
	}
	if _, ok := c.args[1].(rows); ok {
		c.in.mixes("loop over the rows of the batch")
	}
	for i, a := range c.args {
		if _, data := a.(*scalar); data {
			r := &rangeOf{c.args[0], c.args[1], c.args[2]}
			if _, one := c.args[2].(absent); one || i > 2 {
				r.step = int64(1)
			}
			return r
		}
	}
	n, start, step := rangeLength(c), c.int(0, 0), c.int(2, 1)
	c.in.cost(n)
	out := &list{elems: make([]value, n)}
	for i := range n {
		out.elems[i] = int64(start + i*step)
	}
	return out
}
