package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// imageBuiltins move the elements of images between channels and places.
var imageBuiltins = map[string]builtin{
	"pixel_shuffle":          {"x factor", pixelShuffle},
	"pixel_unshuffle":        {"x factor", pixelUnshuffle},
	"channel_shuffle":        {"x groups", channelShuffle},
	"native_channel_shuffle": {"x groups", channelShuffle},
	"im2col":                 {"x kernel dilation padding stride", imageToColumns},
	"col2im":                 {"x size kernel dilation padding stride", columnsToImage},
	"affine_grid_generator":  {"theta size align_corners", affineGrid},
	"grid_sampler":           {"x grid mode padding_mode align_corners", gridSample},
}

// rearranged splits the dimensions of x into those of split, orders them by
// perm and joins them to shape.
func (in *interp) rearranged(x *graph.Value, split graph.Shape, perm []int, shape graph.Shape) *graph.Value {
	return in.reshape(in.transpose(in.reshape(x, split), perm), shape)
}

// lead are the dimensions of an image before its channels, and those three.
func (c *call) lead() (x *graph.Value, lead graph.Shape, ch, h, w int) {
	if t := c.handle(0); t.pending {
		c.in.needShape(t)
	}
	x = c.value(0)
	n := len(x.Shape) - 3
	if n < 0 || n > 0 && !x.Shape[n:].Fixed() || n == 0 && x.Shape.BatchAxis() >= 0 {
		c.in.errorf("%s of %v", c.name, x.Shape)
	}
	return x, x.Shape[:n:n], x.Shape[n], x.Shape[n+1], x.Shape[n+2]
}

// from is a permutation that leaves the first n dimensions.
func from(n int, rest ...int) []int {
	perm := identityPerm(n)
	for _, r := range rest {
		perm = append(perm, n+r)
	}
	return perm
}

func pixelShuffle(c *call) value {
	x, lead, ch, h, w := c.lead()
	r := c.int(1, 1)
	if r < 1 || r > maxWindow || ch%(r*r) != 0 {
		c.in.errorf("pixel_shuffle of %v by %d", x.Shape, r)
	}
	ch /= r * r
	return newTensor(c.in.rearranged(x, append(lead, ch, r, r, h, w), from(len(lead), 0, 3, 1, 4, 2), append(lead, ch, h*r, w*r)))
}

func pixelUnshuffle(c *call) value {
	x, lead, ch, h, w := c.lead()
	r := c.int(1, 1)
	if r < 1 || r > maxWindow || h%r != 0 || w%r != 0 {
		c.in.errorf("pixel_unshuffle of %v by %d", x.Shape, r)
	}
	h, w = h/r, w/r
	return newTensor(c.in.rearranged(x, append(lead, ch, h, r, w, r), from(len(lead), 0, 2, 4, 1, 3), append(lead, ch*r*r, h, w)))
}

func channelShuffle(c *call) value {
	x := c.value(0)
	g := c.int(1, 1)
	if len(x.Shape) < 3 || g < 1 || c.fixedDim(x, 1)%g != 0 {
		c.in.errorf("channel_shuffle of %v into %d groups", x.Shape, g)
	}
	split := append(graph.Shape{x.Shape[0], g, x.Shape[1] / g}, x.Shape[2:]...)
	perm := identityPerm(len(split))
	perm[1], perm[2] = 2, 1
	return newTensor(c.in.rearranged(x, split, perm, x.Shape))
}

// patches are the windows that run over one axis of an image.
func (c *call) patches(i, n int, kernelArg, dilationArg int) window {
	kernel, dilation, padding, stride := c.perAxis(kernelArg, 2, 1), c.perAxis(dilationArg, 2, 1), c.perAxis(dilationArg+1, 2, 0), c.perAxis(dilationArg+2, 2, 1)
	if len(kernel) != 2 || len(dilation) != 2 || len(padding) != 2 || len(stride) != 2 {
		c.in.errorf("%s of two axes with %d numbers", c.name, len(kernel))
	}
	w := window{kernel: kernel[i], dilation: dilation[i], padding: padding[i], stride: stride[i], in: n}
	if w.kernel < 1 || w.kernel > maxWindow || w.stride < 1 || w.dilation < 1 || w.dilation > maxResized || w.padding < 0 || w.padding > maxResized {
		c.in.errorf("%s with a kernel of %d, stride %d, padding %d, dilation %d", c.name, w.kernel, w.stride, w.padding, w.dilation)
	}
	room := n + 2*w.padding - w.dilation*(w.kernel-1) - 1
	if n < 0 || room < 0 {
		c.in.errorf("%s of %d elements with a kernel of %d", c.name, n, w.kernel)
	}
	w.out = room/w.stride + 1
	c.in.listLen(w.out * w.kernel)
	return w
}

