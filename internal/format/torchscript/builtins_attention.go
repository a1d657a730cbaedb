package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// attentionBuiltins are attention, composed of products and softmax.
var attentionBuiltins = map[string]builtin{
	"scaled_dot_product_attention": {"q k v attn_mask dropout_p is_causal scale enable_gqa", attention},
	"_native_multi_head_attention": {
		"query key value embed_dim heads qkv_weight qkv_bias proj_weight proj_bias mask need_weights average_weights mask_type",
		nativeAttention,
	},
	"_transformer_encoder_layer_fwd": {
		"src embed_dim heads qkv_weight qkv_bias proj_weight proj_bias use_gelu norm_first eps norm1_weight norm1_bias " +
			"norm2_weight norm2_bias ffn1_weight ffn1_bias ffn2_weight ffn2_bias mask mask_type",
		encoderLayer,
	},
}

// attention is softmax(q·kᵀ·scale + mask)·v.
func attention(c *call) value {
	if c.float(4, 0) != 0 {
		c.in.unsupported("attention with dropout: save the module after eval()")
	}
	if c.bool(7, false) {
		c.in.unsupported("attention with grouped queries")
	}
	q, k, v := c.value(0), c.value(1), c.value(2)
	if len(q.Shape) < 2 || len(k.Shape) < 2 {
		c.in.errorf("attention of %v and %v", q.Shape, k.Shape)
	}
	width := q.Shape[len(q.Shape)-1]
	scale := c.float(6, 1/math.Sqrt(float64(max(width, 1))))
	s := c.in.add(graph.OpMatMul, nil, q, c.in.swap(k, -2, -1))
	s = c.in.add(graph.OpMul, nil, s, c.in.number(scale, s))
	if mask := c.optional(3); mask != nil {
		c.in.wantBooleans(mask)
		s = c.in.masked(s, mask)
	}
	if c.bool(5, false) {
		s = c.in.masked(s, c.in.causal(s.Shape))
	}
	p := c.in.add(graph.OpSoftmax, graph.Attrs{"axis": -1}, s)
	return newTensor(c.in.add(graph.OpMatMul, nil, p, v))
}

// masked adds a mask of numbers, or puts minus infinity where one of booleans
// is false.
func (in *interp) masked(s, mask *graph.Value) *graph.Value {
	if mask.DType != graph.Bool {
		return in.add(graph.OpAdd, nil, s, mask)
	}
	return in.add(graph.OpWhere, nil, mask, s, in.number(math.Inf(-1), s))
}

// causal is the mask in which each position sees those before it and itself.
func (in *interp) causal(s graph.Shape) *graph.Value {
	n, m := s[len(s)-2], s[len(s)-1]
	if n < 0 || m < 0 {
		in.unsupported("a causal mask over %v", s)
	}
	t := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{n, m}, I64: make([]int64, in.area(n, m))}
	for i := range n {
		for j := range min(i+1, m) {
			t.I64[i*m+j] = 1
		}
	}
	return in.constant(t)
}

// heads are the operands of attention with several heads.
type heads struct {
	count                int
	qkv, qkvBias         *graph.Value // the weights of queries, keys and values on top of each other
	proj, projBias, mask *graph.Value
}

