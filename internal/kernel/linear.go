package kernel

import "fmt"

const (
	// maxBlockRows is the most rows that one assembly call computes: the
	// runtime cannot stop a goroutine inside one. With blockWork it keeps a
	// call at tens of microseconds.
	maxBlockRows = 96
	blockWork    = 1 << 15 // rows times inputs
	// wideHeight is the most rows of a tile of the wide kernels.
	wideHeight = 14
)

// Linear computes y[r] = act(W·x[r] + b) for each row r. The rows of y are ldy
// apart and m.Out() wide, those of x ldx apart and m.In() wide; nothing outside
// of them is read or written. y and x must not overlap.
//
// In panel form each output is b plus its terms in ascending order of the
// input, one fused multiply-add each. In dot form (12 outputs or fewer) there
// are sixteen such sums, added pairwise, and b is added last. Neither depends
// on the number of rows.
func (k Impl) Linear(y []float32, ldy int, x []float32, ldx, rows int, m *Matrix, act Unary) {
	if rows <= 0 || m.out == 0 {
		return
	}
	if len(y) < (rows-1)*ldy+m.out || len(x) < (rows-1)*ldx+m.in || ldy < 0 || ldx < 0 {
		m.badLengths(len(y), ldy, len(x), ldx, rows)
	}
	relu := act.Op == Relu
	if rows == 1 {
		if k.vector && m.in > 0 {
			m.row(y[:m.out], x[:m.in], relu)
		} else {
			k.linear(y, 0, x, 0, 1, m, relu)
		}
		if !relu && act.Op != Identity {
			k.Apply(act, y[:m.out], y[:m.out])
		}
		return
	}
	block := blockRows(m.in)
	if k.wide && !m.dot {
		block = maxBlockRows // panels bounds its calls itself
	}
	for r := 0; r < rows; r += block {
		n := min(block, rows-r)
		yb, xb := y[r*ldy:], x[r*ldx:]
		k.linear(yb, ldy, xb, ldx, n, m, relu)
		if relu || act.Op == Identity {
			continue
		}
		if ldy == m.out {
			k.Apply(act, yb[:n*ldy], yb[:n*ldy])
			continue
		}
		for i := range n {
			row := yb[i*ldy : i*ldy+m.out]
			k.Apply(act, row, row)
		}
	}
}

func (m *Matrix) badLengths(y, ldy, x, ldx, rows int) {
	panic(fmt.Sprintf("kernel: linear %dx%d of %d rows: y %d by %d, x %d by %d", m.out, m.in, rows, y, ldy, x, ldx))
}

// blockRows returns the number of rows of a block: a multiple of the six rows
// of a tile.
func blockRows(in int) int {
	return min(maxBlockRows, max(6, blockWork/max(in, 1)/6*6))
}

func (k Impl) linear(y []float32, ldy int, x []float32, ldx, rows int, m *Matrix, relu bool) {
	switch {
	case !k.vector || m.in == 0:
		for r := range rows {
			if m.dot {
				dotGeneric(y[r*ldy:r*ldy+m.out], x[r*ldx:r*ldx+m.in], m.weights, m.bias, relu)
			} else {
				gemvGeneric(y[r*ldy:r*ldy+m.out], x[r*ldx:r*ldx+m.in], m.weights, m.bias, relu)
			}
		}
	case m.dot:
		group := ceilDiv(m.in, dotStep) * dotStep * dotWidth
		for j := 0; j < m.out; j += dotWidth {
			dotVector(y[j:], ldy, x, ldx, m.weights[j/dotWidth*group:], m.bias[j:], m.in, min(dotWidth, m.out-j), rows, relu)
		}
	default:
		k.panels(y, ldy, x, ldx, rows, m, relu)
	}
}