// places are, for a kernel [kernel, out], the elements of the padded axis.
func (in *interp) places(w window) *graph.Value {
	at := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{w.kernel, w.out}}
	for k := range w.kernel {
		for o := range w.out {
			at.I64 = append(at.I64, int64(k*w.dilation+o*w.stride))
		}
	}
	return in.constant(at)
}

// imageToColumns is the patches of an image: [B, C·kh·kw, patches].
func imageToColumns(c *call) value {
	in := c.in
	x, lead, ch, h, w := c.lead()
	n := len(lead)
	rows, cols := c.patches(0, h, 1, 2), c.patches(1, w, 1, 2)
	for i, p := range []window{rows, cols} {
		if p.padding > 0 {
			edge := in.filled(x, n+1+i, p.padding, 0)
			x = in.add(graph.OpConcat, graph.Attrs{"axis": n + 1 + i}, edge, x, edge)
		}
	}
	x = in.take(x, n+2, in.places(cols)) // [..., C, H, kw, ow]
	x = in.take(x, n+1, in.places(rows)) // [..., C, kh, oh, kw, ow]
	x = in.transpose(x, from(n, 0, 1, 3, 2, 4))
	return newTensor(in.reshape(x, append(lead, ch*rows.kernel*cols.kernel, rows.out*cols.out)))
}

// columnsToImage adds up patches where they lie over each other.
func columnsToImage(c *call) value {
	in := c.in
	x, size := c.value(0), c.ints(1)
	n := len(x.Shape) - 2
	if n < 0 || len(size) != 2 || !x.Shape[max(n, 0):].Fixed() {
		in.errorf("col2im of %v to %v", x.Shape, size)
	}
	rows, cols := c.patches(0, size[0], 2, 3), c.patches(1, size[1], 2, 3)
	k := rows.kernel * cols.kernel
	if x.Shape[n]%k != 0 || x.Shape[n+1] != rows.out*cols.out {
		in.errorf("col2im of %v with patches of %d by %d", x.Shape, rows.kernel, cols.kernel)
	}
	lead, ch := x.Shape[:n:n], x.Shape[n]/k
	x = in.reshape(x, append(lead, ch, rows.kernel, cols.kernel, rows.out, cols.out))
	x = in.reshape(in.transpose(x, from(n, 0, 1, 3, 2, 4)), append(lead, ch, rows.kernel*rows.out, cols.kernel*cols.out))
	x = in.add(graph.OpLinear, nil, x, in.covering(cols, x.DType))
	x = in.swap(x, n+1, n+2)
	x = in.add(graph.OpLinear, nil, x, in.covering(rows, x.DType))
	return newTensor(in.swap(x, n+1, n+2))
}

// covering is 1 where an element of an axis is one of a patch: [in,
// kernel·out].
func (in *interp) covering(w window, dt graph.DType) *graph.Value {
	t := &graph.Tensor{DType: graph.Float32, Shape: graph.Shape{w.in, w.kernel * w.out}, F32: make([]float32, in.area(w.in, w.kernel*w.out))}
	for k := range w.kernel {
		for o := range w.out {
			if at := k*w.dilation + o*w.stride - w.padding; at >= 0 && at < w.in {
				t.F32[at*w.kernel*w.out+k*w.out+o] = 1
			}
		}
	}
	return in.cast(in.constant(t), dt)
}

// affineGrid is the places, from -1 to 1, that an affine map gives the
// elements of an image.
func affineGrid(c *call) value {
	in := c.in
	theta, size, corners := c.value(0), c.dims(1), c.bool(2, false)
	if len(size) != 4 || len(theta.Shape) != 3 || size[2] < 1 || size[3] < 1 {
		in.unsupported("torch.affine_grid of %v for %v", theta.Shape, size)
	}
	h, w := size[2], size[3]
	elems := in.area(in.area(h, w), 3)
	in.cost(elems / 16)
	place := func(i, n int) float32 {
		switch {
		case corners && n == 1:
			return 0
		case corners:
			return float32(2*i)/float32(n-1) - 1
		}
		return float32(2*i+1)/float32(n) - 1
	}
	base := &graph.Tensor{DType: graph.Float32, Shape: graph.Shape{h * w, 3}, F32: make([]float32, 0, elems)}
	for y := range h {
		for x := range w {
			base.F32 = append(base.F32, place(x, w), place(y, h), 1)
		}
	}
	v := in.matmul(in.cast(in.constant(base), theta.DType), in.swap(theta, 1, 2))
	return newTensor(in.reshape(v, graph.Shape{theta.Shape[0], h, w, 2}))
}

