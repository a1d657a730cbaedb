package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// tolerance is how far two numbers of one output may be apart: atol, and rtol
// of the largest of that output. Sums in float32 err by their terms, so that
// the smallest number of an output has the error of its largest.
type tolerance struct{ atol, rtol float64 }

// The tolerances of networks by the type that their parameters have.
const (
	toleranceDefault  = 1e-5
	toleranceFloat16  = 2e-3
	toleranceBFloat16 = 2e-2
)

// tolerance is what the flags say, or fits the parameters of the network.
func (c *verifyCmd) tolerance(d format.Description) tolerance {
	least := toleranceDefault
	for _, t := range d.Tensors {
		switch t.DType {
		case graph.Float16:
			least = max(least, toleranceFloat16)
		case graph.BFloat16:
			least = max(least, toleranceBFloat16)
		}
	}
	t := tolerance{c.Atol, c.Rtol}
	if t.atol == 0 {
		t.atol = least
	}
	if t.rtol == 0 {
		t.rtol = t.atol
	}
	return t
}

// compareOutput compares one output, element by element.
func compareOutput(name string, got, want []float64, t tolerance) *outputComparison {
	largest := 0.0
	for _, w := range want {
		if a := math.Abs(w); !math.IsInf(a, 0) {
			largest = max(largest, a)
		}
	}
	d := differ(got, want, t.atol+t.rtol*largest, 0)
	o := &outputComparison{Name: name, Values: len(want), Max: d.Max, Mean: d.Mean, Beyond: d.Failed}
	if len(want) > 0 {
		o.got, o.want = got[d.At], want[d.At]
	}
	return o
}

// compareActions compares each action of a contract. Choices must be equal,
// but where the reference has two that are as good within the tolerance.
func compareActions(c *policy.Contract, rows int, got, want *answer, t tolerance) []*outputComparison {
	var out []*outputComparison
	for i := range c.Actions {
		a := &c.Actions[i]
		name := "action"
		if a.Name != "" {
			name += " " + a.Name
		}
		g, w := actionValues(c, a, rows, got.actions), actionValues(c, a, rows, want.actions)
		if !a.Discrete {
			out = append(out, compareOutput(name, g, w, t))
			continue
		}
		o := compareOutput(name, g, w, tolerance{})
		if o.Beyond > 0 {
			o.Ties = ties(g, w, want, t)
			o.Beyond -= o.Ties
		}
		out = append(out, o)
	}
	return out
}

// actionValues are the values of one action in all rows.
func actionValues(c *policy.Contract, a *policy.Action, rows int, actions []float32) []float64 {
	width := c.ActionWidth()
	var out []float64
	for row := range rows {
		out = append(out, float64s(actions[row*width+a.Offset:][:a.Size])...)
	}
	return out
}

// ties counts the rows of a single choice that differ where the reference
// scores both within the tolerance of each other.
func ties(got, want []float64, reference *answer, t tolerance) int {
	n := 0
	for _, name := range []string{"logits", "q_values"} {
		i := slices.Index(reference.names, name)
		if i < 0 {
			continue
		}
		scores := reference.outputs[i]
		if len(scores.shape) != 2 || scores.shape[0] != len(want) {
			continue
		}
		width := scores.shape[1]
		for row := range want {
			g, w := int(got[row]), int(want[row])
			if g == w || g < 0 || g >= width || w < 0 || w >= width {
				continue
			}
			a, b := scores.data[row*width+g], scores.data[row*width+w]
			if math.Abs(a-b) <= 2*(t.atol+t.rtol*math.Abs(b)) {
				n++
			}
		}
		return n
	}
	return 0
}

// join adds what was compared of the same output elsewhere.
func (o *outputComparison) join(p *outputComparison) {
	if n := o.Values + p.Values; n > 0 {
		o.Mean = (o.Mean*float64(o.Values) + p.Mean*float64(p.Values)) / float64(n)
	}
	o.Values += p.Values
	o.Beyond += p.Beyond
	o.Ties += p.Ties
	if p.Max > o.Max {
		o.Max, o.got, o.want = p.Max, p.got, p.want
	}
}

// failure is the error of the first output that differs, nil where none does.
func (v *verification) failure() error {
	for _, c := range v.Comparisons {
		for _, o := range c.Outputs {
			if !o.ok() {
				return fmt.Errorf("%s: %s (%s): %s differs from %s in %d of %d values, most where it is %v and should be %v",
					v.Path, c.Engine, c.Form, o.Name, c.Against, o.Beyond, o.Values, o.got, o.want)
			}
		}
	}
	return nil
}

// print writes the verification for people.
func (v *verification) print(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s\n", v.Path, v.Kind)
	switch {
	case v.Golden > 0:
		fmt.Fprintf(b, "golden vectors: %d, all within tolerance\n", v.Golden)
	case v.Kind == "an artifact folder":
		b.WriteString("golden vectors: none in the card\n")
	}
	for _, c := range v.Comparisons {
		fmt.Fprintf(b, "\n%s against %s, %s, %d observations\n", c.Engine, c.Against, c.Form, c.Rows)
		for _, o := range c.Outputs {
			verdict := "ok"
			switch {
			case o.Ignored:
				verdict = fmt.Sprintf("%d beyond the tolerance, which rounding explains", o.Beyond)
			case o.Beyond > 0:
				verdict = fmt.Sprintf("DIFFERS in %d", o.Beyond)
			case o.Ties > 0:
				verdict = fmt.Sprintf("ok, %d ties", o.Ties)
			}
			fmt.Fprintf(b, "  %-20s %7d values, largest difference %-11.3g mean %-11.3g %s\n", o.Name, o.Values, o.Max, o.Mean, verdict)
		}
	}
	if len(v.Notes) > 0 {
		b.WriteString("\nNotes\n")
		for _, n := range v.Notes {
			fmt.Fprintf(b, "  - %s\n", n)
		}
	}
	if v.failure() == nil {
		b.WriteString("\nverified\n")
	}
}
