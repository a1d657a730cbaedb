package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// convOps are convolutions and pooling.
var convOps = map[string]lowerFunc{
	"Conv": conv, "MaxPool": maxPool, "AveragePool": averagePool, "Pad": pad,
	"GlobalAveragePool": globalPool(graph.OpMean), "GlobalMaxPool": globalPool(graph.OpAmax),
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

// poolNames are the functions of torch by the number of axes.
var (
	maxPoolNames     = []string{"", "max_pool1d", "max_pool2d", "max_pool3d"}
	averagePoolNames = []string{"", "avg_pool1d", "avg_pool2d", "avg_pool3d"}
)

func maxPool(l *lowering) []torchscript.Value {
	x := l.x(0)
	w := l.window(x, nil)
	x = l.even(x, &w, math.Inf(-1))
	return one(l.call(maxPoolNames[len(w.kernel)], x, list(w.kernel), list(w.strides), list(w.lo), list(w.dilations), l.attrInt("ceil_mode", 0) != 0))
}

func averagePool(l *lowering) []torchscript.Value {
	x := l.x(0)
	w := l.window(x, nil)
	if !slices.Equal(w.lo, w.hi) || slices.Max(w.dilations) > 1 {
		l.c.Unsupported("padding that differs on both sides, or dilation")
	}
	return one(l.call(averagePoolNames[len(w.kernel)], x, list(w.kernel), list(w.strides), list(w.lo), l.attrInt("ceil_mode", 0) != 0,
		l.attrInt("count_include_pad", 0) != 0))
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

// pad adds a constant around x: all beginnings, then all ends.
func pad(l *lowering) []torchscript.Value {
	if mode := l.attrText("mode", "constant"); mode != "constant" {
		l.c.Unsupported("mode %s", short(mode))
	}
	x := l.x(0)
	pads, _ := l.intsOf("pads", 1)
	rank := len(l.shape(x))
	if len(pads) != 2*rank || l.has(3) {
		l.c.Unsupported("%d numbers for %d dimensions, or axes", len(pads), rank)
	}
	fill := l.attrFloat("value", 0)
	if l.has(2) {
		fill = l.number(2)
	}
	var widths []int
	for i := rank - 1; i >= 0; i-- {
		widths = append(widths, pads[i], pads[rank+i])
		if max(pads[i], pads[rank+i], -pads[i], -pads[rank+i]) > maxWindow {
			l.c.Errorf("padding of %v", pads)
		}
	}
	return one(l.call("pad", x, list(widths), "constant", fill))
}
