package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// encodeControl are random draws, choices and loops.
var encodeControl = map[graph.Op]encodeFunc{
	graph.OpNormal: single(encodeNormal),
	graph.OpIf:     encodeIf,
	graph.OpLoop:   encodeLoop,
}

func encodeNormal(e *encoder, n *graph.Node) string {
	dt := n.Out[0].DType
	if e.o.Noise {
		name := NoiseName(n.Attrs.Int("stream"))
		e.shared.noise = append(e.shared.noise, encodedPort{name, graph.Float32, n.Out[0].Shape})
		return e.result(n, e.node("Identity", nil, name), graph.Float32)
	}
	like := e.as(e.name(n.In[0]), n.In[0].DType, graph.Float32)
	y := e.node("RandomNormalLike", []encodedAttr{{"dtype", int(dtypeNumbers[graph.Float32])}}, like)
	return e.as(y, graph.Float32, dt)
}

// inside encodes a graph of a node, whose inputs are the given values.
func (e *encoder) inside(g *graph.Graph, inputs []string) (*encoder, error) {
	sub := &encoder{g: g, o: e.o, shared: e.shared}
	for i, in := range g.Inputs {
		e.shared.names[in] = inputs[i]
	}
	outputs := make([]string, len(g.Outputs))
	for i := range outputs {
		outputs[i] = e.fresh("v")
	}
	return sub, sub.body(outputs)
}

// flag is a condition without dimensions.
func (e *encoder) flag(v *graph.Value) string {
	name := e.name(v)
	if len(v.Shape) == 0 {
		return name
	}
	return e.node("Reshape", nil, name, e.ints())
}

// results names the results of a node that has several.
func (e *encoder) results(n *graph.Node) []string {
	out := make([]string, len(n.Out))
	for i, v := range n.Out {
		out[i] = e.fresh("v")
		e.shared.names[v] = out[i]
	}
	return out
}

func encodeIf(e *encoder, n *graph.Node) error {
	cond := e.flag(n.In[0])
	captured := make([]string, len(n.In)-1)
	for i, v := range n.In[1:] {
		captured[i] = e.name(v)
	}
	attrs := make([]encodedAttr, 0, 2)
	for _, branch := range []struct{ name, attr string }{{"then_branch", "then"}, {"else_branch", "else"}} {
		sub, err := e.inside(n.Attrs.Graph(branch.attr), captured)
		if err != nil {
			return err
		}
		attrs = append(attrs, encodedAttr{branch.name, sub})
	}
	e.nodes = append(e.nodes, encodedNode{"If", []string{cond}, e.results(n), attrs})
	return nil
}

// encodeLoop counts the iterations in ONNX too, to the limit of the node.
func encodeLoop(e *encoder, n *graph.Node) error {
	body, carried := n.Attrs.Graph("body"), n.Attrs.Int("carried")
	limit := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{int64(n.Attrs.Int("limit"))}}
	in := []string{e.constant(limit), e.flag(n.In[0])}
	inner := []encodedPort{
		{e.fresh("v"), graph.Int64, graph.Shape{}}, {e.fresh("v"), graph.Bool, graph.Shape{}},
	}
	var inputs []string
	for i, v := range n.In[1:] {
		name := e.name(v)
		if i >= carried { // captured
			inputs = append(inputs, name)
			continue
		}
		in = append(in, name)
		own := e.fresh("v")
		inner = append(inner, encodedPort{own, v.DType, v.Shape})
		inputs = append(inputs, own)
	}
	sub, err := e.inside(body, inputs)
	if err != nil {
		return err
	}
	sub.inputs = inner
	if cond := &sub.outs[0]; len(cond.shape) > 0 {
		cond.name = sub.node("Reshape", nil, cond.name, e.ints())
		cond.shape = graph.Shape{}
	}
	e.nodes = append(e.nodes, encodedNode{"Loop", in, e.results(n), []encodedAttr{{"body", sub}}})
	return nil
}
