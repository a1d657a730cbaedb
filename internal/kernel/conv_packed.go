package kernel

import "fmt"

const (
	// tilePixels is the number of positions and panelWidth that of outputs
	// that one call of the tile kernel computes.
	tilePixels = 6
	// widePixels is the most positions of the wide tile kernel, which computes
	// two panels.
	widePixels = 9
	// blockPixels is the most positions that are computed before they are
	// written to the planes of the output.
	blockPixels = 54
	tileFloats  = blockPixels * 2 * panelWidth
	// maxPlaneOutputs is the greatest number of outputs of a group for which
	// the plane kernel is taken: with fewer than half a panel the tile kernel
	// computes mostly what nobody wants.
	maxPlaneOutputs = 7
	// planeStep is the number of positions that the plane kernel computes at
	// once.
	planeStep = 64
	// maxGrids is the most grids of a packed convolution: strides of 4 in three
	// dimensions.
	maxGrids = 64
)

// PackedConv is a convolution, or the gradient of one, with constant weights.
// It does not change and may be shared.
//
// Either is a sum over taps: an output at a position of a grid is the bias and
// the products of the weights with the elements of the padded input that lie at
// fixed distances from the position's origin. A convolution has one grid, the
// gradient of one with stride s has s of them in each dimension, as only each
// s-th tap meets an element of the input.
type PackedConv struct {
	shape      ConvShape
	transposed bool
	w, b       []float32 // as they came, for the twins

	before, padded [3]int // zeros before the input, and its size with all zeros
	copied         bool   // whether the input goes through the scratch
	plane          bool   // whether the plane kernel computes it
	parts          []convPart
	bias           []float32 // by group, each in whole panels
	winograd       *winograd // what computes it in place of all these, or nil
}

// convPart is one grid.
type convPart struct {
	n               [3]int    // positions
	inStep          [3]int    // from one to the next, in elements of the padded input
	outFrom, outBy  [3]int    // where its results lie in the output
	table           []int32   // distance of each tap
	weights         []float32 // by group: whole panels of taps times 16, or outputs times taps
	groupW, groupIn int       // from one group to the next
}

// PackConv packs the weight w and the bias b, which may be nil, for the
// geometry of Conv or, where transposed tells so, of ConvTranspose. Both are
// kept and must not change.
func PackConv(w, b []float32, s *ConvShape, transposed bool) *PackedConv {
	taps := s.Kernel[0] * s.Kernel[1] * s.Kernel[2]
	if len(w)*s.Groups != s.Channels*s.Outputs*taps || b != nil && len(b) != s.Outputs {
		panic(fmt.Sprintf("kernel: pack %d weights, %d biases as %+v", len(w), len(b), *s))
	}
	c := &PackedConv{shape: *s, transposed: transposed, w: w, b: b}
	c.plane = s.Outputs/s.Groups <= maxPlaneOutputs
	phases := s.phases(transposed)
	var after [3]int
	for d := range 3 {
		low, high := 0, s.In[d]-1
		for r := range phases[d] {
			for _, q := range c.steps(d, r) {
				last := q + (c.positions(d, r)-1)*c.inBy(d)
				low, high = min(low, q), max(high, last)
			}
		}
		c.before[d], after[d] = -low, high-(s.In[d]-1)
		c.padded[d] = c.before[d] + s.In[d] + after[d]
	}
	c.copied = c.plane || c.padded != s.In
	for r0 := range phases[0] {
		for r1 := range phases[1] {
			for r2 := range phases[2] {
				if p, ok := c.part([3]int{r0, r1, r2}); ok {
					c.parts = append(c.parts, p)
				}
			}
		}
	}
	perGroup := s.Outputs / s.Groups
	panels := ceilDiv(perGroup, panelWidth) * panelWidth
	c.bias = aligned(s.Groups * panels)
	for o, v := range b {
		c.bias[o/perGroup*panels+o%perGroup] = v
	}
	return c
}

// phases is the number of grids in each dimension.
func (s *ConvShape) phases(transposed bool) [3]int {
	n := [3]int{1, 1, 1}
	if transposed {
		for d := range n {
			n[d] = min(s.Stride[d], s.Out[d])
		}
	}
	return n
}

// Packable reports whether PackConv is worth its tables: a gradient of long
// strides has too many grids.
func (s *ConvShape) Packable(transposed bool) bool {
	n := s.phases(transposed)
	return float64(n[0])*float64(n[1])*float64(n[2]) <= maxGrids
}

// positions is the number of outputs of phase r in dimension d.
func (c *PackedConv) positions(d, r int) int {
	if !c.transposed {
		return c.shape.Out[d]
	}
	return max(0, ceilDiv(c.shape.Out[d]-r, c.shape.Stride[d]))
}

