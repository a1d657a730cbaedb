package torchmodule

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// upsample resizes the dimensions behind the channels.
func upsample(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	shape, ok := l.c.Shape(x)
	if !ok || len(shape) < 3 || len(shape) > 5 {
		if ok {
			l.c.Errorf("the value before is %v, three to five dimensions were wanted", shape)
		}
		// The shape is asked for by an operator that needs it.
		l.fn("transpose", x, int64(0), int64(1))
	}
	spatial := len(shape) - 2
	mode, _ := l.value(m, "mode").(string)
	var size, scales torchscript.Value
	if v := l.value(m, "size"); v != (pickle.None{}) {
		size = repeated(integers("size")(l, m), spatial)
	} else {
		scales = repeated(l.numbers(m, "scale_factor"), spatial)
	}
	if v, ok := m.state.Get("recompute_scale_factor"); ok && v == true {
		l.c.Unsupported("resizing with recompute_scale_factor")
	}
	dims := []string{"1d", "2d", "3d"}[spatial-1]
	align, _ := m.state.Get("align_corners")
	switch mode {
	case "nearest":
		return l.fn("upsample_nearest"+dims, x, size, scales)
	case "linear", "bilinear", "bicubic", "trilinear":
		return l.fn("upsample_"+mode+dims, x, size, align == true, scales)
	}
	l.c.Unsupported("resizing with the mode %.40q", mode)
	return nil
}

// repeated is a list of one number for each dimension.
func repeated(v torchscript.Value, n int) torchscript.Value {
	list, ok := v.([]torchscript.Value)
	if !ok || len(list) != 1 {
		return v
	}
	out := make([]torchscript.Value, n)
	for i := range out {
		out[i] = list[0]
	}
	return out
}

// numbers reads a number or a tuple of them.
func (l *lowering) numbers(m *Module, name string) torchscript.Value {
	v := l.value(m, name)
	items, ok := pickle.Items(v)
	if !ok {
		items = []pickle.Value{v}
	}
	if len(items) > graph.MaxRank {
		l.c.Errorf("%s has %d numbers", name, len(items))
	}
	list := make([]torchscript.Value, len(items))
	for i, item := range items {
		f, ok := pickle.Float(item)
		if !ok {
			l.c.Errorf("%s has a %s, numbers were wanted", name, pickle.TypeName(item))
		}
		list[i] = f
	}
	return list
}

// channelShuffle interleaves the groups of channels.
func channelShuffle(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	groups := int(l.count(m, "groups", 1))
	shape, ok := l.c.Shape(x)
	if !ok {
		l.fn("transpose", x, int64(0), int64(1))
	}
	if len(shape) < 3 || shape[1]%groups != 0 {
		l.c.Errorf("the value before is %v, channels in %d groups were wanted", shape, groups)
	}
	apart := append(graph.Shape{shape[0], groups, shape[1] / groups}, shape[2:]...)
	y := l.c.Op(graph.OpReshape, graph.Attrs{"shape": []int(apart)}, x)
	y = l.fn("transpose", y, int64(1), int64(2))
	return l.c.Op(graph.OpReshape, graph.Attrs{"shape": []int(shape)}, y)
}

// adaptiveMax is the greatest of each part, without its position.
func adaptiveMax(name string) forward {
	f := function(name, integers("output_size"))
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		if b, ok := m.state.Get("return_indices"); ok && b != false {
			l.c.Unsupported("max pooling with return_indices")
		}
		y := f(l, m, x)
		if both, ok := y.([]torchscript.Value); ok && len(both) > 0 {
			return both[0]
		}
		return y
	}
}

// powerPool is the norm of each part: its mean of powers by as many elements
// as there are.
func powerPool(name string) forward {
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		p, _ := number("norm_type")(l, m).(float64)
		kernel, _ := integers("kernel_size")(l, m).([]torchscript.Value)
		n := 1.0
		spatial := 1
		if name == "avg_pool2d" {
			spatial = 2
		}
		for _, k := range repeated(kernel, spatial).([]torchscript.Value) {
			size, ok := k.(int64)
			if !ok {
				l.c.Errorf("kernel_size has a part that is no number")
			}
			n *= float64(size)
		}
		stride := []torchscript.Value{}
		if v := l.value(m, "stride"); v != (pickle.None{}) {
			stride, _ = integers("stride")(l, m).([]torchscript.Value)
		}
		y := l.fn(name, l.fn("pow", x, p), kernel, stride, []torchscript.Value{int64(0)}, l.truth(m, "ceil_mode"))
		y = l.fn("mul", l.fn("sign", y), l.fn("relu", l.fn("abs", y)))
		return l.fn("pow", l.fn("mul", y, n), 1/p)
	}
}

// localResponseNorm divides each channel by a power of the mean of the squares
// around it.
func localResponseNorm(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	size := l.count(m, "size", 1)
	shape, ok := l.c.Shape(x)
	if !ok {
		l.fn("transpose", x, int64(0), int64(1))
	}
	if len(shape) < 3 || size > int64(2*shape[1]+1) {
		l.c.Errorf("the value before is %v, channels to be compared by %d were wanted", shape, size)
	}
	squares := l.fn("mul", x, x)
	below, above := size/2, (size-1)/2
	zero := l.fn("mul", l.fn("slice", squares, int64(1), int64(0), int64(1), int64(1)), 0.0)
	var parts []torchscript.Value
	for range below {
		parts = append(parts, zero)
	}
	parts = append(parts, squares)
	for range above {
		parts = append(parts, zero)
	}
	padded := l.fn("cat", parts, int64(1))
	var sum torchscript.Value
	for i := range size {
		part := l.fn("slice", padded, int64(1), i, i+int64(shape[1]), int64(1))
		if sum == nil {
			sum = part
		} else {
			sum = l.fn("add", sum, part)
		}
	}
	alpha, _ := number("alpha")(l, m).(float64)
	div := l.fn("add", l.fn("mul", sum, alpha/float64(size)), number("k")(l, m))
	return l.fn("div", x, l.fn("pow", div, number("beta")(l, m)))
}
