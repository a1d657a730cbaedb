package kernel

import (
	"fmt"
	"sync"
	"unsafe"
)

const (
	// panelWidth is the number of outputs whose weights lie side by side.
	panelWidth = 16
	// dotWidth is the number of outputs and dotStep the number of inputs of
	// one step of the dot form.
	dotWidth, dotStep = 4, 16
	// maxDotOutputs is the widest layer that takes the dot form. At 12 outputs
	// it is a third as slow as panels for one row and level for many.
	maxDotOutputs = 12
	// wideWidth is the number of outputs that a product with one row computes
	// at once. Layers that are as wide get a second copy of their weights in
	// panels of this width: one stream from memory instead of four is 6 to 14 %
	// faster where they do not stay in the first cache level.
	wideWidth = 64
	// maxGemvWeights is the most weights that one gemv call reads: 1 MiB.
	maxGemvWeights = 1 << 18
	// besideWeights is how many weights make it worth packing the second copy
	// beside the first: a tenth of a millisecond.
	besideWeights = 1 << 16
	// alignment of packed weights in bytes: a cache line.
	alignment = 64
)

// Matrix is the weight and bias of a dense layer, packed for Linear. It does
// not change and may be shared.
type Matrix struct {
	out, in int

	// dot tells the form: panels or dot.
	dot bool
	// bias is padded with zeros to whole panels or groups.
	bias []float32
	// weights holds, in panels, for each panel of 16 outputs and each input
	// the 16 weights; in the dot form, for each group of 4 outputs and each
	// step of 16 inputs, 4 times 16 weights. Both are padded with zeros.
	weights []float32
	// wide holds the outputs below out/64*64 in panels of 64, or is nil.
	wide []float32
	// calls are those of a product with one row in panel form.
	calls []gemvCall
}

// gemvCall computes the outputs [from, to) from the weights w and the bias b
// with strides in elements.
type gemvCall struct {
	w, b                    []float32
	from, to                int
	panelStride, stepStride int
}

// Pack packs the weight w of out rows and in columns, and the bias b, which
// may be nil. Both are copied.
func Pack(w, b []float32, out, in int) *Matrix { return pack(w, b, out, in, out >= wideWidth) }

// pack is Pack, with the second copy in wide panels or without.
func pack(w, b []float32, out, in int, both bool) *Matrix {
	if len(w) != out*in || b != nil && len(b) != out {
		panic(fmt.Sprintf("kernel: pack %d weights, %d biases as %dx%d", len(w), len(b), out, in))
	}
	m := &Matrix{out: out, in: in, dot: out <= maxDotOutputs}
	at := func(o, k int) float32 {
		if o < out && k < in {
			return w[o*in+k]
		}
		return 0
	}
	if m.dot {
		groups, steps := ceilDiv(out, dotWidth), ceilDiv(in, dotStep)
		m.bias = aligned(groups * dotWidth)
		m.weights = aligned(groups * steps * dotWidth * dotStep)
		for i := range m.weights {
			lane, o := i%dotStep, i/dotStep%dotWidth
			step, group := i/(dotStep*dotWidth)%steps, i/(dotStep*dotWidth)/steps
			m.weights[i] = at(group*dotWidth+o, step*dotStep+lane)
		}
	} else {
		m.bias = aligned(ceilDiv(out, panelWidth) * panelWidth)
		var wide sync.WaitGroup
		if both {
			pack := func() { m.wide = packPanels(out/wideWidth, wideWidth, w, out, in) }
			if len(w) < besideWeights {
				pack()
			} else {
				wide.Go(pack)
			}
		}
		m.weights = packPanels(ceilDiv(out, panelWidth), panelWidth, w, out, in)
		wide.Wait()
	}
	copy(m.bias, b)
	if !m.dot && in > 0 {
		m.plan()
	}
	return m
}

// plan splits the product with one row into calls of bounded length, by the
// wide copy as far as there is one.
func (m *Matrix) plan() {
	chunk := max(wideWidth, maxGemvWeights/m.in/wideWidth*wideWidth)
	j := 0
	if m.wide != nil {
		for whole := m.out / wideWidth * wideWidth; j < whole; {
			n := min(chunk, whole-j)
			m.calls = append(m.calls, gemvCall{m.wide[j*m.in:], m.bias[j:], j, j + n, panelWidth, wideWidth})
			j += n
		}
	}
	for j < m.out {
		n := min(chunk, m.out-j)
		m.calls = append(m.calls, gemvCall{m.weights[j*m.in:], m.bias[j:], j, j + n, panelWidth * m.in, panelWidth})
		j += n
	}
}

// packPanels lays the weight w of out rows and in columns side by side in panels
// of width rows. It goes through some columns of a panel at a time, which stay in
// the first cache level while they are written with a stride.
func packPanels(panels, width int, w []float32, out, in int) []float32 {
	const columns = 64
	p := aligned(panels * width * in)
	for panel := range panels {
		to := p[panel*width*in:]
		for from := 0; from < in; from += columns {
			n := min(columns, in-from)
			rows := min(width, out-panel*width)
			row := func(j int) []float32 { return w[(panel*width+j)*in+from:][:n] }
			j := 0
			for ; j+4 <= rows; j += 4 { // four at a time: a quarter of the lines are touched
				r0, r1, r2, r3 := row(j), row(j+1), row(j+2), row(j+3)
				for k := range r0 {
					d := to[(from+k)*width+j:][:4]
					d[0], d[1], d[2], d[3] = r0[k], r1[k], r2[k], r3[k]
				}
			}
			for ; j < rows; j++ {
				for k, v := range row(j) {
					to[(from+k)*width+j] = v
				}
			}
		}
	}
	return p
}

// Out returns the number of outputs, In the number of inputs.
func (m *Matrix) Out() int { return m.out }

// In returns the number of inputs.
func (m *Matrix) In() int { return m.in }

// Bytes returns the memory that the packed weights take.
func (m *Matrix) Bytes() int { return 4 * (len(m.bias) + len(m.weights) + len(m.wide)) }

// Form names the packing, for plan dumps: "dot4", "panel16" or
// "panel16+wide64".
func (m *Matrix) Form() string {
	switch {
	case m.dot:
		return "dot4"
	case m.wide != nil:
		return "panel16+wide64"
	default:
		return "panel16"
	}
}

// aligned returns n zeros that begin at a cache line.
func aligned(n int) []float32 {
	if n == 0 {
		return nil
	}
	s := make([]float32, n+alignment/4)
	off := int(uintptr(unsafe.Pointer(&s[0])) % alignment)
	if off > 0 {
		off = (alignment - off) / 4
	}
	return s[off : off+n : off+n]
}

// Aligned returns n zeros that begin at a cache line, for arenas: loads that
// straddle two lines cost two.
func Aligned(n int) []float32 { return aligned(n) }

func ceilDiv(a, b int) int { return (a + b - 1) / b }
