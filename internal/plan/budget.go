package plan

import (
	"errors"
	"fmt"
	"math"
)

// ErrLimit is a plan that would take more memory or time than a policy may.
var ErrLimit = errors.New("limit exceeded")

const (
	// maxArenaFloats bounds what a Runner holds between the steps: 64 MiB.
	// The largest policy of the corpora takes 2 MiB.
	maxArenaFloats = 16 << 20
	// maxRowWork bounds the multiplications and elements of one row, which is
	// some seconds of the plain Go kernels. A Nature CNN takes 2^24.
	maxRowWork = 1 << 32
)

// checkBudget refuses a plan that a small file could have made large: sizes
// are taken from shapes, and an expand or a window costs no bytes in a file.
func (p *Plan) checkBudget() error {
	if n := p.allFixed() + p.rowFloats; n > maxArenaFloats {
		return fmt.Errorf("plan: %w: a row takes %d floats between the steps, of at most %d", ErrLimit, n, maxArenaFloats)
	}
	if w := p.rowWork(); w > maxRowWork {
		return fmt.Errorf("plan: %w: a row takes %.0f multiplications, of at most %d", ErrLimit, w, int64(maxRowWork))
	}
	return nil
}

// rowWork counts the multiplications and elements of one row, as a float so
// that it cannot overflow.
func (p *Plan) rowWork() float64 {
	work := 0.0
	for i := range p.steps {
		s := &p.steps[i]
		out := float64(p.slots[s.out].size.n)
		switch s.op {
		case stepNarrow:
			work += float64(s.count.n) * float64(s.narrow.In()) * float64(s.narrow.Out())
		case stepLinear:
			work += float64(s.count.n) * float64(s.matrix.In()) * float64(s.matrix.Out())
		case stepMatMul:
			work += float64(s.count.n) * float64(s.m.n) * float64(s.n) * float64(s.cols.n)
		case stepConv, stepConvolve:
			c := s.conv
			taps := float64(c.Kernel[0]) * float64(c.Kernel[1]) * float64(c.Kernel[2])
			work += out * taps * float64(c.Channels/c.Groups)
		case stepConvTranspose:
			c := s.conv
			taps := float64(c.Kernel[0]) * float64(c.Kernel[1]) * float64(c.Kernel[2])
			work += float64(p.slots[s.a].size.n) * taps * float64(c.Outputs/c.Groups)
		case stepArgsort:
			work += out * math.Log2(float64(s.n)+2)
		case stepIf, stepLoop:
			for _, sub := range s.control.plans { // what a loop does again has a budget of its own
				work += sub.rowWork()
			}
		case stepSum, stepAmax, stepAmin, stepArgmax, stepProd:
			work += out * float64(s.n)
		default:
			work += out
		}
	}
	return work
}

// chunk is the most rows that go through all steps together: as many as leave
// what is between the steps in the second cache level, but not so few that
// wide layers read their weights for each of them.
func (p *Plan) chunk() int {
	if p.rowFloats == 0 {
		return chunkRows
	}
	n := max(minChunkRows, min(chunkRows, chunkFloats/p.rowFloats))
	return max(1, min(n, maxArenaFloats/p.rowFloats))
}
