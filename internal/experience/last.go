package experience

import (
	"strings"
	"sync"
)

// mostLastValues is the number of values of an observation that Last keeps: an
// image is not copied for a page that shows numbers.
const mostLastValues = 1024

// lastSteps are the newest steps, in memory.
type lastSteps struct {
	mu    sync.Mutex // guards what follows
	steps []Step     // a ring, whose memory is used again
	at, n int
}

func (l *lastSteps) init(n int) { l.steps = make([]Step, n) }

// add keeps the last of some steps.
func (l *lastSteps) add(steps []Step) {
	if len(l.steps) == 0 {
		return
	}
	if over := len(steps) - len(l.steps); over > 0 {
		steps = steps[over:]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range steps {
		l.steps[l.at].keep(&steps[i])
		l.at = (l.at + 1) % len(l.steps)
		l.n = min(l.n+1, len(l.steps))
	}
}

// keep makes s a copy of from, in the memory of s.
func (s *Step) keep(from *Step) {
	had := *s
	*s = *from
	s.RequestID, s.Session = keepText(had.RequestID, from.RequestID), keepText(had.Session, from.Session)
	s.Observation = nil
	if len(from.Observation) <= mostLastValues {
		s.Observation = append(had.Observation[:0], from.Observation...)
	}
	s.Action = append(had.Action[:0], from.Action...)
	s.Raw, s.Masks = keepFloats(from.Raw), keepFloats(from.Masks)
	s.Interventions = append([]Intervention(nil), from.Interventions...)
}

func keepText(had, text string) string {
	if had == text {
		return had
	}
	return strings.Clone(text)
}

func keepFloats(x []float32) []float32 {
	if x == nil {
		return nil
	}
	return append([]float32{}, x...)
}

// Last returns up to n of the newest steps that were written, the newest last.
// An observation of more than 1024 values is left out.
func (r *Recorder) Last(n int) []Step {
	l := &r.last
	l.mu.Lock()
	defer l.mu.Unlock()
	n = max(0, min(n, l.n))
	out := make([]Step, n)
	for i := range out {
		out[i].keep(&l.steps[(l.at-n+i+len(l.steps))%len(l.steps)])
	}
	return out
}
