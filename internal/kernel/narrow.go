package kernel

import (
	"fmt"
	"math"
	"unsafe"
)

// Narrow is the weight and bias of a dense layer with weights of 16 or 8 bits,
// packed for LinearNarrow. It does not change and may be shared.
//
// Weights alone are narrow: inputs, sums, biases and outputs are float32, and
// each weight is widened, which is exact, before it is multiplied.
type Narrow struct {
	out, in int

	// halves holds bf16 weights, bytes int8 ones; one of them is nil. Both lie
	// in panels of 64 outputs, the last one of 16, 32, 48 or 64, padded with
	// zeros: for each input the weights of a panel, in groups of sixteen. In a
	// group of bf16 output j is followed by output j+8.
	halves []uint16
	bytes  []int8
	// bias and, of int8, scale are padded with zeros to whole groups.
	bias, scale []float32
	// wide is the same layer in float32, where this machine has no kernel that
	// reads narrow weights. Of int8 it has neither scale nor bias.
	wide *Matrix
}

// PackBF16 packs the weight w of out rows and in columns, given by the upper
// halves of their float32, and the bias b, which may be nil. Both are copied.
func PackBF16(w []uint16, b []float32, out, in int) *Narrow {
	checkNarrow(len(w), len(b), out, in)
	m := &Narrow{out: out, in: in, bias: paddedVector(b, out)}
	if hasVector && !hasNarrow {
		wide := make([]float32, len(w))
		for i, h := range w {
			wide[i] = math.Float32frombits(uint32(h) << 16)
		}
		m.wide = packPanelForm(wide, b, out, in)
		return m
	}
	a := aligned(ceilDiv(m.padded()*in, 2))
	if len(a) > 0 {
		m.halves = unsafe.Slice((*uint16)(unsafe.Pointer(&a[0])), m.padded()*in)
	}
	m.place(func(to, from, lane int) {
		m.halves[to+2*(lane%8)+lane/8] = w[from]
	})
	return m
}

// PackInt8 packs the weight w[o][k]·scale[o] of out rows and in columns, and
// the bias b, which may be nil. All are copied.
func PackInt8(w []int8, scale, b []float32, out, in int) *Narrow {
	checkNarrow(len(w), len(b), out, in)
	if len(scale) != out {
		panic(fmt.Sprintf("kernel: pack %d scales as %dx%d", len(scale), out, in))
	}
	m := &Narrow{out: out, in: in, bias: paddedVector(b, out), scale: paddedVector(scale, out)}
	if hasVector && !hasNarrow {
		wide := make([]float32, len(w))
		for i, q := range w {
			wide[i] = float32(q)
		}
		m.wide = packPanelForm(wide, nil, out, in)
		return m
	}
	a := aligned(ceilDiv(m.padded()*in, 4))
	if len(a) > 0 {
		m.bytes = unsafe.Slice((*int8)(unsafe.Pointer(&a[0])), m.padded()*in)
	}
	m.place(func(to, from, lane int) { m.bytes[to+lane] = w[from] })
	return m
}

func checkNarrow(weights, biases, out, in int) {
	if weights != out*in || biases != 0 && biases != out {
		panic(fmt.Sprintf("kernel: pack %d narrow weights, %d biases as %dx%d", weights, biases, out, in))
	}
}

// packPanelForm packs in panels whatever the number of outputs is, so that sums
// are in the order of the kernels for narrow weights.
func packPanelForm(w, b []float32, out, in int) *Matrix {
	if out > maxDotOutputs {
		return Pack(w, b, out, in)
	}
	const least = maxDotOutputs + 1
	padded := make([]float32, least*in)
	copy(padded, w)
	bias := make([]float32, least)
	copy(bias, b)
	m := Pack(padded, bias, least, in)
	return m
}

// place calls f for each weight with the place of its group, its own place in
// rows and the lane in its group.
func (m *Narrow) place(f func(to, from, lane int)) {
	for o := range m.out {
		at, step := m.group(o / panelWidth)
		for k := range m.in {
			f(at+k*step, o*m.in+k, o%panelWidth)
		}
	}
}

// group returns where the weights of a group of sixteen outputs begin, and how
// far those of the next input are.
func (m *Narrow) group(g int) (at, step int) {
	panel := g * panelWidth / wideWidth * wideWidth
	step = min(wideWidth, m.padded()-panel)
	return panel*m.in + g*panelWidth - panel, step
}

// padded is the number of outputs in whole groups.
func (m *Narrow) padded() int { return ceilDiv(m.out, panelWidth) * panelWidth }

func paddedVector(b []float32, n int) []float32 {
	p := aligned(ceilDiv(n, panelWidth) * panelWidth)
	copy(p, b)
	return p
}

// Out returns the number of outputs, In the number of inputs.
func (m *Narrow) Out() int { return m.out }

// In returns the number of inputs.
func (m *Narrow) In() int { return m.in }

// Bytes returns the memory that the packed weights take.
func (m *Narrow) Bytes() int {
	n := 4*(len(m.bias)+len(m.scale)) + 2*len(m.halves) + len(m.bytes)
	if m.wide != nil {
		n += m.wide.Bytes()
	}
	return n
}

// Form names the packing, for plan dumps: "bf16", "int8", or either with
// "+wide" where this machine computes with float32 weights.
func (m *Narrow) Form() string {
	name := "bf16"
	if len(m.scale) > 0 {
		name = "int8"
	}
	if m.wide != nil {
		name += "+wide"
	}
	return name
}

// InPanels reports whether the sums of a layer of so many outputs are those of
// panels, the only form that narrow weights have.
func InPanels(out int) bool { return out > maxDotOutputs }

// Scratch returns the number of floats that LinearNarrow needs beside its
// operands: two panels in float32, into which many rows have the weights widened.
func (m *Narrow) Scratch() int {
	if m.wide != nil {
		return 0
	}
	return 2 * panelWidth * m.in
}