// inBy is how far the input moves in dimension d from one position to the
// next.
func (c *PackedConv) inBy(d int) int {
	if c.transposed {
		return 1
	}
	return c.shape.Stride[d]
}

// steps returns, for each tap of phase r in dimension d, the input that it
// meets at position 0.
func (c *PackedConv) steps(d, r int) []int {
	var q []int
	for _, k := range c.taps(d, r) {
		if c.transposed {
			q = append(q, (r+c.shape.Padding[d]-k*c.shape.Dilation[d])/c.shape.Stride[d])
		} else {
			q = append(q, k*c.shape.Dilation[d]-c.shape.Padding[d])
		}
	}
	return q
}

// taps returns the taps of phase r in dimension d.
func (c *PackedConv) taps(d, r int) []int {
	var t []int
	for k := range c.shape.Kernel[d] {
		if !c.transposed || (r+c.shape.Padding[d]-k*c.shape.Dilation[d])%c.shape.Stride[d] == 0 {
			t = append(t, k)
		}
	}
	return t
}

// part makes the grid of a phase.
func (c *PackedConv) part(r [3]int) (convPart, bool) {
	s := &c.shape
	p := convPart{outFrom: r, outBy: [3]int{1, 1, 1}}
	if c.transposed {
		p.outBy = s.Stride
	}
	strides := [3]int{c.padded[1] * c.padded[2], c.padded[2], 1}
	var taps, steps [3][]int
	for d := range 3 {
		p.n[d], p.inStep[d] = c.positions(d, r[d]), c.inBy(d)*strides[d]
		taps[d], steps[d] = c.taps(d, r[d]), c.steps(d, r[d])
	}
	if p.n[0]*p.n[1]*p.n[2] == 0 {
		return p, false
	}
	channels, outputs := s.Channels/s.Groups, s.Outputs/s.Groups
	size := c.padded[0] * strides[0]
	var of []int // of each term: channel times all taps plus tap
	all := s.Kernel[0] * s.Kernel[1] * s.Kernel[2]
	for ch := range channels {
		for i0, k0 := range taps[0] {
			for i1, k1 := range taps[1] {
				for i2, k2 := range taps[2] {
					at := (steps[0][i0]+c.before[0])*strides[0] + (steps[1][i1]+c.before[1])*strides[1] + steps[2][i2] + c.before[2]
					p.table = append(p.table, int32(ch*size+at))
					of = append(of, ch*all+(k0*s.Kernel[1]+k1)*s.Kernel[2]+k2)
				}
			}
		}
	}
	weight := func(g, o, term int) float32 {
		ch, tap := of[term]/all, of[term]%all
		if c.transposed {
			return c.w[((g*channels+ch)*outputs+o)*all+tap]
		}
		return c.w[((g*outputs+o)*channels+ch)*all+tap]
	}
	p.groupIn = channels * size
	width := panelWidth
	if c.plane {
		width = 1
	}
	p.groupW = ceilDiv(outputs, width) * len(of) * width
	p.weights = aligned(s.Groups * p.groupW)
	for g := range s.Groups {
		for o := range outputs {
			panel := p.weights[g*p.groupW+o/width*len(of)*width:]
			for term := range of {
				panel[term*width+o%width] = weight(g, o, term)
			}
		}
	}
	return p, true
}

// Bytes returns the memory that the packed weights and tables take.
func (c *PackedConv) Bytes() int {
	if c.winograd != nil {
		return c.winograd.bytes()
	}
	n := len(c.bias)
	for i := range c.parts {
		n += len(c.parts[i].weights) + len(c.parts[i].table)
	}
	return 4 * n
}

// Form names the kernel, for plan dumps.
func (c *PackedConv) Form() string {
	if c.winograd != nil {
		return fmt.Sprintf("winograd%d", c.winograd.m)
	}
	if c.plane {
		return "plane"
	}
	return "tile6x16"
}

// Scratch returns the number of floats that Convolve needs beside its
// operands: the padded input, a plane of results or the inputs of a tile.
func (c *PackedConv) Scratch() int {
	if c.winograd != nil {
		return c.winograd.scratch(&c.shape)
	}
	n, room := 0, 0
	if c.copied {
		n = c.paddedFloats()
	}
	for i := range c.parts {
		if c.plane {
			room = max(room, c.parts[i].planeFloats(c))
		} else {
			room = max(room, tileFloats+gatherFloats*len(c.parts[i].table))
		}
	}
	return n + room
}

// paddedFloats is the size of the padded input, with what the plane kernel
// reads beyond it.
func (c *PackedConv) paddedFloats() int {
	n := c.shape.Channels * c.padded[0] * c.padded[1] * c.padded[2]
	if c.plane {
		n += planeStep
	}
	return ceilDiv(n, panelWidth) * panelWidth
}

