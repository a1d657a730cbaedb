package kernel

import "math"

// narrowLeast is the least number of rows for which weights are widened into
// scratch once and multiplied by the kernels of float32, instead of in
// registers for each row.
const narrowLeast = 4

// noBias is the bias of a pair of panels that gets its own later.
var noBias [2 * panelWidth]float32

// LinearNarrow computes what Linear does, with narrow weights: y[r] =
// act(W·x[r] + b), of int8 weights y[r] = act(scale·(Q·x[r]) + b). scratch has
// m.Scratch() numbers and is nobody else's meanwhile.
//
// Each sum is in ascending order of the input, one fused multiply-add a term;
// of bf16 it begins with b, of int8 with zero, and a last fused multiply-add
// scales it and adds b. Neither depends on the number of rows, so with bf16
// weights the bits are those of Linear's panel form with the same weights in
// float32.
func (k Impl) LinearNarrow(y []float32, ldy int, x []float32, ldx, rows int, m *Narrow, act Unary, scratch []float32) {
	if rows <= 0 || m.out == 0 {
		return
	}
	if len(y) < (rows-1)*ldy+m.out || len(x) < (rows-1)*ldx+m.in || ldy < 0 || ldx < 0 || len(scratch) < m.Scratch() {
		(&Matrix{out: m.out, in: m.in}).badLengths(len(y), ldy, len(x), ldx, rows)
	}
	relu := act.Op == Relu
	switch {
	case m.wide != nil:
		k.linearWidened(y, ldy, x, ldx, rows, m, relu)
	case !k.vector:
		for r := range rows {
			narrowGeneric(y[r*ldy:r*ldy+m.out], x[r*ldx:r*ldx+m.in], m, relu)
		}
	case rows < narrowLeast || m.in == 0:
		for r := range rows {
			m.row(y[r*ldy:r*ldy+m.out], x[r*ldx:r*ldx+m.in], relu)
		}
	default:
		k.narrowRows(y, ldy, x, ldx, rows, m, relu, scratch)
	}
	if relu || act.Op == Identity {
		return
	}
	if ldy == m.out {
		k.Apply(act, y[:rows*ldy], y[:rows*ldy])
		return
	}
	for r := range rows {
		row := y[r*ldy : r*ldy+m.out]
		k.Apply(act, row, row)
	}
}

// row is the product with one row, in calls of bounded length.
func (m *Narrow) row(y, x []float32, relu bool) {
	chunk := max(wideWidth, maxGemvWeights/max(m.in, 1)/wideWidth*wideWidth)
	for j := 0; j < m.out; j += chunk {
		to := min(j+chunk, m.out)
		if m.bytes != nil {
			gemvInt8Vector(y[j:to], x, m.bytes[j*m.in:], m.scale[j:], m.bias[j:], relu)
		} else {
			gemvBF16Vector(y[j:to], x, m.halves[j*m.in:], m.bias[j:], relu)
		}
	}
}

// rows widens one pair of panels after the other, and multiplies all rows by
// each with the kernels of float32.
func (k Impl) narrowRows(y []float32, ldy int, x []float32, ldx, rows int, m *Narrow, relu bool, scratch []float32) {
	block := rows
	if !k.wide {
		block = blockRows(m.in)
	}
	for j := 0; j < m.out; j += 2 * panelWidth {
		n := min(2*panelWidth, m.out-j)
		pair := Matrix{out: n, in: m.in, weights: scratch, bias: m.bias[j:]}
		up := relu
		if m.bytes != nil {
			pair.bias, up = noBias[:], false
		}
		for p := 0; p < n; p += panelWidth {
			at, step := m.group((j + p) / panelWidth)
			if m.bytes != nil {
				widenInt8Vector(scratch[p*m.in:(p+panelWidth)*m.in], m.bytes[at:], step)
			} else {
				widenBF16Vector(scratch[p*m.in:(p+panelWidth)*m.in], m.halves[at:], step)
			}
		}
		one := [1]gemvCall{{pair.weights, pair.bias, 0, n, panelWidth * m.in, panelWidth}}
		pair.calls = one[:]
		for r := 0; r < rows; r += block {
			k.panels(y[r*ldy+j:], ldy, x[r*ldx:], ldx, min(block, rows-r), &pair, up)
		}
		for p := 0; p < n && m.bytes != nil; p += panelWidth {
			scaleRowsVector(y[j+p:], ldy, min(panelWidth, n-p), rows, m.scale[j+p:], m.bias[j+p:], relu)
		}
	}
}

// linearWidened is the product where weights were widened when they were
// packed.
func (k Impl) linearWidened(y []float32, ldy int, x []float32, ldx, rows int, m *Narrow, relu bool) {
	act := Unary{}
	if relu && len(m.scale) == 0 {
		act.Op = Relu
	}
	if m.wide.out == m.out {
		k.Linear(y, ldy, x, ldx, rows, m.wide, act)
	} else {
		var padded [panelWidth]float32
		for r := range rows {
			k.Linear(padded[:], 0, x[r*ldx:], 0, 1, m.wide, act)
			copy(y[r*ldy:r*ldy+m.out], padded[:])
		}
	}
	if len(m.scale) > 0 {
		scaleRowsGeneric(y, ldy, m.out, rows, m.scale, m.bias, relu)
	}
}

// narrowGeneric is the product with one row.
func narrowGeneric(y, x []float32, m *Narrow, relu bool) {
	for j := 0; j < m.out; j += panelWidth {
		at, step := m.group(j / panelWidth)
		var acc [panelWidth]float32
		if m.bytes == nil {
			copy(acc[:], m.bias[j:])
		}
		for _, v := range x {
			if m.bytes != nil {
				for i, q := range m.bytes[at : at+panelWidth] {
					acc[i] += v * float32(q)
				}
			} else {
				group := m.halves[at : at+panelWidth]
				for i := range acc {
					acc[i] += v * math.Float32frombits(uint32(group[2*(i%8)+i/8])<<16)
				}
			}
			at += step
		}
		copy(y[j:], acc[:])
	}
	if m.bytes != nil {
		scaleRowsGeneric(y, 0, len(y), 1, m.scale, m.bias, relu)
	} else if relu {
		reluGeneric(y, y)
	}
}

// scaleRowsGeneric computes y[r][j] = act(s[j]·y[r][j] + b[j]). On arm64, where
// Go fuses the two, the bits are those of the vector kernels.
func scaleRowsGeneric(y []float32, ldy, n, rows int, s, b []float32, relu bool) {
	for r := range rows {
		row := y[r*ldy : r*ldy+n]
		for j, v := range row {
			row[j] = v*s[j] + b[j]
		}
		if relu {
			reluGeneric(row, row)
		}
	}
}
