package torchscript

import (
	"math/bits"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// bitBuiltins are the operations on bits. On booleans they are those of logic;
// of integers, the bits are told by division and remainder, which are exact for
// negative numbers too: x & 6 is ⌊x/2⌋ mod 4 · 2.
var bitBuiltins = map[string]builtin{
	"__and__":     {"x y", bitwiseOf(graph.OpAnd, func(in *interp, x, y, both *graph.Value) *graph.Value { return both })},
	"bitwise_and": {"x y", bitwiseOf(graph.OpAnd, func(in *interp, x, y, both *graph.Value) *graph.Value { return both })},
	"__or__":      {"x y", bitwiseOf(graph.OpOr, either)},
	"bitwise_or":  {"x y", bitwiseOf(graph.OpOr, either)},
	"__xor__":     {"x y", bitwiseOf(graph.OpNe, one)},
	"bitwise_xor": {"x y", bitwiseOf(graph.OpNe, one)},

	"bitwise_left_shift": {"x y", shift(graph.OpMul)}, "__lshift__": {"x y", shift(graph.OpMul)},
	"bitwise_right_shift": {"x y", shift(graph.OpFloorDiv)}, "__rshift__": {"x y", shift(graph.OpFloorDiv)},
	"bitwise_not": {"x", bitwiseNot},
	"logical_not": {"x", composed(func(in *interp, x *graph.Value) *graph.Value { return in.add(graph.OpNot, nil, in.cast(x, graph.Bool)) })},
}

// either has the bits that x or y has.
func either(in *interp, x, y, both *graph.Value) *graph.Value {
	return in.add(graph.OpSub, nil, in.add(graph.OpAdd, nil, x, y), both)
}

// one has the bits that either x or y has.
func one(in *interp, x, y, both *graph.Value) *graph.Value {
	return in.add(graph.OpSub, nil, either(in, x, y, both), both)
}

// bitwiseOf is the operation op on booleans; of integers, f of both and of the
// bits that they have in common.
func bitwiseOf(op graph.Op, f func(in *interp, x, y, both *graph.Value) *graph.Value) func(c *call) value {
	return func(c *call) value {
		return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value {
			in := c.in
			if x.DType == graph.Bool && y.DType == graph.Bool {
				return in.add(op, nil, x, y)
			}
			dt := graph.Promote(x.DType, y.DType)
			if dt.IsFloat() {
				truths := !x.DType.IsInt() && !y.DType.IsInt()
				for _, v := range []*graph.Value{x, y} {
					if v.DType.IsFloat() {
						if truths {
							in.wantBooleans(v)
						}
						in.wantIntegers(v)
					}
				}
				in.errorf("%s of %v and %v", c.name, x.DType, y.DType)
			}
			// A number of Python does not widen a tensor, but one of booleans.
			for i, other := range []*graph.Value{y, x} {
				if t, tensor := c.args[i].(*tensor); (!tensor || t.num != nil) && other.DType != graph.Bool {
					dt = other.DType
				}
			}
			x, y = in.cast(x, dt), in.cast(y, dt)
			return in.cast(f(in, x, y, c.common(x, y)), dt)
		})
	}
}

// common is the bits that two integers have in common. One of the two is known,
// or they are of 8 bits.
func (c *call) common(x, y *graph.Value) *graph.Value {
	in := c.in
	if known := in.folded(y); known != nil && known.I64 != nil {
		return c.masked(x, known)
	}
	if known := in.folded(x); known != nil && known.I64 != nil {
		return c.masked(y, known)
	}
	if x.DType != graph.Uint8 && x.DType != graph.Int8 {
		in.unsupported("torch.%s of two tensors of %v that both depend on data", c.name, x.DType)
	}
	var sum *graph.Value
	x, y = in.cast(x, graph.Int64), in.cast(y, graph.Int64)
	for k := range 8 { // the last bit of an int8 has the sign; the cast back wraps
		both := in.add(graph.OpMul, nil, in.bit(x, k), in.bit(y, k))
		both = in.add(graph.OpMul, nil, both, in.number(int64(1)<<k, both))
		if sum == nil {
			sum = both
		} else {
			sum = in.add(graph.OpAdd, nil, sum, both)
		}
	}
	return sum
}

// bit is bit k of integers.
func (in *interp) bit(x *graph.Value, k int) *graph.Value {
	down := in.add(graph.OpFloorDiv, nil, x, in.number(int64(1)<<k, x))
	return in.add(graph.OpRemainder, nil, down, in.number(int64(2), down))
}

// maxRuns bounds the runs of ones of a mask: each is a few nodes.
const maxRuns = 32

// maxRun is the longest run of ones below the sign: 2 to its power, by which the
// bits are divided, is an int64.
const maxRun = 62

