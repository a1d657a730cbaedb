package torchmodule

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// forward is what a class computes.
type forward = func(l *lowering, m *Module, x torchscript.Value) torchscript.Value

// sequential calls its modules one after another.
func sequential(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	for _, c := range m.children {
		x = l.call(c.Module, x)
	}
	return x
}

// same is the identity, and dropout outside training.
func same(_ *lowering, _ *Module, x torchscript.Value) torchscript.Value { return x }

// function calls a function of torch on x and attributes of the module.
func function(name string, attrs ...attr) forward {
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		args := []torchscript.Value{x}
		for _, a := range attrs {
			args = append(args, a(l, m))
		}
		return l.fn(name, args...)
	}
}

func linear(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	w := l.weight(m)
	l.checkLast(x, w, 1)
	return l.fn("linear", x, w, l.tensor(m, "bias"))
}

// checkLast compares the last dimension of x with one of the weight, for a
// message with both shapes.
func (l *lowering) checkLast(x, w torchscript.Value, dim int) {
	shape, _ := l.c.Shape(w)
	have, ok := l.c.Shape(x)
	if ok && len(shape) > dim && (len(have) == 0 || have[len(have)-1] != shape[dim]) {
		l.c.Errorf("the value before is %v, the weight %v takes %d features", have, shape, shape[dim])
	}
}

func convolution(name string, spatial int) forward {
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		if shape, ok := l.c.Shape(x); ok && len(shape) != spatial+2 {
			l.c.Errorf("the value before is %v, [B,channels] and %d more dimensions were wanted", shape, spatial)
		}
		padding, ok := l.value(m, "padding").(string)
		var pad torchscript.Value = padding
		if !ok {
			pad = integers("padding")(l, m)
		}
		if mode, ok := m.state.Get("padding_mode"); ok && mode != "zeros" {
			if mode != "reflect" && mode != "replicate" && mode != "circular" {
				l.c.Unsupported("a convolution with padding_mode %.40v", mode)
			}
			// The module keeps the amounts as pad takes them.
			x = l.fn("pad", x, integers("_reversed_padding_repeated_twice")(l, m), mode)
			pad = []torchscript.Value{int64(0)}
		}
		return l.fn(name, x, l.weight(m), l.tensor(m, "bias"), integers("stride")(l, m), pad, integers("dilation")(l, m), integer("groups")(l, m))
	}
}

// transposed is a transposed convolution.
func transposed(name string, spatial int) forward {
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		if shape, ok := l.c.Shape(x); ok && len(shape) != spatial+2 {
			l.c.Errorf("the value before is %v, [B,channels] and %d more dimensions were wanted", shape, spatial)
		}
		return l.fn(name, x, l.weight(m), l.tensor(m, "bias"), integers("stride")(l, m), integers("padding")(l, m), integers("output_padding")(l, m),
			integer("groups")(l, m), integers("dilation")(l, m))
	}
}

// batchNorm uses the statistics of training.
func batchNorm(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	return l.fn("batch_norm", x, l.tensor(m, "weight"), l.tensor(m, "bias"), l.tensor(m, "running_mean"), l.tensor(m, "running_var"),
		false, 0.1, number("eps")(l, m))
}

// instanceNorm uses the statistics of training where it has kept some, else
// those of each row.
func instanceNorm(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	mean, variance := l.tensor(m, "running_mean"), l.tensor(m, "running_var")
	return l.fn("instance_norm", x, l.tensor(m, "weight"), l.tensor(m, "bias"), mean, variance, mean == nil, 0.1, number("eps")(l, m))
}

func layerNorm(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	return l.fn("layer_norm", x, integers("normalized_shape")(l, m), l.tensor(m, "weight"), l.tensor(m, "bias"), number("eps")(l, m))
}

func groupNorm(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	return l.fn("group_norm", x, integer("num_groups")(l, m), l.tensor(m, "weight"), l.tensor(m, "bias"), number("eps")(l, m))
}

func rmsNorm(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	args := []torchscript.Value{x, integers("normalized_shape")(l, m), l.tensor(m, "weight")}
	if _, none := l.value(m, "eps").(pickle.None); !none {
		args = append(args, number("eps")(l, m))
	}
	return l.fn("rms_norm", args...)
}

func prelu(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	return l.fn("prelu", x, l.needed(m, "weight"))
}

// gelu has had its second form since torch 1.12.
func gelu(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	kind := "none"
	if v, ok := m.state.Get("approximate"); ok {
		if kind, ok = v.(string); !ok {
			l.c.Errorf("approximate is a %s, a text was wanted", pickle.TypeName(v))
		}
	}
	return l.fn("gelu", x, kind)
}

func softmin(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	return l.fn("softmax", l.c.Op(graph.OpNeg, nil, x), integer("dim")(l, m))
}

func tanhshrink(l *lowering, _ *Module, x torchscript.Value) torchscript.Value {
	return l.fn("sub", x, l.fn("tanh", x))
}

// pad adds zeros, or a constant, around the last dimensions.
func pad(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	fill := 0.0
	if v, ok := m.state.Get("value"); ok {
		if fill, ok = pickle.Float(v); !ok {
			l.c.Errorf("value is a %s, a number was wanted", pickle.TypeName(v))
		}
	}
	return l.fn("pad", x, integers("padding")(l, m), "constant", fill)
}

// padMode repeats or mirrors the edge around the last dimensions.
func padMode(mode string) forward {
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		return l.fn("pad", x, integers("padding")(l, m), mode)
	}
}

func maxPool(name string) forward {
	f := function(name, integers("kernel_size"), integers("stride"), integers("padding"), integers("dilation"), flag("ceil_mode"))
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		if b, ok := m.state.Get("return_indices"); ok && b != false {
			l.c.Unsupported("max pooling with return_indices")
		}
		return f(l, m, x)
	}
}

func avgPool(name string) forward {
	f := []attr{integers("kernel_size"), integers("stride"), integers("padding"), flag("ceil_mode"), flag("count_include_pad")}
	return func(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
		attrs := f
		if v, ok := m.state.Get("divisor_override"); ok && v != (pickle.None{}) {
			attrs = append(attrs[:len(f):len(f)], integer("divisor_override"))
		}
		return function(name, attrs...)(l, m, x)
	}
}

func embedding(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	if v, ok := m.state.Get("max_norm"); ok && v != (pickle.None{}) {
		l.c.Unsupported("an embedding with max_norm")
	}
	return l.fn("embedding", l.needed(m, "weight"), x)
}
