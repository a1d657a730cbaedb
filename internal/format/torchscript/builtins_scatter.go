package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// scatterBuiltins write at positions, which the data may give.
var scatterBuiltins = map[string]builtin{
	"index_put":       {"x indices v accumulate", indexPut},
	"_index_put_impl": {"x indices v accumulate unsafe", indexPut},
	"index_fill":      {"x dim index v", func(c *call) value { return c.indexWrite(c.fillPart(), false) }},
	"index_copy":      {"x dim index source", func(c *call) value { return c.indexWrite(c.value(3), false) }},
	"index_add": {"x dim index source alpha", func(c *call) value {
		v := c.value(3)
		if a := c.float(4, 1); a != 1 {
			v = c.in.add(graph.OpMul, nil, v, c.in.number(a, v))
		}
		return c.indexWrite(v, true)
	}},
	"scatter":        {"x dim index src reduce value", func(c *call) value { return scatter(c, c.str(4, "")) }},
	"scatter_add":    {"x dim index src", func(c *call) value { return scatter(c, "add") }},
	"scatter_reduce": {"x dim index src reduce include_self", scatterReduce},
	"put":            {"x index source accumulate", put},
	"select_scatter": {"x src dim index", selectScatter},
	"slice_scatter":  {"x src dim start end step", sliceScatter},
	"masked_scatter": {"x mask source", func(c *call) value { c.in.unsupported("torch.masked_scatter"); return nil }},
	"masked_select":  {"x mask", maskedSelect},
	"nonzero":        {"x", nonzeroOf},
	"argwhere":       {"x", nonzeroOf},
}

// fillPart is the number of index_fill as a part of x.
func (c *call) fillPart() *graph.Value {
	x := c.value(0)
	shape := append(graph.Shape{}, x.Shape...)
	shape[c.in.axisOf(x, c.int(1, 0))] = c.indexOf(2).Shape.RowElements()
	v := c.operand(3, x)
	return c.in.expandTo(c.in.cast(v, x.DType), shape)
}

// indexWrite writes the parts of v along a dimension.
func (c *call) indexWrite(v *graph.Value, add bool) value {
	x, at := c.value(0), c.indexOf(2)
	axis := c.in.axisOf(x, c.int(1, 0))
	c.fixedDim(x, axis)
	at = c.in.reshape(at, graph.Shape{at.Shape.RowElements()})
	if len(v.Shape) != len(x.Shape) || v.Shape[axis] != at.Shape[0] {
		c.in.errorf("%s of %v into %v at %d positions", c.name, v.Shape, x.Shape, at.Shape[0])
	}
	return newTensor(c.in.putAt(x, axis, at, c.in.cast(v, x.DType), add))
}

// scatter writes single elements along a dimension: each position of it takes
// the last one that goes there, or their sum.
func scatter(c *call, reduce string) value {
	in := c.in
	x, idx := c.value(0), c.indexOf(2)
	if reduce != "" && reduce != "add" && reduce != "sum" && reduce != "multiply" && reduce != "amax" && reduce != "amin" {
		in.unsupported("torch.%s with reduction %q", c.name, reduce)
	}
	axis := in.axisOf(x, c.int(1, 0))
	n := c.fixedDim(x, axis)
	if len(idx.Shape) != len(x.Shape) {
		in.errorf("%s by %v into %v", c.name, idx.Shape, x.Shape)
	}
	k := c.fixedDim(idx, axis)
	for a, d := range idx.Shape {
		if a != axis && d != x.Shape[a] {
			in.unsupported("torch.%s by %v into %v: into a part of it", c.name, idx.Shape, x.Shape)
		}
	}
	if k > maxPut {
		in.unsupported("torch.%s of %d elements", c.name, k)
	}
	if len(c.args) > 5 && c.has(5) {
		c.args[3] = c.args[5]
	}
	src := in.cast(c.operand(3, x), x.DType)
	place := graph.Shape{n}
	for range len(x.Shape) - axis - 1 {
		place = append(place, 1)
	}
	classes := in.reshape(in.classes(n), place)
	for i := range k {
		here := in.add(graph.OpEq, nil, classes, in.slice(idx, axis, i, i+1, 1))
		part := src
		if len(src.Shape) > 0 {
			part = src
			for a, d := range idx.Shape {
				if a != axis && d >= 0 {
					part = in.slice(part, a, 0, d, 1)
				}
			}
			part = in.slice(part, axis, i, i+1, 1)
		}
		switch reduce {
		case "add", "sum":
			part = in.add(graph.OpAdd, nil, x, part)
		case "multiply":
			part = in.add(graph.OpMul, nil, x, part)
		case "amax":
			part = in.add(graph.OpMaximum, nil, x, part)
		case "amin":
			part = in.add(graph.OpMinimum, nil, x, part)
		}
		x = in.cast(in.add(graph.OpWhere, nil, here, part, x), x.DType)
	}
	return newTensor(x)
}

