package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// convBuiltins are convolutions, and padding.
var convBuiltins = map[string]builtin{
	"conv1d":            {"x weight bias stride padding dilation groups", func(c *call) value { return convolution(c, 1) }},
	"conv2d":            {"x weight bias stride padding dilation groups", func(c *call) value { return convolution(c, 2) }},
	"conv3d":            {"x weight bias stride padding dilation groups", func(c *call) value { return convolution(c, 3) }},
	"_convolution_mode": {"x weight bias stride padding dilation groups", func(c *call) value { return convolution(c, 0) }},
	"convolution":       {"x weight bias stride padding dilation transposed output_padding groups", fullConvolution},
	"_convolution":      {"x weight bias stride padding dilation transposed output_padding groups benchmark deterministic cudnn_enabled allow_tf32", fullConvolution},

	"conv_transpose1d": {"x weight bias stride padding output_padding groups dilation", transposedConvolution},
	"conv_transpose2d": {"x weight bias stride padding output_padding groups dilation", transposedConvolution},
	"conv_transpose3d": {"x weight bias stride padding output_padding groups dilation", transposedConvolution},

	"pad":             {"x pad mode value", pad},
	"constant_pad_nd": {"x pad value", func(c *call) value { c.args = []value{c.args[0], c.args[1], absent{}, c.args[2]}; return pad(c) }},
}

// fullConvolution is the form of traces, in which everything is given.
func fullConvolution(c *call) value {
	if c.bool(6, false) {
		c.args = []value{c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[7], c.args[8], c.args[5]}
		return transposedConvolution(c)
	}
	c.args = []value{c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5], c.args[8]}
	return convolution(c, 0)
}

func convolution(c *call, spatial int) value {
	w := c.value(1)
	if spatial == 0 {
		spatial = len(w.Shape) - 2
	}
	if spatial < 1 || len(w.Shape) != spatial+2 {
		c.in.errorf("%s with a weight of %v", c.name, w.Shape)
	}
	groups := c.int(6, 1)
	if t := c.handle(0); t.pending {
		t.slot.described = describeImage(w.Shape[1]*groups, spatial)
		c.in.needShape(t)
	}
	x := c.sameType(0, w)
	single := len(x.Shape) == spatial+1 // an image without a batch axis
	if single {
		x = c.in.reshape(x, append(graph.Shape{1}, x.Shape...))
	}
	attrs := graph.Attrs{"groups": groups}
	stride, dilation := c.perAxis(3, spatial, 1), c.perAxis(5, spatial, 1)
	attrs["stride"], attrs["dilation"] = stride, dilation
	if mode, ok := c.args[4].(string); ok {
		attrs["padding"] = c.namedPadding(mode, w.Shape[2:], dilation)
	} else {
		attrs["padding"] = c.perAxis(4, spatial, 0)
	}
	operands := []*graph.Value{x, w}
	if b := c.optional(2); b != nil {
		operands = append(operands, b)
	}
	v := c.in.add(graph.OpConv, attrs, operands...)
	if single {
		v = c.in.reshape(v, v.Shape[1:])
	}
	return newTensor(v)
}

// transposedConvolution is the gradient of a convolution.
func transposedConvolution(c *call) value {
	w := c.value(1)
	spatial := len(w.Shape) - 2
	if spatial < 1 {
		c.in.errorf("%s with a weight of %v", c.name, w.Shape)
	}
	if t := c.handle(0); t.pending {
		t.slot.described = describeImage(w.Shape[0], spatial)
		c.in.needShape(t)
	}
	x := c.sameType(0, w)
	single := len(x.Shape) == spatial+1
	if single {
		x = c.in.reshape(x, append(graph.Shape{1}, x.Shape...))
	}
	operands := []*graph.Value{x, w}
	if b := c.optional(2); b != nil {
		operands = append(operands, b)
	}
	v := c.in.add(graph.OpConvTranspose, graph.Attrs{
		"stride": c.perAxis(3, spatial, 1), "padding": c.perAxis(4, spatial, 0), "output_padding": c.perAxis(5, spatial, 0),
		"groups": c.int(6, 1), "dilation": c.perAxis(7, spatial, 1),
	}, operands...)
	if single {
		v = c.in.reshape(v, v.Shape[1:])
	}
	return newTensor(v)
}

