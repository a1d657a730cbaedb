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
	transposed := n.Op == graph.OpConvTranspose
	if g.Packable(transposed) && w.Const != nil && (len(n.In) < 3 || n.In[2].Const != nil) {
		return c.packedConv(n, g, transposed)
	}
	s := step{op: stepConv, conv: g, c: none, count: toDim(x.Shape[0]), note: string(n.Op)}
	if transposed {
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

// packedConv lowers a convolution with constant weights and, with it, the
// activation behind it.
func (c *compiler) packedConv(n *graph.Node, g *kernel.ConvShape, transposed bool) error {
	x, v := n.In[0], n.Out[0]
	a, err := c.operand(x)
	if err != nil {
		return err
	}
	w, err := floats(n.In[1])
	if err != nil {
		return err
	}
	var b []float32
	if len(n.In) == 3 {
		if b, err = floats(n.In[2]); err != nil {
			return err
		}
	}
	if err := checkPacking(g); err != nil {
		return err
	}
	s := step{op: stepConvolve, a: a, packed: c.packConv(w, b, g, transposed), conv: g, count: toDim(x.Shape[0]), note: string(n.Op)}
	s.unary, v = c.fused(v)
	s.out = c.temp(v.Shape)
	c.plan.scratch = max(c.plan.scratch, s.packed.Scratch())
	c.step(s)
	c.of[v] = s.out
	return nil
}

// packConv packs a convolution in the form that the options ask for.
func (c *compiler) packConv(w, b []float32, g *kernel.ConvShape, transposed bool) *kernel.PackedConv {
	tile := 0
	if !transposed && g.CanWinograd() {
		switch c.options.Convolutions {
		case ConvolutionsWinograd2:
			tile = 2
		case ConvolutionsWinograd4:
			tile = 4
		case "":
			tile = c.plan.impl.WinogradTile(g)
		}
	}
	if tile == 0 {
		return kernel.PackConv(w, b, g, transposed)
	}
	return kernel.PackWinograd(w, b, g, tile)
}

// checkPacking refuses a convolution whose padded input alone is beyond what a
// plan may take, before it is packed.
func checkPacking(g *kernel.ConvShape) error {
	size := float64(g.Channels)
	for d := range 3 {
		reach := max((g.Out[d]-1)*g.Stride[d], g.Out[d]) + g.Dilation[d]*(g.Kernel[d]-1) + 1
		size *= float64(max(g.In[d]+2*g.Padding[d], reach) + g.Dilation[d]*g.Kernel[d])
	}
	if size > maxArenaFloats {
		return fmt.Errorf("plan: %w: an input of %.0f elements with its padding, of at most %d", ErrLimit, size, maxArenaFloats)
	}
	return nil
}
