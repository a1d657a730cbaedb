//go:build !noasm

package kernel

const (
	vectorName = "neon"
	// hasVector holds for every arm64 that Go runs on.
	hasVector = true
	hasWide   = false
)

// gemvNEON is gemvGeneric. The strides are in bytes; len(y) is a multiple of
// 16, and b holds as many.
//
//go:noescape
func gemvNEON(y, x, w, b []float32, panelStride, stepStride int, relu bool)

// gemmNEON is the product of gemvGeneric for many rows and one whole panel.
// ldy and ldx are in bytes; k is positive.
//
//go:noescape
func gemmNEON(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, tiles6, tiles5, tiles4 int, relu bool)

// dotNEON is dotGeneric for many rows and one whole group. ldy and ldx are in
// bytes; rows is positive.
//
//go:noescape
func dotNEON(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, rows int, relu bool)

// gemvVector computes whole panels in place and the outputs of a last one that
// is not whole beside it.
func gemvVector(y, x, w, b []float32, panelStride, stepStride int, relu bool) {
	whole := len(y) &^ (panelWidth - 1)
	if whole > 0 {
		gemvNEON(y[:whole], x, w, b, 4*panelStride, 4*stepStride, relu)
	}
	if whole < len(y) {
		var last [panelWidth]float32
		gemvNEON(last[:], x, w[whole*len(x):], b[whole:], 4*panelStride, 4*stepStride, relu)
		copy(y[whole:], last[:])
	}
}

// gemmStrides tells that gemmVector takes weights whose steps are not panels.
const gemmStrides = false

func gemmVector(y []float32, ldy int, x []float32, ldx int, w, b []float32, _, k, n int, t tiles, relu bool) {
	if n == panelWidth {
		gemmNEON(y, 4*ldy, x, 4*ldx, w, b, k, t.of6, t.of5, t.of4, relu)
		return
	}
	var part [maxBlockRows * panelWidth]float32
	gemmNEON(part[:], 4*panelWidth, x, 4*ldx, w, b, k, t.of6, t.of5, t.of4, relu)
	for r := range t.rows {
		copy(y[r*ldy:r*ldy+n], part[r*panelWidth:])
	}
}

func dotVector(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, n, rows int, relu bool) {
	switch {
	case n == dotWidth:
		dotNEON(y, 4*ldy, x, 4*ldx, w, b, k, rows, relu)
	case rows == 1:
		var part [dotWidth]float32
		dotNEON(part[:], 0, x, 0, w, b, k, 1, relu)
		copy(y[:n], part[:])
	default:
		var part [maxBlockRows * dotWidth]float32
		dotNEON(part[:], 4*dotWidth, x, 4*ldx, w, b, k, rows, relu)
		for r := range rows {
			copy(y[r*ldy:r*ldy+n], part[r*dotWidth:])
		}
	}
}

// gatherFloats is the room for the inputs of a tile, for each of its terms.
const gatherFloats = tilePixels

// convTileVector brings the inputs of the tile together and multiplies them as
// six rows.
func convTileVector(y, x []float32, at *[tilePixels]int, table []int32, w, b []float32, relu bool, room []float32) {
	k := len(table)
	if k == 0 {
		convTileGeneric(y, x, at, table, w, b, relu)
		return
	}
	for i, from := range at {
		in, row := x[from:], room[i*k:(i+1)*k]
		for j, d := range table {
			row[j] = in[d]
		}
	}
	gemmNEON(y, 4*panelWidth, room, 4*k, w, b, k, 1, 0, 0, relu)
}

func spreadVector(y []float32, plane int, tile []float32, ld, positions, outs int) {
	spreadGeneric(y, plane, tile, ld, positions, outs)
}

// hasChain tells that chainVector is there.
const hasChain = false

func chainVector(y, x, room []float32, ops []chainOp) { panic(noWide) }

// No Impl has wide set here.

func gemmWide(y []float32, ldy int, x []float32, ldx int, w, b []float32, panel, k, n, height, tiles int, relu bool) {
	panic(noWide)
}

func convTileWide(y, x []float32, at, table []int32, w, b []float32, panel int, relu bool) {
	panic(noWide)
}

const noWide = "kernel: no kernels of AVX-512 on this machine"

// convPlaneVector is the Go twin, whose products and sums the compiler fuses
// here.
func convPlaneVector(y, x []float32, table []int32, w []float32, b float32, relu bool) {
	convPlaneGeneric(y, x, table, w, b, relu)
}

// What follows has no vector form here: the Go twins take its place.

func moreVector(Unary, []float32, []float32) bool { return false }

