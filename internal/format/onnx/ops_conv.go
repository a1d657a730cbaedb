package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// convOps are convolutions and pooling.
var convOps = map[string]lowerFunc{
	"Conv": conv, "ConvTranspose": convTranspose, "MaxPool": maxPool, "AveragePool": averagePool, "LpPool": lpPool,
	"GlobalAveragePool": globalPool(graph.OpMean), "GlobalMaxPool": globalPool(graph.OpAmax), "GlobalLpPool": globalLpPool,
}

// window is what convolutions and pooling have in common.
type window struct {
	kernel, strides, dilations []int
	lo, hi                     []int // padding before and after
}

// maxWindow bounds kernels, strides, dilations and padding.
const maxWindow = 1 << 16

func (l *lowering) window(x torchscript.Value, kernel []int) window {
	shape := l.shape(x)
	n := len(shape) - 2
	if n < 1 || n > 3 {
		l.c.Errorf("x is of shape %v, [B,channels,spatial...] was expected", shape)
	}
	if k := l.attrInts("kernel_shape"); len(k) > 0 {
		kernel = k
	}
	w := window{kernel: kernel, strides: l.attrInts("strides"), dilations: l.attrInts("dilations")}
	if len(w.strides) == 0 {
		w.strides = slices.Repeat([]int{1}, n)
	}
	if len(w.dilations) == 0 {
		w.dilations = slices.Repeat([]int{1}, n)
	}
	pads := l.attrInts("pads")
	if len(pads) == 0 {
		pads = make([]int, 2*n)
	}
	if len(w.kernel) != n || len(w.strides) != n || len(w.dilations) != n || len(pads) != 2*n {
		l.c.Errorf("kernel, strides, dilations and pads of %d, %d, %d and %d numbers for %d axes", len(w.kernel), len(w.strides), len(w.dilations), len(pads), n)
	}
	for i := range n {
		for _, p := range []int{w.kernel[i], w.strides[i], w.dilations[i]} {
			if p < 1 || p > maxWindow {
				l.c.Errorf("a kernel, stride or dilation of %d", p)
			}
		}
		if pads[i] < 0 || pads[n+i] < 0 || pads[i] > maxWindow || pads[n+i] > maxWindow {
			l.c.Unsupported("padding of %v", pads)
		}
	}
	w.lo, w.hi = slices.Clone(pads[:n]), slices.Clone(pads[n:])
	l.autoPad(&w, shape[2:])
	return w
}

// autoPad works out the padding that the older attribute asks for.
func (l *lowering) autoPad(w *window, spatial graph.Shape) {
	mode := l.attrText("auto_pad", "NOTSET")
	switch mode {
	case "", "NOTSET":
		return
	case "VALID", "SAME_UPPER", "SAME_LOWER":
	default:
		l.c.Errorf("auto_pad %q", short(mode))
	}
	for i, d := range spatial {
		w.lo[i], w.hi[i] = 0, 0
		if mode == "VALID" {
			continue
		}
		if d < 1 {
			l.c.Errorf("auto_pad of a dimension of %d", d)
		}
		out := (d + w.strides[i] - 1) / w.strides[i]
		total := max(0, (out-1)*w.strides[i]+(w.kernel[i]-1)*w.dilations[i]+1-d)
		w.lo[i], w.hi[i] = total/2, total-total/2
		if mode == "SAME_LOWER" {
			w.lo[i], w.hi[i] = w.hi[i], w.lo[i]
		}
	}
}

// even pads x where both sides differ, so that what is left is the same on
// both.
func (l *lowering) even(x torchscript.Value, w *window, fill float64) torchscript.Value {
	if slices.Equal(w.lo, w.hi) {
		return x
	}
	n := len(w.lo)
	widths := make([]int, 0, 2*n)
	for i := n - 1; i >= 0; i-- {
		widths = append(widths, w.lo[i], w.hi[i])
	}
	w.lo, w.hi = make([]int, n), make([]int, n)
	return l.call("pad", x, list(widths), "constant", fill)
}

var convNames = []string{"", "conv1d", "conv2d", "conv3d"}

func conv(l *lowering) []torchscript.Value {
	x, weight := l.x(0), l.x(1)
	ws := l.shape(weight)
	if len(ws) < 3 || len(ws) != len(l.shape(x)) {
		l.c.Errorf("x of %v and a weight of %v", l.shape(x), ws)
	}
	w := l.window(x, ws[2:])
	if !slices.Equal(w.kernel, []int(ws[2:])) {
		l.c.Errorf("kernel_shape %v of a weight of %v", w.kernel, ws)
	}
	x = l.even(x, &w, 0)
	return one(l.call(convNames[len(w.kernel)], x, weight, l.maybe(2), list(w.strides), list(w.lo), list(w.dilations), int64(l.attrInt("group", 1))))
}

