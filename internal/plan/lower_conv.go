package plan

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/kernel"
)

// conv lowers a convolution or the gradient of one.
func (c *compiler) conv(n *graph.Node) error {
	x, w, v := n.In[0], n.In[1], n.Out[0]
	spatial := len(x.Shape) - 2
	if spatial < 1 || spatial > 3 {
		return fmt.Errorf("%w: %d spatial dimensions", ErrUnsupported, spatial)
	}
	g := &kernel.ConvShape{
		Groups: n.Attrs.Int("groups"), Channels: x.Shape[1], Outputs: v.Shape[1],
		In: [3]int{1, 1, 1}, Kernel: [3]int{1, 1, 1}, Out: [3]int{1, 1, 1},
		Stride: [3]int{1, 1, 1}, Dilation: [3]int{1, 1, 1},
	}
	for i := range spatial {
		at := 3 - spatial + i
		g.In[at], g.Kernel[at], g.Out[at] = x.Shape[2+i], w.Shape[2+i], v.Shape[2+i]
		g.Stride[at] = n.Attrs.Ints("stride")[i]
		g.Padding[at] = n.Attrs.Ints("padding")[i]
		g.Dilation[at] = n.Attrs.Ints("dilation")[i]
	}
	s := step{op: stepConv, conv: g, c: none, count: toDim(x.Shape[0]), note: string(n.Op)}
	if n.Op == graph.OpConvTranspose {
		s.op = stepConvTranspose
	}
	for i, to := range []*int{&s.a, &s.b, &s.c}[:len(n.In)] {
		slot, err := c.operand(n.In[i])
		if err != nil {
			return err
		}
		*to = slot
	}
	s.out = c.temp(v.Shape)
	c.step(s)
	c.of[v] = s.out
	return nil
}
