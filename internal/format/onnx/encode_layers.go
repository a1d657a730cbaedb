package onnx

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// encodeActivations are activations. Those that ONNX Runtime has in single
// precision only are put together of others for float64.
var encodeActivations = map[graph.Op]encodeFunc{
	graph.OpRelu:        activation(encodeRelu),
	graph.OpSilu:        activation(encodeSilu),
	graph.OpElu:         activation(encodeElu),
	graph.OpCelu:        activation(encodeCelu),
	graph.OpSelu:        activation(encodeSelu),
	graph.OpLeakyRelu:   activation(encodeLeakyRelu),
	graph.OpGelu:        activation(encodeGelu),
	graph.OpSoftplus:    activation(encodeSoftplus),
	graph.OpMish:        activation(encodeMish),
	graph.OpSoftsign:    activation(encodeSoftsign),
	graph.OpHardswish:   activation(encodeHardswish),
	graph.OpHardsigmoid: activation(encodeHardsigmoid),
	graph.OpLogSigmoid:  activation(encodeLogSigmoid),
	graph.OpSoftmax:     activation(encodeSoftmax("Softmax")),
	graph.OpLogSoftmax:  activation(encodeSoftmax("LogSoftmax")),
}

// activation is a function of x in the type dt, which f writes.
func activation(f func(e *encoder, a graph.Attrs, x string, dt graph.DType) string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		return e.result(n, f(e, n.Attrs, e.operand(n, 0, dt), dt), dt)
	})
}

func encodeRelu(e *encoder, _ graph.Attrs, x string, dt graph.DType) string {
	if dt == graph.Int64 { // of which not every engine has a Relu
		return e.node("Max", nil, x, e.number(dt, 0))
	}
	return e.node("Relu", nil, x)
}

func encodeSilu(e *encoder, _ graph.Attrs, x string, _ graph.DType) string {
	return e.node("Mul", nil, x, e.node("Sigmoid", nil, x))
}

// positive chooses x where it is above 0, and y elsewhere.
func (e *encoder) positive(x, y string, dt graph.DType) string {
	return e.node("Where", nil, e.node("Greater", nil, x, e.number(dt, 0)), x, y)
}

// exponential is alpha·(exp(x/beta)-1).
func (e *encoder) exponential(x string, alpha, beta float64, dt graph.DType) string {
	if beta != 1 {
		x = e.node("Div", nil, x, e.number(dt, beta))
	}
	y := e.node("Sub", nil, e.node("Exp", nil, x), e.number(dt, 1))
	return e.node("Mul", nil, y, e.number(dt, alpha))
}

func encodeElu(e *encoder, a graph.Attrs, x string, dt graph.DType) string {
	alpha := a.Float("alpha")
	if dt == graph.Float32 {
		return e.node("Elu", []encodedAttr{{"alpha", alpha}}, x)
	}
	return e.positive(x, e.exponential(x, alpha, 1, dt), dt)
}

func encodeCelu(e *encoder, a graph.Attrs, x string, dt graph.DType) string {
	alpha := a.Float("alpha")
	if dt == graph.Float32 && alpha > 0 {
		return e.node("Celu", []encodedAttr{{"alpha", alpha}}, x)
	}
	return e.positive(x, e.exponential(x, alpha, alpha, dt), dt)
}

func encodeSelu(e *encoder, _ graph.Attrs, x string, dt graph.DType) string {
	if dt == graph.Float32 {
		return e.node("Selu", nil, x)
	}
	y := e.positive(x, e.exponential(x, seluAlpha, 1, dt), dt)
	return e.node("Mul", nil, y, e.number(dt, seluGamma))
}

func encodeLeakyRelu(e *encoder, a graph.Attrs, x string, dt graph.DType) string {
	alpha := a.Float("alpha")
	if dt == graph.Float32 {
		return e.node("LeakyRelu", []encodedAttr{{"alpha", alpha}}, x)
	}
	return e.positive(x, e.node("Mul", nil, x, e.number(dt, alpha)), dt)
}

func encodeGelu(e *encoder, a graph.Attrs, x string, dt graph.DType) string {
	approximate := a.Text("approximate")
	if dt == graph.Float32 {
		return e.node("Gelu", []encodedAttr{{"approximate", approximate}}, x)
	}
	number := func(v float64) string { return e.number(dt, v) }
	var inner string
	if approximate == "tanh" {
		cube := e.node("Mul", nil, e.node("Mul", nil, x, x), x)
		sum := e.node("Add", nil, x, e.node("Mul", nil, cube, number(0.044715)))
		inner = e.node("Tanh", nil, e.node("Mul", nil, sum, number(math.Sqrt(2/math.Pi))))
	} else {
		half := e.as(e.node("Mul", nil, x, number(math.Sqrt2/2)), dt, graph.Float32)
		inner = e.as(e.node("Erf", nil, half), graph.Float32, dt)
	}
	return e.node("Mul", nil, e.node("Mul", nil, x, number(0.5)), e.node("Add", nil, inner, number(1)))
}

// softplus is log(1+exp(x)).
func (e *encoder) softplus(x string, dt graph.DType) string {
	if dt == graph.Float32 {
		return e.node("Softplus", nil, x)
	}
	tail := e.node("Exp", nil, e.node("Neg", nil, e.node("Abs", nil, x)))
	tail = e.node("Log", nil, e.node("Add", nil, tail, e.number(dt, 1)))
	return e.node("Add", nil, e.node("Max", nil, x, e.number(dt, 0)), tail)
}

