package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// call is one call of a built-in function.
type call struct {
	in   *interp
	name string // as the code has it, without torch.
	args []value
}

// has reports whether argument i was given, and is not None.
func (c *call) has(i int) bool {
	switch c.args[i].(type) {
	case absent, nil:
		return false
	}
	return true
}

func (c *call) wrong(i int, want string) {
	if _, ok := c.args[i].(absent); ok {
		c.in.errorf("%s: argument %d is missing, %s was expected", c.name, i+1, want)
	}
	c.in.errorf("%s: argument %d is a %s, %s was expected", c.name, i+1, kindName(c.args[i]), want)
}

// handle returns a tensor argument. A number becomes a tensor.
func (c *call) handle(i int) *tensor {
	switch v := c.args[i].(type) {
	case *tensor:
		return v
	case bool, int64, float64, rows:
		return newNumber(v)
	case *scalar:
		return newTensor(v.beside(c.in, nil))
	}
	c.wrong(i, "a tensor")
	return nil
}

// value returns the graph value of a tensor argument.
func (c *call) value(i int) *graph.Value { return c.in.read(c.handle(i)) }

// optional returns the graph value of a tensor argument, nil where it is None
// or left out.
func (c *call) optional(i int) *graph.Value {
	if !c.has(i) {
		return nil
	}
	return c.value(i)
}

// int returns an integer argument; def where it is left out.
func (c *call) int(i int, def int) int {
	if _, ok := c.args[i].(absent); ok {
		return def
	}
	return c.toInt(i, c.args[i])
}

func (c *call) toInt(i int, v value) int {
	switch v := v.(type) {
	case int64:
		return clampInt(v)
	case bool:
		n, _ := toInt(v)
		return int(n)
	case *tensor:
		if n, ok := c.in.numberNeeded(v).(int64); ok {
			return clampInt(n)
		}
	case rows:
		c.in.mixes("torch.%s with the number of rows as argument", c.name)
	case *scalar:
		c.in.unsupported("torch.%s with an integer that depends on data", c.name)
	}
	c.wrong(i, "an integer")
	return 0
}

// clampInt keeps an integer of the code within 2^40, where sums of a few of
// them cannot overflow. Sizes beyond that are refused everywhere, and a slice
// to the end stays one.
func clampInt(v int64) int {
	const most = 1 << 40
	return int(max(min(v, most), -most))
}

// float returns a number; def where it is left out or None.
func (c *call) float(i int, def float64) float64 {
	if !c.has(i) {
		return def
	}
	v := c.args[i]
	if t, ok := v.(*tensor); ok {
		v = c.in.numberNeeded(t)
	}
	f, ok := toFloat(v)
	if _, data := v.(*scalar); data {
		c.in.unsupported("torch.%s with a number that depends on data", c.name)
	}
	if !ok {
		c.wrong(i, "a number")
	}
	return f
}

func (c *call) bool(i int, def bool) bool {
	if !c.has(i) {
		return def
	}
	return c.in.truth(c.args[i], c.in.pos, "argument of "+c.name)
}

func (c *call) str(i int, def string) string {
	if !c.has(i) {
		return def
	}
	s, ok := c.args[i].(string)
	if !ok {
		c.wrong(i, "a string")
	}
	return s
}

// inferDim stands in a list of dimensions for the -1 of the code, which is
// worked out from the others; -1 itself is the batch.
const inferDim = -1 << 41

// elems returns the elements of a list argument. A single value is a list of
// one; nil where it is left out or None.
func (c *call) elems(i int) []value {
	if !c.has(i) {
		return nil
	}
	var elems []value
	switch v := c.args[i].(type) {
	case *list:
		elems = v.elems
	case *tuple:
		elems = v.elems
	default:
		elems = []value{v}
	}
	if len(elems) > maxListLen {
		c.in.limit("list of %d integers", len(elems))
	}
	return elems
}

// dims returns a shape that the code gives: the number of rows is Batch and
// its multiples, and -1 is inferDim.
func (c *call) dims(i int) []int {
	elems := c.elems(i)
	out := make([]int, len(elems))
	for k, e := range elems {
		if t, ok := e.(*tensor); ok {
			e = c.in.numberNeeded(t)
		}
		if n, ok := e.(rows); ok {
			out[k] = -clampInt(int64(n))
			continue
		}
		switch d := c.toInt(i, e); {
		case d == -1:
			out[k] = inferDim
		case d < 0:
			c.in.errorf("%s: a dimension of %d", c.name, d)
		default:
			out[k] = d
		}
	}
	return out
}

// ints returns a list of integers.
func (c *call) ints(i int) []int {
	elems := c.elems(i)
	if elems == nil {
		return nil
	}
	out := make([]int, len(elems))
	for k, e := range elems {
		out[k] = c.toInt(i, e)
	}
	return out
}

// tensors returns the handles of a list of tensors.
func (c *call) tensors(i int) []*tensor {
	l, ok := c.args[i].(*list)
	var elems []value
	if ok {
		elems = l.elems
	} else if t, isTuple := c.args[i].(*tuple); isTuple {
		elems = t.elems
	} else {
		c.wrong(i, "a list of tensors")
	}
	out := make([]*tensor, len(elems))
	for k, e := range elems {
		if out[k], ok = e.(*tensor); !ok {
			c.in.errorf("%s: a list with a %s, tensors were expected", c.name, kindName(e))
		}
	}
	return out
}
