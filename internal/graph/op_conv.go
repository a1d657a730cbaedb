package graph

var convSpecs = map[Op]spec{
	OpConvTranspose: {min: 2, max: 3, infer: inferConvTranspose, eval: evalConvTranspose, attrs: []attr{
		{name: "stride", kind: kindInts, optional: true},
		{name: "padding", kind: kindInts, optional: true},
		{name: "output_padding", kind: kindInts, optional: true},
		{name: "dilation", kind: kindInts, optional: true},
		{name: "groups", kind: kindInt, def: 1},
	}},
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

// inferConvTranspose: x[B,C,spatial...] W[C,O/groups,kernel...] b[O]? ->
// [B,O,spatial'...] with, in each spatial dimension,
// (in-1)·stride - 2·padding + dilation·(kernel-1) + output_padding + 1: the
// shape of which a convolution with the same parameters makes x. Defaults are
// those of conv, output_padding is 0.
func inferConvTranspose(n *Node) ([]typ, error) {
	if err := n.sameFloat(3); err != nil {
		return nil, err
	}
	x, w := n.In[0].Shape, n.In[1].Shape
	spatial := len(x) - 2
	if spatial < 1 || spatial > 3 || len(w) != len(x) || !w.Fixed() {
		return nil, n.shapeError("x must be [B,channels,spatial...] with 1 to 3 spatial dimensions and the weight [channels,outputs,kernel...]")
	}
	for _, p := range []struct {
		name     string
		def, min int
	}{{"stride", 1, 1}, {"padding", 0, 0}, {"output_padding", 0, 0}, {"dilation", 1, 1}} {
		if err := n.convParam(p.name, spatial, p.def, p.min); err != nil {
			return nil, err
		}
	}
	groups := n.Attrs.Int("groups")
	if groups < 1 || w[0]%groups != 0 {
		return nil, n.fail(ErrAttribute, "groups is %d, it must divide the %d input channels", groups, w[0])
	}
	if x[1] != w[0] {
		return nil, n.shapeError("x has %s channels, the weight takes %d", dimText(x[1]), w[0])
	}
	if w[1] > MaxRowElements/groups {
		return nil, n.fail(ErrLimit, "%d times %d output channels", groups, w[1])
	}
	outputs := w[1] * groups
	if len(n.In) == 3 && !n.In[2].Shape.Equal(Shape{outputs}) {
		return nil, n.shapeError("the bias must be [%d]", outputs)
	}
	out := Shape{x[0], outputs}
	for i := range spatial {
		stride, dilation, extra := n.Attrs.Ints("stride")[i], n.Attrs.Ints("dilation")[i], n.Attrs.Ints("output_padding")[i]
		if x[2+i] < 0 {
			return nil, n.fail(ErrMixesRows, "a spatial dimension is the batch axis")
		}
		if x[2+i] == 0 || w[2+i] < 1 {
			return nil, n.shapeError("the operand or the kernel is empty")
		}
		if extra >= max(stride, dilation) {
			return nil, n.fail(ErrAttribute, "output_padding is %d, it must be less than stride or dilation", extra)
		}
		// Each factor is below 2^29 or 2^17: nothing overflows.
		d := (x[2+i]-1)*stride - 2*n.Attrs.Ints("padding")[i] + dilation*(w[2+i]-1) + extra + 1
		if d < 1 {
			return nil, n.shapeError("nothing is left of dimension %d without its padding", 2+i)
		}
		out = append(out, d)
	}
	return one(n.In[0].DType, out)
}

func evalConvTranspose(c *evalCall) {
	x, w, out := c.in[0], c.in[1], c.out[0]
	stride, padding, dilation := c.n.Attrs.Ints("stride"), c.n.Attrs.Ints("padding"), c.n.Attrs.Ints("dilation")
	groups := c.n.Attrs.Int("groups")
	channels, perGroup := w.Shape[0]/groups, w.Shape[1]
	xs, ws := x.Shape.strides(), w.Shape.strides()
	eachIndex(out.Shape, func(at int, o []int) {
		var sum float64
		first := o[1] / perGroup * channels
		eachIndex(w.Shape[2:], func(tap int, k []int) {
			xi, meets := o[0]*xs[0], true
			for i, d := range k {
				p := o[2+i] + padding[i] - d*dilation[i]
				meets = meets && p >= 0 && p%stride[i] == 0 && p/stride[i] < x.Shape[2+i]
				xi += p / stride[i] * xs[2+i]
			}
			if !meets {
				return
			}
			for ch := range channels {
				sum += x.At(xi+(first+ch)*xs[1]) * w.At((first+ch)*ws[0]+o[1]%perGroup*ws[1]+tap)
			}
		})
		if len(c.in) == 3 {
			sum += c.in[2].At(o[1])
		}
		out.set(at, sum)
	})
}
