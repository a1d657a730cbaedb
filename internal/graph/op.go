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

	// OpConvTranspose is the gradient of a convolution, as torch has it:
	// x[B,C,spatial...] W[C,O/groups,kernel...] b[O]?; stride, padding,
	// output_padding, dilation []int; groups int.
	OpConvTranspose Op = "conv_transpose"

	OpAdd     Op = "add"
	OpSub     Op = "sub"
	OpMul     Op = "mul"
	OpDiv     Op = "div"
	OpPow     Op = "pow"
	OpMinimum Op = "minimum"
	OpMaximum Op = "maximum"
	OpAtan2   Op = "atan2"

	// Division with remainder. The result of fmod has the sign of a, that of
	// remainder the sign of b, floor_div is the quotient rounded down; an
	// integer divided by 0 gives 0.
	OpFmod      Op = "fmod"
	OpRemainder Op = "remainder"
	OpFloorDiv  Op = "floor_div"

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
	OpTrunc      Op = "trunc"
	OpSin        Op = "sin"
	OpCos        Op = "cos"
	OpTan        Op = "tan"
	OpAsin       Op = "asin"
	OpAcos       Op = "acos"
	OpAtan       Op = "atan"
	OpSinh       Op = "sinh"
	OpCosh       Op = "cosh"
	OpAsinh      Op = "asinh"
	OpAcosh      Op = "acosh"
	OpAtanh      Op = "atanh"
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
	OpProd       Op = "prod"        // axes []int, keepdim bool
	OpCumsum     Op = "cumsum"      // axis int
	OpCumprod    Op = "cumprod"     // axis int

	// OpArgsort gives the positions of the elements along an axis in their
	// order, equal ones in the order in which they stand; NaN is above all.
	// A sort is its gather, the first k its slice.
	OpArgsort Op = "argsort" // axis int, descending bool; i64

	// OpTake takes whole parts of x along an axis, as an embedding does:
	// x[a...,N,b...] index[i...] -> [a...,i...,b...]. OpGather takes single
	// elements: x and index have the same dimensions but along the axis, and
	// the result is x at the index along the axis, of the index's shape.
	//
	// An index counts from the end where it is negative. One out of range
	// gives NaN, or the least i64 wrapped to an integer's type: a row that
	// asks for what is not there spoils itself and no other.
	OpTake   Op = "take"   // axis int
	OpGather Op = "gather" // axis int

	// OpIf runs one of two graphs: a condition (bool, one element) and what
	// the graphs take -> what they give. Both have the captured operands as
	// inputs, in order, and outputs of the same types and shapes. Nothing in
	// it may have a batch axis.
	OpIf Op = "if" // then, else *Graph

	// OpLoop runs a graph again and again: a condition (bool, one element:
	// whether to run the first time), the carried values, captured ones ->
	// the carried values at the end. The body takes carried and captured
	// values and gives the next condition and the next carried values. Nothing
	// in it may have a batch axis.
	OpLoop Op = "loop" // body *Graph, carried int, limit int

	// OpNormal draws from the standard normal distribution in the shape and
	// type of its operand, keyed by (seed, step, row, stream, element): the
	// same key gives the same draw on every machine and in every batch.
	OpNormal Op = "normal" // stream int: unique in the graph

	// OpBeta draws from the Beta distribution with the concentrations of its two
	// operands, which have one shape and type, keyed as OpNormal. See Beta.
	OpBeta Op = "beta" // stream int: unique in the graph
)
