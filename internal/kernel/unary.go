package kernel

import "fmt"

// UnaryOp names a function of one number. Where the names are torch's, so are
// the functions.
type UnaryOp uint8

// The functions. Those as far as Exp have a vector form on all machines that
// have any; of the others some have one on amd64 alone.
const (
	Identity UnaryOp = iota
	Relu
	Clamp // A lower bound, B upper bound
	Tanh
	Sigmoid
	Silu
	Elu // x > 0 ? A·x : B·expm1(C·x): elu, celu and selu
	Exp

	LeakyRelu // A slope below zero
	Gelu
	GeluTanh
	Softplus // A beta, B threshold
	Mish
	Softsign
	Hardswish
	Hardsigmoid
	LogSigmoid
	Expm1
	Log
	Log1p
	Sqrt
	Rsqrt
	Reciprocal
	Abs
	Neg
	Sign
	Floor
	Ceil
	Round
	Sin
	Cos
	Tan
	Asin
	Acos
	Atan
	Sinh
	Cosh
	Asinh
	Acosh
	Atanh
	Erf
	Not   // x == 0
	Truth // x != 0: conversion to boolean
	Trunc // toward zero, as conversion to an integer goes
	unaryOps
)

var unaryNames = [...]string{
	"identity", "relu", "clamp", "tanh", "sigmoid", "silu", "elu", "exp", "leaky_relu", "gelu", "gelu_tanh",
	"softplus", "mish", "softsign", "hardswish", "hardsigmoid", "log_sigmoid", "expm1", "log", "log1p", "sqrt",
	"rsqrt", "reciprocal", "abs", "neg", "sign", "floor", "ceil", "round", "sin", "cos",
	"tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "not", "truth", "trunc",
}

// Unary is a function of one number with its parameters.
type Unary struct {
	Op      UnaryOp
	A, B, C float32
}

// String prints the function with the parameters that it has: clamp(-1,1).
func (u Unary) String() string {
	name := "unknown"
	if int(u.Op) < len(unaryNames) {
		name = unaryNames[u.Op]
	}
	switch u.Op {
	case Clamp, Softplus:
		return fmt.Sprintf("%s(%g,%g)", name, u.A, u.B)
	case Elu:
		return fmt.Sprintf("%s(%g,%g,%g)", name, u.A, u.B, u.C)
	case LeakyRelu:
		return fmt.Sprintf("%s(%g)", name, u.A)
	default:
		return name
	}
}

// Apply computes y[i] = u(x[i]) for the elements of x. y is at least as long,
// and may be x itself.
func (k Impl) Apply(u Unary, y, x []float32) {
	y = y[:len(x)]
	if len(x) == 0 {
		return
	}
	if k.vector {
		switch u.Op {
		case Relu:
			reluVector(y, x)
			return
		case Clamp:
			clampVector(y, x, u.A, u.B)
			return
		case Tanh:
			tanhVector(y, x)
			return
		case Sigmoid:
			sigmoidVector(y, x)
			return
		case Silu:
			siluVector(y, x)
			return
		case Elu:
			if u.C >= 0 { // else the exponents would be positive
				eluVector(y, x, u.A, u.B, u.C)
				return
			}
		case Exp:
			expVector(y, x)
			return
		}
		if moreVector(u, y, x) {
			return
		}
	}
	unaryGeneric(u, y, x)
}
