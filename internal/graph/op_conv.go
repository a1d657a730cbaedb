package graph

var convSpecs = map[Op]spec{
	OpConv: {min: 2, max: 3, infer: inferConv, eval: evalConv, attrs: []attr{
		{name: "stride", kind: kindInts, optional: true},
		{name: "padding", kind: kindInts, optional: true},
		{name: "dilation", kind: kindInts, optional: true},
		{name: "groups", kind: kindInt, def: 1},
	}},
}

// maxConvParam bounds stride, padding and dilation, so that sizes computed
// from them cannot overflow.
const maxConvParam = 1 << 16

// inferConv: x[B,C,spatial...] W[O,C/groups,kernel...] b[O]? ->
// [B,O,spatial'...], one to three spatial dimensions. stride and dilation are
// all 1 and padding all 0 where absent; padding is the same on both sides and
// adds zeros.
func inferConv(n *Node) ([]typ, error) {
	if err := n.sameFloat(3); err != nil {
		return nil, err
	}
	x, w := n.In[0].Shape, n.In[1].Shape
	spatial := len(x) - 2
	if spatial < 1 || spatial > 3 || len(w) != len(x) || !w.Fixed() {
		return nil, n.shapeError("x must be [B,channels,spatial...] with 1 to 3 spatial dimensions and the weight [outputs,channels,kernel...]")
	}
	for _, p := range []struct {
		name     string
		def, min int
	}{{"stride", 1, 1}, {"padding", 0, 0}, {"dilation", 1, 1}} {
		if err := n.convParam(p.name, spatial, p.def, p.min); err != nil {
			return nil, err
		}
	}
	groups := n.Attrs.Int("groups")
	if groups < 1 || w[0]%groups != 0 {
		return nil, n.fail(ErrAttribute, "groups is %d, it must divide the %d output channels", groups, w[0])
	}
	if x[1] != w[1]*groups {
		return nil, n.shapeError("x has %s channels, the weight takes %d", dimText(x[1]), w[1]*groups)
	}
	if len(n.In) == 3 && !n.In[2].Shape.Equal(Shape{w[0]}) {
		return nil, n.shapeError("the bias must be [%d]", w[0])
	}
	out := Shape{x[0], w[0]}
	for i := range spatial {
		if x[2+i] < 0 {
			return nil, n.fail(ErrMixesRows, "a spatial dimension is the batch axis")
		}
		if w[2+i] < 1 {
			return nil, n.shapeError("the kernel is empty")
		}
		room := x[2+i] + 2*n.Attrs.Ints("padding")[i] - n.Attrs.Ints("dilation")[i]*(w[2+i]-1) - 1
		if room < 0 {
			return nil, n.shapeError("the kernel is larger than dimension %d with its padding", 2+i)
		}
		out = append(out, room/n.Attrs.Ints("stride")[i]+1)
	}
	return one(n.In[0].DType, out)
}

func (n *Node) convParam(name string, spatial, def, least int) error {
	v := n.Attrs.Ints(name)
	if !n.Attrs.Has(name) {
		v = make([]int, spatial)
		for i := range v {
			v[i] = def
		}
		n.setAttr(name, v)
	}
	if len(v) != spatial {
		return n.fail(ErrAttribute, "%s has %d numbers, one for each of %d spatial dimensions was wanted", name, len(v), spatial)
	}
	for _, x := range v {
		if x < least || x > maxConvParam {
			return n.fail(ErrAttribute, "%s is %d, it must be %d to %d", name, x, least, maxConvParam)
		}
	}
	return nil
}

func evalConv(c *evalCall) {
	x, w, out := c.in[0], c.in[1], c.out[0]
	stride, padding, dilation := c.n.Attrs.Ints("stride"), c.n.Attrs.Ints("padding"), c.n.Attrs.Ints("dilation")
	perGroup := w.Shape[0] / c.n.Attrs.Int("groups")
	channels := w.Shape[1]
	xs, ws := x.Shape.strides(), w.Shape.strides()
	eachIndex(out.Shape, func(at int, o []int) {
		var sum float64
		first := o[1] / perGroup * channels // channel of x that meets channel 0 of the weight
		eachIndex(w.Shape[2:], func(tap int, k []int) {
			xi, inside := o[0]*xs[0], true
			for i, d := range k {
				p := o[2+i]*stride[i] + d*dilation[i] - padding[i]
				inside = inside && p >= 0 && p < x.Shape[2+i]
				xi += p * xs[2+i]
			}
			if !inside {
				return
			}
			for ch := range channels {
				sum += x.At(xi+(first+ch)*xs[1]) * w.At(o[1]*ws[0]+ch*ws[1]+tap)
			}
		})
		if len(c.in) == 3 {
			sum += c.in[2].At(o[1])
		}
		out.set(at, sum)
	})
}
