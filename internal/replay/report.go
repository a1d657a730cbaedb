package replay

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Report is what a replay found. Its JSON is for machines, Text for people, and
// WriteHTML for both their eyes.
type Report struct {
	New     Side   `json:"new"`
	Against *Side  `json:"against,omitempty"` // nil where that is what was recorded
	From    string `json:"from,omitempty"`    // of the log
	// Compares says what the numbers are of: "actions" as they left, or "raw"
	// ones before the envelopes.
	Compares string     `json:"compares"`
	Steps    Counts     `json:"steps"`
	Recorded []Recorded `json:"recorded"`
	LeftOut  []LeftOut  `json:"left_out"`
	// Refused are steps for which one side gives no action: those of the base,
	// which is Against or what was recorded, and those of New.
	RefusedBase []Refused `json:"refused_base,omitempty"`
	RefusedNew  []Refused `json:"refused_new"`
	Actions     []Value   `json:"actions"`
	Worst       []Worst   `json:"worst"`
	Gate        Gate      `json:"gate"`

	Took time.Duration `json:"-"`

	features []policy.Feature
	bases    []int // where the inputs of features begin in an observation
	measures *measures
}

// Side names a version that was replayed.
type Side struct {
	Path    string `json:"path"`
	Model   string `json:"model,omitempty"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// Counts are those of steps.
type Counts struct {
	Read      uint64 `json:"read"`
	Compared  uint64 `json:"compared"`
	Different uint64 `json:"different"` // a value has other bits
	LeftOut   uint64 `json:"left_out"`
	Refused   uint64 `json:"refused"` // by New
	Drawn     uint64 `json:"drawn"`   // recorded steps that were not deterministic
	// Lost are steps that the log itself says it lost; LostKnown is false where
	// a file does not tell.
	Lost uint64 `json:"lost"`
	// Forgotten are streams whose state was given up because there were too
	// many.
	Forgotten uint64 `json:"forgotten_streams"`
}

// Refused counts the steps that a version gives no action for, by why.
type Refused struct {
	Text  string `json:"text"`
	Steps uint64 `json:"steps"`
	First StepID `json:"first"`
}

// Value is how one value of the action diverges. Of a choice there is Disagree
// alone; differences are |new - base| in the action's unit.
type Value struct {
	Name     string `json:"name"`
	Discrete bool   `json:"discrete"`
	// Low and High are the bounds of its contract, nil where there is none.
	Low       *float64  `json:"low,omitempty"`
	High      *float64  `json:"high,omitempty"`
	Steps     uint64    `json:"steps"`
	Different uint64    `json:"different"` // not the same bits
	Mean      float64   `json:"mean"`
	Bias      float64   `json:"bias"` // mean of new - base
	Max       float64   `json:"max"`
	Quantiles Quantiles `json:"quantiles"`
	SignFlips uint64    `json:"sign_flips"`
	Disagree  uint64    `json:"disagree"`
	Saturated Pair      `json:"saturated"`
	// Interventions are values that the envelopes changed, in all and by kind.
	Interventions Pair            `json:"interventions"`
	Kinds         map[string]Pair `json:"interventions_by_kind,omitempty"`
	// Choices has, of a choice, how often one was taken for another.
	Choices []Confusion `json:"choices,omitempty"`

	action string
}

// Quantiles of |new - base|. Each is at most 1/128 more than the exact one, and
// never less.
type Quantiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
}

// Pair counts on both sides.
type Pair struct {
	Base uint64 `json:"base"`
	New  uint64 `json:"new"`
}

// Confusion counts the steps with two choices.
type Confusion struct {
	Base  float32 `json:"base"`
	New   float32 `json:"new"`
	Steps uint64  `json:"steps"`
}

// report makes the report of what was measured.
func (m *measures) report() *Report {
	r := &Report{Compares: "actions", Worst: m.worst.steps, measures: m}
	if m.o.Raw {
		r.Compares = "raw"
	}
	c := m.sides[0].contract
	r.features = c.Features
	base := 0
	for i := range c.Inputs {
		r.bases = append(r.bases, base)
		base += c.Inputs[i].Width
	}
	r.Steps.Compared, r.Steps.Different = m.compared, m.differ
	r.RefusedBase, r.RefusedNew = byCount(m.refused[0]), byCount(m.refused[1])
	for _, f := range r.RefusedNew {
		r.Steps.Refused += f.Steps
	}
	for i := range m.values {
		r.Actions = append(r.Actions, m.values[i].report())
	}
	return r
}

func byCount(list map[string]*Refused) []Refused {
	var out []Refused
	for _, key := range slices.Sorted(maps.Keys(list)) {
		out = append(out, *list[key])
	}
	slices.SortStableFunc(out, func(a, b Refused) int { return cmp.Compare(b.Steps, a.Steps) })
	return out
}

func (v *measure) report() Value {
	n := max(1, float64(v.steps))
	r := Value{Name: v.name, Discrete: v.discrete, Steps: v.steps, Different: v.different, Disagree: v.disagree, action: v.action}
	r.Low, r.High = bounded(v.low), bounded(v.high)
	for kind, count := range v.marked {
		if r.Kinds == nil {
			r.Kinds = map[string]Pair{}
		}
		r.Kinds[kind] = Pair{count[0], count[1]}
		r.Interventions.Base += count[0]
		r.Interventions.New += count[1]
	}
	if v.discrete {
		for pair, count := range v.confusion {
			r.Choices = append(r.Choices, Confusion{pair[0], pair[1], count})
		}
		slices.SortFunc(r.Choices, func(a, b Confusion) int {
			return cmp.Or(cmp.Compare(b.Steps, a.Steps), cmp.Compare(a.Base, b.Base), cmp.Compare(a.New, b.New))
		})
		return r
	}
	r.Mean, r.Bias, r.Max = v.sum/n, v.bias/n, v.max
	q := func(share float64) float64 { return min(v.apart.quantile(share), v.max) }
	r.Quantiles = Quantiles{q(0.5), q(0.9), q(0.99), q(0.999)}
	r.SignFlips = v.flips
	r.Saturated = Pair{v.saturated[0], v.saturated[1]}
	return r
}

func bounded(v float32) *float64 {
	if math.IsInf(float64(v), 0) {
		return nil
	}
	f := float64(v)
	return &f
}

// Empty is ErrNothing where no step was compared and none refused; it says what
// the log had.
func (r *Report) Empty() error {
	switch {
	case r.Steps.Compared+r.Steps.Refused > 0:
		return nil
	case r.Steps.Read == 0:
		return fmt.Errorf("%w: the log has no such step", ErrNothing)
	}
	why := "the version that is compared with refused all steps"
	if len(r.LeftOut) > 0 {
		why = "steps were left out: " + r.LeftOut[0].Text
	}
	return fmt.Errorf("%w: %s", ErrNothing, why)
}
