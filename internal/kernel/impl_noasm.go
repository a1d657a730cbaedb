//go:build noasm || (!amd64 && !arm64)

package kernel

const (
	vectorName = "go"
	hasVector  = false
	hasWide    = false
	hasChain   = false

	gatherFloats = 0
	gemmStrides  = false
)

// Without assembly no Impl has vector set, so none of these is called.

func gemvVector(y, x, w, b []float32, panelStride, stepStride int, relu bool) { panic(noVector) }
func gemmVector(y []float32, ldy int, x []float32, ldx int, w, b []float32, step, k, n int, t tiles, relu bool) {
	panic(noVector)
}
func dotVector(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, n, rows int, relu bool) {
	panic(noVector)
}
func convTileVector(y, x []float32, at *[tilePixels]int, table []int32, w, b []float32, relu bool, room []float32) {
	panic(noVector)
}
func spreadVector(y []float32, plane int, tile []float32, ld, positions, outs int) {
	panic(noVector)
}
func chainVector(y, x, room []float32, ops []chainOp) { panic(noVector) }
func gemmWide(y []float32, ldy int, x []float32, ldx int, w, b []float32, panel, k, n, height, tiles int, relu bool) {
	panic(noVector)
}
func convTileWide(y, x []float32, at, table []int32, w, b []float32, panel int, relu bool) {
	panic(noVector)
}
func convPlaneVector(y, x []float32, table []int32, w []float32, b float32, relu bool) {
	panic(noVector)
}
func moreVector(u Unary, y, x []float32) bool           { panic(noVector) }
func powVector(y, a, b []float32)                       { panic(noVector) }
func minimumVector(y, a, b []float32)                   { panic(noVector) }
func maximumVector(y, a, b []float32)                   { panic(noVector) }
func sumVector(x []float32) float64                     { panic(noVector) }
func amaxVector(x []float32) float32                    { panic(noVector) }
func aminVector(x []float32) float32                    { panic(noVector) }
func expSubVector(y, x []float32, top float32)          { panic(noVector) }
func scaleVector(y, x []float32, factor, shift float32) { panic(noVector) }

func reluVector(y, x []float32)                        { panic(noVector) }
func clampVector(y, x []float32, lo, hi float32)       { panic(noVector) }
func tanhVector(y, x []float32)                        { panic(noVector) }
func expVector(y, x []float32)                         { panic(noVector) }
func sigmoidVector(y, x []float32)                     { panic(noVector) }
func siluVector(y, x []float32)                        { panic(noVector) }
func eluVector(y, x []float32, scale, neg, in float32) { panic(noVector) }
func addVector(y, a, b []float32)                      { panic(noVector) }
func subVector(y, a, b []float32)                      { panic(noVector) }
func mulVector(y, a, b []float32)                      { panic(noVector) }
func divVector(y, a, b []float32)                      { panic(noVector) }

const noVector = "kernel: no assembly in this build"
