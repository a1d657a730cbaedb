package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// microsoftOps are operators of com.microsoft, which ONNX Runtime puts in the
// place of several when it optimises a model.
var microsoftOps = map[string]lowerFunc{
	"Gelu": gelu, "FastGelu": fastGelu, "BiasGelu": biasGelu, "QuickGelu": quickGelu,
	"FusedMatMul": fusedMatMul, "FusedGemm": fusedGemm, "FusedConv": fusedConv,
	"SkipLayerNormalization": skipLayerNorm, "SkipSimplifiedLayerNormalization": skipSimpleNorm,
	"DynamicQuantizeMatMul": dynamicQuantizeMatMul, "MatMulIntegerToFloat": matMulIntegerToFloat,
	"QGemm": quantizedGemm, "QLinearConcat": quantizedConcat,
	"QLinearSigmoid": quantizedOne(sigmoidOf), "QLinearLeakyRelu": quantizedOne(leakyReluOf), "QLinearSoftmax": quantizedOne(softmaxOf),
	"QLinearGlobalAveragePool": quantizedOne(meanOf),

	"QLinearAdd": quantizedPair(graph.OpAdd), "QLinearMul": quantizedPair(graph.OpMul),
}

func fastGelu(l *lowering) []torchscript.Value {
	x := l.x(0)
	if b := l.maybe(1); b != nil {
		x = l.op(graph.OpAdd, nil, x, b)
	}
	return one(l.op(graph.OpGelu, graph.Attrs{"approximate": "tanh"}, x))
}

func biasGelu(l *lowering) []torchscript.Value {
	return one(l.op(graph.OpGelu, graph.Attrs{"approximate": "none"}, l.op(graph.OpAdd, nil, l.x(0), l.x(1))))
}

// quickGelu is x by the sigmoid of alpha·x.
func quickGelu(l *lowering) []torchscript.Value {
	x := l.x(0)
	s := l.op(graph.OpSigmoid, nil, l.op(graph.OpMul, nil, x, l.attrFloat("alpha", 1.702)))
	return one(l.op(graph.OpMul, nil, x, s))
}

// fusedMatMul is alpha·A'·B'.
func fusedMatMul(l *lowering) []torchscript.Value {
	if l.attrInt("transBatchA", 0) != 0 || l.attrInt("transBatchB", 0) != 0 {
		l.c.Unsupported("transBatchA or transBatchB")
	}
	side := func(k int, attr string) torchscript.Value {
		x := l.x(k)
		if l.attrInt(attr, 0) != 0 && len(l.shape(x)) > 1 {
			x = l.call("transpose", x, int64(-1), int64(-2))
		}
		return x
	}
	y := l.call("matmul", side(0, "transA"), side(1, "transB"))
	if alpha := l.attrFloat("alpha", 1); alpha != 1 {
		y = l.op(graph.OpMul, nil, y, alpha)
	}
	return one(y)
}

func fusedGemm(l *lowering) []torchscript.Value {
	y := gemm(l)[0]
	return one(l.activated(y, l.attrFloat("activation_alpha", 0), l.attrFloat("activation_beta", 0)))
}

// fusedConv is a convolution, to which a fourth operand may be added.
func fusedConv(l *lowering) []torchscript.Value {
	y := conv(l)[0]
	if z := l.maybe(3); z != nil {
		y = l.op(graph.OpAdd, nil, y, z)
	}
	params := [2]float64{}
	copy(params[:], l.n.attrs["activation_params"].floats)
	return one(l.activated(y, params[0], params[1]))
}

