package policy

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// deviation returns the standard deviation of a Gaussian: std, or the
// exponential of log_std.
func (d *drawing) deviation() *graph.Value {
	_, std := d.net.spec.Params["std"]
	_, logStd := d.net.spec.Params["log_std"]
	if !logStd {
		if v := d.param("std"); v != nil || d.err != nil {
			return v
		}
	}
	if !std {
		if v := d.param("log_std"); v != nil || d.err != nil {
			return d.add(graph.OpExp, nil, v)
		}
	}
	return d.fail("the deviation is not known: the network gives %s; say std or log_std, an output, a tensor of the file or numbers: log_std: {output: 1}, std: [0.5]", d.outputs())
}

// parameters of a Gaussian: flat rows of mean and deviation, and the shape of a
// row.
func (d *drawing) meanAndStd() (mean, std *graph.Value, row []int) {
	mean = d.param("mean")
	std = d.deviation()
	if mean == nil {
		mean = d.only("mean")
	}
	if d.err != nil {
		return nil, nil, nil
	}
	if mean.Const != nil {
		d.fail("the mean is one for all observations")
		return nil, nil, nil
	}
	if std.Const != nil && slices.ContainsFunc(std.Const.F32, func(s float32) bool { return !(s > 0) }) {
		d.fail("std %v, which must be above 0", std.Const.F32)
		return nil, nil, nil
	}
	return mean, d.row("std", std, mean.Shape[1]), d.rowShapeOf(mean)
}

// sampled returns the mean, or a draw about it.
func (d *drawing) sampled(mean, std *graph.Value) *graph.Value {
	if d.deterministic {
		return mean
	}
	return d.add(graph.OpAdd, nil, mean, d.add(graph.OpMul, nil, std, d.normal(mean)))
}

// normalLogProb is the logarithm of the density of a diagonal Gaussian.
func (d *drawing) normalLogProb(x, mean, std *graph.Value) *graph.Value {
	z := d.add(graph.OpDiv, nil, d.add(graph.OpSub, nil, x, mean), std)
	p := d.add(graph.OpMul, nil, d.add(graph.OpMul, nil, z, z), d.number(-0.5))
	p = d.add(graph.OpSub, nil, p, d.add(graph.OpLog, nil, std))
	return d.sum(d.add(graph.OpSub, nil, p, d.number(float32(math.Log(math.Sqrt(2*math.Pi))))))
}

func (d *drawing) gaussian() {
	mean, std, row := d.meanAndStd()
	a := d.sampled(mean, std)
	d.output("action", d.reshape(a, row))
	d.output("mean", mean)
	d.output("std", std)
	d.output("log_prob", d.normalLogProb(a, mean, std))
	entropy := d.add(graph.OpAdd, nil, d.add(graph.OpLog, nil, std), d.number(float32(0.5+math.Log(math.Sqrt(2*math.Pi)))))
	d.output("entropy", d.sum(entropy))
}

// squashed is the hyperbolic tangent of a Gaussian, times scale plus shift where
// there are some. Its log_prob is that of stable-baselines3
// (SquashedDiagGaussianDistribution) and CleanRL, which guard the slope of the
// tangent by 1e-6.
func (d *drawing) squashed() {
	scale, shift := d.param("scale"), d.param("shift")
	mean, std, row := d.meanAndStd()
	if d.err != nil {
		return
	}
	width := mean.Shape[1]
	u := d.sampled(mean, std)
	y := d.add(graph.OpTanh, nil, u)
	slope := d.add(graph.OpSub, nil, d.number(1), d.add(graph.OpMul, nil, y, y))
	a := y
	if scale != nil {
		scale = d.row("scale", scale, width)
		a, slope = d.add(graph.OpMul, nil, a, scale), d.add(graph.OpMul, nil, slope, scale)
	}
	if shift != nil {
		a = d.add(graph.OpAdd, nil, a, d.row("shift", shift, width))
	}
	slope = d.add(graph.OpLog, nil, d.add(graph.OpAdd, nil, slope, d.number(1e-6)))
	d.output("action", d.reshape(a, row))
	d.output("mean", mean)
	d.output("std", std)
	d.output("log_prob", d.add(graph.OpSub, nil, d.normalLogProb(u, mean, std), d.sum(slope)))
}

