package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// learningOps are the operators of ai.onnx.ml that preprocessing is written
// in. Those that give words, maps or trees are not among them.
var learningOps = map[string]lowerFunc{
	"Scaler": scaler, "Normalizer": normalizer, "Imputer": imputer, "Binarizer": binarizer, "LinearRegressor": linearRegressor,
	"FeatureVectorizer": featureVectorizer, "ArrayFeatureExtractor": featureExtractor,
}

// vector is an attribute of floats as a constant of the type dt.
func (l *lowering) vector(name string, dt graph.DType) torchscript.Value {
	floats := l.n.attrs[name].floats
	t := &graph.Tensor{DType: graph.Float32, Shape: graph.Shape{len(floats)}}
	for _, x := range floats {
		t.F32 = append(t.F32, float32(x))
	}
	if len(floats) == 1 {
		t.Shape = graph.Shape{}
	}
	return l.as(l.c.Parameter("", t), dt)
}

// float is operand 1 as floating point numbers, single precision for integers.
func (l *lowering) float() torchscript.Value {
	x := l.x(0)
	if !l.isFloat(x) {
		x = l.as(x, graph.Float32)
	}
	return x
}

// scaler is (x - offset)·scale.
func scaler(l *lowering) []torchscript.Value {
	x := l.float()
	if _, ok := l.attr("offset"); ok {
		x = l.op(graph.OpSub, nil, x, l.vector("offset", l.dtype(x)))
	}
	if _, ok := l.attr("scale"); ok {
		x = l.op(graph.OpMul, nil, x, l.vector("scale", l.dtype(x)))
	}
	return one(l.as(x, graph.Float32))
}

// normalizer divides by the norm of the last dimension. A row of zeros stays.
func normalizer(l *lowering) []torchscript.Value {
	x := l.float()
	attrs := graph.Attrs{"axes": []int{len(l.shape(x)) - 1}, "keepdim": true}
	var norm torchscript.Value
	switch l.attrText("norm", "MAX") {
	case "MAX":
		norm = l.op(graph.OpAmax, attrs, x)
	case "L1":
		norm = l.op(graph.OpSum, attrs, l.op(graph.OpAbs, nil, x))
	case "L2":
		norm = l.op(graph.OpSqrt, nil, l.op(graph.OpSum, attrs, l.op(graph.OpMul, nil, x, x)))
	default:
		l.c.Unsupported("norm %s", short(l.attrText("norm", "")))
	}
	norm = l.op(graph.OpWhere, nil, l.op(graph.OpEq, nil, norm, 0.0), 1.0, norm)
	return one(l.as(l.op(graph.OpDiv, nil, x, norm), graph.Float32))
}

// imputer puts numbers in the place of one that stands for what is missing,
// NaN most often.
func imputer(l *lowering) []torchscript.Value {
	x := l.x(0)
	if _, ok := l.attr("imputed_value_floats"); !ok {
		l.c.Unsupported("an imputer of integers")
	}
	missing := l.op(graph.OpNe, nil, x, x)
	if old := l.attrFloat("replaced_value_float", 0); !math.IsNaN(old) {
		missing = l.op(graph.OpEq, nil, x, old)
	}
	return one(l.op(graph.OpWhere, nil, missing, l.vector("imputed_value_floats", l.dtype(x)), x))
}

func binarizer(l *lowering) []torchscript.Value {
	x := l.x(0)
	return one(l.as(l.op(graph.OpGt, nil, x, l.attrFloat("threshold", 0)), l.dtype(x)))
}

// linearRegressor is one linear layer.
func linearRegressor(l *lowering) []torchscript.Value {
	x := l.as(l.float(), graph.Float32)
	shape, outs := l.shape(x), l.attrInt("targets", 1)
	if t := l.attrText("post_transform", "NONE"); t != "NONE" {
		l.c.Unsupported("post_transform %s", short(t))
	}
	floats := l.n.attrs["coefficients"].floats
	if len(shape) != 2 || outs < 1 || len(floats) != outs*shape[1] {
		l.c.Errorf("%d coefficients for %v and %d targets", len(floats), shape, outs)
	}
	w := l.reshape(l.vector("coefficients", graph.Float32), graph.Shape{outs, shape[1]})
	y := l.op(graph.OpLinear, nil, x, w)
	if _, ok := l.attr("intercepts"); ok {
		y = l.op(graph.OpAdd, nil, y, l.vector("intercepts", graph.Float32))
	}
	return one(y)
}

// featureVectorizer joins features.
func featureVectorizer(l *lowering) []torchscript.Value {
	var parts []torchscript.Value
	for i := range l.in {
		x := l.as(l.x(i), graph.Float32)
		if s := l.shape(x); len(s) == 1 {
			x = l.reshape(x, append(slices.Clone(s), 1))
		}
		parts = append(parts, x)
	}
	return one(l.op(graph.OpConcat, graph.Attrs{"axis": 1}, parts...))
}

// featureExtractor takes elements of the last dimension.
func featureExtractor(l *lowering) []torchscript.Value {
	x := l.x(0)
	at := l.constant(1)
	if at.DType.IsFloat() {
		l.c.Errorf("indices of %v", at.DType)
	}
	y := l.sel(x, len(l.shape(x))-1, at.I64)
	if s := l.shape(x); len(s) == 1 {
		y = l.reshape(y, graph.Shape{1, at.Len()})
	}
	return one(y)
}
