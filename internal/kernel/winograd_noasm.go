//go:build noasm || !amd64

package kernel

// hasWinograd tells that winogradVector is there. Without it the transforms
// take more time than the products save.
const hasWinograd = false

func winogradVector(f winogradLine, y []float32, ldy int, x []float32, ldx int, c winogradCount) {
	panic("kernel: no assembly for Winograd's transforms on this machine")
}
