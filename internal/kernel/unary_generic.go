package kernel

import "math"

// unaryGeneric is the twin of the vector kernels and the only form of the
// functions that have none. Transcendental functions are computed in float64
// and rounded once.
func unaryGeneric(u Unary, y, x []float32) {
	switch u.Op {
	case Identity:
		copy(y, x)
	case Relu:
		reluGeneric(y, x)
	case Clamp:
		clampGeneric(y, x, u.A, u.B)
	case Tanh:
		tanhGeneric(y, x)
	case Sigmoid:
		sigmoidGeneric(y, x)
	case Silu:
		siluGeneric(y, x)
	case Elu:
		eluGeneric(y, x, u.A, u.B, u.C)
	case Exp:
		expGeneric(y, x)
	case LeakyRelu:
		leakyRelu(y, x, u.A)
	case Softplus:
		each(y, x, func(v float64) float64 { return softplus(v, float64(u.A), float64(u.B)) })
	default:
		each(y, x, unaryFuncs[u.Op])
	}
}

// unaryFuncs holds the functions without a loop of their own.
var unaryFuncs = [unaryOps]func(float64) float64{
	Gelu: func(v float64) float64 { return 0.5 * v * (1 + math.Erf(v*(1/math.Sqrt2))) },
	GeluTanh: func(v float64) float64 {
		return 0.5 * v * (1 + math.Tanh(math.Sqrt2/math.SqrtPi*(v+0.044715*v*v*v)))
	},
	Mish:        func(v float64) float64 { return v * math.Tanh(softplus(v, 1, 20)) },
	Softsign:    func(v float64) float64 { return v / (1 + math.Abs(v)) },
	Hardswish:   func(v float64) float64 { return v * clamp64(v+3, 0, 6) / 6 },
	Hardsigmoid: func(v float64) float64 { return clamp64(v+3, 0, 6) / 6 },
	LogSigmoid:  func(v float64) float64 { return clamp64(v, math.Inf(-1), 0) - math.Log1p(math.Exp(-math.Abs(v))) },
	Expm1:       math.Expm1,
	Log:         math.Log,
	Log1p:       math.Log1p,
	Sqrt:        math.Sqrt,
	Rsqrt:       func(v float64) float64 { return 1 / math.Sqrt(v) },
	Reciprocal:  func(v float64) float64 { return 1 / v },
	Abs:         math.Abs,
	Neg:         func(v float64) float64 { return -v },
	Sign:        sign,
	Floor:       math.Floor,
	Ceil:        math.Ceil,
	Round:       math.RoundToEven,
	Sin:         math.Sin,
	Cos:         math.Cos,
	Tan:         math.Tan,
	Asin:        math.Asin,
	Acos:        math.Acos,
	Atan:        math.Atan,
	Sinh:        math.Sinh,
	Cosh:        math.Cosh,
	Asinh:       math.Asinh,
	Acosh:       math.Acosh,
	Atanh:       math.Atanh,
	Erf:         math.Erf,
	Not:         func(v float64) float64 { return truth(v == 0) },
	Truth:       func(v float64) float64 { return truth(v != 0) },
	Trunc:       math.Trunc,
}

func each(y, x []float32, f func(float64) float64) {
	for i, v := range x {
		y[i] = float32(f(float64(v)))
	}
}

// reluGeneric computes max(x, 0).
func reluGeneric(y, x []float32) {
	for i, v := range x {
		if v < 0 {
			v = 0
		}
		y[i] = v
	}
}

// clampGeneric computes min(max(x, lo), hi).
func clampGeneric(y, x []float32, lo, hi float32) {
	for i, v := range x {
		if v < lo {
			v = lo
		}
		if v > hi {
			v = hi
		}
		y[i] = v
	}
}

// tanhGeneric computes tanh(x).
func tanhGeneric(y, x []float32) { each(y, x, math.Tanh) }

// expGeneric computes e to the power of x.
func expGeneric(y, x []float32) { each(y, x, math.Exp) }

// sigmoidGeneric computes 1/(1+exp(-x)).
func sigmoidGeneric(y, x []float32) {
	each(y, x, func(v float64) float64 { return 1 / (1 + math.Exp(-v)) })
}

// siluGeneric computes x·sigmoid(x).
func siluGeneric(y, x []float32) {
	each(y, x, func(v float64) float64 { return v / (1 + math.Exp(-v)) })
}

// eluGeneric computes scale·x above zero and neg·expm1(inner·x) elsewhere.
func eluGeneric(y, x []float32, scale, neg, inner float32) {
	for i, v := range x {
		if v > 0 {
			y[i] = scale * v
		} else {
			y[i] = float32(float64(neg) * math.Expm1(float64(inner)*float64(v)))
		}
	}
}

func leakyRelu(y, x []float32, slope float32) {
	for i, v := range x {
		if v < 0 {
			v *= slope
		}
		y[i] = v
	}
}

func softplus(v, beta, threshold float64) float64 {
	if v*beta > threshold {
		return v
	}
	return math.Log1p(math.Exp(v*beta)) / beta
}

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	default:
		return 0 // zero and, as in torch, NaN
	}
}

// clamp64 keeps NaN.
func clamp64(v, lo, hi float64) float64 {
	if v < lo {
		return lo
	}
	if v > hi {
		return hi
	}
	return v
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
