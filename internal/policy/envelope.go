package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/envelope"
)

// Enveloped tells whether actions are held to an envelope. Without one, an
// action that does not fit the contract is an *ActionError.
func (p *Policy) Enveloped() bool { return p.envelope != nil }

// moving are the answers of Contract.Moving: bit 0 is for a rate, bit 1 for a jerk.
var moving = [4][]string{nil, {string(envelope.Rate)}, {string(envelope.Jerk)}, {string(envelope.Rate), string(envelope.Jerk)}}

// Moving names the limits of the envelope that are counted from the action
// before of the same stream, "rate" and "jerk": a call without a history is not
// held to them. What it returns must not be changed.
func (c *Contract) Moving() []string {
	if c.Envelope == nil {
		return nil
	}
	found := 0
	for i := range c.Envelope.Limits {
		if c.Envelope.Limits[i].Rate > 0 {
			found |= 1
		}
		if c.Envelope.Limits[i].Jerk > 0 {
			found |= 2
		}
	}
	return moving[found]
}

// NeedsHistory tells whether the envelope has limits or a fallback that are made
// of the action before: the calls of one stream must share a history.
func (c *Contract) NeedsHistory() bool {
	return c.Envelope != nil && (c.Envelope.Fallback.NeedsHistory() || c.Moving() != nil)
}

// Carries tells whether a step goes on from the one before: the policy keeps
// state, or its envelope counts from the action before.
func (c *Contract) Carries() bool { return len(c.State) > 0 || c.NeedsHistory() }

// keepEnvelope makes the envelope of the card, where it has one.
func (p *Policy) keepEnvelope(src *sources) error {
	declared := src.card.Envelope
	if declared == nil {
		return nil
	}
	spec := envelope.Spec{ControlHz: src.card.ControlHz}
	err := p.contract.limits(declared.Limits, &spec)
	if err == nil {
		err = p.contract.fallback(src.card.Fallback, &spec)
	}
	if err == nil {
		p.envelope, err = envelope.New(spec)
	}
	if err == nil {
		p.scorer, err = p.newScorer(src.card.Envelope)
	}
	if err != nil {
		return fmt.Errorf("model_card.yaml: envelope: %w", err)
	}
	p.contract.Envelope = &spec
	p.notes = append(p.notes, "envelope: actions are held to their limits; in place of one that may not leave stands: "+p.envelope.Fallback().String())
	if moving := p.contract.Moving(); moving != nil {
		p.notes = append(p.notes, "envelope: limits of "+strings.Join(moving, " and ")+" are counted from the action before: of a session, of a stream or of the state that a request carries; the answer to any other is held to bounds only, and says so in unheld")
	}
	if f := p.envelope.Fallback(); f.NeedsHistory() {
		p.notes = append(p.notes, "envelope: the fallback "+f.String()+" is made of the action before; where there is none, at the first step of a stream and in requests of no stream, an action that may not leave is an error")
	}
	return nil
}

// limits fills in those of spec.
func (c *Contract) limits(declared []artifact.EnvelopeLimit, spec *envelope.Spec) error {
	for _, l := range declared {
		if !slices.ContainsFunc(c.Actions, func(a Action) bool { return a.Name == l.Action }) || l.Action == "" {
			return fmt.Errorf("limits: there is no action %q; there are: %s", l.Action, c.actionNames())
		}
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		limit := envelope.Limit{Name: a.Name, Low: a.Low, High: a.High, Discrete: a.Discrete}
		if at := slices.IndexFunc(declared, func(l artifact.EnvelopeLimit) bool { return l.Action == a.Name }); at >= 0 {
			l := &declared[at]
			limit.Low, limit.High = max(limit.Low, bound(l.Low, -1)), min(limit.High, bound(l.High, 1))
			limit.Rate, limit.Jerk = l.Rate, l.Jerk
		}
		for range a.Size {
			spec.Limits = append(spec.Limits, limit)
		}
	}
	return nil
}

func (c *Contract) actionNames() string {
	if len(c.Actions) == 0 || c.Actions[0].Name == "" {
		return "none with a name (name them under action)"
	}
	names := make([]string, len(c.Actions))
	for i := range c.Actions {
		names[i] = c.Actions[i].Name
	}
	return strings.Join(names, ", ")
}

// fallback fills in that of spec; f is nil where the card has none.
func (c *Contract) fallback(f *artifact.Fallback, spec *envelope.Spec) error {
	switch {
	case f == nil:
		return nil
	case f.Values == nil:
		var ok bool
		if spec.Fallback, ok = envelope.ParseFallback(f.Word); !ok {
			return fmt.Errorf("there is no fallback %q", f.Word)
		}
		return nil
	}
	spec.Fallback = envelope.FallbackConstant
	named, isNamed := f.Values.(map[string]any)
	if !isNamed {
		flat, ok := flatten(nil, f.Values, 0)
		if !ok || len(flat) != c.ActionWidth() {
			return fmt.Errorf("fallback: expected %d numbers, got %s", c.ActionWidth(), describe(f.Values, flat, ok))
		}
		spec.Constant = make([]float32, len(flat))
		copyFloat32(spec.Constant, flat)
		return nil
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		flat, ok := flatten(nil, named[a.Name], 0)
		if !ok || len(flat) != a.Size {
			return fmt.Errorf("fallback: action %s: expected %d numbers, got %s", a.Name, a.Size, describe(named[a.Name], flat, ok))
		}
		for _, v := range flat {
			spec.Constant = append(spec.Constant, float32(v))
		}
	}
	if len(named) != len(c.Actions) {
		return fmt.Errorf("fallback: expected %d names, got %d", len(c.Actions), len(named))
	}
	return nil
}