// probabilityEps keeps probabilities off 0 and 1, as torch.distributions does
// before it takes their logarithm: the epsilon of float32.
const probabilityEps = 0x1p-23

// scores returns the logits of a discrete distribution, or its probabilities.
func (d *drawing) scores() (v *graph.Value, probabilities bool) {
	_, named := d.net.spec.Params["probs"]
	if !named {
		if v = d.param("logits"); v != nil || d.err != nil {
			return v, false
		}
	}
	if v = d.param("probs"); v != nil || d.err != nil {
		return v, true
	}
	rest := d.rest()
	if d.net.spec.Kind == "multi_categorical" && len(rest) > 1 && d.net.spec.Sizes == nil {
		parts := make([]*graph.Value, len(rest))
		for i, at := range rest {
			probabilities = probabilities || d.given[at].from == graph.OpSoftmax
			parts[i] = d.take("logits", at)
			d.net.parts = append(d.net.parts, product(d.given[at].row))
		}
		return d.add(graph.OpConcat, graph.Attrs{"axis": 1}, parts...), probabilities
	}
	v = d.only("logits")
	for i := range d.given {
		// What a softmax or a sigmoid gives are no logits.
		if from := d.given[i].from; d.given[i].value == v && (from == graph.OpSoftmax || from == graph.OpSigmoid) {
			return v, true
		}
	}
	return v, false
}

// sizes are those of the parts of a categorical distribution.
func (d *drawing) sizes(width int) []int {
	spec := d.net.spec
	switch {
	case spec.Kind == "categorical":
		return []int{width}
	case spec.Sizes != nil:
		if sum(spec.Sizes) != width {
			d.fail("sizes %v are %d categories, the network gives %d values", spec.Sizes, sum(spec.Sizes), width)
		}
		return spec.Sizes
	case len(d.net.parts) > 0:
		return d.net.parts
	}
	if s, ok := spec.Params["logits"]; ok && len(s.Names) > 1 {
		return d.widths(s.Names)
	}
	if s, ok := spec.Params["probs"]; ok && len(s.Names) > 1 {
		return d.widths(s.Names)
	}
	d.fail("the sizes of the parts are not known: the network gives %d values; say them, sizes: [3, 2]", width)
	return nil
}

func (d *drawing) widths(names []string) []int {
	var w []int
	for _, name := range names {
		at := slices.IndexFunc(d.given, func(v given) bool { return v.name == name })
		w = append(w, product(d.given[at].row))
	}
	return w
}

// maskedLogit is the logit of an action that is not allowed, as in sb3-contrib.
const maskedLogit = -1e8

// categories is one choice of several, or of each of several parts.
func (d *drawing) categories() {
	d.net.parts = nil
	all, probabilities := d.scores()
	if d.err != nil {
		return
	}
	parts := d.sizes(all.Shape[1])
	if d.net.parts = parts; d.err != nil {
		return
	}
	var actions, logits, probs []*graph.Value
	var logProb, entropy *graph.Value
	at := 0
	for _, n := range parts {
		x := all
		if len(parts) > 1 {
			x = d.slice(all, at, at+n)
		}
		l := d.logits(x, probabilities)
		if d.masks != nil {
			allowed := d.masks
			if len(parts) > 1 {
				allowed = d.slice(allowed, at, at+n)
			}
			l = d.logits(d.add(graph.OpWhere, nil, allowed, l, d.number(maskedLogit)), false)
		}
		a := d.category(l)
		p := d.chosen(l, a)
		q := d.add(graph.OpSoftmax, graph.Attrs{"axis": 1}, l)
		h := d.add(graph.OpNeg, nil, d.sum(d.add(graph.OpMul, nil, q, d.add(graph.OpClamp, graph.Attrs{"min": -math.MaxFloat32}, l))))
		if logProb == nil {
			logProb, entropy = p, h
		} else {
			logProb, entropy = d.add(graph.OpAdd, nil, logProb, p), d.add(graph.OpAdd, nil, entropy, h)
		}
		actions, logits, probs = append(actions, a), append(logits, l), append(probs, q)
		at += n
	}
	action := d.concat(actions)
	if d.net.spec.Kind == "categorical" {
		action = d.reshape(action, nil)
	}
	d.output("action", action)
	d.output("logits", d.concat(logits))
	d.output("probs", d.concat(probs))
	d.output("log_prob", logProb)
	d.output("entropy", entropy)
}

