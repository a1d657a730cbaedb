package architecture

import (
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// linear is x·Wᵀ + b.
func (b *builder) linear(l *Layer) {
	b.only(l)
	w := b.weight(l.Key)
	shape, _ := b.c.Shape(w)
	if len(shape) != 2 {
		b.c.Errorf("%s is %v, a weight [outputs,inputs] was wanted", join(l.Key, "weight"), shape)
	}
	if x, ok := b.c.Shape(b.current); ok && (len(x) == 0 || x[len(x)-1] != shape[1]) {
		hint := ""
		if len(x) > 2 {
			hint = " (is a flatten missing?)"
		}
		b.c.Errorf("the value before is %v, %s %v takes %d features%s", x, join(l.Key, "weight"), shape, shape[1], hint)
	}
	b.call("linear", b.current, w, b.optional(l.Key, "bias"))
}

// conv is a convolution over one to three dimensions, which the weight tells.
func (b *builder) conv(l *Layer) {
	b.only(l, "stride", "padding", "dilation", "groups")
	w := b.weight(l.Key)
	shape, _ := b.c.Shape(w)
	if len(shape) < 3 || len(shape) > 5 {
		b.c.Errorf("%s is %v, a weight [outputs,channels,kernel...] was wanted", join(l.Key, "weight"), shape)
	}
	name := [...]string{"conv1d", "conv2d", "conv3d"}[len(shape)-3]
	groups := l.int("groups", 1)
	if x, ok := b.c.Shape(b.current); ok && len(x) == len(shape) && int64(x[1]) != int64(shape[1])*groups {
		b.c.Errorf("the value before is %v, %s %v takes %d channels", x, join(l.Key, "weight"), shape, int64(shape[1])*groups)
	}
	padding := l.list("padding", 0)
	if mode, ok := l.Attrs["padding"].(string); ok {
		padding = mode
	}
	b.call(name, b.current, w, b.optional(l.Key, "bias"), l.list("stride", 1), padding, l.list("dilation", 1), groups)
}

// convTranspose is a transposed convolution over one to three dimensions.
func (b *builder) convTranspose(l *Layer) {
	b.only(l, "stride", "padding", "output_padding", "dilation", "groups")
	w := b.weight(l.Key)
	shape, _ := b.c.Shape(w)
	if len(shape) < 3 || len(shape) > 5 {
		b.c.Errorf("%s is %v, a weight [channels,outputs,kernel...] was wanted", join(l.Key, "weight"), shape)
	}
	if x, ok := b.c.Shape(b.current); ok && len(x) == len(shape) && x[1] != shape[0] {
		b.c.Errorf("the value before is %v, %s %v takes %d channels", x, join(l.Key, "weight"), shape, shape[0])
	}
	name := [...]string{"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}[len(shape)-3]
	b.call(name, b.current, w, b.optional(l.Key, "bias"), l.list("stride", 1), l.list("padding", 0), l.list("output_padding", 0),
		l.int("groups", 1), l.list("dilation", 1))
}

func (b *builder) layerNorm(l *Layer) {
	b.only(l, "eps")
	w := b.parameter(l.Key, "weight")
	shape, _ := b.c.Shape(w)
	b.normOver(l, shape)
	b.call("layer_norm", b.current, dims(shape), w, b.optional(l.Key, "bias"), l.float("eps", 1e-5))
}

func (b *builder) rmsNorm(l *Layer) {
	b.only(l, "eps")
	w := b.parameter(l.Key, "weight")
	shape, _ := b.c.Shape(w)
	b.normOver(l, shape)
	args := []torchscript.Value{b.current, dims(shape), w}
	if _, ok := l.Attrs["eps"]; ok {
		args = append(args, l.float("eps", 0))
	}
	b.call("rms_norm", args...)
}

// normOver checks that the last dimensions are those of the weight.
func (b *builder) normOver(l *Layer, shape graph.Shape) {
	x, ok := b.c.Shape(b.current)
	if ok && (len(x) < len(shape) || !x[len(x)-len(shape):].Equal(shape)) {
		b.c.Errorf("the value before is %v, %s is %v", x, join(l.Key, "weight"), shape)
	}
}

// batchNorm uses the statistics of training.
func (b *builder) batchNorm(l *Layer) {
	b.only(l, "eps")
	mean := b.parameter(l.Key, "running_mean")
	b.channels(l, "running_mean", mean)
	b.call("batch_norm", b.current, b.optional(l.Key, "weight"), b.optional(l.Key, "bias"), mean, b.parameter(l.Key, "running_var"),
		false, 0.1, l.float("eps", 1e-5))
}

func (b *builder) groupNorm(l *Layer) {
	b.only(l, "groups", "eps")
	if _, ok := l.Attrs["groups"]; !ok {
		b.c.Errorf("groups is missing")
	}
	w := b.parameter(l.Key, "weight")
	b.channels(l, "weight", w)
	b.call("group_norm", b.current, l.int("groups", 1), w, b.optional(l.Key, "bias"), l.float("eps", 1e-5))
}

// channels checks that dimension 1 is that of a parameter.
func (b *builder) channels(l *Layer, name string, p torchscript.Value) {
	shape, _ := b.c.Shape(p)
	if x, ok := b.c.Shape(b.current); ok && (len(shape) != 1 || len(x) < 2 || x[1] != shape[0]) {
		b.c.Errorf("the value before is %v, %s is %v", x, join(l.Key, name), shape)
	}
}

func (b *builder) prelu(l *Layer) {
	b.only(l)
	b.call("prelu", b.current, b.parameter(l.Key, "weight"))
}

func (b *builder) embedding(l *Layer) {
	b.only(l)
	b.call("embedding", b.parameter(l.Key, "weight"), b.current)
}

// normalize is (x-mean)/sqrt(var+eps), or (x-mean)/(std+eps), clipped.
func (b *builder) normalize(l *Layer) {
	b.only(l, "mean", "var", "std", "eps", "clip")
	key := func(name string) torchscript.Value {
		k, ok := l.Attrs[name].(string)
		if !ok {
			return nil
		}
		return b.parameter("", k)
	}
	mean, variance, std := key("mean"), key("var"), key("std")
	if mean == nil || (variance == nil) == (std == nil) {
		b.c.Errorf("mean, and either var or std, are the keys of tensors")
	}
	eps := l.float("eps", 0)
	sub := func(name string, args ...torchscript.Value) torchscript.Value { return b.c.Call(name, args, nil) }
	x := sub("sub", b.current, b.float32(mean))
	if variance != nil {
		std = sub("sqrt", sub("add", b.float32(variance), eps))
	} else {
		std = sub("add", b.float32(std), eps)
	}
	b.current = sub("div", x, std)
	if _, ok := l.Attrs["clip"]; ok {
		clip := l.float("clip", 0)
		b.call("clamp", b.current, -clip, clip)
	}
}

// float32 narrows statistics that a trainer keeps in double precision, as the
// trainers do themselves where they use them.
func (b *builder) float32(v torchscript.Value) torchscript.Value {
	return b.c.Op(graph.OpCast, graph.Attrs{"dtype": graph.Float32}, v)
}

// flatten makes a row of each value of the batch.
func (b *builder) flatten(l *Layer) {
	b.only(l)
	b.call("flatten", b.current, int64(1))
}

// identity is nothing: what dropout is outside training.
func (b *builder) identity(*Layer) {}

func (b *builder) relu6(l *Layer) {
	b.only(l)
	b.call("clamp", b.current, 0.0, 6.0)
}

func (b *builder) oneHot(l *Layer) {
	b.only(l, "classes")
	b.call("one_hot", b.current, l.int("classes", -1))
	b.current = b.float32(b.current)
}

func (b *builder) squeeze(l *Layer) {
	b.only(l, "axis")
	b.call("squeeze", b.current, l.int("axis", -1))
}

// spatial returns the number of dimensions that a pooling goes over: the value
// is [B,channels,spatial...].
func (b *builder) spatial() int {
	x, ok := b.c.Shape(b.current)
	if !ok {
		b.c.Errorf("the shape of the value before is not known: give that of the input")
	}
	if len(x) < 3 || len(x) > 5 {
		b.c.Errorf("the value before is %v, [B,channels,spatial...] was wanted", x)
	}
	return len(x) - 2
}

func (b *builder) pool(l *Layer, name string) {
	b.only(l, "kernel", "stride", "padding", "dilation", "ceil")
	if _, ok := l.Attrs["kernel"]; !ok {
		b.c.Errorf("kernel is missing")
	}
	name += [...]string{"1d", "2d", "3d"}[b.spatial()-1]
	ceil, _ := l.Attrs["ceil"].(bool)
	args := []torchscript.Value{b.current, l.list("kernel", 1), []torchscript.Value{}, l.list("padding", 0)}
	if _, ok := l.Attrs["stride"]; ok {
		args[2] = l.list("stride", 1)
	}
	if strings.HasPrefix(name, "max") {
		args = append(args, l.list("dilation", 1))
	} else {
		b.only(l, "kernel", "stride", "padding", "ceil")
	}
	b.call(name, append(args, ceil)...)
}

func (b *builder) adaptivePool(l *Layer) {
	b.only(l, "size")
	n := b.spatial()
	if n > 2 {
		b.c.Unsupported("adaptive_avg_pool over %d dimensions", n)
	}
	size := l.list("size", 1).([]torchscript.Value)
	for len(size) < n {
		size = append(size, size[0])
	}
	b.call([...]string{"adaptive_avg_pool1d", "adaptive_avg_pool2d"}[n-1], b.current, size)
}

// generic applies an operator of the graph.
func (b *builder) generic(l *Layer) {
	args := make([]torchscript.Value, 0, len(l.Args)+1)
	for _, a := range l.Args {
		args = append(args, b.operand(a))
	}
	if len(args) == 0 || len(args) == 1 && l.Op != "concat" {
		args = slices.Insert(args, 0, b.current)
		if b.current == nil {
			b.c.Errorf("there are several inputs: say from which one with from")
		}
	}
	switch op := graph.Op(l.Op); {
	case op == graph.OpConcat:
		b.only(l, "axis")
		b.call("cat", args, l.int("axis", -1))
	case op == graph.OpAnd, op == graph.OpOr:
		b.only(l)
		b.call("logical_"+l.Op, args...)
	case op == graph.OpFloorDiv:
		b.only(l)
		b.call("floor_divide", args...)
	case op == graph.OpReshape:
		b.only(l, "shape")
		shape := []torchscript.Value{int64(-1)}
		b.call("reshape", b.current, append(shape, l.list("shape", 1).([]torchscript.Value)...))
	case len(args) > 1 && op != graph.OpLinear && op != graph.OpConv:
		b.only(l)
		b.call(l.Op, args...)
	default:
		b.current = b.c.Op(op, b.attrs(op, l), args...)
	}
}

func (b *builder) operand(o Operand) torchscript.Value {
	if o.Number != nil {
		return o.Number
	}
	if v, ok := b.names[o.Name]; ok {
		return v
	}
	if t, ok := b.byName[o.Name]; ok {
		return b.c.Parameter(o.Name, t)
	}
	b.c.Errorf("%q is neither a value (%s) nor a tensor of the file", o.Name, b.nameList())
	return nil
}

// attrs brings attributes into the kinds of the graph, with the defaults of
// torch where there are some.
func (b *builder) attrs(op graph.Op, l *Layer) graph.Attrs {
	attrs := graph.Attrs{}
	switch op {
	case graph.OpSoftmax, graph.OpLogSoftmax, graph.OpArgmax:
		attrs["axis"] = -1
	}
	for name, v := range l.Attrs {
		switch v := v.(type) {
		case int64:
			attrs[name] = int(v)
		case []int64:
			list := make([]int, len(v))
			for i, n := range v {
				list[i] = int(n)
			}
			attrs[name] = list
		case string:
			attrs[name] = v
			if name == "dtype" {
				dt := graph.Invalid
				for k := graph.Float32; k <= graph.Bool; k++ {
					if k.String() == v {
						dt = k
					}
				}
				attrs[name] = dt
			}
		default:
			attrs[name] = v
		}
	}
	return attrs
}

// dims is a shape as an argument.
func dims(s graph.Shape) torchscript.Value {
	out := make([]torchscript.Value, len(s))
	for i, d := range s {
		out[i] = int64(d)
	}
	return out
}

func (l *Layer) int(name string, def int64) int64 {
	if v, ok := l.Attrs[name].(int64); ok {
		return v
	}
	return def
}

func (l *Layer) float(name string, def float64) float64 {
	if v, ok := l.Attrs[name].(float64); ok {
		return v
	}
	return def
}

// list returns an attribute of integers as an argument.
func (l *Layer) list(name string, def int64) torchscript.Value {
	v, ok := l.Attrs[name].([]int64)
	if !ok || len(v) == 0 {
		v = []int64{def}
	}
	out := make([]torchscript.Value, len(v))
	for i, n := range v {
		out[i] = n
	}
	return out
}