func powVector(y, a, b []float32)                       { powGeneric(y, a, b) }
func minimumVector(y, a, b []float32)                   { minimumGeneric(y, a, b) }
func maximumVector(y, a, b []float32)                   { maximumGeneric(y, a, b) }
func sumVector(x []float32) float64                     { return sumGeneric(x) }
func amaxVector(x []float32) float32                    { return amaxGeneric(x) }
func aminVector(x []float32) float32                    { return aminGeneric(x) }
func expSubVector(y, x []float32, top float32)          { expSubGeneric(y, x, top) }
func scaleVector(y, x []float32, factor, shift float32) { scaleGeneric(y, x, factor, shift) }

// The stubs below are the functions of the same name with Generic at the end.
// Lengths are multiples of four; y may be an operand.

//go:noescape
func reluNEON(y, x []float32)

//go:noescape
func clampNEON(y, x []float32, lo, hi float32)

//go:noescape
func tanhNEON(y, x []float32)

//go:noescape
func expNEON(y, x []float32)

//go:noescape
func sigmoidNEON(y, x []float32)

//go:noescape
func siluNEON(y, x []float32)

//go:noescape
func eluNEON(y, x []float32, scale, neg, inner float32)

//go:noescape
func addNEON(y, a, b []float32)

//go:noescape
func subNEON(y, a, b []float32)

//go:noescape
func mulNEON(y, a, b []float32)

//go:noescape
func divNEON(y, a, b []float32)

const laneMask = 3

// The last one to three elements go through a buffer of four.

func reluVector(y, x []float32) {
	m := len(x) &^ laneMask
	reluNEON(y[:m], x[:m])
	if m < len(x) {
		var t [4]float32
		copy(t[:], x[m:])
		reluNEON(t[:], t[:])
		copy(y[m:], t[:])
	}
}

func clampVector(y, x []float32, lo, hi float32) {
	m := len(x) &^ laneMask
	clampNEON(y[:m], x[:m], lo, hi)
	if m < len(x) {
		var t [4]float32
		copy(t[:], x[m:])
		clampNEON(t[:], t[:], lo, hi)
		copy(y[m:], t[:])
	}
}

func tanhVector(y, x []float32) {
	m := len(x) &^ laneMask
	tanhNEON(y[:m], x[:m])
	if m < len(x) {
		var t [4]float32
		copy(t[:], x[m:])
		tanhNEON(t[:], t[:])
		copy(y[m:], t[:])
	}
}

func expVector(y, x []float32) {
	m := len(x) &^ laneMask
	expNEON(y[:m], x[:m])
	if m < len(x) {
		var t [4]float32
		copy(t[:], x[m:])
		expNEON(t[:], t[:])
		copy(y[m:], t[:])
	}
}

func sigmoidVector(y, x []float32) {
	m := len(x) &^ laneMask
	sigmoidNEON(y[:m], x[:m])
	if m < len(x) {
		var t [4]float32
		copy(t[:], x[m:])
		sigmoidNEON(t[:], t[:])
		copy(y[m:], t[:])
	}
}

func siluVector(y, x []float32) {
	m := len(x) &^ laneMask
	siluNEON(y[:m], x[:m])
	if m < len(x) {
		var t [4]float32
		copy(t[:], x[m:])
		siluNEON(t[:], t[:])
		copy(y[m:], t[:])
	}
}

func eluVector(y, x []float32, scale, neg, inner float32) {
	m := len(x) &^ laneMask
	eluNEON(y[:m], x[:m], scale, neg, inner)
	if m < len(x) {
		var t [4]float32
		copy(t[:], x[m:])
		eluNEON(t[:], t[:], scale, neg, inner)
		copy(y[m:], t[:])
	}
}

func addVector(y, a, b []float32) {
	m := len(a) &^ laneMask
	addNEON(y[:m], a[:m], b[:m])
	if m < len(a) {
		var s, t [4]float32
		copy(s[:], a[m:])
		copy(t[:], b[m:])
		addNEON(s[:], s[:], t[:])
		copy(y[m:], s[:])
	}
}

func subVector(y, a, b []float32) {
	m := len(a) &^ laneMask
	subNEON(y[:m], a[:m], b[:m])
	if m < len(a) {
		var s, t [4]float32
		copy(s[:], a[m:])
		copy(t[:], b[m:])
		subNEON(s[:], s[:], t[:])
		copy(y[m:], s[:])
	}
}

func mulVector(y, a, b []float32) {
	m := len(a) &^ laneMask
	mulNEON(y[:m], a[:m], b[:m])
	if m < len(a) {
		var s, t [4]float32
		copy(s[:], a[m:])
		copy(t[:], b[m:])
		mulNEON(s[:], s[:], t[:])
		copy(y[m:], s[:])
	}
}

func divVector(y, a, b []float32) {
	m := len(a) &^ laneMask
	divNEON(y[:m], a[:m], b[:m])
	if m < len(a) {
		var s, t [4]float32
		copy(s[:], a[m:])
		copy(t[:], b[m:])
		divNEON(s[:], s[:], t[:])
		copy(y[m:], s[:])
	}
}
