package graph

import "math"

// Activations, with the formulas and the behaviour at NaN of torch. All keep
// the type; all but relu take floating point only.
var activationSpecs = map[Op]spec{
	OpRelu:        number(func(x float64) float64 { return max(x, 0) }, func(x int64) int64 { return max(x, 0) }),
	OpTanh:        function(math.Tanh),
	OpSigmoid:     function(func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }),
	OpSilu:        activation(func(x float64) float64 { return x / (1 + math.Exp(-x)) }),
	OpSelu:        activation(selu),
	OpMish:        activation(func(x float64) float64 { return x * math.Tanh(softplus(x, 1, 20)) }),
	OpSoftsign:    activation(func(x float64) float64 { return x / (1 + math.Abs(x)) }),
	OpHardswish:   activation(func(x float64) float64 { return x * min(max(x+3, 0), 6) / 6 }),
	OpHardsigmoid: activation(func(x float64) float64 { return min(max(x+3, 0), 6) / 6 }),
	OpLogSigmoid:  activation(func(x float64) float64 { return min(x, 0) - math.Log1p(math.Exp(-math.Abs(x))) }),

	OpElu: activationWith("alpha", 1, func(x, alpha float64) float64 {
		if x > 0 {
			return x
		}
		return alpha * math.Expm1(x)
	}),
	OpCelu: activationWith("alpha", 1, func(x, alpha float64) float64 {
		if x > 0 {
			return x
		}
		return alpha * math.Expm1(x/alpha)
	}),
	OpLeakyRelu: activationWith("alpha", 0.01, func(x, alpha float64) float64 {
		if x > 0 {
			return x
		}
		return alpha * x
	}),

	OpGelu: {
		min: 1, max: 1, infer: inferGelu, eval: evalGelu,
		attrs: []attr{{name: "approximate", kind: kindText, def: "none"}},
	},
	OpSoftplus: {
		min: 1, max: 1, infer: inferSoftplus, eval: evalSoftplus,
		attrs: []attr{{name: "beta", kind: kindFloat, def: 1.0}, {name: "threshold", kind: kindFloat, def: 20.0}},
	},
}

func activation(f func(x float64) float64) spec {
	return spec{min: 1, max: 1, infer: inferActivation, eval: func(c *evalCall) { evalUnary(c, f) }}
}

// activationWith is an activation with one parameter.
func activationWith(name string, def float64, f func(x, p float64) float64) spec {
	s := activation(nil)
	s.attrs = []attr{{name: name, kind: kindFloat, def: def}}
	s.infer = func(n *Node) ([]typ, error) {
		if p := n.Attrs.Float(name); math.IsNaN(p) || math.IsInf(p, 0) || n.Op == OpCelu && p == 0 {
			return nil, n.fail(ErrAttribute, "%s is %v", name, p)
		}
		return inferActivation(n)
	}
	s.eval = func(c *evalCall) {
		p := c.n.Attrs.Float(name)
		evalUnary(c, func(x float64) float64 { return f(x, p) })
	}
	return s
}

func inferActivation(n *Node) ([]typ, error) {
	if err := n.sameFloat(1); err != nil {
		return nil, err
	}
	return one(n.In[0].DType, n.In[0].Shape)
}

// The constants of the self-normalising networks' paper, appendix A.1.
const (
	seluAlpha = 1.6732632423543772848170429916717
	seluScale = 1.0507009873554804934193349852946
)

func selu(x float64) float64 {
	if x > 0 {
		return seluScale * x
	}
	return seluScale * seluAlpha * math.Expm1(x)
}

// softplus is linear where beta·x is above the threshold.
func softplus(x, beta, threshold float64) float64 {
	if x*beta > threshold {
		return x
	}
	return math.Log1p(math.Exp(x*beta)) / beta
}

func inferGelu(n *Node) ([]typ, error) {
	if a := n.Attrs.Text("approximate"); a != "none" && a != "tanh" {
		return nil, n.fail(ErrAttribute, `approximate is %q, must be "none" or "tanh"`, a)
	}
	return inferActivation(n)
}

func evalGelu(c *evalCall) {
	if c.n.Attrs.Text("approximate") == "tanh" {
		evalUnary(c, func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		})
		return
	}
	evalUnary(c, func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) })
}

func inferSoftplus(n *Node) ([]typ, error) {
	beta, threshold := n.Attrs.Float("beta"), n.Attrs.Float("threshold")
	if math.IsNaN(beta) || math.IsInf(beta, 0) || beta == 0 || math.IsNaN(threshold) {
		return nil, n.fail(ErrAttribute, "beta is %v and threshold %v", beta, threshold)
	}
	return inferActivation(n)
}

func evalSoftplus(c *evalCall) {
	beta, threshold := c.n.Attrs.Float("beta"), c.n.Attrs.Float("threshold")
	evalUnary(c, func(x float64) float64 { return softplus(x, beta, threshold) })
}
