package policy

import (
	"fmt"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

// GoldenError says which golden vector a policy misses and by how much.
type GoldenError struct {
	Vector    int
	Action    string
	Want, Got float64
	Tolerance float64
}

func (e *GoldenError) Error() string {
	return fmt.Sprintf("golden vector %d: action %s is %v, the trainer's framework gave %v (tolerance %.3g)", e.Vector, e.Action, e.Got, e.Want, e.Tolerance)
}

// replayGolden runs the card's golden vectors, deterministically, and returns
// a *GoldenError for the first that is missed.
func (p *Policy) replayGolden(card *artifact.Card) error {
	if card.Golden == nil {
		p.notes = append(p.notes, "golden: the card has no golden vectors; nothing proves that the numbers are the trainer's")
		return nil
	}
	c := &p.contract
	call := p.newCall(1)
	for i, v := range card.Golden.Vectors {
		if err := c.packGolden(i, &v, call); err != nil {
			return err
		}
		call.State = c.NewState(1) // Each vector begins an episode.
		if err := p.Runner(0).Act(call); err != nil {
			return fmt.Errorf("golden vector %d: %w", i, err)
		}
		if err := c.compareGolden(i, v.Action, call.Actions, card.Golden); err != nil {
			return err
		}
	}
	p.notes = append(p.notes, fmt.Sprintf("golden: %d vectors replayed, all within tolerance", len(card.Golden.Vectors)))
	return nil
}

// checkGolden holds the observations of the card's golden vectors to the
// contract.
func (p *Policy) checkGolden(card *artifact.Card) error {
	if card.Golden == nil {
		return nil
	}
	call := p.newCall(1)
	for i := range card.Golden.Vectors {
		if err := p.contract.packGolden(i, &card.Golden.Vectors[i], call); err != nil {
			return err
		}
	}
	return nil
}

// packGolden puts the observation of a vector into the call.
func (c *Contract) packGolden(i int, v *artifact.GoldenVector, call *Call) error {
	if !v.Deterministic {
		return fmt.Errorf("golden vector %d: is not deterministic; the draws of the trainer's framework cannot be replayed", i)
	}
	err := c.Pack(v.Observation, 0, call.In)
	if err == nil {
		err = c.Check(1, call.In)
	}
	if err != nil {
		return fmt.Errorf("golden vector %d: %w", i, err)
	}
	return nil
}

func (c *Contract) compareGolden(vector int, want any, got []float32, golden *artifact.Golden) error {
	named, isNamed := want.(map[string]any)
	var whole []float64
	if !isNamed {
		var ok bool
		if whole, ok = flatten(nil, want, 0); !ok || len(whole) != len(got) {
			return fmt.Errorf("golden vector %d: action: expected %d numbers, got %s", vector, len(got), describe(want, whole, ok))
		}
	}
	for i := range c.Actions {
		a := &c.Actions[i]
		flat := whole
		if isNamed {
			var ok bool
			if flat, ok = flatten(nil, named[a.Name], 0); !ok || len(flat) != a.Size {
				return fmt.Errorf("golden vector %d: action %s: expected %d numbers, got %s", vector, a.Name, a.Size, describe(named[a.Name], flat, ok))
			}
		} else {
			flat = flat[a.Offset:][:a.Size]
		}
		for j, w := range flat {
			g := float64(got[a.Offset+j])
			tolerance := golden.Atol + golden.Rtol*math.Abs(w)
			if a.Discrete {
				tolerance = 0
			}
			if !(math.Abs(g-w) <= tolerance) {
				return &GoldenError{Vector: vector, Action: a.name(j), Want: w, Got: g, Tolerance: tolerance}
			}
		}
	}
	if isNamed && len(named) != len(c.Actions) {
		return fmt.Errorf("golden vector %d: action: expected %d names, got %d", vector, len(c.Actions), len(named))
	}
	return nil
}

// name names value j of the action, for messages.
func (a *Action) name(j int) string {
	switch {
	case a.Name == "":
		return fmt.Sprintf("[%d]", a.Offset+j)
	case a.Size == 1:
		return a.Name
	}
	return fmt.Sprintf("%s[%d]", a.Name, j)
}
