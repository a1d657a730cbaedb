package replay

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Thresholds are what a version may diverge. Those that are empty or nil hold
// always.
type Thresholds struct {
	// Mean, P99 and Abs bound the mean, the 99th percentile and the largest of
	// |new - base|, in the action's unit.
	Mean, P99, Abs []Limit
	// SignFlips and Disagree are shares of the compared steps, from 0 to 1:
	// values of the opposite sign, and choices that are not the same.
	SignFlips, Disagree []Limit
	// SaturationRise and InterventionRise are by how much the shares of
	// saturated values, and of those that the envelope changed, may grow.
	SaturationRise, InterventionRise []Limit
	// Refused and LeftOut are shares of the steps that were read; nil is no
	// threshold.
	Refused, LeftOut *float64
	// MinSteps is how many steps have to be compared.
	MinSteps uint64
}

// Limit bounds the values of one action, or all.
type Limit struct {
	Action string // or the name of one value of it; empty for all
	Most   float64
}

// ParseLimit reads "0.1" or "steer=0.1".
func ParseLimit(text string) (Limit, error) {
	var l Limit
	number := text
	if at := strings.LastIndexByte(text, '='); at >= 0 {
		if l.Action, number = text[:at], text[at+1:]; l.Action == "" {
			return l, fmt.Errorf("%q: expected a number, or the name of an action, = and a number", text)
		}
	}
	var err error
	if l.Most, err = strconv.ParseFloat(number, 64); err != nil || !(l.Most >= 0) || math.IsInf(l.Most, 0) {
		return l, fmt.Errorf("%q: expected a number of 0 or more, got %q", text, number)
	}
	return l, nil
}

// Gate says whether thresholds hold.
type Gate struct {
	Passed bool    `json:"passed"`
	Checks []Check `json:"checks"`
}

// Check is one threshold for one value of the action, or for the whole.
type Check struct {
	Name   string  `json:"name"`
	Action string  `json:"action,omitempty"`
	Limit  float64 `json:"limit"`
	Got    float64 `json:"got"`
	Passed bool    `json:"passed"`
}

// minSteps is the check whose limit is a least.
const minSteps = "min-steps"

// ErrNoAction says that a threshold is of an action that there is not.
var ErrNoAction = errors.New("there is no such action")

// Hold fills in the gate of the report. A threshold of one action is stronger
// than one of all.
func (r *Report) Hold(t Thresholds) error {
	g := &r.Gate
	g.Passed, g.Checks = true, nil
	number := func(v *Value) bool { return !v.Discrete }
	choice := func(v *Value) bool { return v.Discrete }
	all := func(*Value) bool { return true }
	share := func(n, of uint64) float64 { return float64(n) / max(1, float64(of)) }
	rise := func(v *Value, p Pair) float64 { return share(p.New, v.Steps) - share(p.Base, v.Steps) }
	err := errors.Join(
		r.each("max-mean", t.Mean, number, func(v *Value) float64 { return v.Mean }),
		r.each("max-p99", t.P99, number, func(v *Value) float64 { return v.Quantiles.P99 }),
		r.each("max-abs", t.Abs, number, func(v *Value) float64 { return v.Max }),
		r.each("max-sign-flips", t.SignFlips, number, func(v *Value) float64 { return share(v.SignFlips, v.Steps) }),
		r.each("max-disagree", t.Disagree, choice, func(v *Value) float64 { return share(v.Disagree, v.Steps) }),
		r.each("max-saturation-rise", t.SaturationRise, number, func(v *Value) float64 { return rise(v, v.Saturated) }),
		r.each("max-intervention-rise", t.InterventionRise, all, func(v *Value) float64 { return rise(v, v.Interventions) }),
	)
	if err != nil {
		return err
	}
	if t.Refused != nil {
		g.add(Check{Name: "max-refused", Limit: *t.Refused, Got: share(r.Steps.Refused, r.Steps.Read)})
	}
	if t.LeftOut != nil {
		g.add(Check{Name: "max-left-out", Limit: *t.LeftOut, Got: share(r.Steps.LeftOut, r.Steps.Read)})
	}
	if t.MinSteps > 0 {
		c := Check{Name: minSteps, Limit: float64(t.MinSteps), Got: float64(r.Steps.Compared)}
		c.Passed = r.Steps.Compared >= t.MinSteps
		g.put(c)
	}
	return nil
}

// each adds a check for every value of the action that a limit is of and that
// the measure is for.
func (r *Report) each(name string, limits []Limit, is func(*Value) bool, get func(*Value) float64) error {
	for _, l := range limits {
		if l.Action != "" && !slices.ContainsFunc(r.Actions, func(v Value) bool { return v.is(l.Action) && is(&v) }) {
			return fmt.Errorf("--%s %s: %w that has this measure; there are: %s", name, l.Action, ErrNoAction, r.names(is))
		}
	}
	for i := range r.Actions {
		v := &r.Actions[i]
		if !is(v) {
			continue
		}
		if most, ok := v.limit(limits); ok {
			r.Gate.add(Check{Name: name, Action: v.Name, Limit: most, Got: get(v)})
		}
	}
	return nil
}

// limit is the last of the limits that name the value or its action or, where
// none does, the last one of all.
func (v *Value) limit(limits []Limit) (most float64, ok bool) {
	for _, named := range []bool{true, false} {
		for _, l := range slices.Backward(limits) {
			if named == (l.Action != "") && (!named || v.is(l.Action)) {
				return l.Most, true
			}
		}
	}
	return 0, false
}

// is tells whether a name is that of the value or of its action.
func (v *Value) is(name string) bool { return name == v.Name || name == v.action }

func (r *Report) names(is func(*Value) bool) string {
	var names []string
	for i := range r.Actions {
		if is(&r.Actions[i]) {
			names = append(names, r.Actions[i].Name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// add puts a check whose measure may be as much as its limit.
func (g *Gate) add(c Check) {
	c.Passed = c.Got <= c.Limit
	g.put(c)
}

func (g *Gate) put(c Check) {
	g.Passed = g.Passed && c.Passed
	g.Checks = append(g.Checks, c)
}
