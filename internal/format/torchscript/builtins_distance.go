package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// distanceBuiltins compare vectors, and products of matrices along chosen
// dimensions.
var distanceBuiltins = map[string]builtin{
	"cosine_similarity": {"x y dim eps", cosineSimilarity},
	"pairwise_distance": {"x y p eps keepdim", pairwiseDistance},
	"dist":              {"x y p", func(c *call) value { return newTensor(c.in.length(c.difference(), nil, c.float(2, 2), false)) }},
	"cdist":             {"x y p compute_mode", cdist},
	"_cdist_forward":    {"x y p compute_mode", cdist},
	"cross":             {"x y dim", cross},
	"linalg_cross":      {"x y dim", cross},
	"tensordot":         {"x y dims_self dims_other", tensorDot},
	"linalg_multi_dot":  {"tensors", multiDot},
	"chain_matmul":      {"tensors", multiDot},
	"kron":              {"x y", kron},
	"block_diag":        {"tensors", blockDiag},

	"linalg_matrix_norm": {"x ord dim keepdim dtype", matrixNorm},
}

// length is the norm of order p along dimensions, all where they are nil.
func (in *interp) length(x *graph.Value, axes []int, p float64, keep bool) *graph.Value {
	if axes == nil {
		axes = identityPerm(len(x.Shape))
	}
	abs := func() *graph.Value { return in.add(graph.OpAbs, nil, x) }
	switch {
	case p == 2:
		return in.add(graph.OpSqrt, nil, in.reduce(graph.OpSum, in.square(x), axes, keep))
	case p == 1:
		return in.reduce(graph.OpSum, abs(), axes, keep)
	case p == 0:
		return in.reduce(graph.OpSum, in.cast(in.with(graph.OpNe, x, 0), x.DType), axes, keep)
	case math.IsInf(p, 1):
		return in.reduce(graph.OpAmax, abs(), axes, keep)
	case math.IsInf(p, -1):
		return in.reduce(graph.OpAmin, abs(), axes, keep)
	case p > 0:
		s := in.reduce(graph.OpSum, in.with(graph.OpPow, abs(), p), axes, keep)
		return in.with(graph.OpPow, s, 1/p)
	}
	in.unsupported("a norm of order %v", p)
	return nil
}

func (c *call) difference() *graph.Value {
	return c.in.add(graph.OpSub, nil, c.value(0), c.value(1))
}

// cosineSimilarity is the product of both vectors at a length of 1, or of eps
// where they are shorter.
func cosineSimilarity(c *call) value {
	in := c.in
	x, y, eps := c.value(0), c.value(1), c.float(3, 1e-8)
	shape, ok := graph.Broadcast(x.Shape, y.Shape)
	if !ok {
		in.errorf("cosine_similarity of %v and %v", x.Shape, y.Shape)
	}
	axis := in.axis(c.int(2, 1), len(shape))
	unit := func(v *graph.Value) *graph.Value {
		v = in.expandTo(v, shape)
		return in.add(graph.OpDiv, nil, v, in.with(graph.OpMaximum, in.length(v, []int{axis}, 2, true), eps))
	}
	return newTensor(in.reduce(graph.OpSum, in.add(graph.OpMul, nil, unit(x), unit(y)), []int{axis}, false))
}

func pairwiseDistance(c *call) value {
	d := c.in.with(graph.OpAdd, c.difference(), c.float(3, 1e-6))
	return newTensor(c.in.length(d, []int{len(d.Shape) - 1}, c.float(2, 2), c.bool(4, false)))
}

// cdist is the distance of each row of x from each row of y.
func cdist(c *call) value {
	x, y := c.value(0), c.value(1)
	n, m := len(x.Shape), len(y.Shape)
	if n < 2 || m < 2 || x.Shape[n-1] != y.Shape[m-1] {
		c.in.errorf("cdist of %v and %v", x.Shape, y.Shape)
	}
	if x.Shape[n-2] < 0 || y.Shape[m-2] < 0 {
		c.in.mixes("torch.cdist of the rows of a batch")
	}
	x = c.in.reshape(x, append(append(graph.Shape{}, x.Shape[:n-1]...), 1, x.Shape[n-1]))
	y = c.in.reshape(y, append(append(append(graph.Shape{}, y.Shape[:m-2]...), 1), y.Shape[m-2:]...))
	d := c.in.add(graph.OpSub, nil, x, y)
	return newTensor(c.in.length(d, []int{len(d.Shape) - 1}, c.float(2, 2), false))
}

// cross is the product of vectors of three. Without a dimension torch.cross
// takes the first one of 3, torch.linalg.cross the last.
func cross(c *call) value {
	in := c.in
	x, y := c.value(0), c.value(1)
	shape, ok := graph.Broadcast(x.Shape, y.Shape)
	if !ok {
		in.errorf("cross of %v and %v", x.Shape, y.Shape)
	}
	axis := len(shape) - 1
	switch {
	case c.has(2):
		axis = in.axis(c.int(2, -1), len(shape))
	case c.name == "cross":
		for axis = 0; axis < len(shape) && shape[axis] != 3; axis++ {
		}
	}
	if axis < 0 || axis >= len(shape) || shape[axis] != 3 {
		in.errorf("cross of %v and %v along dimension %d", x.Shape, y.Shape, axis)
	}
	x, y = in.expandTo(x, shape), in.expandTo(y, shape)
	// next are the elements one further on, around the end.
	next := func(v *graph.Value) *graph.Value { return in.rolled(v, axis, -1) }
	d := in.add(graph.OpSub, nil, in.add(graph.OpMul, nil, x, next(y)), in.add(graph.OpMul, nil, next(x), y))
	return newTensor(next(d))
}

