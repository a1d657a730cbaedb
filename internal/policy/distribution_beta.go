package policy

import (
	"errors"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// beta is a Beta distribution, scaled from 0..1 to the range of the actions.
// Deterministic actions are its mean, or its mode where the card says so. The
// log_prob is that of the scaled action.
func (d *drawing) beta() {
	alpha, beta := d.concentrations()
	if d.err != nil {
		return
	}
	width := alpha.Shape[1]
	row := d.rowShapeOf(alpha)
	alpha, beta = d.row("alpha", alpha, width), d.row("beta", beta, width)
	low, high, err := d.net.betaRange(width)
	if err != nil {
		d.fail("%w", err)
		return
	}
	span := make([]float32, width)
	logSpan := 0.0
	for i := range span {
		span[i] = high[i] - low[i]
		logSpan += math.Log(float64(span[i]))
	}
	scale, shift := d.g.Constant("action_span", graph.Float32s(span, width)), d.g.Constant("action_low", graph.Float32s(low, width))
	scaled := func(x *graph.Value) *graph.Value {
		return d.add(graph.OpAdd, nil, d.add(graph.OpMul, nil, x, scale), shift)
	}
	total := d.add(graph.OpAdd, nil, alpha, beta)
	mean := d.add(graph.OpDiv, nil, alpha, total)
	x := mean
	switch {
	case !d.deterministic:
		d.streams++
		x = d.add(graph.OpBeta, graph.Attrs{"stream": d.streams - 1}, alpha, beta)
	case d.net.spec.Deterministic == "mode":
		x = d.mode(alpha, beta, mean)
	}
	// Variance: αβ/((α+β)²(α+β+1)).
	variance := d.add(graph.OpMul, nil, mean, d.add(graph.OpDiv, nil, beta, total))
	variance = d.add(graph.OpDiv, nil, variance, d.add(graph.OpAdd, nil, total, d.number(1)))

	a := scaled(x)
	// Rounding may leave the range by one unit in the last place.
	a = d.add(graph.OpMinimum, nil, d.add(graph.OpMaximum, nil, a, shift), d.g.Constant("action_high", graph.Float32s(high, width)))
	d.output("action", d.reshape(a, row))
	d.output("alpha", alpha)
	d.output("beta", beta)
	d.output("mean", scaled(mean))
	d.output("std", d.add(graph.OpMul, nil, d.add(graph.OpSqrt, nil, variance), scale))

	one := d.number(1)
	logB := d.add(graph.OpSub, nil, d.add(graph.OpAdd, nil, d.logGamma(alpha), d.logGamma(beta)), d.logGamma(total))
	p := d.add(graph.OpMul, nil, d.add(graph.OpSub, nil, alpha, one), d.add(graph.OpLog, nil, x))
	p = d.add(graph.OpAdd, nil, p, d.add(graph.OpMul, nil, d.add(graph.OpSub, nil, beta, one), d.add(graph.OpLog1p, nil, d.add(graph.OpNeg, nil, x))))
	d.output("log_prob", d.add(graph.OpSub, nil, d.sum(d.add(graph.OpSub, nil, p, logB)), d.number(float32(logSpan))))

	// Entropy: ln B(α,β) - (α-1)ψ(α) - (β-1)ψ(β) + (α+β-2)ψ(α+β).
	h := d.add(graph.OpSub, nil, logB, d.add(graph.OpMul, nil, d.add(graph.OpSub, nil, alpha, one), d.digamma(alpha)))
	h = d.add(graph.OpSub, nil, h, d.add(graph.OpMul, nil, d.add(graph.OpSub, nil, beta, one), d.digamma(beta)))
	h = d.add(graph.OpAdd, nil, h, d.add(graph.OpMul, nil, d.add(graph.OpSub, nil, total, d.number(2)), d.digamma(total)))
	d.output("entropy", d.add(graph.OpAdd, nil, d.sum(h), d.number(float32(logSpan))))
}

// concentrations finds alpha and beta: by name, or as the two outputs that the
// network gives, in this order.
func (d *drawing) concentrations() (alpha, beta *graph.Value) {
	alpha, beta = d.param("alpha"), d.param("beta")
	if d.err != nil || alpha != nil && beta != nil {
		return alpha, beta
	}
	rest := d.rest()
	if alpha != nil || beta != nil || len(rest) != 2 {
		d.fail("alpha and beta are not known: the network gives %s; say them, alpha: {output: NAME or POSITION} and beta", d.outputs())
		return nil, nil
	}
	return d.take("alpha", rest[0]), d.take("beta", rest[1])
}

// mode is (α-1)/(α+β-2); 0 or 1 where the density rises to one end alone; the
// mean where it has no one peak.
func (d *drawing) mode(alpha, beta, mean *graph.Value) *graph.Value {
	zero := graph.Attrs{"min": 0.0}
	a := d.add(graph.OpClamp, zero, d.add(graph.OpSub, nil, alpha, d.number(1)))
	b := d.add(graph.OpClamp, zero, d.add(graph.OpSub, nil, beta, d.number(1)))
	both := d.add(graph.OpAdd, nil, a, b)
	return d.add(graph.OpWhere, nil, d.add(graph.OpGt, nil, both, d.number(0)), d.add(graph.OpDiv, nil, a, both), mean)
}

// betaRange is what draws are scaled to: the card's low and high of the
// distribution, or those of its actions.
func (n *drawnNetwork) betaRange(width int) (low, high []float32, err error) {
	if l, h := n.spec.Low, n.spec.High; l != nil {
		for i := range width {
			if len(l) != 1 && len(l) != width || len(h) != 1 && len(h) != width {
				return nil, nil, errors.New("low and high need one number, or one for each action")
			}
			low, high = append(low, float32(l[i%len(l)])), append(high, float32(h[i%len(h)]))
		}
	} else {
		for _, a := range n.card.Action {
			for range a.Size() {
				if a.Low == nil || a.High == nil {
					return nil, nil, errors.New("its draws are scaled to the bounds of the actions, and an action has none: give it low and high")
				}
				low, high = append(low, float32(*a.Low)), append(high, float32(*a.High))
			}
		}
	}
	switch {
	case len(low) == 0:
		return nil, nil, errors.New("to which range its draws are scaled is not known: say low and high of the distribution, or of each action")
	case len(low) != width:
		return nil, nil, errors.New("the card's actions have another number of values than alpha")
	}
	for i := range low {
		if !(low[i] < high[i]) {
			return nil, nil, errors.New("low must be below high")
		}
	}
	return low, high, nil
}

// logGamma is ln Γ(x) of x above 0: Stirling's series at x+8 (Abramowitz and
// Stegun, 6.1.41), less the logarithms of the eight factors between.
func (d *drawing) logGamma(x *graph.Value) *graph.Value {
	y := d.add(graph.OpAdd, nil, x, d.number(8))
	s := d.add(graph.OpMul, nil, d.add(graph.OpSub, nil, y, d.number(0.5)), d.add(graph.OpLog, nil, y))
	s = d.add(graph.OpSub, nil, s, y)
	s = d.add(graph.OpAdd, nil, s, d.number(float32(math.Log(2*math.Pi)/2)))
	r := d.add(graph.OpReciprocal, nil, y)
	q := d.add(graph.OpMul, nil, r, r)
	tail := d.add(graph.OpAdd, nil, d.add(graph.OpMul, nil, q, d.number(-1.0/360)), d.number(1.0/12))
	s = d.add(graph.OpAdd, nil, s, d.add(graph.OpMul, nil, tail, r))
	for i := 0; i < 8; i += 4 { // four factors at a time, which overflow above 1e9
		var f *graph.Value
		for j := i; j < i+4; j++ {
			g := x
			if j > 0 {
				g = d.add(graph.OpAdd, nil, x, d.number(float32(j)))
			}
			if f == nil {
				f = g
			} else {
				f = d.add(graph.OpMul, nil, f, g)
			}
		}
		s = d.add(graph.OpSub, nil, s, d.add(graph.OpLog, nil, f))
	}
	return s
}

// digamma is ψ(x) of x above 0, by its asymptotic series at x+8 (Abramowitz and
// Stegun, 6.3.18).
func (d *drawing) digamma(x *graph.Value) *graph.Value {
	y := d.add(graph.OpAdd, nil, x, d.number(8))
	r := d.add(graph.OpReciprocal, nil, y)
	q := d.add(graph.OpMul, nil, r, r)
	tail := d.add(graph.OpAdd, nil, d.add(graph.OpMul, nil, q, d.number(-1.0/120)), d.number(1.0/12))
	s := d.add(graph.OpSub, nil, d.add(graph.OpLog, nil, y), d.add(graph.OpMul, nil, r, d.number(0.5)))
	s = d.add(graph.OpSub, nil, s, d.add(graph.OpMul, nil, tail, q))
	for i := range 8 {
		g := x
		if i > 0 {
			g = d.add(graph.OpAdd, nil, x, d.number(float32(i)))
		}
		s = d.add(graph.OpSub, nil, s, d.add(graph.OpReciprocal, nil, g))
	}
	return s
}
