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

// toleranceOf fits the parameters of a network.
func toleranceOf(d format.Description) float64 {
	t := toleranceDefault
	for _, p := range d.Tensors {
		switch p.DType {
		case graph.Float16:
			t = max(t, toleranceFloat16)
		case graph.BFloat16:
			t = max(t, toleranceBFloat16)
		}
	}
	return t
}

// tolerance is what the flags say, or fits the parameters of the network.
func (c *verifyCmd) tolerance(d format.Description) tolerance {
	t := tolerance{c.Atol, c.Rtol}
	if t.atol == 0 {
		t.atol = toleranceOf(d)
	}
	if t.rtol == 0 {
		t.rtol = t.atol
	}
	return t
}

// compareOutput compares one output, element by element.
func compareOutput(name string, got, want []float64, t tolerance) *outputComparison {
	return compareScaled(name, got, want, t, largest(want))
}

func compareScaled(name string, got, want []float64, t tolerance, scale float64) *outputComparison {
	d := differ(got, want, t.atol+t.rtol*scale, 0)
	o := &outputComparison{Name: name, Values: len(want), Max: d.Max, Mean: d.Mean, Beyond: d.Failed}
	if len(want) > 0 {
		o.got, o.want = got[d.At], want[d.At]
	}
	return o
}

// largest is the largest finite magnitude: neither an infinity nor NaN is one.
func largest(data []float64) float64 {
	m := 0.0
	for _, f := range data {
		if a := math.Abs(f); a <= math.MaxFloat64 {
			m = max(m, a)
		}
	}
	return m
}

// compareOutputs compares the outputs that both have, by name. The logarithm of
// the density of a squashed Gaussian is left out of account in the rows where
// it is made of rounding.
func compareOutputs(gotNames, wantNames []string, got, want []values, t tolerance, sampled bool) []*outputComparison {
	var out []*outputComparison
	for i, name := range wantNames {
		j := slices.Index(gotNames, name)
		if j < 0 {
			continue
		}
		g, w := got[j].data, want[i].data
		o := &outputComparison{Name: name}
		switch {
		case len(g) != len(w):
			o.Values, o.Beyond = len(w), len(w)
		case !want[i].dtype.IsFloat():
			o = compareOutput(name, g, w, tolerance{})
		default:
			o = compareOutput(name, g, w, t)
		}
		if m, s := slices.Index(wantNames, "mean"), slices.Index(wantNames, "std"); name == "log_prob" && o.Beyond > 0 && m >= 0 && s >= 0 {
			o.excuse(g, w, want[m].data, want[s].data, t, sampled)
		}
		out = append(out, o)
	}
	return out
}

// excuse takes rows of a log-probability from those that differ where what is
// within the tolerance of the mean, and one float32 unit in the last place of
// tanh, move it beyond its own.
func (o *outputComparison) excuse(got, want, mean, std []float64, t tolerance, sampled bool) {
	if len(want) == 0 || len(mean) != len(std) || len(mean)%len(want) != 0 {
		return
	}
	const draws = 4 // deviations from the mean within which nearly all draws are
	width := len(mean) / len(want)
	o.Beyond = 0
	for i, w := range want {
		limit := t.atol + t.rtol*math.Abs(w)
		if math.Abs(got[i]-w) <= limit || got[i] == w || math.IsNaN(got[i]) && math.IsNaN(w) {
			continue
		}
		moved := 0.0
		for j := range width {
			m, s := mean[i*width+j], std[i*width+j]
			x := m
			if sampled {
				x += math.Copysign(draws*s, m)
			}
			moved += squashedError(x, m, s, t.atol+t.rtol*math.Abs(m))
		}
		if moved > limit && got[i]-got[i] == 0 {
			o.Excused++
		} else {
			o.Beyond++
		}
	}
}

// squashedError is how far the part of one value in the log-probability moves
// where x moves by slack and its tanh by one unit in the last place.
func squashedError(x, mean, std, slack float64) float64 {
	f := squashed(float32(math.Tanh(x)), mean, std)
	moved := 0.0
	for _, to := range []float64{-1, 0, 1} {
		a := float32(math.Tanh(x + to*slack))
		for _, a := range []float32{math.Nextafter32(a, -2), a, math.Nextafter32(a, 2)} {
			moved = max(moved, math.Abs(squashed(a, mean+to*slack, std)-f))
		}
	}
	return moved
}

// squashed is the part of one value a, a = tanh(x), in the log-probability of a
// squashed Gaussian, as stable-baselines3's SquashedDiagGaussianDistribution
// has it: x is the inverse of a, cut to what float32 can hold.
func squashed(a float32, mean, std float64) float64 {
	const eps = 0x1p-23
	y := float64(a)
	z := (math.Atanh(min(max(y, -1+eps), 1-eps)) - mean) / std
	return -z*z/2 - math.Log(1-y*y+1e-6)
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
			// An action that is cut to its bounds has the error of what was cut.
			scale := largest(w)
			if m := slices.Index(want.names, "mean"); m >= 0 {
				scale = max(scale, largest(want.outputs[m].data))
			}
			out = append(out, compareScaled(name, g, w, t, scale))
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
	o.Excused += p.Excused
	if p.Max > o.Max {
		o.Max, o.got, o.want = p.Max, p.got, p.want
	}
}

// failure is the error of the first output that differs, nil where none does.
func (v *verification) failure() error {
	for _, c := range v.Comparisons {
		for _, o := range c.Outputs {
			if o.Beyond > 0 {
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
		if len(v.Weights) > 0 {
			fmt.Fprintf(b, "their tolerance: %g + %g·|action|\n", v.atol, v.rtol)
		}
	case v.Kind == "an artifact folder":
		b.WriteString("golden vectors: none in the card\n")
	}
	if len(v.Weights) > 0 {
		fmt.Fprintf(b, "weights: %s\n", weightsText(v.Weights))
	}
	for _, c := range v.Comparisons {
		fmt.Fprintf(b, "\n%s against %s, %s, %d observations\n", c.Engine, c.Against, c.Form, c.Rows)
		for _, o := range c.Outputs {
			verdict := "ok"
			switch {
			case o.Beyond > 0:
				verdict = fmt.Sprintf("DIFFERS in %d", o.Beyond)
			case o.Excused > 0:
				verdict = fmt.Sprintf("ok, %d left out where tanh has lost its digits", o.Excused)
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
