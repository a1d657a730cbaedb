//go:build !noasm

package kernel

// hasWinograd tells that winogradVector is there.
const hasWinograd = true

func winogradVector(f winogradLine, y []float32, ldy int, x []float32, ldx int, c winogradCount) {
	ldy, ldx = 4*ldy, 4*ldx
	gapY, gapX := 4*(c.stepY-c.n), 4*(c.stepX-c.n)
	switch f {
	case winograd2In:
		winograd2InAVX2(y, ldy, x, ldx, c.n, c.count, gapY, gapX)
	case winograd2Out:
		winograd2OutAVX2(y, ldy, x, ldx, c.n, c.count, gapY, gapX)
	case winograd4In:
		winograd4InAVX2(y, ldy, x, ldx, c.n, c.count, gapY, gapX)
	default:
		winograd4OutAVX2(y, ldy, x, ldx, c.n, c.count, gapY, gapX)
	}
}
