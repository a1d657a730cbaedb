package architecture

import (
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
)

// maxBlocks bounds the layers of a transformer.
const maxBlocks = 256

// attention is torch.nn.MultiheadAttention of a sequence [B,steps,width] to
// itself. How many heads it has, the tensors do not tell.
func (b *builder) attention(l *Layer) {
	b.only(l, "heads")
	heads, width := b.heads(l), b.sequence(l)
	w := b.stacked(l.Key, width)
	proj := join(l.Key, "out_proj")
	both, ok := b.c.Call("_native_multi_head_attention", []torchscript.Value{b.current, b.current, b.current, int64(width), heads,
		w, b.optional(l.Key, "in_proj_bias"), b.parameter(proj, "weight"), b.optional(proj, "bias"), nil, false}, nil).([]torchscript.Value)
	if !ok || len(both) == 0 {
		b.c.Errorf("attention without a result")
	}
	b.current = both[0]
}

// encoder is torch.nn.TransformerEncoder, or one TransformerEncoderLayer, of a
// sequence [B,steps,width].
func (b *builder) encoder(l *Layer) {
	b.only(l, "heads", "activation", "norm_first", "eps")
	heads, gelu := b.heads(l), false
	switch a := l.Attrs["activation"]; a {
	case nil, "relu":
	case "gelu":
		gelu = true
	default:
		b.c.Errorf("activation %v: a transformer_encoder has relu or gelu", a)
	}
	first, _ := l.Attrs["norm_first"].(bool)
	layers := []string{l.Key}
	if b.has(join(l.Key, "layers.0.self_attn.out_proj"), "weight") {
		layers = nil
		for i := 0; i < maxBlocks && b.has(join(l.Key, "layers."+strconv.Itoa(i)), "linear1.weight"); i++ {
			layers = append(layers, join(l.Key, "layers."+strconv.Itoa(i)))
		}
	}
	width := b.sequence(l)
	for _, key := range layers {
		self := join(key, "self_attn")
		part := func(name string) (w, bias torchscript.Value) {
			return b.parameter(join(key, name), "weight"), b.parameter(join(key, name), "bias")
		}
		ow, ob := part("self_attn.out_proj")
		n1, n1b := part("norm1")
		n2, n2b := part("norm2")
		f1, f1b := part("linear1")
		f2, f2b := part("linear2")
		b.call("_transformer_encoder_layer_fwd", b.current, int64(width), heads, b.stacked(self, width), b.parameter(self, "in_proj_bias"), ow, ob,
			gelu, first, l.float("eps", 1e-5), n1, n1b, n2, n2b, f1, f1b, f2, f2b)
	}
	if norm := join(l.Key, "norm"); len(layers) > 0 && layers[0] != l.Key && b.has(norm, "weight") {
		w := b.parameter(norm, "weight")
		shape, _ := b.c.Shape(w)
		b.call("layer_norm", b.current, dims(shape), w, b.optional(norm, "bias"), l.float("eps", 1e-5))
	}
}

// heads is an attribute that must be there.
func (b *builder) heads(l *Layer) int64 {
	n := l.int("heads", 0)
	if n < 1 {
		b.c.Errorf("heads is missing: how many there are, the tensors do not tell")
	}
	return n
}

// sequence returns the width of the value before, which must be a sequence.
func (b *builder) sequence(l *Layer) int {
	x, ok := b.c.Shape(b.current)
	if !ok {
		b.call("transpose", b.current, int64(1), int64(2)) // asks for the shape
	}
	if len(x) != 3 || x[2] < 1 {
		b.c.Errorf("the value before is %v, [B,steps,width] was wanted for %s", x, l.Op)
	}
	return x[2]
}

// stacked are the weights of queries, keys and values on top of each other.
func (b *builder) stacked(key string, width int) torchscript.Value {
	w := b.parameter(key, "in_proj_weight")
	if shape, _ := b.c.Shape(w); len(shape) != 2 || shape[0] != 3*width || shape[1] != width {
		b.c.Errorf("%s is %v, [%d,%d] was wanted for the value before", join(key, "in_proj_weight"), shape, 3*width, width)
	}
	return w
}