func (d *drawing) concat(parts []*graph.Value) *graph.Value {
	if len(parts) == 1 {
		return parts[0]
	}
	return d.add(graph.OpConcat, graph.Attrs{"axis": 1}, parts...)
}

// logits normalises the logits of one choice, or makes them of probabilities.
func (d *drawing) logits(x *graph.Value, probabilities bool) *graph.Value {
	if !probabilities {
		return d.add(graph.OpLogSoftmax, graph.Attrs{"axis": 1}, x)
	}
	p := d.add(graph.OpDiv, nil, x, d.add(graph.OpSum, graph.Attrs{"axes": []int{1}, "keepdim": true}, x))
	return d.add(graph.OpLog, nil, d.add(graph.OpClamp, graph.Attrs{"min": probabilityEps, "max": 1 - probabilityEps}, p))
}

// category returns the likeliest, or a draw: the one whose logit less the
// logarithm of an exponential draw is greatest. Half the sum of two squared
// Gaussians is such a draw.
func (d *drawing) category(logits *graph.Value) *graph.Value {
	scores := logits
	if !d.deterministic {
		scores = d.add(graph.OpSub, nil, scores, d.logExponential(logits))
	}
	return d.add(graph.OpArgmax, graph.Attrs{"axis": 1, "keepdim": true}, scores)
}

// logExponential is the logarithm of twice an exponential draw.
func (d *drawing) logExponential(like *graph.Value) *graph.Value {
	m, n := d.normal(like), d.normal(like)
	return d.add(graph.OpLog, nil, d.add(graph.OpAdd, nil, d.add(graph.OpMul, nil, m, m), d.add(graph.OpMul, nil, n, n)))
}

// chosen returns the logit of a category, one number a row.
func (d *drawing) chosen(logits, category *graph.Value) *graph.Value {
	if d.err != nil {
		return nil
	}
	index := make([]int64, logits.Shape[1])
	for i := range index {
		index[i] = int64(i)
	}
	is := d.add(graph.OpEq, nil, category, d.g.Constant("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(index)}, I64: index}))
	return d.sum(d.add(graph.OpWhere, nil, is, logits, d.number(0)))
}

// bernoulli gives rows of 0 and 1: the likelier of the two, which of two alike
// is 0, or draws. A draw is 1 where the logit is greater than that of a uniform
// number, which is the difference of the logarithms of two exponential draws.
func (d *drawing) bernoulli() {
	logits, probabilities := d.scores()
	row := d.rowShapeOf(logits)
	if probabilities {
		p := d.add(graph.OpClamp, graph.Attrs{"min": probabilityEps, "max": 1 - probabilityEps}, logits)
		logits = d.add(graph.OpSub, nil, d.add(graph.OpLog, nil, p), d.add(graph.OpLog1p, nil, d.add(graph.OpNeg, nil, p)))
	}
	threshold := d.number(0)
	if !d.deterministic {
		threshold = d.add(graph.OpSub, nil, d.logExponential(logits), d.logExponential(logits))
	}
	one := d.add(graph.OpGt, nil, logits, threshold)
	signed := d.add(graph.OpWhere, nil, one, logits, d.add(graph.OpNeg, nil, logits))
	d.output("action", d.reshape(d.add(graph.OpCast, graph.Attrs{"dtype": graph.Int64}, one), row))
	d.output("logits", logits)
	d.output("probs", d.add(graph.OpSigmoid, nil, logits))
	d.output("log_prob", d.sum(d.add(graph.OpLogSigmoid, nil, signed)))
	// The entropy is -log(1-p) - p·logit.
	p := d.add(graph.OpSigmoid, nil, logits)
	rest := d.add(graph.OpLogSigmoid, nil, d.add(graph.OpNeg, nil, logits))
	d.output("entropy", d.add(graph.OpNeg, nil, d.sum(d.add(graph.OpAdd, nil, rest, d.add(graph.OpMul, nil, p, logits)))))
}