// encodeSoftplus has torch's threshold. At 20 and above the two forms do not
// differ in single precision.
func encodeSoftplus(e *encoder, a graph.Attrs, x string, dt graph.DType) string {
	beta, threshold := a.Float("beta"), a.Float("threshold")
	if beta == 1 && threshold >= 20 && dt == graph.Float32 {
		return e.softplus(x, dt)
	}
	scaled := x
	if beta != 1 {
		scaled = e.node("Mul", nil, x, e.number(dt, beta))
	}
	y := e.softplus(scaled, dt)
	if beta != 1 {
		y = e.node("Div", nil, y, e.number(dt, beta))
	}
	return e.node("Where", nil, e.node("Greater", nil, scaled, e.number(dt, threshold)), x, y)
}

func encodeMish(e *encoder, _ graph.Attrs, x string, dt graph.DType) string {
	if dt == graph.Float32 {
		return e.node("Mish", nil, x)
	}
	return e.node("Mul", nil, x, e.node("Tanh", nil, e.softplus(x, dt)))
}

func encodeSoftsign(e *encoder, _ graph.Attrs, x string, dt graph.DType) string {
	if dt == graph.Float32 {
		return e.node("Softsign", nil, x)
	}
	return e.node("Div", nil, x, e.node("Add", nil, e.node("Abs", nil, x), e.number(dt, 1)))
}

// sixth is min(max(x+3, 0), 6)/6.
func (e *encoder) sixth(x string, dt graph.DType) string {
	y := e.node("Add", nil, x, e.number(dt, 3))
	return e.node("Div", nil, e.node("Clip", nil, y, e.number(dt, 0), e.number(dt, 6)), e.number(dt, 6))
}

func encodeHardswish(e *encoder, _ graph.Attrs, x string, dt graph.DType) string {
	if dt == graph.Float32 {
		return e.node("HardSwish", nil, x)
	}
	return e.node("Mul", nil, x, e.sixth(x, dt))
}

func encodeHardsigmoid(e *encoder, _ graph.Attrs, x string, dt graph.DType) string {
	if dt == graph.Float32 {
		return e.node("HardSigmoid", []encodedAttr{{"alpha", 1.0 / 6}, {"beta", 0.5}}, x)
	}
	return e.sixth(x, dt)
}

func encodeLogSigmoid(e *encoder, _ graph.Attrs, x string, dt graph.DType) string {
	return e.node("Neg", nil, e.softplus(e.node("Neg", nil, x), dt))
}

func encodeSoftmax(op string) func(e *encoder, a graph.Attrs, x string, dt graph.DType) string {
	return func(e *encoder, a graph.Attrs, x string, _ graph.DType) string {
		return e.node(op, []encodedAttr{{"axis", a.Int("axis")}}, x)
	}
}

// encodeLayers are products of matrices and convolutions.
var encodeLayers = map[graph.Op]encodeFunc{
	graph.OpLinear: single(encodeLinear),
	graph.OpMatMul: single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		return e.result(n, e.node("MatMul", nil, e.operands(n, dt)...), dt)
	}),
	graph.OpConv:          single(encodeConv("Conv")),
	graph.OpConvTranspose: single(encodeConv("ConvTranspose")),
}

// encodeLinear is Gemm where x is a matrix, else a product with the weight the
// other way round.
func encodeLinear(e *encoder, n *graph.Node) string {
	dt := wide(n.Out[0].DType)
	if len(n.In[0].Shape) == 2 {
		return e.result(n, e.node("Gemm", []encodedAttr{{"transB", 1}}, e.operands(n, dt)...), dt)
	}
	w := n.In[1]
	var right string
	if w.Const != nil {
		right = e.as(e.transposed(w), w.DType, dt)
	} else {
		right = e.node("Transpose", []encodedAttr{{"perm", []int{1, 0}}}, e.operand(n, 1, dt))
	}
	y := e.node("MatMul", nil, e.operand(n, 0, dt), right)
	if len(n.In) == 3 {
		y = e.node("Add", nil, y, e.operand(n, 2, dt))
	}
	return e.result(n, y, dt)
}

// transposed is a constant weight the other way round, kept once.
func (e *encoder) transposed(w *graph.Value) string {
	if w.Const.AsNarrow() != nil {
		t, ok := e.shared.narrow[w.Const]
		if !ok {
			t = transpose(w.Const)
			e.shared.narrow[w.Const] = t
		}
		return e.narrowConstant(w.Name+".T", t)
	}
	if name, ok := e.shared.turned[w.Const]; ok {
		return name
	}
	prefix := "c"
	if w.Name != "" {
		prefix = w.Name + ".T"
	}
	name := e.fresh(prefix)
	e.shared.turned[w.Const] = name
	e.shared.tensors = append(e.shared.tensors, NamedTensor{name, transpose(w.Const)})
	return name
}

func encodeConv(op string) func(e *encoder, n *graph.Node) string {
	return func(e *encoder, n *graph.Node) string {
		pads := n.Attrs.Ints("padding")
		both := append(append([]int{}, pads...), pads...)
		attrs := []encodedAttr{
			{"strides", n.Attrs.Ints("stride")}, {"pads", both}, {"dilations", n.Attrs.Ints("dilation")}, {"group", n.Attrs.Int("groups")},
		}
		if more := n.Attrs.Ints("output_padding"); len(more) > 0 {
			attrs = append(attrs, encodedAttr{"output_padding", more})
		}
		dt := graph.Float32 // ONNX Runtime has no other
		return e.result(n, e.node(op, attrs, e.operands(n, dt)...), dt)
	}
}
