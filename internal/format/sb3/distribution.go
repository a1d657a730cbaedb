package sb3

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// distributionEps is the epsilon of the library's distributions.
const distributionEps = 1e-6

// Distribution is the kind that the policy draws its actions from: "gaussian",
// "squashed_gaussian", "gsde", "categorical", "multi_categorical" or
// "bernoulli"; empty for a policy without one. That of gSDE is a Gaussian, or
// tanh of one where SquashOutput says so. With masks a MultiBinary has two
// categories for each value, and so is "multi_categorical".
func (p *Policy) Distribution() string {
	s := p.Action
	switch p.class.kind {
	case softActor, actorCritic, recurrent:
	default:
		return ""
	}
	switch {
	case p.UseSDE && s.Kind == Box:
		return "gsde"
	case p.class.kind == softActor:
		return "squashed_gaussian"
	case s.Kind == Box:
		return "gaussian"
	case s.Kind == MultiBinary && !p.class.maskable:
		return "bernoulli"
	case s.Kind == Discrete:
		return "categorical"
	}
	return "multi_categorical"
}

// normal draws from the standard normal distribution in the shape of x.
func (b *builder) normal(x *graph.Value) *graph.Value {
	b.streams++
	return b.add(graph.OpNormal, graph.Attrs{"stream": b.streams - 1}, x)
}

// gaussian returns the mean, or a draw.
func (b *builder) gaussian(mean, std *graph.Value, deterministic bool) *graph.Value {
	if deterministic {
		return mean
	}
	return b.add(graph.OpAdd, nil, mean, b.add(graph.OpMul, nil, std, b.normal(mean)))
}

// normalLogProb is the logarithm of the density of a diagonal Gaussian.
func (b *builder) normalLogProb(x, mean, std *graph.Value) *graph.Value {
	d := b.add(graph.OpSub, nil, x, mean)
	variance := b.add(graph.OpMul, nil, std, std)
	p := b.add(graph.OpDiv, nil, b.add(graph.OpMul, nil, d, d), b.add(graph.OpMul, nil, variance, b.number(-2)))
	p = b.add(graph.OpSub, nil, p, b.add(graph.OpLog, nil, std))
	p = b.add(graph.OpSub, nil, p, b.number(float32(math.Log(math.Sqrt(2*math.Pi)))))
	return b.sum(p)
}

// normalEntropy is that of a diagonal Gaussian: the sum of (1 + log 2π)/2 + log σ.
func (b *builder) normalEntropy(std *graph.Value) *graph.Value {
	return b.sum(b.add(graph.OpAdd, nil, b.add(graph.OpLog, nil, std), b.number(float32(0.5+0.5*math.Log(2*math.Pi)))))
}

// squashedLogProb is that of tanh of a Gaussian. As the library does, it finds
// the value before tanh again from the action.
func (b *builder) squashedLogProb(action, mean, std *graph.Value) *graph.Value {
	const eps = 1.1920928955078125e-07 // of float32
	y := b.add(graph.OpClamp, graph.Attrs{"min": float64(-1 + eps), "max": float64(1 - eps)}, action)
	x := b.add(graph.OpSub, nil, b.add(graph.OpLog1p, nil, y), b.add(graph.OpLog1p, nil, b.add(graph.OpNeg, nil, y)))
	x = b.add(graph.OpMul, nil, x, b.number(0.5))
	if b.p.UseSDE { // which takes the slope where the value before tanh was found
		action = y
	}
	slope := b.add(graph.OpSub, nil, b.number(1), b.add(graph.OpMul, nil, action, action))
	slope = b.add(graph.OpLog, nil, b.add(graph.OpAdd, nil, slope, b.number(distributionEps)))
	return b.add(graph.OpSub, nil, b.normalLogProb(x, mean, std), b.sum(slope))
}

// explorationFeatures are what the noise of gSDE depends on: what the actor
// computes last or, in version 1.2 and before and with sde_net_arch, a network
// of its own on the features, or the features themselves where that has no
// layers.
func (b *builder) explorationFeatures(features, latent *graph.Value, prefix, logStd string) *graph.Value {
	if b.err != nil || !b.p.UseSDE {
		return latent
	}
	name := prefix + "sde_features_extractor"
	if b.hasBelow(name + ".") {
		x, _ := b.mlp(features, name, false)
		return x
	}
	std, ok := b.weights[logStd]
	if ok && b.p.options.sdeOnFeatures && b.p.before(1, 3) && len(std.Shape) == 2 && std.Shape[0] == b.width(features) {
		return features
	}
	return latent
}

