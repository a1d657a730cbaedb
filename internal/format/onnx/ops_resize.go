package onnx

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// maxResized bounds an axis that is resized.
const maxResized = 8192

// resizing is how one axis is resized.
type resizing struct {
	from, to     int
	scale        float64
	mode, coords string
	nearest      string
	cubic        float64
	outside      bool // weights beyond the edge do not count
}

// upsample is the older form of a resize, of scales alone.
func upsample(l *lowering) []torchscript.Value {
	x := l.x(0)
	var scales []float64
	if a, ok := l.attr("scales"); ok {
		scales = a.floats
	} else {
		scales = l.numbers(1)
	}
	mode := l.attrText("mode", "nearest")
	if mode == "bilinear" {
		mode = "linear"
	}
	return one(l.resized(x, scales, nil, resizing{mode: mode, coords: "asymmetric", nearest: "floor"}))
}

// numbers is operand k as a list of numbers, nil where it is empty.
func (l *lowering) numbers(k int) []float64 {
	if !l.has(k) {
		return nil
	}
	t := l.constant(k)
	if len(t.Shape) != 1 || t.Len() > graph.MaxRank {
		l.c.Errorf("operand %d of shape %v", k+1, t.Shape)
	}
	var out []float64
	for i := range t.Len() {
		out = append(out, t.At(i))
	}
	return out
}

// resize interpolates along each axis on its own: by indices, or with a matrix
// of weights.
func resize(l *lowering) []torchscript.Value {
	x := l.x(0)
	r := resizing{mode: l.attrText("mode", "nearest"), coords: l.attrText("coordinate_transformation_mode", "half_pixel"),
		nearest: l.attrText("nearest_mode", "round_prefer_floor"), cubic: l.attrFloat("cubic_coeff_a", -0.75), outside: l.attrInt("exclude_outside", 0) != 0}
	scales, sizes := l.numbers(2), l.numbers(3)
	if l.opset < 11 { // without the region of interest
		scales, sizes = l.numbers(1), nil
		r.coords, r.nearest = "asymmetric", "floor"
	}
	if l.attrInt("antialias", 0) != 0 || r.coords == "tf_crop_and_resize" {
		l.c.Unsupported("antialias=1 or coordinate_transformation_mode %s", short(r.coords))
	}
	if policy := l.attrText("keep_aspect_ratio_policy", "stretch"); policy != "stretch" {
		l.c.Unsupported("keep_aspect_ratio_policy %s", short(policy))
	}
	return one(l.resized(x, scales, sizes, r))
}

func (l *lowering) resized(x torchscript.Value, scales, sizes []float64, r resizing) torchscript.Value {
	shape := l.shape(x)
	axes := l.attrInts("axes")
	if _, ok := l.attr("axes"); !ok {
		for i := range shape {
			axes = append(axes, i)
		}
	}
	if len(scales) != len(axes) && len(sizes) != len(axes) {
		l.c.Unsupported("%d scales and %d sizes for %d axes", len(scales), len(sizes), len(axes))
	}
	for i, a := range axes {
		a = l.axisOf(a, len(shape))
		own := r
		own.from = shape[a]
		if own.from < 0 {
			if len(scales) == len(axes) && scales[i] == 1 || len(sizes) == len(axes) && sizes[i] == float64(-own.from) {
				continue
			}
			l.c.Errorf("%w: the rows of a batch are resized", graph.ErrMixesRows)
		}
		if len(sizes) == len(axes) {
			own.to = int(sizes[i])
			own.scale = float64(own.to) / float64(own.from)
		} else {
			own.scale = scales[i]
			own.to = int(math.Floor(float64(own.from) * own.scale))
		}
		if own.to < 1 || own.to > maxResized || own.from < 1 || own.from > maxResized || !(own.scale > 0) {
			l.c.Errorf("dimension %d of %v to %d", a, shape, own.to)
		}
		if own.to != own.from || own.scale != 1 {
			x = l.resizeAxis(x, a, own)
		}
	}
	return x
}

func (l *lowering) resizeAxis(x torchscript.Value, axis int, r resizing) torchscript.Value {
	if r.mode == "nearest" {
		index := make([]int64, r.to)
		for i := range index {
			index[i] = int64(min(max(r.round(l, r.source(l, i)), 0), r.from-1))
		}
		return l.sel(x, axis, index)
	}
	w := make([]float32, r.to*r.from)
	for i := range r.to {
		r.weigh(l, w[i*r.from:(i+1)*r.from], r.source(l, i))
	}
	weight := l.as(l.c.Parameter("", graph.Float32s(w, r.to, r.from)), l.dtype(x))
	rank := len(l.shape(x))
	if axis == rank-1 {
		return l.op(graph.OpLinear, nil, x, weight)
	}
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = i
	}
	perm[axis], perm[rank-1] = rank-1, axis
	return l.permute(l.op(graph.OpLinear, nil, l.permute(x, perm), weight), perm)
}

// source is where an element of the result lies in the operand.
func (r *resizing) source(l *lowering, i int) float64 {
	x, from, to := float64(i), float64(r.from), float64(r.to)
	switch r.coords {
	case "half_pixel":
		return (x+0.5)/r.scale - 0.5
	case "pytorch_half_pixel":
		if r.to == 1 {
			return 0
		}
		return (x+0.5)/r.scale - 0.5
	case "half_pixel_symmetric":
		adjustment := to / (r.scale * from)
		return from/2*(1-adjustment) + (x+0.5)/r.scale - 0.5
	case "align_corners":
		if r.to == 1 {
			return 0
		}
		return x * (from - 1) / (to - 1)
	case "asymmetric":
		return x / r.scale
	}
	l.c.Unsupported("coordinate_transformation_mode %s", short(r.coords))
	return 0
}

func (r *resizing) round(l *lowering, x float64) int {
	switch r.nearest {
	case "round_prefer_floor", "":
		return int(math.Ceil(x - 0.5))
	case "round_prefer_ceil":
		return int(math.Floor(x + 0.5))
	case "floor":
		return int(math.Floor(x))
	case "ceil":
		return int(math.Ceil(x))
	}
	l.c.Unsupported("nearest_mode %s", short(r.nearest))
	return 0
}

// weigh writes the weights of the elements around a place. What is beyond the
// edge counts as the element at the edge.
func (r *resizing) weigh(l *lowering, w []float32, at float64) {
	base := int(math.Floor(at))
	t := at - float64(base)
	var taps []float64
	first := base
	switch r.mode {
	case "linear":
		taps = []float64{1 - t, t}
	case "cubic":
		a := r.cubic
		first = base - 1
		near := func(d float64) float64 { return (a+2)*d*d*d - (a+3)*d*d + 1 }
		far := func(d float64) float64 { return a*d*d*d - 5*a*d*d + 8*a*d - 4*a }
		taps = []float64{far(1 + t), near(t), near(1 - t), far(2 - t)}
	default:
		l.c.Unsupported("mode %s", short(r.mode))
	}
	sum := 1.0
	if r.outside {
		sum = 0
		for k, tap := range taps {
			if first+k >= 0 && first+k < r.from {
				sum += tap
			}
		}
	}
	for k, tap := range taps {
		i := first + k
		if r.outside && (i < 0 || i >= r.from) {
			continue
		}
		w[min(max(i, 0), r.from-1)] += float32(tap / sum)
	}
}