func scatterReduce(c *call) value {
	reduce := c.str(4, "")
	if !c.bool(5, true) || reduce == "mean" {
		c.in.unsupported("torch.scatter_reduce with reduction %q or without the tensor itself", reduce)
	}
	if reduce == "prod" {
		reduce = "multiply"
	}
	c.args = []value{c.args[0], c.args[1], c.args[2], c.args[3], absent{}, absent{}}
	return scatter(c, reduce)
}

// put writes elements of a tensor as if it were one row.
func put(c *call) value {
	in := c.in
	x, at, v := c.value(0), c.indexOf(1), c.value(2)
	if !x.Shape.Fixed() || !at.Shape.Fixed() || at.Shape.RowElements() != v.Shape.RowElements() {
		in.mixes("torch.put into the rows of a batch")
	}
	n := graph.Shape{at.Shape.RowElements()}
	flat := in.reshape(x, graph.Shape{x.Shape.RowElements()})
	return newTensor(in.reshape(in.putAt(flat, 0, in.reshape(at, n), in.cast(in.reshape(v, n), x.DType), c.bool(3, false)), x.Shape))
}

func selectScatter(c *call) value {
	x := c.value(0)
	axis := c.in.axisOf(x, c.int(2, 0))
	n, i := c.fixedDim(x, axis), c.int(3, 0)
	if i < -n || i >= n {
		c.in.errorf("select_scatter at %d of %d", i, n)
	}
	if i < 0 {
		i += n
	}
	one := append(graph.Shape{}, x.Shape...)
	one[axis] = 1
	return newTensor(c.in.put(x, c.in.reshape(c.in.cast(c.value(1), x.DType), one), axis, i, i+1, 1))
}

func sliceScatter(c *call) value {
	x := c.value(0)
	axis := c.in.axisOf(x, c.int(2, 0))
	return newTensor(c.in.put(x, c.in.cast(c.value(1), x.DType), axis, c.int0(3, 0), c.int0(4, math.MaxInt32), c.int(5, 1)))
}

// maskedSelect of a mask that is known; one that depends on data has as many
// elements as the data has it.
func maskedSelect(c *call) value {
	c.booleans(1)
	c.args = []value{c.args[0], &list{elems: []value{c.args[1]}}}
	return index(c)
}

// nonzeroOf gives the positions of what is not zero, where that is known.
func nonzeroOf(c *call) value {
	in := c.in
	t := in.folded(c.value(0))
	if t == nil {
		in.unsupported("torch.%s of data: how many elements there are is not known", c.name)
	}
	in.cost(t.Len())
	out := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{0, len(t.Shape)}}
	for i := range t.Len() {
		if t.At(i) == 0 {
			continue
		}
		out.Shape[0]++
		stride := t.Len()
		for _, d := range t.Shape {
			stride /= d
			out.I64 = append(out.I64, int64(i/stride%d))
		}
	}
	return newTensor(in.constant(out))
}
