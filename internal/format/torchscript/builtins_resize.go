package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// resizeBuiltins give an image another size. Each axis is interpolated on its
// own, the last one first, as torch does.
var resizeBuiltins = map[string]builtin{
	"upsample_nearest1d":        {"x size scales s2 s3", resized(1, "nearest")},
	"upsample_nearest2d":        {"x size scales s2 s3", resized(2, "nearest")},
	"upsample_nearest3d":        {"x size scales s2 s3", resized(3, "nearest")},
	"_upsample_nearest_exact1d": {"x size scales s2 s3", resized(1, "exact")},
	"_upsample_nearest_exact2d": {"x size scales s2 s3", resized(2, "exact")},
	"_upsample_nearest_exact3d": {"x size scales s2 s3", resized(3, "exact")},
	"upsample_linear1d":         {"x size corners scales s2 s3", resized(1, "linear")},
	"upsample_bilinear2d":       {"x size corners scales s2 s3", resized(2, "linear")},
	"upsample_trilinear3d":      {"x size corners scales s2 s3", resized(3, "linear")},
	"upsample_bicubic2d":        {"x size corners scales s2 s3", resized(2, "cubic")},
}

// maxResized bounds an axis that is resized.
const maxResized = 8192

// resizing is how one axis is resized.
type resizing struct {
	from, to int
	scale    float64 // elements of the operand for one of the result
	corners  bool    // the corners of both lie on each other
}

func resized(spatial int, mode string) func(c *call) value {
	return func(c *call) value {
		in := c.in
		x, first := c.spatial(spatial)
		at := 2 // of the scales
		corners := false
		if mode == "linear" || mode == "cubic" {
			at, corners = 3, c.bool(2, false)
		}
		axes := c.resizings(x.Shape[first:], at, corners)
		dt := x.DType
		for i := spatial - 1; i >= 0; i-- {
			r := axes[i]
			if r.from == r.to && (corners || r.scale == 1) {
				continue
			}
			if mode != "nearest" && mode != "exact" && !dt.IsFloat() {
				in.unsupported("torch.%s of %v", c.name, dt)
			}
			x = in.resizeAxis(x, first+i, r, mode)
		}
		return newTensor(x)
	}
}

// resizings reads the sizes and the scales, which are a list in scripted code
// and one argument for each axis in traces.
func (c *call) resizings(shape graph.Shape, at int, corners bool) []resizing {
	n := len(shape)
	scales := make([]float64, n)
	if _, list := c.args[at].(*list); list {
		elems := c.elems(at)
		if len(elems) != n {
			c.in.errorf("%s with %d scales for %d axes", c.name, len(elems), n)
		}
		for i, e := range elems {
			scales[i] = (&call{in: c.in, name: c.name, args: []value{e}}).float(0, 0)
		}
	} else {
		for i := range scales {
			scales[i] = c.float(at+i, 0)
		}
	}
	var sizes []int
	if c.has(1) {
		if sizes = c.ints(1); len(sizes) != n {
			c.in.errorf("%s with %d sizes for %d axes", c.name, len(sizes), n)
		}
	}
	out := make([]resizing, n)
	for i := range out {
		r := resizing{from: shape[i], corners: corners}
		if sizes != nil {
			r.to = sizes[i]
		} else {
			r.to = int(math.Floor(float64(r.from) * scales[i]))
		}
		if r.from < 1 || r.to < 1 || r.from > maxResized || r.to > maxResized {
			c.in.errorf("%s of %v to %d", c.name, shape, r.to)
		}
		r.scale = float64(r.from) / float64(r.to)
		if scales[i] > 0 {
			r.scale = 1 / scales[i]
		}
		out[i] = r
	}
	return out
}

// resizeAxis takes, for each element of the result, those around its place and
// adds them up by their weights.
func (in *interp) resizeAxis(x *graph.Value, axis int, r resizing, mode string) *graph.Value {
	taps := map[string]int{"nearest": 1, "exact": 1, "linear": 2, "cubic": 4}[mode]
	index, weight := make([][]int64, taps), make([][]float64, taps)
	for i := range r.to {
		first, ws := r.around(i, mode)
		for k, w := range ws {
			index[k] = append(index[k], int64(min(max(first+k, 0), r.from-1)))
			weight[k] = append(weight[k], w)
		}
	}
	if taps == 1 {
		return in.take(x, axis, in.positions(index[0]))
	}
	shape := graph.Shape{r.to}
	for range len(x.Shape) - axis - 1 {
		shape = append(shape, 1)
	}
	var sum *graph.Value
	for k := range taps {
		w := in.cast(in.constant(&graph.Tensor{DType: graph.Float64, Shape: shape, F64: weight[k]}), x.DType)
		part := in.add(graph.OpMul, nil, in.take(x, axis, in.positions(index[k])), w)
		if sum == nil {
			sum = part
		} else {
			sum = in.add(graph.OpAdd, nil, sum, part)
		}
	}
	return sum
}

// around is the first element around the place of one of the result, and the
// weights of it and the next ones. The arithmetic is that of torch, in f32.
func (r *resizing) around(i int, mode string) (first int, weights []float64) {
	scale := float32(r.scale)
	switch mode {
	case "nearest":
		return min(int(float32(i)*scale), r.from-1), []float64{1}
	case "exact":
		return min(int((float32(i)+0.5)*scale), r.from-1), []float64{1}
	}
	at := (float32(i)+0.5)*scale - 0.5
	if r.corners {
		at = 0
		if r.to > 1 {
			at = float32(i) * (float32(r.from-1) / float32(r.to-1))
		}
	} else if mode == "linear" {
		at = max(at, 0)
	}
	first = int(math.Floor(float64(at)))
	t := float64(at) - float64(first)
	if mode == "linear" {
		if first >= r.from-1 { // both taps are the last element
			t = 0
		}
		return first, []float64{1 - t, t}
	}
	const a = -0.75
	near := func(d float64) float64 { return ((a+2)*d-(a+3))*d*d + 1 }
	far := func(d float64) float64 { return ((a*d-5*a)*d+8*a)*d - 4*a }
	return first - 1, []float64{far(t + 1), near(t), near(1 - t), far(2 - t)}
}
