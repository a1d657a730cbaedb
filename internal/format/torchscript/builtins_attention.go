package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// attentionBuiltins are attention, composed of products and softmax.
var attentionBuiltins = map[string]builtin{
	"scaled_dot_product_attention": {"q k v attn_mask dropout_p is_causal scale enable_gqa", attention},
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
	if n < 0 || m < 0 || n*m > maxMadeElements {
		in.unsupported("a causal mask over %v", s)
	}
	t := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{n, m}, I64: make([]int64, n*m)}
	for i := range n {
		for j := range min(i+1, m) {
			t.I64[i*m+j] = 1
		}
	}
	return in.constant(t)
}
