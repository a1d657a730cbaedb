package torchscript

import "github.com/carla-rl/carla-rl-serving/internal/graph"

// scalarLogic is comparison and logic of Python values.
var scalarLogic = map[string]builtin{
	"eq":           {"a b", func(c *call) value { return c.in.compare("eq", c.args[0], c.args[1]) }},
	"ne":           {"a b", func(c *call) value { return !c.in.compare("eq", c.args[0], c.args[1]) }},
	"lt":           {"a b", func(c *call) value { return c.in.compare("lt", c.args[0], c.args[1]) }},
	"le":           {"a b", func(c *call) value { return !c.in.compare("gt", c.args[0], c.args[1]) }},
	"gt":           {"a b", func(c *call) value { return c.in.compare("gt", c.args[0], c.args[1]) }},
	"ge":           {"a b", func(c *call) value { return !c.in.compare("lt", c.args[0], c.args[1]) }},
	"__not__":      {"a", notOf},
	"__is__":       {"a b", isSame},
	"__isnot__":    {"a b", isNotSame},
	"__and__":      {"a b", bitwise(func(x, y int64) int64 { return x & y })},
	"__or__":       {"a b", bitwise(func(x, y int64) int64 { return x | y })},
	"__xor__":      {"a b", bitwise(func(x, y int64) int64 { return x ^ y })},
	"__contains__": {"container item", contains},
	"any":          {"list", func(c *call) value { return anyTrue(c, true) }},
	"all":          {"list", func(c *call) value { return !anyTrue(c, false) }},
}

// notOf is the negation of a condition.
func notOf(c *call) value {
	known, data := c.in.cond(c.args[0], c.in.pos, "not")
	if data != nil {
		return &scalar{c.in.add(graph.OpNot, nil, data)}
	}
	return !known
}

// identical is Python's `is`, which serialized code uses with None and bools.
func identical(a, b value) bool {
	switch x := a.(type) {
	case nil:
		return b == nil
	case bool, int64, string, *tensor, *list, *dict, *object, *tuple:
		return x == b
	}
	return false
}

// isSame is x is y. Whether an optional value is None, the data decides.
func isSame(c *call) value {
	for i, a := range c.args {
		if o, ok := a.(*optional); ok {
			if c.args[1-i] != nil {
				c.in.unsupported("is of an optional value and a %s", kindName(c.args[1-i]))
			}
			return &scalar{c.in.add(graph.OpNot, nil, o.there)}
		}
	}
	return identical(c.args[0], c.args[1])
}

func isNotSame(c *call) value {
	c.args = []value{isSame(c)}
	return notOf(c)
}

// compare decides eq, lt or gt of two Python values. The number of rows is
// compared as far as that does not depend on how many there are.
func (in *interp) compare(op string, a, b value) bool {
	a, b = in.decideTypes(a, b)
	in.learnDim(a, b)
	in.learnDim(b, a)
	ra, aRows := a.(rows)
	rb, bRows := b.(rows)
	if (aRows || bRows) && isNumber(a) && isNumber(b) {
		return in.compareRows(op, a, b, int64(ra), int64(rb))
	}
	if isNumber(a) && isNumber(b) {
		x, xInt := toInt(a)
		y, yInt := toInt(b)
		f, _ := toFloat(a)
		g, _ := toFloat(b)
		switch {
		case op == "eq" && xInt && yInt:
			return x == y
		case op == "lt" && xInt && yInt:
			return x < y
		case op == "gt" && xInt && yInt:
			return x > y
		case op == "eq":
			return f == g
		case op == "lt":
			return f < g
		}
		return f > g
	}
	if s, ok := a.(string); ok {
		if t, ok := b.(string); ok {
			return map[string]bool{"eq": s == t, "lt": s < t, "gt": s > t}[op]
		}
	}
	if op != "eq" {
		in.unsupported("comparison of a %s and a %s", kindName(a), kindName(b))
	}
	return in.equalValues(a, b, 0)
}

// learnDim ends this attempt if a is the open width of an input: the code
// checks it against b, which it is then taken to be.
func (in *interp) learnDim(a, b value) {
	d, open := a.(openDim)
	if !open {
		return
	}
	n, ok := b.(int64)
	if !ok || n < 1 || n > graph.MaxRowElements {
		in.needShape(d.of)
	}
	in.learn(d.of, graph.Shape{graph.Batch, int(n)}, nil)
}

func (in *interp) equalValues(a, b value, depth int) bool {
	in.step(in.pos)
	if depth > maxCallDepth {
		in.limit("comparison of values nested deeper than %d", maxCallDepth)
	}
	var x, y []value
	switch v := a.(type) {
	case *list:
		w, ok := b.(*list)
		if !ok {
			return false
		}
		x, y = v.elems, w.elems
	case *tuple:
		w, ok := b.(*tuple)
		if !ok {
			return false
		}
		x, y = v.elems, w.elems
	default:
		in.learnDim(a, b)
		in.learnDim(b, a)
		a, b = in.decideTypes(a, b)
		if isNumber(a) && isNumber(b) {
			return in.compare("eq", a, b)
		}
		return identical(a, b) || a == b
	}
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !in.equalValues(x[i], y[i], depth+1) {
			return false
		}
	}
	return true
}

// compareRows decides a comparison with the number of rows, which is 1 or more
// and otherwise unknown.
func (in *interp) compareRows(op string, a, b value, ra, rb int64) bool {
	if ra > 0 && rb > 0 {
		switch op {
		case "eq":
			return ra == rb
		case "lt":
			return ra < rb
		}
		return ra > rb
	}
	k, other, flipped := ra, b, false
	if ra == 0 {
		k, other, flipped = rb, a, true
	}
	f, _ := toFloat(other)
	if f < float64(k) { // there are more rows than that in any batch
		if op == "eq" {
			return false
		}
		return (op == "gt") != flipped
	}
	in.mixes("a comparison of the number of rows with %s", format(other))
	return false
}

func bitwise(f func(x, y int64) int64) func(c *call) value {
	return func(c *call) value {
		_, pBool := c.args[0].(bool)
		_, qBool := c.args[1].(bool)
		x, xInt := toInt(c.args[0])
		y, yInt := toInt(c.args[1])
		if !xInt || !yInt {
			c.in.unsupported("torch.%s of a %s and a %s", c.name, kindName(c.args[0]), kindName(c.args[1]))
		}
		n := f(x, y)
		if pBool && qBool {
			return n != 0
		}
		return n
	}
}

func contains(c *call) value {
	switch v := c.args[0].(type) {
	case *dict:
		_, ok := v.vals[c.in.key(c.args[1])]
		return ok || v.inputs != ""
	case *list:
		for _, e := range v.elems {
			if c.in.equalValues(e, c.args[1], 0) {
				return true
			}
		}
		return false
	case string:
		s, ok := c.args[1].(string)
		return ok && len(s) <= len(v) && indexOf(v, s) >= 0
	}
	c.wrong(0, "a container")
	return nil
}

func anyTrue(c *call, want bool) bool {
	for _, e := range c.elems(0) {
		if c.in.truth(e, c.in.pos, c.name) == want {
			return true
		}
	}
	return false
}
