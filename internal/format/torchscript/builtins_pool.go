package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// poolBuiltins are pooling, composed axis by axis of slices: the greatest
// element and the sum of a window are those of its rows.
var poolBuiltins = map[string]builtin{
	"max_pool1d":              {"x kernel stride padding dilation ceil_mode", func(c *call) value { return newTensor(maxPool(c, 1)) }},
	"max_pool2d":              {"x kernel stride padding dilation ceil_mode", func(c *call) value { return newTensor(maxPool(c, 2)) }},
	"max_pool3d":              {"x kernel stride padding dilation ceil_mode", func(c *call) value { return newTensor(maxPool(c, 3)) }},
	"max_pool2d_with_indices": {"x kernel stride padding dilation ceil_mode", func(c *call) value { return firstOfTwo(maxPool(c, 2)) }},
	"avg_pool1d":              {"x kernel stride padding ceil_mode count_include_pad divisor", func(c *call) value { return avgPool(c, 1) }},
	"avg_pool2d":              {"x kernel stride padding ceil_mode count_include_pad divisor", func(c *call) value { return avgPool(c, 2) }},
	"avg_pool3d":              {"x kernel stride padding ceil_mode count_include_pad divisor", func(c *call) value { return avgPool(c, 3) }},
	"adaptive_avg_pool1d":     {"x size", func(c *call) value { return newTensor(adaptivePool(c, graph.OpMean, 1)) }},
	"adaptive_avg_pool2d":     {"x size", func(c *call) value { return newTensor(adaptivePool(c, graph.OpMean, 2)) }},
	"adaptive_max_pool1d":     {"x size", func(c *call) value { return firstOfTwo(adaptivePool(c, graph.OpAmax, 1)) }},
	"adaptive_max_pool2d":     {"x size", func(c *call) value { return firstOfTwo(adaptivePool(c, graph.OpAmax, 2)) }},
}

// maxWindow bounds a window along one axis: each step of it is a node.
const maxWindow = 256

// firstOfTwo is a result whose second part, the positions, is not computed.
func firstOfTwo(v *graph.Value) value {
	return &tuple{elems: []value{newTensor(v), uninitialized{}}}
}

// spatial returns argument 0 and the position of its first spatial axis. A
// pending input is one whose shape must be given.
func (c *call) spatial(n int) (x *graph.Value, first int) {
	if t := c.handle(0); t.pending {
		c.in.needShape(t)
	}
	x = c.value(0)
	first = len(x.Shape) - n
	if first < 1 {
		c.in.errorf("%s of %v", c.name, x.Shape)
	}
	for _, d := range x.Shape[first:] {
		if d < 0 {
			c.in.mixes("torch.%s over the rows of a batch", c.name)
		}
	}
	return x, first
}

// window is pooling along one axis.
type window struct {
	kernel, stride, padding, dilation int
	in, out                           int // lengths of the axis
}

// windows reads the parameters of a pooling, one window for each axis.
func (c *call) windows(shape graph.Shape, dilationArg, ceilArg int) []window {
	n := len(shape)
	kernel, padding := c.perAxis(1, n, 0), c.perAxis(3, n, 0)
	stride, dilation := kernel, make([]int, n)
	if len(c.elems(2)) > 0 {
		stride = c.perAxis(2, n, 0)
	}
	for i := range dilation {
		dilation[i] = 1
	}
	if dilationArg > 0 {
		dilation = c.perAxis(dilationArg, n, 1)
	}
	if len(kernel) != n || len(padding) != n || len(stride) != n || len(dilation) != n {
		c.in.errorf("%s of %d axes with %d numbers", c.name, n, len(kernel))
	}
	ws := make([]window, n)
	for i := range ws {
		w := window{kernel: kernel[i], stride: stride[i], padding: padding[i], dilation: dilation[i], in: shape[i]}
		if w.kernel < 1 || w.kernel > maxWindow || w.stride < 1 || w.dilation < 1 || w.padding < 0 || w.padding > w.kernel {
			c.in.errorf("%s with a kernel of %d, stride %d, padding %d, dilation %d", c.name, w.kernel, w.stride, w.padding, w.dilation)
		}
		room := w.in + 2*w.padding - w.dilation*(w.kernel-1) - 1
		if room < 0 {
			c.in.errorf("%s with a window larger than %v", c.name, shape)
		}
		w.out = room/w.stride + 1
		if c.bool(ceilArg, false) {
			w.out = (room+w.stride-1)/w.stride + 1
			if (w.out-1)*w.stride >= w.in+w.padding { // a window begins within the input or its left padding
				w.out--
			}
		}
		ws[i] = w
	}
	return ws
}

