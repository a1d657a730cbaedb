package kernel

import "fmt"

const (
	// winogradFloats is about how many transformed inputs and products are held
	// at once: 256 KiB, which stay in the second cache level.
	winogradFloats = 1 << 16
	// winogradGap keeps the numbers of one place in all tiles from lying at the
	// same distance as the lines of a cache set.
	winogradGap = 16
)

// winograd is how a convolution of 3×3 with stride 1 is computed by Winograd's
// minimal filtering F(m×m, 3×3) (Lavin and Gray, Fast algorithms for
// convolutional neural networks, 2015). The output goes in tiles of m×m, each
// of which needs (m+2)² inputs. Transformed, these are multiplied element by
// element with the transformed weights and summed over the channels, which is
// (m+2)² products of matrices of the tiles' channels with the weights; the sums
// are transformed to outputs. For m = 2 this takes 4/9 and for m = 4 a quarter
// of the multiplications.
//
// Everything has the channels side by side, so that a transform is a few sums
// of lines whatever lies in them.
type winograd struct {
	m        int
	tiles    [2]int    // in each dimension
	in, out  int       // channels and outputs in whole eights
	lines    int       // of tiles whose products are computed together, at most
	products []*Matrix // for each place of a transformed tile
}

// CanWinograd reports whether PackWinograd takes the geometry.
func (s *ConvShape) CanWinograd() bool {
	return s.Groups == 1 && s.Kernel == [3]int{1, 3, 3} && s.Stride == [3]int{1, 1, 1} &&
		s.Dilation[1] == 1 && s.Dilation[2] == 1 && s.In[0] == 1 && s.Padding[0] == 0
}

// WinogradTile returns the tile with which PackWinograd is faster than PackConv,
// or 0. It is the same for every number of rows, as the bits of a row are.
//
// The time of one row in parts of that of the plain form, with AVX-512, is
//
//	channels  outputs  positions  tiles of 2  of 4
//	       4       16      20×20        1.37  1.15  few channels: the transforms cost more
//	       8       16      20×20        0.81  0.61
//	      16       16      10×10        0.83  0.88  few products: the calls do
//	      16       16      20×20        0.70  0.50
//	      32       32        4×4        0.97  1.00
//	      32       32        6×6        0.74  0.90
//	      32       32        7×7        0.90  0.68
//	      64       64        3×3        1.17  1.23  one tile: the weights are read for it alone
//	      64       64        4×4        0.64  0.72
//	      64       64        5×5        0.84  0.94  much of the tiles is beyond the plane
//	      64       64        7×7        0.73  0.49
//	      64       64       1×20        1.12  1.37
//	     128      128      20×20        0.51  0.31
//
// and less for many rows.
func (k Impl) WinogradTile(s *ConvShape) int {
	if !k.vector || !hasWinograd || !s.CanWinograd() || s.Channels < 8 || s.Outputs < 8 {
		return 0
	}
	positions := s.Out[1] * s.Out[2]
	products := positions * s.Channels * s.Outputs * 9
	of := func(m int) int { return ceilDiv(s.Out[1], m) * ceilDiv(s.Out[2], m) }
	line := ceilDiv(s.Out[2], 2) * (s.Channels + s.Outputs) // the room must stay small
	switch {
	case line > winogradFloats:
		return 0
	case of(4) >= 4 && 2*positions >= 16*of(4) && products >= 300_000:
		return 4
	case of(2) >= 4 && 3*positions >= 2*4*of(2) && products >= 500_000:
		return 2
	default:
		return 0
	}
}

