package graph

// Op names an operator. The names are those of the text form and of
// `architecture:` in a model card.
type Op string

// Operators of dense networks and of the preprocessing around them. x is the
// first operand; broadcasting follows numpy.
const (
	OpLinear Op = "linear" // x[...,I] W[O,I] b[O]? -> x·Wᵀ + b
	OpMatMul Op = "matmul" // a[...,M,K] b[...,K,N]
	OpConv   Op = "conv"   // x[B,C,spatial...] W[O,C/groups,kernel...] b[O]?; stride, padding, dilation []int; groups int

	OpAdd     Op = "add"
	OpSub     Op = "sub"
	OpMul     Op = "mul"
	OpDiv     Op = "div"
	OpPow     Op = "pow"
	OpMinimum Op = "minimum"
	OpMaximum Op = "maximum"

	OpEq    Op = "eq"
	OpNe    Op = "ne"
	OpLt    Op = "lt"
	OpLe    Op = "le"
	OpGt    Op = "gt"
	OpGe    Op = "ge"
	OpAnd   Op = "and"
	OpOr    Op = "or"
	OpNot   Op = "not"
	OpWhere Op = "where" // cond, a, b

	OpRelu        Op = "relu"
	OpTanh        Op = "tanh"
	OpSigmoid     Op = "sigmoid"
	OpSilu        Op = "silu"
	OpElu         Op = "elu"         // alpha float64
	OpCelu        Op = "celu"        // alpha float64
	OpSelu        Op = "selu"        //
	OpLeakyRelu   Op = "leaky_relu"  // alpha float64
	OpGelu        Op = "gelu"        // approximate string: "none" or "tanh"
	OpSoftplus    Op = "softplus"    // beta, threshold float64
	OpMish        Op = "mish"        //
	OpSoftsign    Op = "softsign"    //
	OpHardswish   Op = "hardswish"   //
	OpHardsigmoid Op = "hardsigmoid" //
	OpLogSigmoid  Op = "log_sigmoid" //
	OpClamp       Op = "clamp"       // min, max float64, each optional; NaN stays NaN

	OpExp        Op = "exp"
	OpExpm1      Op = "expm1"
	OpLog        Op = "log"
	OpLog1p      Op = "log1p"
	OpSqrt       Op = "sqrt"
	OpRsqrt      Op = "rsqrt"
	OpReciprocal Op = "reciprocal"
	OpAbs        Op = "abs"
	OpNeg        Op = "neg"
	OpSign       Op = "sign"
	OpFloor      Op = "floor"
	OpCeil       Op = "ceil"
	OpRound      Op = "round" // half to even, as torch and numpy
	OpSin        Op = "sin"
	OpCos        Op = "cos"
	OpErf        Op = "erf"

	OpCast       Op = "cast"        // dtype DType
	OpReshape    Op = "reshape"     // shape []int, with negative dimensions as in Shape
	OpTranspose  Op = "transpose"   // perm []int
	OpExpand     Op = "expand"      // shape []int
	OpConcat     Op = "concat"      // axis int
	OpSlice      Op = "slice"       // axis, start, end, step int; step > 0
	OpSoftmax    Op = "softmax"     // axis int
	OpLogSoftmax Op = "log_softmax" // axis int
	OpSum        Op = "sum"         // axes []int, keepdim bool
	OpMean       Op = "mean"        // axes []int, keepdim bool
	OpAmax       Op = "amax"        // axes []int, keepdim bool
	OpAmin       Op = "amin"        // axes []int, keepdim bool
	OpArgmax     Op = "argmax"      // axis int, keepdim bool; i64

	// OpNormal draws from the standard normal distribution in the shape and
	// type of its operand, keyed by (seed, step, row, stream, element): the
	// same key gives the same draw on every machine and in every batch.
	OpNormal Op = "normal" // stream int: unique in the graph
)