// slide combines the elements of all windows along an axis, which is padded
// with fill.
func (in *interp) slide(x *graph.Value, axis int, w window, op graph.Op, fill float64) *graph.Value {
	reach := (w.out-1)*w.stride + w.dilation*(w.kernel-1) + 1
	var parts []*graph.Value
	if w.padding > 0 {
		parts = append(parts, in.filled(x, axis, w.padding, fill))
	}
	parts = append(parts, x)
	if right := reach - w.padding - w.in; right > 0 {
		parts = append(parts, in.filled(x, axis, right, fill))
	}
	if len(parts) > 1 {
		x = in.add(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
	}
	var y *graph.Value
	for k := range w.kernel {
		at := k * w.dilation
		part := in.slice(x, axis, at, at+(w.out-1)*w.stride+1, w.stride)
		if y == nil {
			y = part
		} else {
			y = in.add(op, nil, y, part)
		}
	}
	return y
}

func maxPool(c *call, n int) *graph.Value {
	x, first := c.spatial(n)
	for i, w := range c.windows(x.Shape[first:], 4, 5) {
		x = c.in.slide(x, first+i, w, graph.OpMaximum, math.Inf(-1))
	}
	return x
}

// avgPool divides the sums by the number of elements in each window: of the
// padded input, or of the input alone.
func avgPool(c *call, n int) value {
	x, first := c.spatial(n)
	ws := c.windows(x.Shape[first:], 0, 4)
	counts := []float64{1}
	shape := graph.Shape{}
	for i, w := range ws {
		x = c.in.slide(x, first+i, w, graph.OpAdd, 0)
		var next []float64
		for _, sofar := range counts {
			c.in.cost(w.out)
			for o := range w.out {
				lo := o*w.stride - w.padding
				hi := min(lo+w.kernel, w.in+w.padding)
				if !c.bool(5, true) {
					lo, hi = max(lo, 0), min(hi, w.in)
				}
				next = append(next, sofar*float64(hi-lo))
			}
		}
		counts, shape = next, append(shape, w.out)
	}
	if c.has(6) {
		return newTensor(c.in.add(graph.OpDiv, nil, x, c.in.number(c.float(6, 1), x)))
	}
	t := &graph.Tensor{DType: graph.Float32, Shape: shape, F32: make([]float32, len(counts))}
	for i, n := range counts {
		t.F32[i] = float32(n)
	}
	return newTensor(c.in.cast(c.in.add(graph.OpDiv, nil, x, c.in.constant(t)), x.DType))
}

// adaptivePool reduces each axis to a given length: part i of it is
// floor(i·in/out) to ceil((i+1)·in/out).
func adaptivePool(c *call, op graph.Op, n int) *graph.Value {
	x, first := c.spatial(n)
	sizes := c.elems(1)
	if len(sizes) != n && len(sizes) != 1 {
		c.in.errorf("%s of %d axes with %d numbers", c.name, n, len(sizes))
	}
	for i := range n {
		axis := first + i
		size := sizes[min(i, len(sizes)-1)]
		if size == nil { // the length stays
			continue
		}
		in, out := x.Shape[axis], c.toInt(1, size)
		if out < 1 || out > maxGather {
			c.in.errorf("%s to %d", c.name, out)
		}
		parts := make([]*graph.Value, out)
		for o := range parts {
			lo, hi := o*in/out, ((o+1)*in+out-1)/out
			parts[o] = c.in.reduce(op, c.in.slice(x, axis, lo, hi, 1), []int{axis}, true)
		}
		x = parts[0]
		if out > 1 {
			x = c.in.add(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
		}
	}
	return x
}