// convTranspose is the gradient of a convolution, cut by its padding.
func convTranspose(l *lowering) []torchscript.Value {
	x, weight := l.x(0), l.x(1)
	shape, ws := l.shape(x), l.shape(weight)
	if len(ws) < 3 || len(ws) != len(shape) || !shape[2:].Fixed() {
		l.c.Errorf("x of %v and a weight of %v", shape, ws)
	}
	n := len(shape) - 2
	w := window{kernel: ws[2:], strides: l.attrInts("strides"), dilations: l.attrInts("dilations")}
	more, pads, want := l.attrInts("output_padding"), l.attrInts("pads"), l.attrInts("output_shape")
	for _, list := range []struct {
		to    *[]int
		count int
		def   int
	}{{&w.strides, n, 1}, {&w.dilations, n, 1}, {&more, n, 0}, {&pads, 2 * n, 0}} {
		if len(*list.to) == 0 {
			*list.to = slices.Repeat([]int{list.def}, list.count)
		}
		if len(*list.to) != list.count || slices.Min(*list.to) < list.def || slices.Max(*list.to) > maxWindow {
			l.c.Errorf("strides, dilations, padding of %v for %d axes", *list.to, n)
		}
	}
	if len(want) > n {
		want = want[len(want)-n:]
	}
	// The whole result is made first, with enough behind it, and then cut.
	lo, size, extra := make([]int, n), make([]int, n), make([]int, n)
	for i := range n {
		full := (shape[2+i]-1)*w.strides[i] + (w.kernel[i]-1)*w.dilations[i] + 1
		total := pads[i] + pads[n+i]
		lo[i], size[i] = pads[i], full+more[i]-total
		mode := l.attrText("auto_pad", "NOTSET")
		if same := mode == "SAME_UPPER" || mode == "SAME_LOWER"; len(want) == n || same {
			if size[i] = shape[2+i] * w.strides[i]; len(want) == n {
				size[i] = want[i]
			}
			total = full + more[i] - size[i]
			if lo[i] = total / 2; mode != "SAME_UPPER" && total > 0 {
				lo[i] = total - total/2
			}
		} else if mode == "VALID" {
			lo[i], size[i] = 0, full+more[i]
		}
		extra[i] = max(0, lo[i]+size[i]-full)
		if size[i] < 1 || lo[i] < 0 || extra[i] > maxWindow {
			l.c.Errorf("a result of %v", size)
		}
	}
	in := []torchscript.Value{x, weight}
	if b := l.maybe(2); b != nil {
		in = append(in, b)
	}
	fits := make([]int, n) // output_padding must be below the stride; the rest are zeros
	for i := range fits {
		fits[i] = min(extra[i], max(w.strides[i], w.dilations[i])-1)
		extra[i] -= fits[i]
	}
	if slices.Max(extra) > 0 {
		l.c.Unsupported("output_shape %v beyond the result", want)
	}
	y := l.op(graph.OpConvTranspose, graph.Attrs{
		"stride": w.strides, "padding": make([]int, n), "output_padding": fits, "dilation": w.dilations, "groups": l.attrInt("group", 1),
	}, in...)
	for i := range n {
		y = l.slice(y, 2+i, lo[i], lo[i]+size[i], 1)
	}
	return one(y)
}

// maxPoolNames are the functions of torch by the number of axes.
var maxPoolNames = []string{"", "max_pool1d", "max_pool2d", "max_pool3d"}

// tail is how much ceil_mode adds behind the padding of an axis. A window that
// would begin in that padding is not taken.
func (w *window) tail(i, size int) int {
	span := (w.kernel[i]-1)*w.dilations[i] + 1
	room := size + w.lo[i] + w.hi[i] - span
	if room < 0 {
		return 0
	}
	count := (room+w.strides[i]-1)/w.strides[i] + 1
	if (count-1)*w.strides[i] >= size+w.lo[i] {
		count--
	}
	return max(0, (count-1)*w.strides[i]+span-size-w.lo[i]-w.hi[i])
}

// ceil makes the padding such that rounding down gives what ceil_mode asks
// for.
func (l *lowering) ceil(w *window, spatial graph.Shape) {
	if l.attrInt("ceil_mode", 0) == 0 {
		return
	}
	for i, d := range spatial {
		w.hi[i] += w.tail(i, d)
	}
}

// padAll adds a number around all spatial axes.
func (l *lowering) padAll(x torchscript.Value, lo, hi []int, fill float64) torchscript.Value {
	var widths []int
	for i, before := range slices.Backward(lo) {
		widths = append(widths, before, hi[i])
	}
	if slices.Max(widths) == 0 && slices.Min(widths) == 0 {
		return x
	}
	return l.call("pad", x, list(widths), "constant", fill)
}

