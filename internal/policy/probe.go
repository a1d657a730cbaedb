package policy

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

const (
	// probes is the number of observations that a policy is tried on before
	// it may be served. A policy that fails on all of them is broken; one that
	// fails on some may be fed observations that its trainer never saw.
	probes = 64
	// probeTime bounds the trial of a policy so large that it would delay the
	// start, which is to be over in 30 ms; one observation is tried in any case.
	probeTime = 5 * time.Millisecond
	// probeRange is the magnitude from which a bound is no more than the end
	// of a number type, as gymnasium writes it, and tells nothing of the
	// feature.
	probeRange = 1e6
)

// probe acts on observations drawn from the contract's ranges, the same for
// every load and one episode of a policy that keeps state, and refuses a policy that has no usable action for any of them.
func (p *Policy) probe() error {
	c := &p.contract
	random := rand.New(rand.NewPCG(1, 2))
	call := p.newCall(1)
	var first error
	tried, failed := 0, 0
	for start := time.Now(); tried < probes && (tried == 0 || time.Since(start) < probeTime); tried++ {
		for i := range c.Features {
			f := &c.Features[i]
			for j := range f.Size {
				call.In[f.Input][f.Offset+j] = f.draw(c.Inputs[f.Input].DType, random)
			}
		}
		for i := range c.Inputs {
			if in := &c.Inputs[i]; in.DType == graph.Bool {
				DrawBools(call.In[i], in.Shape, random)
			}
		}
		err := p.Runner(0).Act(call)
		var unusable *ActionError
		switch {
		case errors.As(err, &unusable):
			first, failed = err, failed+1
		case err != nil:
			return err
		}
	}
	switch failed {
	case 0:
	case tried:
		return fmt.Errorf("no usable action for any of %d observations drawn from the contract: %w", tried, first)
	default:
		p.notes = append(p.notes, fmt.Sprintf("probe: no usable action for %d of %d observations drawn from the contract; such requests are answered with an error (%v)", failed, tried, first))
	}
	return nil
}

// draw returns a value of the feature's range; of -1 to 1 where it has none. Of
// an integer, it is a whole one, of [WholeRange] where it has none.
func (f *Feature) draw(dt graph.DType, random *rand.Rand) float32 {
	low, high := f.Low, f.High
	if dt != graph.Invalid && !dt.IsFloat() {
		low, high = WholeRange(dt, low, high)
		return float32(low + math.Floor(random.Float64()*(high-low+1)))
	}
	if low < -probeRange {
		low = min(high, 1) - 2
	}
	if high > probeRange {
		high = max(low, -1) + 2
	}
	v := float32(low + random.Float64()*(high-low))
	return min(max(v, float32(f.Low)), float32(f.High))
}

// WholeRange is the range that values of a type without fractions are drawn
// from: the whole numbers between the bounds. Without bounds it is 0 and 1, which
// index every table of two, and for uint8, which is that of images, 0 to 255.
func WholeRange(dt graph.DType, low, high float64) (first, last float64) {
	if dt == graph.Bool {
		return 0, 1
	}
	width := 1.0
	if dt == graph.Uint8 {
		width = math.MaxUint8
	}
	low, high = math.Ceil(low), math.Floor(high)
	switch {
	case low < -probeRange && high > probeRange:
		low, high = 0, width
	case low < -probeRange:
		low = min(high-width, 0)
	case high > probeRange:
		high = low + width
	}
	return low, max(low, high)
}

// DrawBools fills a tensor of the shape with zeros and ones, in such a way that
// each list along the last axis that has two values or more has both: where they
// are a mask, of whichever sense, it hides something and leaves something.
func DrawBools[F float32 | float64](data []F, shape []int, random *rand.Rand) {
	for i := range data {
		data[i] = F(random.IntN(2))
	}
	if len(shape) == 0 || shape[len(shape)-1] < 2 {
		return
	}
	for list := range slices.Chunk(data, shape[len(shape)-1]) {
		if slices.Min(list) == slices.Max(list) {
			list[random.IntN(len(list))] = 1 - list[0]
		}
	}
}
