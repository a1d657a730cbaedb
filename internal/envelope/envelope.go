// Package envelope holds actions to what a machine may be told, and says what
// it changed.
//
// What enters is one action as a policy gave it, the limits that its contract
// declares and, where there is one, the history of the same stream; what leaves
// is an action that is finite and within its bounds with a list of every value
// that was changed and why, or no action at all. The package knows neither
// policies nor protocols, imports only the standard library, and its functions
// allocate nothing once an Envelope has been made.
package envelope

import (
	"errors"
	"fmt"
	"math"
)

// Limit is what one value of an action may do.
type Limit struct {
	Name string // of the action, which several values may share
	// Low and High bound the value, both inclusive; infinite where there is
	// no bound.
	Low, High float64
	// Rate is the most that the value may change in a second, and Jerk the
	// most that this change may change in a second; 0 is no limit. Both need
	// Spec.ControlHz, and hold only where Apply is given a history.
	Rate, Jerk float64
	// Discrete tells that the value is a choice: one beyond its bounds is no
	// nearer to its neighbour than to another, and has the fallback.
	Discrete bool
}

// Spec declares an Envelope.
type Spec struct {
	ControlHz float64 // steps in a second of a stream; 0 where it is not known
	Limits    []Limit // one for each value of an action
	Fallback  Fallback
	Constant  []float32 // the action of FallbackConstant
}

// Envelope holds actions to a Spec. It never changes and may be used from many
// goroutines.
type Envelope struct {
	limits   []limit
	fallback Fallback
	fixed    []float64 // the action of FallbackBrake and FallbackConstant
	keep     float64   // of the previous action, by FallbackDecay
}

// limit is a Limit in the units of one step. Every bound is finite, so that what
// is within its bounds is finite.
type limit struct {
	low, high float64
	step      float64 // of the value
	change    float64 // of the step
	discrete  bool
}

// New returns the envelope of s, or an error that says which part of it no
// action could be held to.
func New(s Spec) (*Envelope, error) {
	if !(s.ControlHz >= 0) || math.IsInf(s.ControlHz, 1) {
		return nil, fmt.Errorf("control_hz is %v, which is no rate", s.ControlHz)
	}
	if len(s.Limits) == 0 {
		return nil, errors.New("an action has no values")
	}
	e := &Envelope{fallback: s.Fallback}
	for i := range s.Limits {
		l, err := s.Limits[i].perStep(s.ControlHz)
		if err != nil {
			return nil, fmt.Errorf("action %s: %w", s.Limits[i].Name, err)
		}
		e.limits = append(e.limits, l)
	}
	return e, e.prepare(&s)
}

// perStep returns the limit in the units of one step.
func (l *Limit) perStep(hz float64) (limit, error) {
	p := limit{low: -math.MaxFloat32, high: math.MaxFloat32, step: math.Inf(1), change: math.Inf(1), discrete: l.Discrete}
	switch {
	case !(l.Low <= l.High):
		return p, fmt.Errorf("no value is from %v to %v", l.Low, l.High)
	case !(l.Rate >= 0) || !(l.Jerk >= 0):
		return p, fmt.Errorf("rate %v and jerk %v: want 0 or more", l.Rate, l.Jerk)
	case l.Rate == 0 && l.Jerk == 0:
	case l.Discrete:
		return p, errors.New("a choice has no rate and no jerk")
	case hz == 0:
		return p, errors.New("rate and jerk need control_hz")
	}
	// Bounds are as the values are: of float32.
	p.low = max(p.low, float64(float32(l.Low)))
	p.high = min(p.high, float64(float32(l.High)))
	if p.low > p.high { // Both beyond what a value can be.
		return p, fmt.Errorf("no value is from %v to %v", l.Low, l.High)
	}
	if l.Rate > 0 {
		p.step = l.Rate / hz
	}
	if l.Jerk > 0 {
		p.change = l.Jerk / hz / hz
	}
	return p, nil
}

// neutral is the value nearest to zero.
func (l *limit) neutral() float64 { return min(max(0, l.low), l.high) }

// Width returns the number of values of an action.
func (e *Envelope) Width() int { return len(e.limits) }

// Fallback returns what stands in for an action that may not leave.
func (e *Envelope) Fallback() Fallback { return e.fallback }

// Apply holds one action, of Width values, to the envelope and changes it in
// place. What it changed is appended to found, in the order of the values, with
// the row as it is given.
//
// A value that is not finite, or a choice beyond its bounds, makes the whole
// action the fallback. Where there is none, refused is the position of that
// value, and the action, found and the history are as they were; otherwise
// refused is -1.
//
// Other values are held to jerk, then rate, then bounds: where they contradict
// each other the later one holds. Rate and jerk are counted from the actions in
// h, in whose place the action is put; a nil h is no history, and then there are
// bounds only.
func (e *Envelope) Apply(row int, action []float32, h *History, found []Intervention) (_ []Intervention, refused int) {
	if i, kind := e.Unusable(action); i >= 0 {
		var ok bool
		if found, ok = e.Replace(row, Cause{Kind: kind, Feature: NoFeature}, action, h, found); !ok {
			return found, i
		}
		return found, -1
	}
	for i := range e.limits {
		v := action[i]
		y, kind := e.limits[i].hold(float64(v), h, i)
		if to := float32(y); to != v {
			action[i] = to
			found = append(found, Intervention{Row: row, Value: i, Cause: Cause{Kind: kind, Feature: NoFeature}, From: v, To: to})
		}
	}
	h.add(action)
	return found, -1
}

// Unusable returns the position of the first value that makes the whole action
// the fallback, and why, or -1.
func (e *Envelope) Unusable(action []float32) (value int, kind Kind) {
	for i := range e.limits {
		l, v := &e.limits[i], action[i]
		switch {
		case v-v != 0:
			return i, NotFinite
		case l.discrete && !(float64(v) >= l.low && float64(v) <= l.high):
			return i, Bound
		}
	}
	return -1, ""
}

// hold returns x within the limit, and the last of the limits that moved it.
func (l *limit) hold(x float64, h *History, i int) (float64, Kind) {
	kind := Kind("")
	within := func(low, high float64, k Kind) {
		if y := min(max(x, low), high); y != x {
			x, kind = y, k
		}
	}
	if h.Begun() {
		last, before := float64(h.last[i]), float64(h.before[i])
		next := last + (last - before)
		within(next-l.change, next+l.change, Jerk)
		within(last-l.step, last+l.step, Rate)
	}
	within(l.low, l.high, Bound)
	return x, kind
}
