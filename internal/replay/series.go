package replay

import "math"

// series is how the difference goes along the log: for each value of the action
// the mean and the largest of bins of so many steps. When there are too many
// bins, each takes in its neighbour.
type series struct {
	width int
	steps int // of a bin
	bins  []bin
	count []uint64 // steps of each bin
}

// bin is one value of the action over some steps.
type bin struct {
	sum float64 // of the difference, or of choices that are not the same
	max float64
}

const maxBins = 240

func newSeries(width int) series { return series{width: width, steps: 1} }

func (s *series) take(x, y []float32, values []measure) {
	if n := len(s.count); n == 0 || s.count[n-1] == uint64(s.steps) {
		if n == maxBins {
			s.halve()
		}
		if n = len(s.count); n == 0 || s.count[n-1] == uint64(s.steps) {
			s.bins = append(s.bins, make([]bin, s.width)...)
			s.count = append(s.count, 0)
		}
	}
	last := len(s.count) - 1
	s.count[last]++
	for i := range values {
		d := math.Abs(float64(y[i]) - float64(x[i]))
		if values[i].discrete && d > 0 {
			d = 1
		}
		b := &s.bins[last*s.width+i]
		b.sum += d
		b.max = max(b.max, d)
	}
}

// halve joins each bin with the next one.
func (s *series) halve() {
	n := 0
	for from := 0; from < len(s.count); from += 2 {
		s.count[n] = s.count[from]
		copy(s.bins[n*s.width:][:s.width], s.bins[from*s.width:])
		if from+1 < len(s.count) {
			s.count[n] += s.count[from+1]
			for i := range s.width {
				b, o := &s.bins[n*s.width+i], &s.bins[(from+1)*s.width+i]
				b.sum += o.sum
				b.max = max(b.max, o.max)
			}
		}
		n++
	}
	s.count, s.bins = s.count[:n], s.bins[:n*s.width]
	s.steps *= 2
}

// samples are steps that lie evenly along the log, for plots: every so many-th.
type samples struct {
	action, observation int
	every               uint64
	seen                uint64
	base, now, obs      []float32
	n                   int
}

const (
	maxSamples           = 2048
	maxSampleObservation = 64 // values of an observation, or none are kept
)

func newSamples(action, observation int) samples {
	if observation > maxSampleObservation {
		observation = 0
	}
	return samples{action: action, observation: observation, every: 1}
}

func (s *samples) take(c *chunk, row int, x, y []float32) {
	at := s.seen
	s.seen++
	if at%s.every != 0 {
		return
	}
	if s.n == maxSamples {
		s.halve()
		if at%s.every != 0 {
			return
		}
	}
	s.n++
	s.base, s.now = append(s.base, x...), append(s.now, y...)
	s.obs = append(s.obs, c.obs[row*c.width:][:s.observation]...)
}

// halve keeps every other sample.
func (s *samples) halve() {
	n := 0
	for from := 0; from < s.n; from += 2 {
		copy(s.base[n*s.action:][:s.action], s.base[from*s.action:])
		copy(s.now[n*s.action:][:s.action], s.now[from*s.action:])
		copy(s.obs[n*s.observation:][:s.observation], s.obs[from*s.observation:])
		n++
	}
	s.n, s.every = n, 2*s.every
	s.base, s.now, s.obs = s.base[:n*s.action], s.now[:n*s.action], s.obs[:n*s.observation]
}
