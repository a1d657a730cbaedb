package onnx

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// activationOps are activations, with the defaults of ONNX.
var activationOps = map[string]lowerFunc{
	"Relu": plain(graph.OpRelu), "Tanh": plain(graph.OpTanh), "Sigmoid": plain(graph.OpSigmoid), "Softplus": plain(graph.OpSoftplus),
	"Softsign": plain(graph.OpSoftsign), "HardSwish": plain(graph.OpHardswish), "Mish": plain(graph.OpMish),

	"Elu": withAlpha(graph.OpElu, 1), "Celu": withAlpha(graph.OpCelu, 1), "LeakyRelu": withAlpha(graph.OpLeakyRelu, 0.01),
	"Selu": selu, "PRelu": prelu, "Gelu": gelu, "HardSigmoid": hardSigmoid, "ThresholdedRelu": thresholdedRelu, "Swish": swish,
	"Shrink":  shrink,
	"Softmax": softmax(graph.OpSoftmax), "LogSoftmax": softmax(graph.OpLogSoftmax),
}

func withAlpha(op graph.Op, def float64) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		return one(l.op(op, graph.Attrs{"alpha": l.attrFloat("alpha", def)}, l.x(0)))
	}
}

// The constants of selu as ONNX has them, in single precision.
const (
	seluAlpha = 1.67326319217681884765625
	seluGamma = 1.05070102214813232421875
)

func selu(l *lowering) []torchscript.Value {
	alpha, gamma := l.attrFloat("alpha", seluAlpha), l.attrFloat("gamma", seluGamma)
	if math.Abs(alpha-seluAlpha) < 1e-6 && math.Abs(gamma-seluGamma) < 1e-6 {
		return one(l.op(graph.OpSelu, nil, l.x(0)))
	}
	return one(l.op(graph.OpMul, nil, l.op(graph.OpElu, graph.Attrs{"alpha": alpha}, l.x(0)), gamma))
}

// prelu has a slope that broadcasts to x.
func prelu(l *lowering) []torchscript.Value {
	x := l.x(0)
	negative := l.op(graph.OpLt, nil, x, 0.0)
	return one(l.op(graph.OpWhere, nil, negative, l.op(graph.OpMul, nil, x, l.x(1)), x))
}

func gelu(l *lowering) []torchscript.Value {
	return one(l.op(graph.OpGelu, graph.Attrs{"approximate": l.attrText("approximate", "none")}, l.x(0)))
}

func hardSigmoid(l *lowering) []torchscript.Value {
	if alpha := l.attrFloat("alpha", 0.2); math.Abs(alpha-1.0/6) < 1e-7 && l.attrFloat("beta", 0.5) == 0.5 {
		return one(l.op(graph.OpHardsigmoid, nil, l.x(0)))
	}
	y := l.op(graph.OpMul, nil, l.x(0), l.attrFloat("alpha", 0.2))
	y = l.op(graph.OpAdd, nil, y, l.attrFloat("beta", 0.5))
	return one(l.op(graph.OpClamp, graph.Attrs{"min": 0.0, "max": 1.0}, y))
}

func thresholdedRelu(l *lowering) []torchscript.Value {
	x := l.x(0)
	above := l.op(graph.OpGt, nil, x, l.attrFloat("alpha", 1))
	return one(l.op(graph.OpWhere, nil, above, x, l.op(graph.OpMul, nil, x, 0.0)))
}

// shrink moves x towards 0, which it is within the threshold.
func shrink(l *lowering) []torchscript.Value {
	x, lambda, bias := l.x(0), l.attrFloat("lambd", 0.5), l.attrFloat("bias", 0)
	if dt := l.dtype(x); !dt.IsFloat() {
		l.c.Unsupported("elements of %v", dt)
	}
	y := l.op(graph.OpMul, nil, x, 0.0)
	y = l.op(graph.OpWhere, nil, l.op(graph.OpGt, nil, x, lambda), l.op(graph.OpSub, nil, x, bias), y)
	return one(l.op(graph.OpWhere, nil, l.op(graph.OpLt, nil, x, -lambda), l.op(graph.OpAdd, nil, x, bias), y))
}

func swish(l *lowering) []torchscript.Value {
	x := l.x(0)
	alpha := l.attrFloat("alpha", 1)
	if alpha == 1 {
		return one(l.op(graph.OpSilu, nil, x))
	}
	return one(l.op(graph.OpMul, nil, x, l.op(graph.OpSigmoid, nil, l.op(graph.OpMul, nil, x, alpha))))
}

// softmax took all dimensions from the axis on together before operator set
// 13.
func softmax(op graph.Op) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		x := l.x(0)
		shape := l.shape(x)
		rank := len(shape)
		if l.opset >= 13 {
			return one(l.op(op, graph.Attrs{"axis": l.axisOf(l.attrInt("axis", -1), rank)}, x))
		}
		axis := l.axisOf(l.attrInt("axis", 1), rank)
		if axis == rank-1 {
			return one(l.op(op, graph.Attrs{"axis": axis}, x))
		}
		flat := append(append(graph.Shape{}, shape[:axis]...), 1)
		for _, d := range shape[axis:] {
			if d < 0 {
				l.c.Unsupported("a softmax over the rows of a batch")
			}
			flat[axis] *= d
		}
		return one(l.reshape(l.op(op, graph.Attrs{"axis": axis}, l.reshape(x, flat)), shape))
	}
}
