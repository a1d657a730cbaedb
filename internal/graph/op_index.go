package graph

import (
	"cmp"
	"math"
	"slices"
)

// Operators that choose elements by other elements.
var indexSpecs = map[Op]spec{
	OpTake:   {min: 2, max: 2, infer: inferTake, eval: evalTake, attrs: []attr{{name: "axis", kind: kindInt}}},
	OpGather: {min: 2, max: 2, infer: inferGather, eval: evalGather, attrs: []attr{{name: "axis", kind: kindInt}}},
	OpArgsort: {min: 1, max: 1, infer: inferArgsort, eval: evalArgsort, attrs: []attr{
		{name: "axis", kind: kindInt},
		{name: "descending", kind: kindBool, def: false},
	}},
}

// indexed checks the axis and that the index has integers, and returns the
// axis.
func (n *Node) indexed() (int, error) {
	x, index := n.In[0], n.In[1]
	axis, err := n.axis("axis", len(x.Shape))
	switch {
	case err != nil:
		return 0, err
	case !index.DType.IsInt():
		return 0, n.fail(ErrDType, "the index is %v, must be an integer", index.DType)
	case x.Shape[axis] < 0:
		return 0, n.fail(ErrMixesRows, "axis %d is the batch axis", axis)
	}
	return axis, nil
}

// inferTake: x[a...,N,b...] index[i...] -> [a...,i...,b...].
func inferTake(n *Node) ([]typ, error) {
	axis, err := n.indexed()
	if err != nil {
		return nil, err
	}
	x := n.In[0].Shape
	return one(n.In[0].DType, slices.Concat(x[:axis], n.In[1].Shape, x[axis+1:]))
}

// inferGather: x and index of the same dimensions but along the axis.
func inferGather(n *Node) ([]typ, error) {
	axis, err := n.indexed()
	if err != nil {
		return nil, err
	}
	x, index := n.In[0].Shape, n.In[1].Shape
	if len(x) != len(index) {
		return nil, n.shapeError("x has %d dimensions, the index %d", len(x), len(index))
	}
	for i, d := range index {
		if i != axis && d != x[i] {
			return nil, n.shapeError("dimension %d is %s and %s; only the axis %d may differ", i, dimText(x[i]), dimText(d), axis)
		}
	}
	return one(n.In[0].DType, index)
}

// inferArgsort: positions in i64, of the operand's shape.
func inferArgsort(n *Node) ([]typ, error) {
	a, err := n.axis("axis", len(n.In[0].Shape))
	if err != nil {
		return nil, err
	}
	if n.In[0].Shape[a] < 0 {
		return nil, n.fail(ErrMixesRows, "axis %d is the batch axis", a)
	}
	return one(Int64, n.In[0].Shape)
}

// at turns an index of an axis of n elements into one from 0, if it is in
// range.
func at(index int64, n int) (int, bool) {
	if index < 0 {
		index += int64(n)
	}
	return int(index), index >= 0 && index < int64(n)
}

// missing stores what stands for an element that is not there.
func (t *Tensor) missing(i int) {
	if t.DType.IsFloat() {
		t.set(i, math.NaN())
		return
	}
	t.setInt(i, math.MinInt64)
}

func evalTake(c *evalCall) {
	x, index, out := c.in[0], c.in[1], c.out[0]
	axis := c.n.Attrs.Int("axis")
	inner, size := x.Shape[axis+1:].RowElements(), x.Shape[axis]
	for i := range out.Len() {
		outer, rest := i/(index.Len()*inner), i%(index.Len()*inner)
		k, ok := at(index.I64[rest/inner], size)
		if !ok {
			out.missing(i)
			continue
		}
		out.copyFrom(i, x, (outer*size+k)*inner+rest%inner)
	}
}

func evalGather(c *evalCall) {
	x, index, out := c.in[0], c.in[1], c.out[0]
	axis := c.n.Attrs.Int("axis")
	st := x.Shape.strides()
	eachIndex(out.Shape, func(i int, where []int) {
		k, ok := at(index.I64[i], x.Shape[axis])
		if !ok {
			out.missing(i)
			return
		}
		out.copyFrom(i, x, dot(where, st)+(k-where[axis])*st[axis])
	})
}

func evalArgsort(c *evalCall) {
	x, out := c.in[0], c.out[0]
	axis, down := c.n.Attrs.Int("axis"), c.n.Attrs.Bool("descending")
	st := x.Shape.strides()
	eachGroup(x.Shape, []int{axis}, func(_ int, group []int) {
		order := make([]int, len(group))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int {
			n := compareElements(x, group[i], group[j])
			if down {
				return -n
			}
			return n
		})
		for i, k := range order {
			out.I64[group[0]+i*st[axis]] = int64(k)
		}
	})
}

// compareElements puts NaN above all numbers, as torch and numpy do.
func compareElements(x *Tensor, i, j int) int {
	if x.I64 != nil {
		return cmp.Compare(x.I64[i], x.I64[j])
	}
	a, b := x.At(i), x.At(j)
	switch {
	case math.IsNaN(a) && math.IsNaN(b):
		return 0
	case math.IsNaN(a):
		return 1
	case math.IsNaN(b):
		return -1
	default:
		return cmp.Compare(a, b)
	}
}