// panels is the product in panel form. The wide kernels take panels in pairs,
// through all rows before the next pair, so that the weights of a long layer
// come from memory once.
func (k Impl) panels(y []float32, ldy int, x []float32, ldx, rows int, m *Matrix, relu bool) {
	j := 0
	if k.wide {
		block := max(wideHeight, blockWork/m.in)
		for ; m.out-j > panelWidth; j += 2 * panelWidth {
			w, b, n := m.weights[j*m.in:], m.bias[j:], min(2*panelWidth, m.out-j)
			for r := 0; r < rows; r += block {
				of := min(block, rows-r)
				tiles := ceilDiv(of, wideHeight)
				height, higher := of/tiles, of%tiles
				if higher > 0 {
					gemmWide(y[r*ldy+j:], ldy, x[r*ldx:], ldx, w, b, panelWidth*m.in, m.in, n, height+1, higher, relu)
				}
				next := r + higher*(height+1)
				gemmWide(y[next*ldy+j:], ldy, x[next*ldx:], ldx, w, b, panelWidth*m.in, m.in, n, height, tiles-higher, relu)
			}
		}
		if j >= m.out {
			return
		}
	}
	t := tile(rows)
	if t.rows > 0 {
		for p := j; p < m.out; p += panelWidth {
			gemmVector(y[p:], ldy, x, ldx, m.weights[p*m.in:], m.bias[p:], panelWidth, m.in, min(panelWidth, m.out-p), t, relu)
		}
	}
	for r := t.rows; r < rows; r++ {
		out, in := y[r*ldy:r*ldy+m.out], x[r*ldx:r*ldx+m.in]
		if j > 0 {
			gemvVector(out[j:], in, m.weights[j*m.in:], m.bias[j:], panelWidth*m.in, panelWidth, relu)
		} else {
			m.row(out, in, relu)
		}
	}
}

// row is the product with one row by the vector kernels.
func (m *Matrix) row(y, x []float32, relu bool) {
	if m.dot {
		group := ceilDiv(m.in, dotStep) * dotStep * dotWidth
		for j := 0; j < m.out; j += dotWidth {
			dotVector(y[j:], 0, x, 0, m.weights[j/dotWidth*group:], m.bias[j:], m.in, min(dotWidth, m.out-j), 1, relu)
		}
		return
	}
	for i := range m.calls {
		c := &m.calls[i]
		gemvVector(y[c.from:c.to], x, c.w, c.b, c.panelStride, c.stepStride, relu)
	}
}

// tiles is the number of tiles of 6, 5 and 4 rows, and the rows they cover.
type tiles struct{ of6, of5, of4, rows int }

// tile splits rows into tiles of six as far as possible, with fives and fours
// for the rest; one to three rows can be left over, which are cheaper as
// single products.
func tile(rows int) tiles {
	t := tiles{of6: rows / 6}
	switch rest := rows % 6; {
	case rest >= 4:
		t.of5, t.of4 = rest-4, 5-rest
	case rest == 3 && t.of6 >= 1: // 9 = 5+4
		t.of6, t.of5, t.of4 = t.of6-1, 1, 1
	case rest == 2 && t.of6 >= 1: // 8 = 4+4
		t.of6, t.of4 = t.of6-1, 2
	case rest == 1 && t.of6 >= 2: // 13 = 5+4+4
		t.of6, t.of5, t.of4 = t.of6-2, 1, 2
	}
	t.rows = 6*t.of6 + 5*t.of5 + 4*t.of4
	return t
}

// gemvGeneric is the panel form for one row.
func gemvGeneric(y, x, w, b []float32, relu bool) {
	for len(y) > 0 {
		acc := [panelWidth]float32(b)
		for i, v := range x {
			p := (*[panelWidth]float32)(w[i*panelWidth:])
			for j := range acc {
				acc[j] += v * p[j]
			}
		}
		n := copy(y, acc[:])
		if relu {
			reluGeneric(y[:n], y[:n])
		}
		y, b, w = y[n:], b[panelWidth:], w[len(x)*panelWidth:]
	}
}

// dotGeneric is the dot form for one row.
func dotGeneric(y, x, w, b []float32, relu bool) {
	const stride = dotStep * dotWidth
	steps := ceilDiv(len(x), dotStep)
	for j := range y {
		var l [dotStep]float32
		ws := w[j/dotWidth*steps*stride:]
		for s := 0; s < len(x); s += dotStep {
			p := ws[s*dotWidth+j%dotWidth*dotStep:]
			for i, v := range x[s:min(s+dotStep, len(x))] {
				l[i] += v * p[i]
			}
		}
		for i := range dotStep / 2 {
			l[i] += l[i+dotStep/2]
		}
		y[j] = b[j] + (((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7])))
	}
	if relu {
		reluGeneric(y, y)
	}
}