func describeImage(channels, spatial int) string {
	s := graph.Shape{graph.Batch, channels}.String()
	s = s[:len(s)-1]
	for range spatial {
		s += ",?"
	}
	return s + "]"
}

// perAxis returns one number for each spatial dimension; a single one stands
// for all.
func (c *call) perAxis(i, spatial, def int) []int {
	v := c.ints(i)
	if len(v) == 0 {
		v = []int{def}
	}
	for len(v) == 1 && len(v) < spatial {
		for len(v) < spatial {
			v = append(v, v[0])
		}
	}
	return append([]int(nil), v...)
}

// namedPadding is the padding "valid" or "same".
func (c *call) namedPadding(mode string, kernel graph.Shape, dilation []int) []int {
	out := make([]int, len(kernel))
	switch mode {
	case "valid":
	case "same":
		for i, k := range kernel {
			d := dilation[min(i, len(dilation)-1)]
			if d < 1 || d > maxResized {
				c.in.errorf("%s with a dilation of %d", c.name, d)
			}
			total := d * (k - 1)
			if total%2 != 0 {
				c.in.unsupported(`padding "same" of a kernel of even size`)
			}
			out[i] = total / 2
		}
	default:
		c.in.errorf("%s with padding %q", c.name, mode)
	}
	return out
}

// pad adds a constant around the last dimensions: pairs, last dimension first.
func pad(c *call) value {
	if mode := c.str(2, "constant"); mode != "constant" {
		return padByIndex(c, mode)
	}
	x, widths := c.value(0), c.ints(1)
	if len(widths)%2 != 0 || len(widths)/2 > len(x.Shape) {
		c.in.errorf("pad of %d numbers for a tensor of %d dimensions", len(widths), len(x.Shape))
	}
	fill := c.float(3, 0)
	for i := 0; i < len(widths); i += 2 {
		axis := len(x.Shape) - 1 - i/2
		lo, hi := widths[i], widths[i+1]
		if lo == 0 && hi == 0 {
			continue
		}
		if x.Shape[axis] < 0 {
			c.in.mixes("padding of the batch axis")
		}
		x = c.in.slice(x, axis, max(0, -lo), x.Shape[axis]-max(0, -hi), 1)
		var parts []*graph.Value
		if lo > 0 {
			parts = append(parts, c.in.filled(x, axis, lo, fill))
		}
		parts = append(parts, x)
		if hi > 0 {
			parts = append(parts, c.in.filled(x, axis, hi, fill))
		}
		if len(parts) > 1 {
			x = c.in.add(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
		}
	}
	return newTensor(x)
}

// filled is a constant of the type and shape of x but for one dimension.
func (in *interp) filled(x *graph.Value, axis, n int, fill float64) *graph.Value {
	shape := append(graph.Shape{}, x.Shape...)
	shape[axis] = n
	return in.expandTo(in.cast(in.number(fill, x), x.DType), shape)
}

// padByIndex repeats what is there: the elements at the edge, those mirrored
// at it, or those of the other side.
func padByIndex(c *call, mode string) value {
	x, widths := c.value(0), c.ints(1)
	if len(widths)%2 != 0 || len(widths)/2 > len(x.Shape) {
		c.in.errorf("pad of %d numbers for a tensor of %d dimensions", len(widths), len(x.Shape))
	}
	for i := 0; i < len(widths); i += 2 {
		axis := len(x.Shape) - 1 - i/2
		n, lo, hi := x.Shape[axis], widths[i], widths[i+1]
		if lo == 0 && hi == 0 {
			continue
		}
		if n < 1 || lo < 0 || hi < 0 || mode != "replicate" && max(lo, hi) > n || mode == "reflect" && max(lo, hi) >= n {
			c.in.unsupported("torch.pad with mode %q of %v by %d and %d", mode, x.Shape, lo, hi)
		}
		c.in.listLen(n + lo + hi)
		at := make([]int64, n+lo+hi)
		for k := range at {
			p := k - lo
			switch {
			case mode == "replicate":
				p = max(0, min(p, n-1))
			case mode == "circular":
				p = (p + n) % n
			case mode != "reflect":
				c.in.unsupported("torch.pad with mode %q", mode)
			case p < 0:
				p = -p
			case p >= n:
				p = 2*(n-1) - p
			}
			at[k] = int64(p)
		}
		x = c.in.take(x, axis, c.in.positions(at))
	}
	return newTensor(x)
}