// activated applies the activation that the node names.
func (l *lowering) activated(y torchscript.Value, alpha, beta float64) torchscript.Value {
	switch name := l.attrText("activation", ""); name {
	case "":
		return y
	case "Relu":
		return l.op(graph.OpRelu, nil, y)
	case "Elu":
		return l.op(graph.OpElu, graph.Attrs{"alpha": alpha}, y)
	case "Softplus":
		return l.op(graph.OpSoftplus, nil, y)
	case "Softsign":
		return l.op(graph.OpSoftsign, nil, y)
	case "Tanh":
		return l.op(graph.OpTanh, nil, y)
	case "Sigmoid":
		return l.op(graph.OpSigmoid, nil, y)
	case "LeakyRelu":
		return l.op(graph.OpLeakyRelu, graph.Attrs{"alpha": alpha}, y)
	case "Clip":
		return l.op(graph.OpClamp, graph.Attrs{"min": alpha, "max": beta}, y)
	case "HardSigmoid":
		y = l.op(graph.OpAdd, nil, l.op(graph.OpMul, nil, y, alpha), beta)
		return l.op(graph.OpClamp, graph.Attrs{"min": 0.0, "max": 1.0}, y)
	default:
		l.c.Unsupported("the activation %s", short(name))
	}
	return nil
}

// skipLayerNorm normalises the sum of x, skip and a bias, which is the fourth
// result.
func skipLayerNorm(l *lowering) []torchscript.Value {
	sum := l.skipSum(4)
	y := l.call("layer_norm", sum, l.lastShape(sum), l.x(2), l.maybe(3), l.attrFloat("epsilon", 1e-12), false)
	return []torchscript.Value{y, nil, nil, sum}
}

func skipSimpleNorm(l *lowering) []torchscript.Value {
	sum := l.skipSum(3)
	y := l.call("rms_norm", sum, l.lastShape(sum), nil, l.attrFloat("epsilon", 1e-12))
	return []torchscript.Value{l.op(graph.OpMul, nil, y, l.x(2)), nil, nil, sum}
}

func (l *lowering) skipSum(bias int) torchscript.Value {
	sum := l.op(graph.OpAdd, nil, l.x(0), l.x(1))
	if b := l.maybe(bias); b != nil {
		sum = l.op(graph.OpAdd, nil, sum, b)
	}
	return sum
}

// dynamicQuantizeMatMul has floating point numbers, whose scale is taken of
// themselves, integers with their scale and zero point, and a bias.
func dynamicQuantizeMatMul(l *lowering) []torchscript.Value {
	q := dynamicQuantize(l)
	a := l.op(graph.OpSub, nil, l.as(q[0], graph.Float32), l.as(q[2], graph.Float32))
	return l.scaledProduct(a, q[1], l.whole(1, 3, len(l.shape(l.x(1)))-1), 2, 4)
}

func matMulIntegerToFloat(l *lowering) []torchscript.Value {
	a, b := l.whole(0, 4, -1), l.whole(1, 5, len(l.shape(l.x(1)))-1)
	return l.scaledProduct(a, l.spread(l.x(2), -1, nil), b, 3, 6)
}

// scaledProduct is a·b by both scales, that of b operand k, and a bias.
func (l *lowering) scaledProduct(a, scale, b torchscript.Value, k, bias int) []torchscript.Value {
	each := l.x(k)
	if s := l.shape(each); s.Fixed() && s.RowElements() == 1 {
		each = l.reshape(each, graph.Shape{})
	}
	y := l.op(graph.OpMul, nil, l.call("matmul", a, b), l.op(graph.OpMul, nil, scale, each))
	if c := l.maybe(bias); c != nil {
		y = l.op(graph.OpAdd, nil, y, c)
	}
	return one(y)
}

// quantizedPair is an operator of two operands, each with scale and zero point,
// and those of the result.
func quantizedPair(op graph.Op) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		side := func(k int) torchscript.Value {
			return l.op(graph.OpMul, nil, l.whole(k, k+2, -1), l.spread(l.x(k+1), -1, nil))
		}
		y := l.op(op, nil, side(0), side(3))
		return l.requantized(y, l.op(graph.OpReciprocal, nil, l.spread(l.x(6), -1, nil)), 7)
	}
}
