package kernel

// Chain is dense layers one behind the other, prepared for one row: one call
// of assembly computes them all. It does not change and may be shared.
type Chain struct {
	layers []*Matrix
	acts   []Unary
	ops    []chainOp
	side   int // floats of each of the two vectors between the layers
}

// chainOp is one step of a chain as the assembly reads it: offsets are in
// bytes, and a vector at -1 is the caller's.
type chainOp struct {
	w, tail, bias *float32 // weights of blocks of 64, of the panels behind them, or of a dot form
	x, y          int
	in            int
	blocks        int // of 64 outputs
	out           int // outputs behind the blocks, or elements
	panel         int // from one panel of tail to the next
	kind          int
	relu          int
	split         int     // whether narrow panels have several partial sums
	a, b, c, _    float32 // of a function
}

// The kinds of chainOp, in the order that the generator has them.
const (
	chainPanels = iota
	chainDot
	chainCopy
	chainClamp
	chainTanh
	chainSigmoid
	chainSilu
	chainElu
)

// chainKind returns the op that computes an activation, and whether there is
// one; Identity and Relu need none.
func chainKind(u Unary) (int, bool) {
	switch u.Op {
	case Identity, Relu:
		return -1, true
	case Clamp:
		return chainClamp, true
	case Tanh:
		return chainTanh, true
	case Sigmoid:
		return chainSigmoid, true
	case Silu:
		return chainSilu, true
	case Elu:
		return chainElu, u.C >= 0 // else the exponents would be positive
	default:
		return 0, false
	}
}

// Chains reports whether Chain is more than Linear, layer after layer.
func (k Impl) Chains() bool { return k.vector && hasChain }

// CanChain reports whether a layer of m and act behind it may be part of a
// chain. A layer of more weights than one call reads may not, and neither may
// one whose activation has no vector form everywhere.
func CanChain(m *Matrix, act Unary) bool {
	_, ok := chainKind(act)
	return ok && m.in > 0 && m.out > 0 && m.in*m.out <= maxGemvWeights
}

// NewChain returns the chain of the first layers that fit into one call, each
// of which CanChain; the inputs of a layer are the outputs of the one before.
// Len tells how many they are.
//
// A chain computes to the bit what Linear does, unless split allows it to add
// the terms of one or two panels behind the last 64 outputs in four or two
// parts: a single sum waits for each of its additions, and such a layer takes
// up to four times as long as its loads do.
func NewChain(layers []*Matrix, acts []Unary, split bool) *Chain {
	total, n := 0, 0
	for i, m := range layers {
		if total += m.in * m.out; total > maxGemvWeights || !CanChain(m, acts[i]) || i > 0 && m.in != layers[i-1].out {
			break
		}
		n++
	}
	c := &Chain{layers: layers[:n], acts: acts[:n]}
	for _, m := range c.layers {
		c.side = max(c.side, ceilDiv(m.out, panelWidth)*panelWidth)
	}
	from, to := -1, 0
	for i, m := range c.layers {
		o := m.op(from, to, acts[i].Op == Relu)
		if split {
			o.split = 1
		}
		c.ops = append(c.ops, o)
		if kind, _ := chainKind(acts[i]); kind >= 0 {
			c.ops = append(c.ops, chainOp{x: to, y: to, out: m.out, kind: kind, a: acts[i].A, b: acts[i].B, c: acts[i].C})
		}
		from, to = to, 4*c.side-to
	}
	if n == 0 {
		return c
	}
	// What is whole panels goes to the caller at once.
	if last := &c.ops[len(c.ops)-1]; last.kind == chainPanels && last.out%panelWidth == 0 {
		last.y = -1
	} else {
		c.ops = append(c.ops, chainOp{x: from, y: -1, out: c.layers[n-1].out, kind: chainCopy})
	}
	return c
}

// op returns the product with the matrix.
func (m *Matrix) op(x, y int, relu bool) chainOp {
	o := chainOp{x: x, y: y, in: m.in, out: m.out, bias: &m.bias[0]}
	if relu {
		o.relu = 1
	}
	if m.dot {
		o.kind, o.w = chainDot, &m.weights[0]
		return o
	}
	o.panel = 4 * panelWidth * m.in
	o.tail = &m.weights[0]
	if m.wide != nil {
		o.w, o.blocks = &m.wide[0], m.out/wideWidth
		o.out -= o.blocks * wideWidth
		o.tail = nil
		if o.out > 0 {
			o.tail = &m.weights[o.blocks*wideWidth*m.in]
		}
	}
	return o
}

// Len returns the number of layers.
func (c *Chain) Len() int { return len(c.layers) }

// Room returns the number of floats that Run needs beside its operands.
func (c *Chain) Room() int { return 2 * c.side }

// Chain computes the layers for one row, as Linear does one after the other.
// room has at least c.Room() numbers and is nobody else's
// meanwhile. y, x and room must not overlap.
func (k Impl) Chain(y, x []float32, c *Chain, room []float32) {
	n := len(c.layers)
	y, x, room = y[:c.layers[n-1].out], x[:c.layers[0].in], room[:c.Room()]
	if k.Chains() {
		chainVector(y, x, room, c.ops)
		return
	}
	for i, m := range c.layers {
		to := y
		if i < n-1 {
			to = room[i%2*c.side:][:m.out]
		}
		k.Linear(to, m.out, x, m.in, 1, m, c.acts[i])
		x = to
	}
}
