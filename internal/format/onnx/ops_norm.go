package onnx

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
)

// normOps are normalisations, with the statistics of training.
var normOps = map[string]lowerFunc{
	"BatchNormalization":    batchNorm,
	"LayerNormalization":    layerNorm,
	"RMSNormalization":      rmsNorm,
	"GroupNormalization":    groupNorm,
	"InstanceNormalization": instanceNorm,
}

func batchNorm(l *lowering) []torchscript.Value {
	if l.attrInt("training_mode", 0) != 0 || l.attrInt("spatial", 1) != 1 {
		l.c.Unsupported("training_mode=1 or spatial=0")
	}
	return one(l.call("batch_norm", l.x(0), l.x(1), l.x(2), l.x(3), l.x(4), false, 0.1, l.attrFloat("epsilon", 1e-5), false))
}

// lastShape are the dimensions from the axis of the node on.
func (l *lowering) lastShape(x torchscript.Value) []torchscript.Value {
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", -1), len(shape))
	for _, d := range shape[axis:] {
		if d < 0 {
			l.c.Unsupported("a normalisation over the rows of a batch")
		}
	}
	return list(slices.Clone(shape[axis:]))
}

func layerNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	return one(l.call("layer_norm", x, l.lastShape(x), l.maybe(1), l.maybe(2), l.attrFloat("epsilon", 1e-5), false))
}

func rmsNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	return one(l.call("rms_norm", x, l.lastShape(x), l.maybe(1), l.attrFloat("epsilon", 1e-5)))
}

func groupNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	if shape := l.shape(x); len(shape) < 2 || l.opset < 21 && !l.shape(l.x(1)).Equal(shape[1:2]) {
		l.c.Unsupported("a scale for each group in place of each channel")
	}
	return one(l.call("group_norm", x, int64(l.attrInt("num_groups", 0)), l.x(1), l.x(2), l.attrFloat("epsilon", 1e-5), false))
}

func instanceNorm(l *lowering) []torchscript.Value {
	return one(l.call("instance_norm", l.x(0), l.x(1), l.x(2), nil, nil, true, 0.1, l.attrFloat("epsilon", 1e-5), false))
}