// explorationStd is the deviation of gSDE: the noise is the features times a
// matrix of Gaussians, which makes the action a Gaussian whose variance is the
// squared features times the squared deviations of the matrix.
func (b *builder) explorationStd(latent *graph.Value, name string, actions int) *graph.Value {
	param := b.parameter(name, 2)
	if b.err != nil {
		return nil
	}
	rows, cols := param.Shape[0], param.Shape[1]
	if rows != b.width(latent) || cols != actions && cols != 1 {
		return b.fail("%s: %s has the shape %v, [%d,%d] was wanted", weightsMember, name, param.Shape, b.width(latent), actions)
	}
	squares := make([]float32, rows*actions)
	for i := range rows {
		for j := range actions {
			std := b.noiseStd(param.Const.F32[i*cols+j%cols])
			squares[i*actions+j] = std * std
		}
	}
	features := b.add(graph.OpMul, nil, latent, latent)
	variance := b.add(graph.OpMatMul, nil, features, b.g.Constant("exploration_variance", graph.Float32s(squares, rows, actions)))
	return b.add(graph.OpSqrt, nil, b.add(graph.OpAdd, nil, variance, b.number(distributionEps)))
}

// noiseStd is the deviation of a log_std: its exponential, or with use_expln a
// function that grows slower above 0.
func (b *builder) noiseStd(logStd float32) float32 {
	if !b.p.options.useExpln || logStd <= 0 {
		return float32(math.Exp(float64(logStd)))
	}
	return float32(math.Log1p(float64(logStd+distributionEps))) + 1
}

// bernoulli returns rows of 0 and 1: the rounded probabilities, or draws. A
// draw is 1 where the logit is greater than that of a uniform number, which is
// the difference of the logarithms of two exponential draws.
func (b *builder) bernoulli(logits *graph.Value, deterministic bool) *graph.Value {
	if deterministic {
		p := b.add(graph.OpRound, nil, b.add(graph.OpSigmoid, nil, logits))
		return b.add(graph.OpCast, graph.Attrs{"dtype": graph.Int64}, p)
	}
	exponential := func() *graph.Value {
		m, n := b.normal(logits), b.normal(logits)
		return b.add(graph.OpLog, nil, b.add(graph.OpAdd, nil, b.add(graph.OpMul, nil, m, m), b.add(graph.OpMul, nil, n, n)))
	}
	threshold := b.add(graph.OpSub, nil, exponential(), exponential())
	return b.add(graph.OpCast, graph.Attrs{"dtype": graph.Int64}, b.add(graph.OpGt, nil, logits, threshold))
}

// bernoulliLogProb is log p where the action is 1 and log (1-p) where it is 0.
func (b *builder) bernoulliLogProb(logits, action *graph.Value) *graph.Value {
	one := b.add(graph.OpEq, nil, action, b.g.Integer(1))
	signed := b.add(graph.OpWhere, nil, one, logits, b.add(graph.OpNeg, nil, logits))
	return b.sum(b.add(graph.OpLogSigmoid, nil, signed))
}

// bernoulliEntropy is -(p log p + (1-p) log (1-p)), over all values.
func (b *builder) bernoulliEntropy(logits *graph.Value) *graph.Value {
	term := func(logits *graph.Value) *graph.Value {
		return b.add(graph.OpMul, nil, b.add(graph.OpSigmoid, nil, logits), b.add(graph.OpLogSigmoid, nil, logits))
	}
	return b.add(graph.OpNeg, nil, b.sum(b.add(graph.OpAdd, nil, term(logits), term(b.add(graph.OpNeg, nil, logits)))))
}

// boxAction adds the outputs of continuous actions: as predict gives them, and
// as the distribution or the network does.
func (b *builder) boxAction(a *graph.Value) {
	b.output("action", b.toSpace(a))
	b.output("raw_action", b.reshape(a, append([]int{b.rows}, b.p.Action.Shape...)...))
}

// toSpace brings continuous actions into the space, as predict does: unscaled
// where the network squashes them, else clipped.
func (b *builder) toSpace(a *graph.Value) *graph.Value {
	s := b.p.Action
	if b.p.SquashOutput {
		span := make([]float32, len(s.Low))
		for i := range span {
			span[i] = s.High[i] - s.Low[i]
		}
		a = b.add(graph.OpMul, nil, b.add(graph.OpAdd, nil, a, b.number(1)), b.number(0.5))
		a = b.add(graph.OpAdd, nil, b.add(graph.OpMul, nil, a, b.row("action_span", span)), b.row("action_low", s.Low))
	} else {
		a = b.add(graph.OpMaximum, nil, a, b.row("action_low", s.Low))
		a = b.add(graph.OpMinimum, nil, a, b.row("action_high", s.High))
	}
	return b.reshape(a, append([]int{b.rows}, s.Shape...)...)
}