// PackWinograd is PackConv for a convolution that is computed in tiles of m×m,
// m being 2 or 4. The weights are transformed in float64 and rounded once.
//
// Its outputs are those of Conv within the error of other sums. NaN in an input
// comes out wherever Conv has it and may come out elsewhere in the tiles that
// the input is in. Sums on the way can be a hundred times the inputs and their
// products: where they are beyond float32 the output is NaN, and never Inf,
// which an activation could make a number of.
func PackWinograd(w, b []float32, s *ConvShape, m int) *PackedConv {
	if !s.CanWinograd() || m != 2 && m != 4 || len(w) != s.Channels*s.Outputs*9 || b != nil && len(b) != s.Outputs {
		panic(fmt.Sprintf("kernel: pack %d weights, %d biases for tiles of %d as %+v", len(w), len(b), m, *s))
	}
	t := &winograd{m: m, in: ceilDiv(s.Channels, 8) * 8, out: ceilDiv(s.Outputs, 8) * 8}
	for d := range t.tiles {
		t.tiles[d] = ceilDiv(s.Out[d+1], m)
	}
	edge := m + 2
	t.lines = max(1, winogradFloats/(edge*edge*(t.in+t.out)*t.tiles[1]))
	weights := make([][]float32, edge*edge)
	for i := range weights {
		weights[i] = make([]float32, t.out*s.Channels)
	}
	form := winogradForms[m]
	u := make([]float32, edge*edge)
	for at := range s.Outputs * s.Channels {
		winogradWeights(u, form.filter, (*[9]float32)(w[at*9:]))
		for i, v := range u {
			weights[i][at] = v
		}
	}
	for i, w := range weights {
		bias := make([]float32, t.out)
		for o, v := range b {
			bias[o] = float32(float64(v) * form.one[i/edge] * form.one[i%edge])
		}
		// One row alone, for which the wide copy is, is rare here.
		t.products = append(t.products, pack(w, bias, t.out, s.Channels, false))
	}
	return &PackedConv{shape: *s, w: w, b: b, winograd: t}
}

const (
	// The points of F(4, 3) are 0, ±winogradA, ±winogradB and infinity. With the
	// usual ±1 and ±2 the error is four times as much; with these it is about
	// that of plain sums, and the constants of the transforms are exact.
	winogradA, winogradB = 0.75, 1.5

	aa, bb = winogradA * winogradA, winogradB * winogradB
	// The filter is divided by the products of the distances of the points.
	atA, atB = 2 * aa * (aa - bb), 2 * bb * (bb - aa)
	// oneA and oneB are what makes every output 1 at the points.
	oneA = (1 - winogradB) / (winogradA * (winogradA - winogradB))
	oneB = (1 - winogradA) / (winogradB * (winogradB - winogradA))
)

// winogradForms are the matrices G of F(2, 3), by the points 0, 1, -1 and
// infinity, and of F(4, 3); and one, of which Aᵀ makes nothing but ones: the
// bias of the products, along both dimensions.
var winogradForms = map[int]struct {
	filter [][3]float64
	one    []float64
}{
	2: {[][3]float64{{1, 0, 0}, {1. / 2, 1. / 2, 1. / 2}, {1. / 2, -1. / 2, 1. / 2}, {0, 0, 1}}, []float64{0, 1, 0, 0}},
	4: {[][3]float64{
		{1 / (aa * bb), 0, 0},
		{1 / atA, winogradA / atA, aa / atA}, {1 / atA, -winogradA / atA, aa / atA},
		{1 / atB, winogradB / atB, bb / atB}, {1 / atB, -winogradB / atB, bb / atB},
		{0, 0, 1},
	}, []float64{1 - oneA - oneB, oneA, 0, oneB, 0, 1 - oneA*winogradA*aa - oneB*winogradB*bb}},
}

// winogradWeights makes u, line by line, G·w·Gᵀ.
func winogradWeights(u []float32, g [][3]float64, w *[9]float32) {
	for i, down := range g {
		var line [3]float64 // of G·w
		for j := range line {
			line[j] = down[0]*float64(w[j]) + down[1]*float64(w[3+j]) + down[2]*float64(w[6+j])
		}
		for j, along := range g {
			u[i*len(g)+j] = float32(line[0]*along[0] + line[1]*along[1] + line[2]*along[2])
		}
	}
}

// bytes is the memory that the transformed weights take.
func (t *winograd) bytes() int {
	n := 0
	for _, p := range t.products {
		n += p.Bytes()
	}
	return n
}

// room is the scratch of a run, in parts.
type winogradRoom struct {
	padded []float32 // the input, channels last, with zeros around it
	down   []float32 // a line of tiles, transformed in one dimension
	tiles  []float32 // transformed tiles, those of one place together
	sums   []float32 // the products
	across []float32 // a line of outputs, transformed in one dimension
	block  []float32 // a line of outputs, outputs last
}

