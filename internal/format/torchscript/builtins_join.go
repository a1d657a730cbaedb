package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// joinBuiltins make one tensor of several.
var joinBuiltins = map[string]builtin{
	"cat":               {"tensors dim", cat},
	"concat":            {"tensors dim", cat},
	"concatenate":       {"tensors dim", cat},
	"stack":             {"tensors dim", stack},
	"hstack":            {"tensors", hstack},
	"column_stack":      {"tensors", hstack},
	"vstack":            {"tensors", vstack},
	"dstack":            {"tensors", dstack},
	"row_stack":         {"tensors", vstack},
	"broadcast_tensors": {"tensors", broadcastTensors},
}

func (c *call) values(i int) []*graph.Value {
	ts := c.tensors(i)
	if len(ts) == 0 {
		c.in.errorf("%s of no tensors", c.name)
	}
	out := make([]*graph.Value, len(ts))
	for k, t := range ts {
		out[k] = c.in.read(t)
	}
	return out
}

func (c *call) joined(vs []*graph.Value, dim int) value {
	if len(vs) == 1 {
		return newTensor(vs[0])
	}
	axis := c.in.axisOf(vs[0], dim)
	if vs[0].Shape[axis] < 0 {
		c.in.mixes("torch.%s along the batch axis: rows of the batch would be mixed", c.name)
	}
	return newTensor(c.in.add(graph.OpConcat, graph.Attrs{"axis": axis}, vs...))
}

func cat(c *call) value {
	vs := c.values(0)
	if len(vs) > 1 { // torch skips empty tensors of one dimension
		kept := vs[:0:0]
		for _, v := range vs {
			if !v.Shape.Equal(graph.Shape{0}) {
				kept = append(kept, v)
			}
		}
		if len(kept) > 0 {
			vs = kept
		}
	}
	return c.joined(vs, c.int(1, 0))
}

func stack(c *call) value {
	vs := c.values(0)
	first := vs[0].Shape
	axis := c.in.axis(c.int(1, 0), len(first)+1)
	for i, v := range vs {
		if !v.Shape.Equal(first) {
			c.in.errorf("stack of %v and %v", first, v.Shape)
		}
		shape := append(graph.Shape{}, v.Shape[:axis]...)
		shape = append(append(shape, 1), v.Shape[axis:]...)
		vs[i] = c.in.reshape(v, shape)
	}
	return c.joined(vs, axis)
}

func hstack(c *call) value {
	vs := c.values(0)
	if len(vs[0].Shape) < 2 {
		return c.joined(vs, 0)
	}
	return c.joined(vs, 1)
}

func vstack(c *call) value {
	vs := c.values(0)
	for i, v := range vs {
		if len(v.Shape) == 1 {
			vs[i] = c.in.reshape(v, append(graph.Shape{1}, v.Shape...))
		}
	}
	return c.joined(vs, 0)
}

// dstack joins along the third dimension, which is made where there is none.
func dstack(c *call) value {
	vs := c.values(0)
	for i, v := range vs {
		vs[i] = c.in.read(atLeast3(&call{in: c.in, name: c.name, args: []value{newTensor(v)}}).(*tensor))
	}
	return c.joined(vs, 2)
}

func broadcastTensors(c *call) value {
	vs := c.values(0)
	shape := vs[0].Shape
	for _, v := range vs[1:] {
		s, ok := graph.Broadcast(shape, v.Shape)
		if !ok {
			c.in.errorf("broadcast_tensors of %v and %v", shape, v.Shape)
		}
		shape = s
	}
	out := &list{}
	for _, v := range vs {
		out.elems = append(out.elems, newTensor(c.in.expandTo(v, shape)))
	}
	return out
}