// gridSample looks an image up at places from -1 to 1: with the four elements
// around a place, or the nearest one.
func gridSample(c *call) value {
	in := c.in
	x, lead, ch, h, w := c.lead()
	grid := c.value(1)
	mode, border, corners := c.int(2, 0), c.int(3, 0), c.bool(4, false)
	if len(lead) != 1 || len(grid.Shape) != 4 || mode > 1 || border > 1 {
		in.unsupported("torch.grid_sample of mode %d and padding %d of %v at %v", mode, border, x.Shape, grid.Shape)
	}
	oh, ow := c.fixedDim(grid, 1), c.fixedDim(grid, 2)
	grid = in.reshape(grid, graph.Shape{grid.Shape[0], 1, oh * ow, 2})
	flat := in.reshape(x, append(lead, ch, h*w))
	place := func(k, n int) *graph.Value {
		g := in.slice(grid, 3, k, k+1, 1)
		g = in.reshape(g, g.Shape[:3])
		if corners {
			g = in.with(graph.OpMul, in.with(graph.OpAdd, g, 1), float64(n-1)/2)
		} else {
			g = in.with(graph.OpMul, in.with(graph.OpSub, in.with(graph.OpMul, in.with(graph.OpAdd, g, 1), float64(n)), 1), 0.5)
		}
		if border == 1 {
			g = in.add(graph.OpClamp, graph.Attrs{"min": 0.0, "max": float64(n - 1)}, g)
		}
		return g
	}
	px, py := place(0, w), place(1, h)
	// at is the element at (cx, cy), 0 beyond the edges.
	at := func(cx, cy *graph.Value) *graph.Value {
		var inside *graph.Value
		for _, t := range []struct {
			v *graph.Value
			n int
		}{{cx, w}, {cy, h}} {
			ok := in.add(graph.OpAnd, nil, in.with(graph.OpGe, t.v, 0), in.with(graph.OpLe, t.v, float64(t.n-1)))
			if inside == nil {
				inside = ok
			} else {
				inside = in.add(graph.OpAnd, nil, inside, ok)
			}
		}
		kx := in.add(graph.OpClamp, graph.Attrs{"min": 0.0, "max": float64(w - 1)}, cx)
		ky := in.add(graph.OpClamp, graph.Attrs{"min": 0.0, "max": float64(h - 1)}, cy)
		idx := in.cast(in.add(graph.OpAdd, nil, in.with(graph.OpMul, ky, float64(w)), kx), graph.Int64)
		shape := graph.Shape{x.Shape[0], ch, oh * ow}
		v := in.gatherAt(flat, 2, in.expandTo(idx, shape))
		return in.add(graph.OpWhere, nil, inside, v, in.number(0.0, v))
	}
	if mode == 1 {
		v := at(in.add(graph.OpRound, nil, px), in.add(graph.OpRound, nil, py))
		return newTensor(in.reshape(v, graph.Shape{x.Shape[0], ch, oh, ow}))
	}
	fx, fy := in.add(graph.OpFloor, nil, px), in.add(graph.OpFloor, nil, py)
	tx, ty := in.add(graph.OpSub, nil, px, fx), in.add(graph.OpSub, nil, py, fy)
	var sum *graph.Value
	for k := range 4 {
		cx, cy, wx, wy := fx, fy, in.fromOne(tx), in.fromOne(ty)
		if k&1 != 0 {
			cx, wx = in.with(graph.OpAdd, fx, 1), tx
		}
		if k&2 != 0 {
			cy, wy = in.with(graph.OpAdd, fy, 1), ty
		}
		part := in.add(graph.OpMul, nil, at(cx, cy), in.add(graph.OpMul, nil, wx, wy))
		if sum == nil {
			sum = part
		} else {
			sum = in.add(graph.OpAdd, nil, sum, part)
		}
	}
	return newTensor(in.reshape(sum, graph.Shape{x.Shape[0], ch, oh, ow}))
}