// sizes of the parts, in their order.
func (t *winograd) sizes(s *ConvShape) [6]int {
	edge, line := t.m+2, (t.m*t.tiles[1]+2)*t.in
	n := t.lines * t.tiles[1]
	return [6]int{
		(t.m*t.tiles[0] + 2) * line,
		edge * line,
		edge * edge * (n*t.in + winogradGap),
		edge * edge * (n*t.out + winogradGap),
		t.m * edge * t.tiles[1] * t.out,
		(t.m*s.Out[2] + t.m) * t.out,
	}
}

func (t *winograd) scratch(s *ConvShape) int {
	n := 0
	for _, size := range t.sizes(s) {
		n += size
	}
	return n
}

// convolve goes through the lines of tiles of all rows, some at a time: few
// tiles of one row alone would read all weights.
func (t *winograd) convolve(k Impl, y, x []float32, rows int, c *PackedConv, act Unary, scratch []float32) {
	s := &c.shape
	var room winogradRoom
	sizes := t.sizes(s)
	for i, part := range []*[]float32{&room.padded, &room.down, &room.tiles, &room.sums, &room.across, &room.block} {
		*part, scratch = scratch[:sizes[i]], scratch[sizes[i]:]
	}
	clear(room.padded)
	inPlace, outPlace := t.lines*t.tiles[1]*t.in+winogradGap, t.lines*t.tiles[1]*t.out+winogradGap
	all := rows * t.tiles[0]
	for first := 0; first < all; first += t.lines {
		lines := min(t.lines, all-first)
		for l := range lines {
			r, line := (first+l)/t.tiles[0], (first+l)%t.tiles[0]
			if line == 0 || l == 0 && first == 0 {
				t.turn(k, room.padded, x[r*s.Channels*s.In[1]*s.In[2]:], s)
			}
			t.transform(k, &room, line, room.tiles[l*t.tiles[1]*t.in:], inPlace)
		}
		for i, p := range t.products {
			k.Linear(room.sums[i*outPlace:], t.out, room.tiles[i*inPlace:], t.in, lines*t.tiles[1], p, Unary{})
		}
		for l := range lines {
			r, line := (first+l)/t.tiles[0], (first+l)%t.tiles[0]
			t.outputs(k, y[r*s.Outputs*s.Out[1]*s.Out[2]:], &room, line, room.sums[l*t.tiles[1]*t.out:], outPlace, s, act)
		}
	}
}

// turn puts one row of the input, channels last, between the zeros.
func (t *winograd) turn(k Impl, padded, x []float32, s *ConvShape) {
	line, size := (t.m*t.tiles[1]+2)*t.in, s.In[1]*s.In[2]
	for i := range s.In[1] {
		to := padded[(i+s.Padding[1])*line+s.Padding[2]*t.in:]
		from := x[i*s.In[2]:]
		whole := 0
		if k.vector && s.Channels >= 8 {
			// The kernel reads eights, which may not go beyond the input.
			if whole = s.In[2]; (s.Channels-1)*size+ceilDiv(whole, 8)*8 > len(from) {
				whole = whole / 8 * 8
			}
			if whole > 0 {
				spreadVector(to, t.in, from, size, s.Channels, whole)
			}
		}
		spreadGeneric(to[whole*t.in:], t.in, from[whole:], size, s.Channels, s.In[2]-whole)
	}
}

// transform computes Bᵀ·x·B of a line of tiles.
func (t *winograd) transform(k Impl, room *winogradRoom, line int, tiles []float32, place int) {
	edge, width := t.m+2, (t.m*t.tiles[1]+2)*t.in
	f := winograd4In
	if t.m == 2 {
		f = winograd2In
	}
	k.winogradLines(f, room.down, width, room.padded[line*t.m*width:], width, winogradCount{n: width, count: 1})
	for i := range edge {
		k.winogradLines(f, tiles[i*edge*place:], place, room.down[i*width:], t.in, winogradCount{t.in, t.tiles[1], t.in, t.m * t.in})
	}
}

