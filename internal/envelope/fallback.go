package envelope

import (
	"errors"
	"fmt"
	"math"
)

// Fallback says what stands in for an action that may not leave.
type Fallback uint8

// The fallbacks.
const (
	FallbackError    Fallback = iota // nothing: the request is answered with an error
	FallbackHold                     // the action before
	FallbackDecay                    // the action before, nearer to zero
	FallbackBrake                    // the brake at its upper bound, everything else at zero
	FallbackConstant                 // Spec.Constant
)

// halfLife is the time, in seconds, in which FallbackDecay halves an action.
const halfLife = 0.25

// brake is the name of the action that FallbackBrake needs.
const brake = "brake"

var fallbackNames = [...]string{"error", "hold", "decay", "brake", "constant"}

// String returns the word of a card.
func (f Fallback) String() string {
	if int(f) < len(fallbackNames) {
		return fallbackNames[f]
	}
	return fmt.Sprintf("fallback %d", uint8(f))
}

// ParseFallback returns the fallback of a word.
func ParseFallback(word string) (Fallback, bool) {
	for i, name := range fallbackNames {
		if name == word {
			return Fallback(i), true
		}
	}
	return 0, false
}

// NeedsHistory tells whether the fallback is made of the action before.
func (f Fallback) NeedsHistory() bool { return f == FallbackHold || f == FallbackDecay }

// prepare makes what the fallback gives.
func (e *Envelope) prepare(s *Spec) error {
	switch s.Fallback {
	case FallbackError, FallbackHold:
		return nil
	case FallbackDecay:
		return e.prepareDecay(s)
	case FallbackBrake:
		return e.prepareBrake(s)
	case FallbackConstant:
		return e.prepareConstant(s)
	}
	return fmt.Errorf("there is no %v", s.Fallback)
}

func (e *Envelope) prepareDecay(s *Spec) error {
	if s.ControlHz == 0 {
		return errors.New("fallback decay needs control_hz")
	}
	for i := range e.limits {
		if e.limits[i].discrete {
			return fmt.Errorf("fallback decay: action %s is a choice, which has nothing between", s.Limits[i].Name)
		}
	}
	e.keep = math.Exp2(-1 / (halfLife * s.ControlHz))
	return nil
}

func (e *Envelope) prepareBrake(s *Spec) error {
	braking := false
	for i := range e.limits {
		l := &e.limits[i]
		if l.discrete {
			return fmt.Errorf("fallback brake: action %s is a choice; name the choice that brakes as a constant", s.Limits[i].Name)
		}
		v := l.neutral()
		if s.Limits[i].Name == brake {
			if l.high == math.MaxFloat32 || l.high <= 0 {
				return errors.New("fallback brake: the action brake has no upper bound above 0")
			}
			v, braking = l.high, true
		}
		e.fixed = append(e.fixed, v)
	}
	if !braking {
		return errors.New("fallback brake: no action is named brake; give a constant action instead")
	}
	return nil
}

func (e *Envelope) prepareConstant(s *Spec) error {
	if len(s.Constant) != len(e.limits) {
		return fmt.Errorf("fallback: want %d values, got %d", len(e.limits), len(s.Constant))
	}
	for i, c := range s.Constant {
		l, v := &e.limits[i], float64(c)
		switch {
		case !(v >= l.low && v <= l.high):
			return fmt.Errorf("fallback: %v for action %s is not from %v to %v", c, s.Limits[i].Name, l.low, l.high)
		case l.discrete && v != math.Trunc(v):
			return fmt.Errorf("fallback: %v for action %s is no choice", c, s.Limits[i].Name)
		}
		e.fixed = append(e.fixed, v)
	}
	return nil
}

// Replaces tells whether there is an action to put in the place of another.
func (e *Envelope) Replaces(h *History) bool {
	return e.fallback != FallbackError && (!e.fallback.NeedsHistory() || h.Begun())
}

// Replace puts the fallback in the place of the action, for a cause, and
// appends each of its values to found. It reports false, and changes nothing,
// where the fallback is an error, or is made of the action before and h has
// none. The fallback is not held to rate and jerk: it is what the contract
// wants in an emergency. A stream goes on from it as from rest.
func (e *Envelope) Replace(row int, cause Cause, action []float32, h *History, found []Intervention) ([]Intervention, bool) {
	if !e.Replaces(h) {
		return found, false
	}
	for i := range e.limits {
		l := &e.limits[i]
		var v float64
		switch e.fallback {
		case FallbackHold:
			v = float64(h.last[i])
		case FallbackDecay:
			zero := l.neutral()
			v = zero + (float64(h.last[i])-zero)*e.keep
		default:
			v = e.fixed[i]
		}
		// The action before may be of a version with other bounds.
		to := float32(min(max(v, l.low), l.high))
		found = append(found, Intervention{Row: row, Value: i, Cause: cause, Fallback: e.fallback, From: action[i], To: to})
		action[i] = to
	}
	h.rest(action)
	return found, true
}
