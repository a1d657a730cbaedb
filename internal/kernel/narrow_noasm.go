//go:build noasm || !amd64

package kernel

// hasNarrow tells that there are kernels that read narrow weights. Where there
// are not, narrow weights are packed in float32 for the kernels of this
// machine, and none of these is called.
const hasNarrow = false

func gemvBF16Vector(y, x []float32, w []uint16, b []float32, relu bool)     { panic(noNarrow) }
func gemvInt8Vector(y, x []float32, w []int8, s, b []float32, relu bool)    { panic(noNarrow) }
func widenBF16Vector(panel []float32, w []uint16, step int)                 { panic(noNarrow) }
func widenInt8Vector(panel []float32, w []int8, step int)                   { panic(noNarrow) }
func scaleRowsVector(y []float32, ldy, n, rows int, s, b []float32, r bool) { panic(noNarrow) }

const noNarrow = "kernel: no assembly for narrow weights on this machine"
