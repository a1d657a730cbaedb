//go:build !noasm

package kernel

// hasNarrow tells that there are kernels that read narrow weights.
const hasNarrow = true

func gemvBF16Vector(y, x []float32, w []uint16, b []float32, relu bool) {
	gemvBF16AVX2(y, x, w, b, relu)
}

func gemvInt8Vector(y, x []float32, w []int8, s, b []float32, relu bool) {
	gemvInt8AVX2(y, x, w, s, b, relu)
}

// widenBF16Vector fills a panel of 16 outputs in float32 from groups of w that
// are step weights apart.
func widenBF16Vector(panel []float32, w []uint16, step int) { widenBF16AVX2(panel, w, 2*step) }

func widenInt8Vector(panel []float32, w []int8, step int) { widenInt8AVX2(panel, w, step) }

func scaleRowsVector(y []float32, ldy, n, rows int, s, b []float32, relu bool) {
	scaleRowsAVX2(y, 4*ldy, n, rows, s, b, relu)
}