// planeFloats is the number of results of the plane kernel, whole steps: one
// at each element of the padded input from the first position to the last.
func (p *convPart) planeFloats(c *PackedConv) int {
	span := 1
	for d := range 3 {
		span += (p.n[d] - 1) * p.inStep[d]
	}
	return ceilDiv(span, planeStep) * planeStep
}

// Convolve computes what Conv or ConvTranspose does, and the function act of
// it. scratch has at least Scratch numbers and is nobody else's meanwhile.
func (k Impl) Convolve(y, x []float32, rows int, c *PackedConv, act Unary, scratch []float32) {
	s := &c.shape
	inSize, outSize := s.Channels*s.In[0]*s.In[1]*s.In[2], s.Outputs*s.Out[0]*s.Out[1]*s.Out[2]
	y, x = y[:rows*outSize], x[:rows*inSize]
	if c.winograd != nil {
		c.winograd.convolve(k, y, x, rows, c, act, scratch)
		return
	}
	if !k.vector {
		if c.transposed {
			ConvTranspose(y, x, c.w, c.b, rows, s)
		} else {
			Conv(y, x, c.w, c.b, rows, s)
		}
		if act.Op != Identity {
			k.Apply(act, y, y)
		}
		return
	}
	relu := act.Op == Relu
	room := scratch
	if c.copied {
		room = scratch[c.paddedFloats():]
	}
	for r := range rows {
		in, out := x[r*inSize:(r+1)*inSize], y[r*outSize:(r+1)*outSize]
		if c.copied {
			c.pad(scratch, in)
			in = scratch[:c.paddedFloats()]
		}
		for i := range c.parts {
			if c.plane {
				c.planes(out, in, room, &c.parts[i], relu)
			} else {
				c.tiles(k, out, in, room, &c.parts[i], relu)
			}
		}
		if !relu && act.Op != Identity {
			k.Apply(act, out, out)
		}
	}
}

// pad copies one row of the input between zeros.
func (c *PackedConv) pad(dst, x []float32) {
	s := &c.shape
	size := c.padded[0] * c.padded[1] * c.padded[2]
	dst = dst[:c.paddedFloats()]
	if c.padded != s.In {
		clear(dst)
	} else {
		clear(dst[s.Channels*size:])
	}
	for ch := range s.Channels {
		for i0 := range s.In[0] {
			at := ch*size + ((i0+c.before[0])*c.padded[1]+c.before[1])*c.padded[2] + c.before[2]
			from := (ch*s.In[0] + i0) * s.In[1] * s.In[2]
			for range s.In[1] {
				copy(dst[at:at+s.In[2]], x[from:])
				at += c.padded[2]
				from += s.In[2]
			}
		}
	}
}

// tiles computes a grid block by block: tiles of positions by one or two
// panels of outputs, which are then turned to where the output has them.
func (c *PackedConv) tiles(k Impl, y, x, room []float32, p *convPart, relu bool) {
	s := &c.shape
	perGroup := s.Outputs / s.Groups
	panels := ceilDiv(perGroup, panelWidth)
	plane := s.Out[0] * s.Out[1] * s.Out[2]
	positions := p.n[0] * p.n[1] * p.n[2]
	blocks := ceilDiv(positions, blockPixels)
	buffer, room := room[:tileFloats], room[tileFloats:]
	var at, to [blockPixels]int32
	for i := range blocks {
		first := i * positions / blocks
		n := (i+1)*positions/blocks - first
		p.place(at[:n], to[:n], first, s)
		for g := range s.Groups {
			in := x[g*p.groupIn:]
			for j := 0; j < panels; {
				w := p.weights[g*p.groupW+j*len(p.table)*panelWidth:]
				b := c.bias[(g*panels+j)*panelWidth:]
				first, width := j, panelWidth
				if k.wide && j+1 < panels {
					width = 2 * panelWidth
					p.pairOfTiles(buffer, in, at[:n], w, b, relu)
				} else {
					p.panelOfTiles(buffer, in, at[:n], w, b, relu, room)
				}
				j += width / panelWidth
				outs := min(width, perGroup-first*panelWidth)
				k.spread(y[(g*perGroup+first*panelWidth)*plane:], plane, buffer, width, to[:n], outs)
			}
		}
	}
}

// pairOfTiles computes two panels of outputs at some positions.
func (p *convPart) pairOfTiles(buffer, in []float32, at []int32, w, b []float32, relu bool) {
	tiles := ceilDiv(len(at), widePixels)
	for i := range tiles {
		from, end := i*len(at)/tiles, (i+1)*len(at)/tiles
		convTileWide(buffer[from*2*panelWidth:], in, at[from:end], p.table, w, b, len(p.table)*panelWidth, relu)
	}
}

