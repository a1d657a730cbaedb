package kernel

// zeros is the bias of products without one.
var zeros [panelWidth]float32

// maxPanelInputs is the longest sum for which a panel is brought together; the
// room for it is then 4 MiB.
const maxPanelInputs = 1 << 16

// MatMulScratch returns the number of floats that MatMul needs beside its
// operands.
func MatMulScratch(k int) int {
	if k > maxPanelInputs {
		return 0
	}
	return k * panelWidth
}

// MatMul computes y = a·b for a of m rows of inner numbers and b of inner rows of n,
// each output in ascending order of them, one fused multiply-add a term. scratch
// has MatMulScratch(inner) numbers and is nobody else's meanwhile.
//
// It is the product of Linear with weights that lie in rows: panels of sixteen
// columns are read where they are as far as the kernels can, and the last ones
// are brought together first.
func (k Impl) MatMul(y, a, b []float32, m, inner, n int, scratch []float32) {
	y, a, b = y[:m*n], a[:m*inner], b[:inner*n]
	if !k.vector || inner == 0 || inner > maxPanelInputs {
		matMulGeneric(y, a, b, m, inner, n)
		return
	}
	block := blockRows(inner)
	for j := 0; j < n; j += panelWidth {
		w, step := b[j:], n
		width := min(panelWidth, n-j)
		if !gemmStrides || width < panelWidth {
			w, step = scratch[:inner*panelWidth], panelWidth
			gatherPanel(w, b[j:], inner, n, width)
		}
		for r := 0; r < m; r += block {
			rows := min(block, m-r)
			yb, ab := y[r*n+j:], a[r*inner:]
			t := tile(rows)
			if t.rows > 0 {
				gemmVector(yb, n, ab, inner, w, zeros[:], step, inner, width, t, false)
			}
			for q := t.rows; q < rows; q++ {
				gemvVector(yb[q*n:q*n+width], ab[q*inner:(q+1)*inner], w, zeros[:], 0, step, false)
			}
		}
	}
}

// gatherPanel copies columns of b, which has k rows of n, to a panel.
func gatherPanel(w, b []float32, k, n, width int) {
	for r := range k {
		row := w[r*panelWidth:][:panelWidth]
		clear(row[copy(row[:width], b[r*n:]):])
	}
}

// matMulGeneric is MatMul in plain loops.
func matMulGeneric(y, a, b []float32, m, k, n int) {
	for r := range m {
		out := y[r*n : (r+1)*n]
		clear(out)
		for i, v := range a[r*k : (r+1)*k] {
			for j, w := range b[i*n : (i+1)*n] {
				out[j] += v * w
			}
		}
	}
}