// multiHead returns the result and the weights [B,heads,T,S] of attention.
func (in *interp) multiHead(q, k, v *graph.Value, h heads) (out, weights *graph.Value) {
	if len(q.Shape) != 3 || len(h.qkv.Shape) != 2 || h.count < 1 || q.Shape[2] < 1 || q.Shape[2]%h.count != 0 || h.qkv.Shape[0] != 3*q.Shape[2] {
		in.errorf("attention with %d heads of %v and weights of %v", h.count, q.Shape, h.qkv.Shape)
	}
	width := q.Shape[2]
	size := width / h.count
	split := func(x *graph.Value, part int) *graph.Value {
		w := in.slice(h.qkv, 0, part*width, (part+1)*width, 1)
		if h.qkvBias != nil {
			x = in.add(graph.OpLinear, nil, x, w, in.slice(h.qkvBias, 0, part*width, (part+1)*width, 1))
		} else {
			x = in.add(graph.OpLinear, nil, x, w)
		}
		x = in.reshape(x, graph.Shape{x.Shape[0], x.Shape[1], h.count, size})
		return in.transpose(x, []int{0, 2, 1, 3})
	}
	qh, kh, vh := split(q, 0), split(k, 1), split(v, 2)
	qh = in.add(graph.OpMul, nil, qh, in.number(1/math.Sqrt(float64(size)), qh))
	s := in.add(graph.OpMatMul, nil, qh, in.swap(kh, -2, -1))
	if h.mask != nil {
		s = in.masked(s, h.mask)
	}
	weights = in.add(graph.OpSoftmax, graph.Attrs{"axis": -1}, s)
	o := in.transpose(in.add(graph.OpMatMul, nil, weights, vh), []int{0, 2, 1, 3})
	o = in.reshape(o, graph.Shape{o.Shape[0], o.Shape[1], width})
	if h.projBias != nil {
		return in.add(graph.OpLinear, nil, o, h.proj, h.projBias), weights
	}
	return in.add(graph.OpLinear, nil, o, h.proj), weights
}

// attentionMask reads the mask of the fused operators, in which true leaves a
// position out: over positions (type 0) or over the keys of each row (type 1).
func (c *call) attentionMask(mask, kind int) *graph.Value {
	m := c.optional(mask)
	if m == nil {
		return nil
	}
	if m.DType == graph.Bool {
		m = c.in.add(graph.OpNot, nil, m)
	}
	switch c.int0(kind, 2) {
	case 1:
		if len(m.Shape) == 2 {
			m = c.in.reshape(m, graph.Shape{m.Shape[0], 1, 1, m.Shape[1]})
		}
	case 0: // [positions, positions]
	case 2: // [rows, heads, positions, positions]
		if len(m.Shape) != 4 {
			c.in.unsupported("torch.%s with a mask of %v", c.name, m.Shape)
		}
	}
	return m
}

func nativeAttention(c *call) value {
	h := heads{
		count: c.int(4, 1), qkv: c.value(5), qkvBias: c.optional(6), proj: c.value(7), projBias: c.optional(8),
		mask: c.attentionMask(9, 12),
	}
	out, weights := c.in.multiHead(c.value(0), c.value(1), c.value(2), h)
	if !c.bool(10, true) {
		return &tuple{elems: []value{newTensor(out), nil}}
	}
	if c.bool(11, true) {
		weights = c.in.reduce(graph.OpMean, weights, []int{1}, false)
	}
	return &tuple{elems: []value{newTensor(out), newTensor(weights)}}
}

// encoderLayer is a layer of a transformer: attention and two linear layers,
// each with a way around it, normalised before or after.
func encoderLayer(c *call) value {
	in := c.in
	first, eps := c.bool(8, false), c.float(9, 1e-5)
	norm := func(x *graph.Value, weight int) *graph.Value {
		return in.affine(in.normalise(x, []int{len(x.Shape) - 1}, eps), c.optional(weight), c.optional(weight+1))
	}
	src := c.value(0)
	x := src
	if first {
		x = norm(x, 10)
	}
	x, _ = in.multiHead(x, x, x, heads{
		count: c.int(2, 1), qkv: c.value(3), qkvBias: c.optional(4), proj: c.value(5), projBias: c.optional(6),
		mask: c.attentionMask(18, 19),
	})
	x = in.add(graph.OpAdd, nil, x, src)
	if !first {
		x = norm(x, 10)
	}
	y := x
	if first {
		x = norm(x, 12)
	}
	act := graph.OpRelu
	if c.bool(7, false) {
		act = graph.OpGelu
	}
	x = in.add(act, nil, in.add(graph.OpLinear, nil, x, c.value(14), c.value(15)))
	x = in.add(graph.OpAdd, nil, in.add(graph.OpLinear, nil, x, c.value(16), c.value(17)), y)
	if !first {
		x = norm(x, 12)
	}
	return newTensor(x)
}