// tensorDot contracts dimensions of two tensors.
func tensorDot(c *call) value {
	in := c.in
	x, y := c.value(0), c.value(1)
	xs, ys := append([]int{}, c.ints(2)...), append([]int{}, c.ints(3)...)
	if len(xs) != len(ys) {
		in.errorf("tensordot along %v and %v", xs, ys)
	}
	rest := func(v *graph.Value, axes []int) (free []int) {
		drop := map[int]bool{}
		for i := range axes {
			axes[i] = in.axisOf(v, axes[i])
			if drop[axes[i]] {
				in.errorf("tensordot along dimension %d twice", axes[i])
			}
			drop[axes[i]] = true
		}
		for i := range v.Shape {
			if !drop[i] {
				free = append(free, i)
			}
		}
		return free
	}
	xFree, yFree := rest(x, xs), rest(y, ys)
	n := 1
	for i, a := range xs {
		if x.Shape[a] < 0 || x.Shape[a] != y.Shape[ys[i]] {
			in.mixes("torch.tensordot of %v and %v along %v and %v", x.Shape, y.Shape, xs, ys)
		}
		n *= x.Shape[a]
	}
	if !y.Shape.Fixed() {
		in.mixes("torch.tensordot with rows of a batch in the second tensor")
	}
	shape, m := graph.Shape{}, 1
	for _, a := range xFree {
		shape = append(shape, x.Shape[a])
	}
	for _, a := range yFree {
		m *= y.Shape[a]
	}
	x = in.reshape(in.transpose(x, append(xFree, xs...)), append(append(graph.Shape{}, shape...), n))
	for _, a := range yFree {
		shape = append(shape, y.Shape[a])
	}
	y = in.reshape(in.transpose(y, append(append([]int{}, ys...), yFree...)), graph.Shape{n, m})
	return newTensor(in.reshape(in.matmul(x, y), shape))
}

func multiDot(c *call) value {
	vs := c.values(0)
	if len(vs) == 0 {
		c.in.errorf("%s of no tensors", c.name)
	}
	v := vs[0]
	for _, w := range vs[1:] {
		v = c.in.matmul(v, w)
	}
	return newTensor(v)
}

// kron multiplies each element of x by all of y.
func kron(c *call) value {
	in := c.in
	x, y := c.value(0), c.value(1)
	if !x.Shape.Fixed() || !y.Shape.Fixed() {
		in.mixes("torch.kron of the rows of a batch")
	}
	a, b := append(graph.Shape{}, x.Shape...), append(graph.Shape{}, y.Shape...)
	for len(a) < len(b) {
		a = append(graph.Shape{1}, a...)
	}
	for len(b) < len(a) {
		b = append(graph.Shape{1}, b...)
	}
	var wide, narrow, shape graph.Shape
	for i := range a {
		wide, narrow, shape = append(wide, a[i], 1), append(narrow, 1, b[i]), append(shape, a[i]*b[i])
	}
	return newTensor(in.reshape(in.add(graph.OpMul, nil, in.reshape(x, wide), in.reshape(y, narrow)), shape))
}

// blockDiag puts matrices on a diagonal.
func blockDiag(c *call) value {
	in := c.in
	vs := c.values(0)
	width := 0
	for i, v := range vs {
		if len(v.Shape) > 2 || !v.Shape.Fixed() {
			in.errorf("block_diag of %v", v.Shape)
		}
		for len(v.Shape) < 2 {
			v = in.reshape(v, append(graph.Shape{1}, v.Shape...))
		}
		vs[i] = v
		width += v.Shape[1]
	}
	in.listLen(width)
	at := 0
	for i, v := range vs {
		var parts []*graph.Value
		if at > 0 {
			parts = append(parts, in.filled(v, 1, at, 0))
		}
		parts = append(parts, v)
		at += v.Shape[1]
		if at < width {
			parts = append(parts, in.filled(v, 1, width-at, 0))
		}
		if len(parts) > 1 {
			vs[i] = in.add(graph.OpConcat, graph.Attrs{"axis": 1}, parts...)
		}
	}
	return c.joined(vs, 0)
}

// matrixNorm is the Frobenius norm, the only one that needs no singular
// values but those by sums of rows and columns.
func matrixNorm(c *call) value {
	in := c.in
	x := c.value(0)
	dims := []int{-2, -1}
	if c.has(2) {
		dims = c.ints(2)
	}
	if len(dims) != 2 {
		in.errorf("the norm of a matrix along %v", dims)
	}
	a, b, keep := in.axisOf(x, dims[0]), in.axisOf(x, dims[1]), c.bool(3, false)
	if _, text := c.args[1].(string); !c.has(1) || text {
		if s := c.str(1, "fro"); s != "fro" {
			in.unsupported("the norm of a matrix of order %q", s)
		}
		return newTensor(in.length(x, []int{a, b}, 2, keep))
	}
	p := c.float(1, 2)
	first, op := a, graph.OpAmax
	if math.IsInf(p, 0) {
		first = b
	} else if math.Abs(p) != 1 {
		in.unsupported("the norm of a matrix of order %v", p)
	}
	if p < 0 {
		op = graph.OpAmin
	}
	v := in.reduce(graph.OpSum, in.add(graph.OpAbs, nil, x), []int{first}, true)
	v = in.reduce(op, v, []int{a + b - first}, true)
	if !keep {
		v = in.reshape(v, without(v.Shape, []int{a, b}))
	}
	return newTensor(v)
}
