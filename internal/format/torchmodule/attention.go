package torchmodule

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// attention is MultiheadAttention alone: the result, and the weights as their
// mean over the heads.
func attention(l *lowering, m *Module, xs []torchscript.Value) torchscript.Value {
	y, weights := l.attend(m, xs[0], xs[1], xs[2])
	return []torchscript.Value{y, l.fn("mean", weights, int64(1))}
}

// attend returns the result and the weights [B, heads, T, S] of a
// MultiheadAttention.
func (l *lowering) attend(m *Module, query, key, value torchscript.Value) (y, weights torchscript.Value) {
	if m.shortClass() != "MultiheadAttention" {
		l.c.Errorf("%s, MultiheadAttention was wanted", m.Class)
	}
	l.at(m)
	for _, name := range []string{"bias_k", "bias_v"} {
		if l.tensor(m, name) != nil {
			l.c.Unsupported("attention with %s", name)
		}
	}
	if l.truth(m, "add_zero_attn") {
		l.c.Unsupported("attention with add_zero_attn")
	}
	count, width := int(l.count(m, "num_heads", 1)), int(l.count(m, "embed_dim", 1))
	if width%count != 0 {
		l.c.Errorf("%d heads of %d numbers", count, width)
	}
	batchFirst := false
	if _, ok := m.state.Get("batch_first"); ok { // since torch 1.9
		batchFirst = l.truth(m, "batch_first")
	}
	heads := func(x torchscript.Value, part int) torchscript.Value {
		shape, ok := l.c.Shape(x)
		if !ok {
			l.c.Errorf("attention of a value whose shape is not known")
		}
		if len(shape) != 3 {
			l.c.Unsupported("attention of %v, three dimensions were wanted", shape)
		}
		if !batchFirst {
			x = l.fn("transpose", x, int64(0), int64(1))
			shape = graph.Shape{shape[1], shape[0], shape[2]}
		}
		x = l.project(m, x, part, width)
		x = l.c.Op(graph.OpReshape, graph.Attrs{"shape": []int{shape[0], shape[1], count, width / count}}, x)
		return l.fn("transpose", x, int64(1), int64(2))
	}
	for _, x := range []torchscript.Value{query, key, value} {
		if _, ok := l.c.Shape(x); !ok { // an operator that needs the shape asks for it
			l.fn("transpose", x, int64(0), int64(1))
		}
	}
	q, k, v := heads(query, 0), heads(key, 1), heads(value, 2)
	q = l.fn("mul", q, 1/math.Sqrt(float64(width/count)))
	weights = l.fn("softmax", l.fn("matmul", q, l.fn("transpose", k, int64(2), int64(3))), int64(-1))
	y = l.fn("transpose", l.fn("matmul", weights, v), int64(1), int64(2))
	shape, _ := l.c.Shape(y)
	y = l.c.Op(graph.OpReshape, graph.Attrs{"shape": []int{shape[0], shape[1], width}}, y)
	out := l.sub(m, "out_proj")
	y = l.fn("linear", y, l.needed(out, "weight"), l.tensor(out, "bias"))
	if !batchFirst {
		y = l.fn("transpose", y, int64(0), int64(1))
	}
	return y, weights
}

// project makes the queries, keys or values of x: their weights lie on top of
// each other, or apart where they take different widths.
func (l *lowering) project(m *Module, x torchscript.Value, part, width int) torchscript.Value {
	rows := func(v torchscript.Value) torchscript.Value {
		return l.fn("slice", v, int64(0), int64(part*width), int64((part+1)*width), int64(1))
	}
	w := l.tensor(m, "in_proj_weight")
	if w != nil {
		if shape, ok := l.c.Shape(w); !ok || len(shape) != 2 || shape[0] != 3*width {
			l.c.Errorf("in_proj_weight is %v for a width of %d", shape, width)
		}
		w = rows(w)
	} else {
		w = l.needed(m, []string{"q_proj_weight", "k_proj_weight", "v_proj_weight"}[part])
	}
	l.checkLast(x, w, 1)
	b := l.tensor(m, "in_proj_bias")
	if b != nil {
		b = rows(b)
	}
	return l.fn("linear", x, w, b)
}

// encoder is a stack of encoder layers, and a norm behind them where it has
// one.
func encoder(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	for _, c := range l.sub(m, "layers").children {
		x = l.call(c.Module, x)
	}
	if norm := m.child("norm"); norm != nil {
		x = l.call(norm, x)
	}
	return x
}

