package onnx

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// padOps change the size of images.
var padOps = map[string]lowerFunc{"Pad": pad, "CenterCropPad": centerCropPad, "Resize": resize, "Upsample": upsample}

// pad adds elements around x, or takes them off: all beginnings, then all
// ends.
func pad(l *lowering) []torchscript.Value {
	x := l.x(0)
	pads, ok := l.intsOf("pads", 1)
	if !ok {
		pads = l.attrInts("paddings")
	}
	shape := l.shape(x)
	axes := make([]int, len(shape))
	for i := range axes {
		axes[i] = i
	}
	if l.has(3) {
		axes = l.ints(3)
	}
	if len(pads) != 2*len(axes) {
		l.c.Errorf("%d numbers for %d axes", len(pads), len(axes))
	}
	lo, hi := make([]int, len(shape)), make([]int, len(shape))
	for i, a := range axes {
		a = l.axisOf(a, len(shape))
		lo[a], hi[a] = pads[i], pads[len(axes)+i]
		if max(lo[a], hi[a], -lo[a], -hi[a]) > maxWindow {
			l.c.Errorf("padding of %v", pads)
		}
		if shape[a] < 0 && (lo[a] != 0 || hi[a] != 0) {
			l.c.Errorf("%w: padding of the rows of a batch", graph.ErrMixesRows)
		}
	}
	mode := l.attrText("mode", "constant")
	if mode == "constant" {
		return one(l.padConstant(x, lo, hi))
	}
	for a := range shape {
		if lo[a] != 0 || hi[a] != 0 {
			x = l.sel(x, a, l.beyond(mode, shape[a], lo[a], hi[a]))
		}
	}
	return one(x)
}

func (l *lowering) padConstant(x torchscript.Value, lo, hi []int) torchscript.Value {
	fill := l.as(l.c.Parameter("", constantOf(graph.Float32, l.attrFloat("value", 0))), l.dtype(x))
	if l.has(2) {
		fill = l.reshape(l.as(l.x(2), l.dtype(x)), graph.Shape{})
	}
	for a := range lo {
		n := l.shape(x)[a]
		if n >= 0 && (lo[a] < 0 || hi[a] < 0) {
			start, end := max(0, -lo[a]), n-max(0, -hi[a])
			if start > end {
				l.c.Errorf("padding of %v and %v", lo, hi)
			}
			x = l.slice(x, a, start, end, 1)
		}
		var parts []torchscript.Value
		for k, count := range []int{lo[a], 0, hi[a]} {
			if k == 1 {
				parts = append(parts, x)
				continue
			}
			if count > 0 {
				shape := slices.Clone(l.shape(x))
				shape[a] = count
				parts = append(parts, l.op(graph.OpExpand, graph.Attrs{"shape": []int(shape)}, fill))
			}
		}
		if len(parts) > 1 {
			x = l.op(graph.OpConcat, graph.Attrs{"axis": a}, parts...)
		}
	}
	return x
}

// beyond are the indices of an axis of n elements that is continued on both
// sides.
func (l *lowering) beyond(mode string, n, lo, hi int) []int64 {
	if n < 1 {
		l.c.Errorf("mode %s of %d elements", mode, n)
	}
	var index []int64
	for i := -lo; i < n+hi; i++ {
		k := i
		switch mode {
		case "edge":
			k = min(max(i, 0), n-1)
		case "wrap":
			k = ((i % n) + n) % n
		case "reflect":
			if n == 1 {
				k = 0
				break
			}
			period := 2 * (n - 1)
			k = ((i % period) + period) % period
			k = min(k, period-k)
		default:
			l.c.Unsupported("mode %s", short(mode))
		}
		index = append(index, int64(k))
	}
	return index
}

// centerCropPad cuts off or adds zeros on both sides.
func centerCropPad(l *lowering) []torchscript.Value {
	x, want := l.x(0), l.ints(1)
	shape := l.shape(x)
	axes := l.attrInts("axes")
	if _, ok := l.attr("axes"); !ok {
		for i := range shape {
			axes = append(axes, i)
		}
	}
	if len(axes) != len(want) {
		l.c.Errorf("%d sizes for %d axes", len(want), len(axes))
	}
	lo, hi := make([]int, len(shape)), make([]int, len(shape))
	for i, a := range axes {
		a = l.axisOf(a, len(shape))
		if shape[a] < 0 || want[i] < 0 || want[i] > maxWindow {
			l.c.Errorf("sizes %v of %v", want, shape)
		}
		if d := want[i] - shape[a]; d >= 0 {
			lo[a], hi[a] = d/2, d-d/2
		} else {
			lo[a], hi[a] = -(-d / 2), d+(-d/2)
		}
	}
	return one(l.padConstant(x, lo, hi))
}