// newScorer returns what tells observations that are unlike the training, nil
// where the card has no limit for them.
func (p *Policy) newScorer(e *artifact.Envelope) (*envelope.Scorer, error) {
	if e.MaxZScore == 0 && e.MaxDistance == 0 {
		if len(e.Statistics) > 0 || e.Covariance != nil {
			return nil, errors.New("statistics have no effect without max_zscore or max_distance")
		}
		return nil, nil
	}
	if e.Covariance != nil && e.MaxDistance == 0 {
		return nil, errors.New("the covariance has no effect without max_distance")
	}
	if len(p.statistics) != 1 {
		return nil, errors.New("unsupported: max_zscore and max_distance are of policies with one input")
	}
	known := &p.statistics[0]
	s := envelope.Statistics{Mean: known.mean, Deviation: known.deviation, Covariance: e.Covariance, MaxZ: e.MaxZScore, MaxDistance: e.MaxDistance}
	if s.Mean == nil {
		return nil, errors.New("max_zscore and max_distance need the statistics of the training: neither the preprocessor nor the card has any")
	}
	if e.MaxDistance > 0 && known.means < len(s.Mean) {
		return nil, errors.New("max_distance needs the mean of every feature")
	}
	return envelope.NewScorer(s)
}

// envelop holds the actions of a call to the envelope.
func (r *Runner) envelop(c *Call, actions []float32) error {
	e, scorer := r.policy.envelope, r.policy.scorer
	if c.Histories != nil {
		if err := r.refuseRows(c, actions); err != nil {
			return err
		}
	}
	for row := range c.Rows {
		action := actions[row*r.width:][:r.width]
		var h *envelope.History
		if c.Histories != nil {
			h = c.Histories[row]
		}
		if scorer != nil {
			w := r.policy.contract.Inputs[0].Width
			if cause, like := scorer.Check(c.In[0][row*w:][:w]); !like {
				var ok bool
				if c.Interventions, ok = e.Replace(row, cause, action, h, c.Interventions); !ok {
					return r.unlike(row, cause)
				}
				continue
			}
		}
		for i, v := range action { // What is no more than rounding is no intervention.
			if bound, ok := r.snap(i, v); ok {
				action[i] = bound
			}
		}
		var refused int
		if c.Interventions, refused = e.Apply(row, action, h, c.Interventions); refused >= 0 {
			return r.unreplaced(row, refused, action[refused])
		}
	}
	return nil
}

// refuseRows is the error of the first row that has no action, before the
// history of any other has advanced: the call is answered as a whole.
func (r *Runner) refuseRows(c *Call, actions []float32) error {
	e, scorer := r.policy.envelope, r.policy.scorer
	if len(c.Histories) != c.Rows {
		return fmt.Errorf("policy: a call of %d rows with %d histories", c.Rows, len(c.Histories))
	}
	for row, h := range c.Histories {
		if h != nil && h.Width() != r.width {
			return fmt.Errorf("policy: the history of row %d has %d values, its action %d", row, h.Width(), r.width)
		}
		if e.Replaces(h) {
			continue
		}
		if scorer != nil {
			w := r.policy.contract.Inputs[0].Width
			if cause, like := scorer.Check(c.In[0][row*w:][:w]); !like {
				return r.unlike(row, cause)
			}
		}
		action := actions[row*r.width:][:r.width]
		if i, _ := e.Unusable(action); i >= 0 {
			return r.unreplaced(row, i, action[i])
		}
	}
	return nil
}

// unreplaced is the refusal of an action that no other is given for.
func (r *Runner) unreplaced(row, i int, v float32) error {
	err := r.refuse(row, i, v)
	if f := r.policy.envelope.Fallback(); f.NeedsHistory() {
		err.Fallback = f.String()
	}
	return err
}

// unlike is the refusal of an observation that no action is given for.
func (r *Runner) unlike(row int, cause envelope.Cause) error {
	without := ""
	if f := r.policy.envelope.Fallback(); f.NeedsHistory() {
		without = fmt.Sprintf("; the fallback %v has no action before this one", f)
	}
	err := &InputError{Row: row, Expected: "an observation like those of the training"}
	if cause.Feature == envelope.NoFeature {
		err.Got = fmt.Sprintf("one at a distance of %.4g from their mean%s", cause.Score, without)
		return err
	}
	err.Field = r.policy.contract.FeatureName(cause.Feature)
	err.Got = fmt.Sprintf("a value %.4g standard deviations from the mean%s", cause.Score, without)
	return err
}

// finite holds the actions of a raw call of a policy with an envelope to what
// they all must be.
func (r *Runner) finite(actions []float32) error {
	for i, v := range actions {
		if v-v != 0 {
			return r.refuse(i/r.width, i%r.width, v)
		}
	}
	return nil
}

// ActionName names a value of an action row, as messages do: steer, wheels[2],
// or [3] where actions have no names.
func (c *Contract) ActionName(value int) string {
	for i := range c.Actions {
		if a := &c.Actions[i]; value >= a.Offset && value < a.Offset+a.Size {
			return a.name(value - a.Offset)
		}
	}
	return ""
}

// FeatureName names a value of the row of the policy's one input.
func (c *Contract) FeatureName(value int) string {
	for i := range c.Features {
		if f := &c.Features[i]; value >= f.Offset && value < f.Offset+f.Size {
			return f.field(value - f.Offset)
		}
	}
	return ""
}
