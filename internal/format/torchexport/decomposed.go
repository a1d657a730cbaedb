package torchexport

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// args are the arguments of one node.
type args []torchscript.Value

// at returns argument i, nil where it is left out.
func (a args) at(i int) torchscript.Value {
	if i < len(a) {
		return a[i]
	}
	return nil
}

// integer returns argument i; def where it is left out or None.
func (a args) integer(l *lowering, i int, def int64) int64 {
	switch v := a.at(i).(type) {
	case nil:
		return def
	case int64:
		return v
	}
	l.c.Unsupported("argument %d that is no number", i+1)
	return 0
}

// decomposed are the operators that a program has after its decomposition,
// which torch 2.5 does by itself, put together again.
var decomposed = map[string]func(l *lowering, a args) torchscript.Value{
	"_native_batch_norm_legit_no_training": func(l *lowering, a args) torchscript.Value {
		y := l.fn("batch_norm", a.at(0), a.at(1), a.at(2), a.at(3), a.at(4), false, a.at(5), a.at(6))
		return []torchscript.Value{y, nil, nil}
	},
	"native_group_norm": func(l *lowering, a args) torchscript.Value {
		return []torchscript.Value{l.fn("group_norm", a.at(0), a.at(6), a.at(1), a.at(2), a.at(7)), nil, nil}
	},
	// Statistics of the values themselves, as of instance norm whose rows are
	// among the channels.
	"_native_batch_norm_legit": func(l *lowering, a args) torchscript.Value {
		if len(a) != 6 || a.at(3) != true {
			l.c.Unsupported("batch norm with statistics that are updated: export the module after eval()")
		}
		return []torchscript.Value{l.ownStatistics(a.at(0), a.at(1), a.at(2), a.at(5)), nil, nil}
	},
	"_trilinear": trilinear,
	"channel_shuffle": func(l *lowering, a args) torchscript.Value {
		shape, ok := l.c.Shape(a.at(0))
		groups := int(a.integer(l, 1, 0))
		if !ok || len(shape) < 3 || groups < 1 || shape[1] < 1 || shape[1]%groups != 0 {
			l.c.Errorf("channel_shuffle of %v in %d groups", shape, groups)
		}
		apart := slices.Concat(graph.Shape{shape[0], groups, shape[1] / groups}, shape[2:])
		y := l.c.Op(graph.OpReshape, graph.Attrs{"shape": []int(apart)}, a.at(0))
		return l.c.Op(graph.OpReshape, graph.Attrs{"shape": []int(shape)}, l.fn("transpose", y, int64(1), int64(2)))
	},
	"_log_softmax": func(l *lowering, a args) torchscript.Value { return l.fn("log_softmax", a.at(0), a.at(1)) },
	"slice_scatter": func(l *lowering, a args) torchscript.Value {
		if a.integer(l, 5, 1) != 1 {
			l.c.Unsupported("slice_scatter with a step")
		}
		return l.scatter(a.at(0), a.at(1), a.integer(l, 2, 0), a.integer(l, 3, 0), a.integer(l, 4, math.MaxInt64))
	},
	"select_scatter": func(l *lowering, a args) torchscript.Value {
		dim, index := a.integer(l, 2, 0), a.integer(l, 3, 0)
		shape, ok := l.c.Shape(a.at(0))
		if !ok {
			l.c.Unsupported("select_scatter of a tensor of no known shape")
		}
		dim = l.axis(shape, dim)
		if index < 0 {
			index += int64(shape[dim])
		}
		return l.scatter(a.at(0), l.fn("unsqueeze", a.at(1), dim), dim, index, index+1)
	},
}

func (l *lowering) fn(name string, a ...torchscript.Value) torchscript.Value {
	return l.c.Call(name, a, nil)
}

// axis counts a dimension from the start.
func (l *lowering) axis(shape graph.Shape, dim int64) int64 {
	if dim < 0 {
		dim += int64(len(shape))
	}
	if dim < 0 || dim >= int64(len(shape)) {
		l.c.Errorf("dimension %d of %v", dim, shape)
	}
	return dim
}

// scatter is x with a part of a dimension replaced.
func (l *lowering) scatter(x, part torchscript.Value, dim, start, end int64) torchscript.Value {
	shape, ok := l.c.Shape(x)
	if !ok {
		l.c.Unsupported("a part of a tensor of no known shape")
	}
	dim = l.axis(shape, dim)
	n := int64(shape[dim])
	if n < 0 { // the rows of the batch, which can only be replaced as a whole
		if start != 0 || end < math.MaxInt64 {
			l.c.Unsupported("a part of the batch axis that is replaced")
		}
		return part
	}
	if start < 0 {
		start += n
	}
	if end < 0 {
		end += n
	}
	start = min(max(start, 0), n)
	end = min(max(end, start), n)
	var pieces []torchscript.Value
	if start > 0 {
		pieces = append(pieces, l.fn("slice", x, dim, int64(0), start, int64(1)))
	}
	pieces = append(pieces, part)
	if end < n {
		pieces = append(pieces, l.fn("slice", x, dim, end, n, int64(1)))
	}
	if len(pieces) == 1 {
		return part
	}
	return l.fn("cat", pieces, dim)
}

// ownStatistics is x by the mean and the deviation of each channel.
func (l *lowering) ownStatistics(x, weight, bias, eps torchscript.Value) torchscript.Value {
	shape, ok := l.c.Shape(x)
	if !ok || len(shape) < 2 || shape[0] < 0 {
		l.c.Unsupported("batch norm by the statistics of the rows of a batch, which would be mixed")
	}
	dims := []torchscript.Value{int64(0)}
	columns := make([]int, len(shape))
	for i := range shape {
		columns[i] = 1
		if i > 1 {
			dims = append(dims, int64(i))
		}
	}
	columns[1] = shape[1]
	d := l.fn("sub", x, l.fn("mean", x, dims, true))
	y := l.fn("mul", d, l.fn("rsqrt", l.fn("add", l.fn("mean", l.fn("mul", d, d), dims, true), eps)))
	column := func(v torchscript.Value) torchscript.Value {
		return l.c.Op(graph.OpReshape, graph.Attrs{"shape": columns}, v)
	}
	if weight != nil {
		y = l.fn("mul", y, column(weight))
	}
	if bias != nil {
		y = l.fn("add", y, column(bias))
	}
	return y
}

// trilinear multiplies three tensors, each with new dimensions of 1, and sums
// over some.
func trilinear(l *lowering, a args) torchscript.Value {
	dims := func(i int) []torchscript.Value {
		list, ok := a.at(i).([]torchscript.Value)
		if !ok {
			l.c.Errorf("argument %d of trilinear is no list", i+1)
		}
		return list
	}
	var product torchscript.Value
	for i := range 3 {
		x := a.at(i)
		for _, dim := range dims(3 + i) {
			x = l.fn("unsqueeze", x, dim)
		}
		if product == nil {
			product = x
		} else {
			product = l.fn("mul", product, x)
		}
	}
	return l.fn("sum", product, dims(6))
}
