package torchmodule

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// several is what a class computes of several inputs.
type several struct {
	inputs  []string // the parameters of forward
	forward func(l *lowering, m *Module, xs []torchscript.Value) torchscript.Value
	shapes  func(m *Module) []graph.Shape // of the inputs, where the tensors tell them; may be nil
}

// manyInputs is the table of classes whose forward takes more than one input.
// They are served alone: no container of torch.nn calls them.
func manyInputs() map[string]several {
	return map[string]several{
		"activation.MultiheadAttention":       {inputs: []string{"query", "key", "value"}, forward: attention},
		"linear.Bilinear":                     {inputs: []string{"input1", "input2"}, forward: bilinear, shapes: bilinearShapes},
		"transformer.TransformerDecoder":      {inputs: []string{"tgt", "memory"}, forward: decoderStack},
		"transformer.TransformerDecoderLayer": {inputs: []string{"tgt", "memory"}, forward: decoderLayer},
		"transformer.Transformer":             {inputs: []string{"src", "tgt"}, forward: transformer},
	}
}

// classes is the table of layers.
func classes() map[string]forward {
	return map[string]forward{
		"container.Sequential":                   sequential,
		"linear.Identity":                        same,
		"linear.Linear":                          linear,
		"linear.NonDynamicallyQuantizableLinear": linear,

		"conv.Conv1d": convolution("conv1d", 1),
		"conv.Conv2d": convolution("conv2d", 2),
		"conv.Conv3d": convolution("conv3d", 3),

		"conv.ConvTranspose1d": transposed("conv_transpose1d", 1),
		"conv.ConvTranspose2d": transposed("conv_transpose2d", 2),
		"conv.ConvTranspose3d": transposed("conv_transpose3d", 3),

		"batchnorm.BatchNorm1d":       batchNorm,
		"batchnorm.BatchNorm2d":       batchNorm,
		"batchnorm.BatchNorm3d":       batchNorm,
		"batchnorm.SyncBatchNorm":     batchNorm,
		"instancenorm.InstanceNorm1d": instanceNorm,
		"instancenorm.InstanceNorm2d": instanceNorm,
		"instancenorm.InstanceNorm3d": instanceNorm,
		"normalization.LayerNorm":     layerNorm,

		"normalization.LocalResponseNorm": localResponseNorm,

		"normalization.GroupNorm": groupNorm,
		"normalization.RMSNorm":   rmsNorm,

		"activation.CELU":        function("celu", number("alpha")),
		"activation.ELU":         function("elu", number("alpha")),
		"activation.GELU":        gelu,
		"activation.GLU":         function("glu", integer("dim")),
		"activation.Hardshrink":  function("hardshrink", number("lambd")),
		"activation.Hardsigmoid": function("hardsigmoid"),
		"activation.Hardswish":   function("hardswish"),
		"activation.Hardtanh":    function("hardtanh", number("min_val"), number("max_val")),
		"activation.LeakyReLU":   function("leaky_relu", number("negative_slope")),
		"activation.LogSigmoid":  function("log_sigmoid"),
		"activation.LogSoftmax":  function("log_softmax", integer("dim")),
		"activation.Mish":        function("mish"),
		"activation.PReLU":       prelu,
		"activation.RReLU":       function("rrelu", number("lower"), number("upper"), always(false)),
		"activation.ReLU":        function("relu"),
		"activation.ReLU6":       function("clamp", always(0.0), always(6.0)),
		"activation.SELU":        function("selu"),
		"activation.SiLU":        function("silu"),
		"activation.Sigmoid":     function("sigmoid"),
		"activation.Softmax":     function("softmax", integer("dim")),
		"activation.Softmax2d":   function("softmax", always(int64(-3))),
		"activation.Softmin":     softmin,
		"activation.Softplus":    function("softplus", number("beta"), number("threshold")),
		"activation.Softshrink":  function("softshrink", number("lambd")),
		"activation.Softsign":    function("softsign"),
		"activation.Tanh":        function("tanh"),
		"activation.Tanhshrink":  tanhshrink,
		"activation.Threshold":   function("threshold", number("threshold"), number("value")),

		"dropout.Dropout":             same,
		"dropout.Dropout1d":           same,
		"dropout.Dropout2d":           same,
		"dropout.Dropout3d":           same,
		"dropout.AlphaDropout":        same,
		"dropout.FeatureAlphaDropout": same,

		"flatten.Flatten":   function("flatten", integer("start_dim"), integer("end_dim")),
		"flatten.Unflatten": function("unflatten", integer("dim"), integers("unflattened_size")),

		"padding.ReflectionPad1d":  padMode("reflect"),
		"padding.ReflectionPad2d":  padMode("reflect"),
		"padding.ReflectionPad3d":  padMode("reflect"),
		"padding.ReplicationPad1d": padMode("replicate"),
		"padding.ReplicationPad2d": padMode("replicate"),
		"padding.ReplicationPad3d": padMode("replicate"),
		"padding.CircularPad1d":    padMode("circular"),
		"padding.CircularPad2d":    padMode("circular"),
		"padding.CircularPad3d":    padMode("circular"),

		"padding.ZeroPad1d":     pad,
		"padding.ZeroPad2d":     pad,
		"padding.ZeroPad3d":     pad,
		"padding.ConstantPad1d": pad,
		"padding.ConstantPad2d": pad,
		"padding.ConstantPad3d": pad,

		"pooling.MaxPool1d":         maxPool("max_pool1d"),
		"pooling.MaxPool2d":         maxPool("max_pool2d"),
		"pooling.MaxPool3d":         maxPool("max_pool3d"),
		"pooling.AvgPool1d":         function("avg_pool1d", integers("kernel_size"), integers("stride"), integers("padding"), flag("ceil_mode"), flag("count_include_pad")),
		"pooling.AvgPool2d":         avgPool("avg_pool2d"),
		"pooling.AvgPool3d":         avgPool("avg_pool3d"),
		"pooling.AdaptiveAvgPool1d": function("adaptive_avg_pool1d", integers("output_size")),
		"pooling.AdaptiveAvgPool2d": function("adaptive_avg_pool2d", integers("output_size")),
		"pooling.AdaptiveMaxPool1d": adaptiveMax("adaptive_max_pool1d"),
		"pooling.AdaptiveMaxPool2d": adaptiveMax("adaptive_max_pool2d"),
		"pooling.LPPool1d":          powerPool("avg_pool1d"),
		"pooling.LPPool2d":          powerPool("avg_pool2d"),

		"upsampling.Upsample":             upsample,
		"upsampling.UpsamplingNearest2d":  upsample,
		"upsampling.UpsamplingBilinear2d": upsample,
		"pixelshuffle.PixelShuffle":       function("pixel_shuffle", integer("upscale_factor")),
		"pixelshuffle.PixelUnshuffle":     function("pixel_unshuffle", integer("downscale_factor")),
		"channelshuffle.ChannelShuffle":   channelShuffle,

		"sparse.Embedding":    embedding,
		"sparse.EmbeddingBag": embeddingBag,

		"rnn.LSTM":     recurrent,
		"rnn.GRU":      recurrent,
		"rnn.RNN":      recurrent,
		"rnn.LSTMCell": cell,
		"rnn.GRUCell":  cell,
		"rnn.RNNCell":  cell,

		"transformer.TransformerEncoder":      encoder,
		"transformer.TransformerEncoderLayer": encoderLayer,
	}
}