// encoderLayer is attention to itself, then two linear layers.
func encoderLayer(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	self := func(x torchscript.Value) torchscript.Value {
		y, _ := l.attend(l.sub(m, "self_attn"), x, x, x)
		return y
	}
	return l.residual(m, x, []step{{"norm1", self}, {"norm2", l.feedForward(m)}})
}

// step is a part of a layer of a transformer, with the name of its norm.
type step struct {
	norm string
	f    func(x torchscript.Value) torchscript.Value
}

// residual adds what each step makes of x, normalised before or after it.
func (l *lowering) residual(m *Module, x torchscript.Value, steps []step) torchscript.Value {
	first := false
	if _, ok := m.state.Get("norm_first"); ok { // since torch 1.11
		first = l.truth(m, "norm_first")
	}
	for _, s := range steps {
		norm := l.sub(m, s.norm)
		if first {
			x = l.fn("add", x, s.f(l.call(norm, x)))
		} else {
			x = l.call(norm, l.fn("add", x, s.f(x)))
		}
		l.at(m)
	}
	return x
}

func (l *lowering) feedForward(m *Module) func(x torchscript.Value) torchscript.Value {
	return func(x torchscript.Value) torchscript.Value {
		x = l.activation(m, l.call(l.sub(m, "linear1"), x))
		return l.call(l.sub(m, "linear2"), x)
	}
}

// decoderStack is a stack of decoder layers on a memory.
func decoderStack(l *lowering, m *Module, xs []torchscript.Value) torchscript.Value {
	x := xs[0]
	for _, c := range l.sub(m, "layers").children {
		x = decoderLayer(l, c.Module, []torchscript.Value{x, xs[1]})
	}
	if norm := m.child("norm"); norm != nil {
		x = l.call(norm, x)
	}
	return x
}

func decoderLayer(l *lowering, m *Module, xs []torchscript.Value) torchscript.Value {
	if m.shortClass() != "TransformerDecoderLayer" {
		l.c.Unsupported("%s in a decoder", m.Class)
	}
	self := func(x torchscript.Value) torchscript.Value {
		y, _ := l.attend(l.sub(m, "self_attn"), x, x, x)
		return y
	}
	cross := func(x torchscript.Value) torchscript.Value {
		y, _ := l.attend(l.sub(m, "multihead_attn"), x, xs[1], xs[1])
		return y
	}
	return l.residual(m, xs[0], []step{{"norm1", self}, {"norm2", cross}, {"norm3", l.feedForward(m)}})
}

// transformer is an encoder, whose result is the memory of a decoder.
func transformer(l *lowering, m *Module, xs []torchscript.Value) torchscript.Value {
	memory := l.call(l.sub(m, "encoder"), xs[0])
	d := l.sub(m, "decoder")
	if d.shortClass() != "TransformerDecoder" {
		l.c.Unsupported("the decoder %s", d.Class)
	}
	return decoderStack(l, d, []torchscript.Value{xs[1], memory})
}

// bilinear is x1·W·x2 + b.
func bilinear(l *lowering, m *Module, xs []torchscript.Value) torchscript.Value {
	return l.fn("bilinear", xs[0], xs[1], l.needed(m, "weight"), l.tensor(m, "bias"))
}

// bilinearShapes are the inputs of a bilinear layer, by its weight
// [out, in1, in2].
func bilinearShapes(m *Module) []graph.Shape {
	w := m.tensors.Get("weight")
	if w == nil || len(w.Shape) != 3 {
		return nil
	}
	return []graph.Shape{{graph.Batch, w.Shape[1]}, {graph.Batch, w.Shape[2]}}
}

// embeddingBag is the sum, mean or greatest of the embeddings of each row.
func embeddingBag(l *lowering, m *Module, x torchscript.Value) torchscript.Value {
	for _, name := range []string{"max_norm", "padding_idx"} {
		if v, ok := m.state.Get(name); ok && v != (pickle.None{}) {
			l.c.Unsupported("a bag of embeddings with %s", name)
		}
	}
	if shape, ok := l.c.Shape(x); ok && len(shape) != 2 {
		l.c.Unsupported("a bag of embeddings of %v: one bag a row was wanted", shape)
	}
	e := l.fn("embedding", l.needed(m, "weight"), x)
	switch mode := l.value(m, "mode"); mode {
	case "sum", "mean":
		return l.fn(mode.(string), e, []torchscript.Value{int64(1)})
	case "max":
		return l.fn("amax", e, []torchscript.Value{int64(1)})
	default:
		l.c.Unsupported("a bag of embeddings with the mode %.40v", mode)
	}
	return nil
}