func maxPool(l *lowering) []torchscript.Value {
	x := l.x(0)
	w := l.window(x, nil)
	l.ceil(&w, l.shape(x)[2:])
	none := make([]int, len(w.kernel))
	if l.isFloat(x) {
		x = l.padAll(x, w.lo, w.hi, math.Inf(-1))
		return one(l.call(maxPoolNames[len(w.kernel)], x, list(w.kernel), list(w.strides), list(none), list(w.dilations), false))
	}
	dt := l.dtype(x) // no integer of a small type is lost in a float
	if dt == graph.Int64 {
		l.c.Unsupported("elements of %v", dt)
	}
	x = l.padAll(l.as(x, graph.Float64), w.lo, w.hi, math.Inf(-1))
	return one(l.as(l.call(maxPoolNames[len(w.kernel)], x, list(w.kernel), list(w.strides), list(none), list(w.dilations), false), dt))
}

// averagePool divides sums of windows by the number of elements that count:
// those of the image, or those of the padding too, never those that ceil_mode
// adds.
func averagePool(l *lowering) []torchscript.Value {
	x := l.x(0)
	w := l.window(x, nil)
	spatial := l.shape(x)[2:]
	if !spatial.Fixed() {
		l.c.Errorf("x of shape %v", l.shape(x))
	}
	inner := spatial
	counts := l.c.Parameter("", ones(l.dtype(x), slices.Concat(graph.Shape{1, 1}, spatial)))
	if l.attrInt("count_include_pad", 0) != 0 {
		x = l.padAll(x, w.lo, w.hi, 0)
		for i := range w.lo {
			inner = slices.Clone(inner)
			inner[i] += w.lo[i] + w.hi[i]
		}
		counts = l.c.Parameter("", ones(l.dtype(x), slices.Concat(graph.Shape{1, 1}, inner)))
		l.ceil(&w, spatial)
		for i, d := range spatial {
			w.lo[i], w.hi[i] = 0, w.hi[i]+w.lo[i]-(inner[i]-d)
		}
	} else {
		l.ceil(&w, spatial)
	}
	sum := func(v torchscript.Value) torchscript.Value { return l.windowSum(l.padAll(v, w.lo, w.hi, 0), &w) }
	return one(l.op(graph.OpDiv, nil, sum(x), sum(counts)))
}

// ones is a tensor of ones.
func ones(dt graph.DType, shape graph.Shape) *graph.Tensor {
	t := &graph.Tensor{DType: dt, Shape: shape}
	n := shape.RowElements()
	if dt == graph.Float64 {
		t.F64 = slices.Repeat([]float64{1}, n)
	} else {
		t.F32 = slices.Repeat([]float32{1}, n)
	}
	return t
}

// windowSum adds up the elements of each window.
func (l *lowering) windowSum(x torchscript.Value, w *window) torchscript.Value {
	for i := range w.kernel {
		axis := 2 + i
		span := l.shape(x)[axis] - (w.kernel[i]-1)*w.dilations[i]
		if span < 1 {
			l.c.Errorf("a window of %v on %v", w.kernel, l.shape(x))
		}
		var sum torchscript.Value
		for k := range w.kernel[i] {
			part := l.slice(x, axis, k*w.dilations[i], k*w.dilations[i]+span, w.strides[i])
			if sum != nil {
				part = l.op(graph.OpAdd, nil, sum, part)
			}
			sum = part
		}
		x = sum
	}
	return x
}

// lpPool is the norm of each window.
func lpPool(l *lowering) []torchscript.Value {
	x := l.x(0)
	w := l.window(x, nil)
	l.ceil(&w, l.shape(x)[2:])
	p := l.attrFloat("p", 2)
	if a, ok := l.attr("p"); ok {
		p = float64(a.i)
	}
	return one(l.root(l.windowSum(l.padAll(l.powered(x, p), w.lo, w.hi, 0), &w), p))
}

// powered is |x|^p, and root its opposite.
func (l *lowering) powered(x torchscript.Value, p float64) torchscript.Value {
	switch x = l.op(graph.OpAbs, nil, x); p {
	case 1:
		return x
	case 2:
		return l.op(graph.OpMul, nil, x, x)
	}
	return l.op(graph.OpPow, nil, x, p)
}

func (l *lowering) root(x torchscript.Value, p float64) torchscript.Value {
	switch p {
	case 1:
		return x
	case 2:
		return l.op(graph.OpSqrt, nil, x)
	case 0:
		l.c.Errorf("a norm of order 0")
	}
	return l.op(graph.OpPow, nil, x, 1/p)
}

func globalLpPool(l *lowering) []torchscript.Value {
	p := float64(l.attrInt("p", 2))
	x := l.powered(l.x(0), p)
	var axes []int
	for i := 2; i < len(l.shape(x)); i++ {
		axes = append(axes, i)
	}
	return one(l.root(l.op(graph.OpSum, graph.Attrs{"axes": axes, "keepdim": true}, x), p))
}

func globalPool(op graph.Op) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		x := l.x(0)
		var axes []int
		for i := 2; i < len(l.shape(x)); i++ {
			axes = append(axes, i)
		}
		return one(l.op(op, graph.Attrs{"axes": axes, "keepdim": true}, x))
	}
}