// masked is the bits of x that a known mask has: one run of ones after the
// other. One that goes up to the sign takes all that is above; the sign alone
// is refused, since no int64 is the power of two of that bit.
func (c *call) masked(x *graph.Value, mask *graph.Tensor) *graph.Value {
	in := c.in
	rest := make([]uint64, mask.Len())
	for i := range rest {
		rest[i] = uint64(mask.I64[i])
	}
	x = in.cast(x, graph.Int64)
	var sum *graph.Value
	for range maxRuns {
		low, size := make([]int64, len(rest)), make([]int64, len(rest))
		more, open := false, false
		for i, m := range rest {
			low[i], size[i] = 1, 1
			if m == 0 {
				continue // a remainder of 1 is 0
			}
			more = true
			lo := bits.TrailingZeros64(m)
			n := bits.TrailingZeros64(^(m >> lo))
			if lo > maxRun {
				in.unsupported("torch.%s with a mask of the sign alone", c.name)
			}
			low[i] = 1 << lo
			if lo+n == 64 { // up to the sign: all that is above
				open = true
				size[i], rest[i] = 0, 0
				continue
			}
			n = min(n, maxRun) // what is left is the next run
			size[i] = 1 << n
			rest[i] = m &^ ((uint64(1)<<n - 1) << lo)
		}
		if !more {
			if sum == nil {
				return in.with64(graph.OpMul, x, 0)
			}
			return sum
		}
		known := func(v []int64) *graph.Value {
			return in.constant(&graph.Tensor{DType: graph.Int64, Shape: mask.Shape, I64: v})
		}
		at := known(low)
		part := in.add(graph.OpFloorDiv, nil, x, at)
		if open {
			mod := make([]int64, len(size))
			for i, s := range size {
				mod[i] = max(s, 1)
			}
			all := &graph.Tensor{DType: graph.Bool, Shape: mask.Shape, I64: make([]int64, len(size))}
			for i, s := range size {
				if s == 0 {
					all.I64[i] = 1
				}
			}
			part = in.add(graph.OpWhere, nil, in.constant(all), part, in.add(graph.OpRemainder, nil, part, known(mod)))
		} else {
			part = in.add(graph.OpRemainder, nil, part, known(size))
		}
		part = in.add(graph.OpMul, nil, part, at)
		if sum == nil {
			sum = part
		} else {
			sum = in.add(graph.OpAdd, nil, sum, part)
		}
	}
	in.unsupported("torch.%s with a mask of more than %d runs of ones", c.name, maxRuns)
	return nil
}

// with64 is x op k of integers.
func (in *interp) with64(op graph.Op, x *graph.Value, k int64) *graph.Value {
	return in.add(op, nil, x, in.number(k, x))
}

// shift is a product with a power of two, or a quotient rounded down.
func shift(op graph.Op) func(c *call) value {
	return func(c *call) value {
		if t, ok := c.args[1].(*tensor); ok && t.num == nil {
			return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value {
				for _, v := range []*graph.Value{x, y} {
					if v.DType.IsFloat() {
						c.in.wantIntegers(v)
					}
				}
				if !x.DType.IsInt() || !y.DType.IsInt() {
					c.in.unsupported("torch.%s of %v by %v", c.name, x.DType, y.DType)
				}
				power := c.in.add(graph.OpPow, nil, c.in.number(int64(2), y), c.in.cast(y, graph.Int64))
				return c.in.cast(c.in.add(op, nil, c.in.cast(x, graph.Int64), power), graph.Promote(x.DType, y.DType))
			})
		}
		n := c.int(1, 0)
		if n < 0 || n > 62 {
			c.in.unsupported("torch.%s by %d", c.name, n)
		}
		return c.mapped(func(x *graph.Value) *graph.Value {
			if !x.DType.IsInt() {
				c.in.wantIntegers(x)
				c.in.unsupported("torch.%s of %v", c.name, x.DType)
			}
			return c.in.cast(c.in.add(op, nil, x, c.in.number(int64(1)<<n, x)), x.DType)
		})
	}
}

// bitwiseNot is the negation of booleans, and -1 - x of integers. An input of
// unknown type must have been one of booleans.
func bitwiseNot(c *call) value {
	return c.mapped(func(x *graph.Value) *graph.Value {
		switch {
		case x.DType == graph.Bool:
			return c.in.add(graph.OpNot, nil, x)
		case x.DType.IsFloat():
			c.in.wantBooleans(x)
			c.in.errorf("bitwise_not of %v", x.DType)
		}
		return c.in.cast(c.in.add(graph.OpSub, nil, c.in.number(int64(-1), x), x), x.DType)
	})
}