// outputs computes act(Aᵀ·sums·A) of a line of tiles and writes it to the
// planes of y. What a tile has beyond the end of a line is where the next line
// begins, which is written after it.
func (t *winograd) outputs(k Impl, y []float32, room *winogradRoom, line int, sums []float32, place int, s *ConvShape, act Unary) {
	edge, width := t.m+2, t.tiles[1]*t.out
	f := winograd4Out
	if t.m == 2 {
		f = winograd2Out
	}
	for j := range edge {
		k.winogradLines(f, room.across[j*width:], edge*width, sums[j*place:], edge*place, winogradCount{n: width, count: 1})
	}
	height := min(t.m, s.Out[1]-line*t.m)
	for i := range height {
		k.winogradLines(f, room.block[i*s.Out[2]*t.out:], t.out, room.across[i*edge*width:], width, winogradCount{t.out, t.tiles[1], t.m * t.out, t.out})
	}
	n := height * s.Out[2]
	block := room.block[:n*t.out]
	if act.Op != Identity {
		k.Apply(act, block, block)
	}
	plane := s.Out[1] * s.Out[2]
	y = y[line*t.m*s.Out[2]:]
	if k.vector && n >= 8 {
		spreadVector(y, plane, block, t.out, n, s.Outputs)
	} else {
		spreadGeneric(y, plane, block, t.out, n, s.Outputs)
	}
}

// winogradLine is a transform in one dimension.
type winogradLine uint8

const (
	winograd2In winogradLine = iota
	winograd2Out
	winograd4In
	winograd4Out
)

// winogradCount tells that a transform is made of n positions side by side,
// count times, each stepY and stepX behind the one before.
type winogradCount struct{ n, count, stepY, stepX int }

// winogradLines computes y[i·ldy+p] from x[k·ldx+p] for all k.
func (k Impl) winogradLines(f winogradLine, y []float32, ldy int, x []float32, ldx int, c winogradCount) {
	in, out := 4, 4
	if f >= winograd4In {
		in, out = 6, 6
	}
	if f == winograd2Out || f == winograd4Out {
		out -= 2
	}
	y = y[:(c.count-1)*c.stepY+(out-1)*ldy+c.n]
	x = x[:(c.count-1)*c.stepX+(in-1)*ldx+c.n]
	if k.vector && hasWinograd {
		winogradVector(f, y, ldy, x, ldx, c)
		return
	}
	for i := range c.count {
		winogradGeneric(f, y[i*c.stepY:], ldy, x[i*c.stepX:], ldx, c.n)
	}
}

// winogradGeneric is a transform of n positions.
func winogradGeneric(f winogradLine, y []float32, ldy int, x []float32, ldx, n int) {
	const a, b = winogradA, winogradB
	for p := range n {
		x0, x1, x2, x3 := x[p], x[ldx+p], x[2*ldx+p], x[3*ldx+p]
		switch f {
		case winograd2In:
			y[p], y[ldy+p], y[2*ldy+p], y[3*ldy+p] = x0-x2, x1+x2, x2-x1, x1-x3
		case winograd2Out:
			y[p], y[ldy+p] = finite(x0+(x1+x2)), finite(x1-x2-x3)
		case winograd4In:
			x4, x5 := x[4*ldx+p], x[5*ldx+p]
			c, d := x4-bb*x2, x3-bb*x1
			y[ldy+p], y[2*ldy+p] = c+a*d, c-a*d
			c, d = x4-aa*x2, x3-aa*x1
			y[3*ldy+p], y[4*ldy+p] = c+b*d, c-b*d
			y[p], y[5*ldy+p] = x4-(aa+bb)*x2+aa*bb*x0, x5-(aa+bb)*x3+aa*bb*x1
		case winograd4Out:
			x4, x5 := x[4*ldx+p], x[5*ldx+p]
			c, d, e, g := x1+x2, x1-x2, x3+x4, x3-x4
			y[p], y[ldy+p] = finite(x0+c+e), finite(a*d+b*g)
			y[2*ldy+p], y[3*ldy+p] = finite(aa*c+bb*e), finite(x5+a*aa*d+b*bb*g)
		}
	}
}

// finite makes NaN of what is infinite.
func finite(y float32) float32 { return y + 0*y }