// panelOfTiles computes one panel of outputs at some positions. The last tile
// begins earlier, so that it is whole too; if there are too few for one, it has
// positions that nobody asks for.
func (p *convPart) panelOfTiles(buffer, in []float32, at []int32, w, b []float32, relu bool, room []float32) {
	var tile [tilePixels]int
	for first := 0; first < len(at); first += tilePixels {
		n := min(tilePixels, len(at))
		first = min(first, len(at)-n)
		for i, v := range at[first : first+n] {
			tile[i] = int(v)
		}
		convTileVector(buffer[first*panelWidth:], in, &tile, p.table, w, b, relu, room)
	}
}

// spread writes positions of a block, whose outputs are ld wide, to where they
// lie in the planes of y.
func (k Impl) spread(y []float32, plane int, tile []float32, ld int, to []int32, outs int) {
	n, first := len(to), int(to[0])
	switch {
	case int(to[n-1]) != first+n-1:
		for o := range outs {
			out := y[o*plane:][:plane]
			for i, at := range to {
				out[at] = tile[i*ld+o]
			}
		}
	case n >= 8 && k.vector:
		spreadVector(y[first:], plane, tile, ld, n, outs)
	default:
		spreadGeneric(y[first:], plane, tile, ld, n, outs)
	}
}

// spreadGeneric computes y[o·plane+i] = tile[i·ld+o] for positions i and
// outputs o.
func spreadGeneric(y []float32, plane int, tile []float32, ld, positions, outs int) {
	for o := range outs {
		out := y[o*plane:][:positions]
		for i := range out {
			out[i] = tile[i*ld+o]
		}
	}
}

// place finds where positions from the first on begin in the input and end in
// the output.
func (p *convPart) place(at, to []int32, first int, s *ConvShape) {
	i2 := first % p.n[2]
	i1 := first / p.n[2] % p.n[1]
	i0 := first / (p.n[2] * p.n[1])
	for i := range at {
		at[i] = int32(i0*p.inStep[0] + i1*p.inStep[1] + i2*p.inStep[2])
		to[i] = int32(((p.outFrom[0]+i0*p.outBy[0])*s.Out[1]+p.outFrom[1]+i1*p.outBy[1])*s.Out[2] + p.outFrom[2] + i2*p.outBy[2])
		if i2++; i2 == p.n[2] {
			i2 = 0
			if i1++; i1 == p.n[1] {
				i1 = 0
				i0++
			}
		}
	}
}

// planes computes a grid one output at a time, at every element of the padded
// input between the first position and the last, and takes those that are
// positions.
func (c *PackedConv) planes(y, x, room []float32, p *convPart, relu bool) {
	s := &c.shape
	perGroup := s.Outputs / s.Groups
	plane := s.Out[0] * s.Out[1] * s.Out[2]
	whole := room[:p.planeFloats(c)]
	for o := range s.Outputs {
		g := o / perGroup
		w := p.weights[g*p.groupW+o%perGroup*len(p.table):][:len(p.table)]
		convPlaneVector(whole, x[g*p.groupIn:], p.table, w, c.bias[g*ceilDiv(perGroup, panelWidth)*panelWidth+o%perGroup], relu)
		out := y[o*plane:][:plane]
		for i0 := range p.n[0] {
			for i1 := range p.n[1] {
				line := whole[i0*p.inStep[0]+i1*p.inStep[1]:]
				at := ((p.outFrom[0]+i0*p.outBy[0])*s.Out[1]+p.outFrom[1]+i1*p.outBy[1])*s.Out[2] + p.outFrom[2]
				moveLine(out[at:], line, Axis{p.n[2], p.outBy[2], p.inStep[2]})
			}
		}
	}
}

// convTileGeneric computes y[i][j] = act(b[j] + Σ x[at[i]+table[k]]·w[k][j])
// for six positions and sixteen outputs.
func convTileGeneric(y, x []float32, at *[tilePixels]int, table []int32, w, b []float32, relu bool) {
	for i, from := range at {
		row := y[i*panelWidth:][:panelWidth]
		copy(row, b)
		for k, d := range table {
			v := x[from+int(d)]
			for j := range row {
				row[j] += v * w[k*panelWidth+j]
			}
		}
		if relu {
			reluGeneric(row, row)
		}
	}
}

// convPlaneGeneric computes y[i] = act(b + Σ x[i+table[k]]·w[k]).
func convPlaneGeneric(y, x []float32, table []int32, w []float32, b float32, relu bool) {
	for i := range y {
		y[i] = b
	}
	for k, d := range table {
		v := w[k]
		for i, u := range x[d:][:len(y)] {
			y[i] += v * u
		}
	}
	if relu {
		reluGeneric(y, y)
	}
}
