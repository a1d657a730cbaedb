package plan

import "github.com/carla-rl/carla-rl-serving/internal/kernel"

// stepOp names what a step does. The comment gives the fields that it uses.
type stepOp uint8

const (
	stepLinear        stepOp = iota // out = unary(matrix·a + bias) for count rows
	stepUnary                       // out = unary(a)
	stepBinary                      // out = binary(a, b), all of one size
	stepTile                        // out = binary(a, b) with b again and again; swapped: binary(b, a)
	stepWhere                       // out = a ? b : c
	stepWrap                        // out = a as an integer of n bits, signed if flag
	stepMove                        // out = a along axes from the offsets
	stepSum                         // out = sums of rows of n of a, divided by div
	stepAmax                        // rows of n
	stepAmin                        // rows of n
	stepArgmax                      // rows of n
	stepSoftmax                     // rows of n, the logarithm if flag
	stepMatMul                      // out = a·b, count times m by k by cols
	stepConv                        // out = conv(a, b, c) for count rows; c may be none
	stepNormal                      // out = draws of the stream, n a row, row 0 unless flag
	stepCopy                        // out = a
	stepProd                        // rows of n
	stepCumulate                    // rows of n, products if flag
	stepArgsort                     // rows of n, descending if flag
	stepTake                        // out = parts of a named by b: count times n of cols numbers, else div
	stepGather                      // out = elements of rows of n of a named by rows of m of b, else div
	stepConvTranspose               // out = as stepConv
	stepConvolve                    // out = unary(packed·a) for count rows
	stepColumns                     // out = binary(a, b) with one b for n of a; swapped: binary(b, a)
	stepIf                          // outs = then or other, by a
	stepLoop                        // outs = body again and again, by a
	stepNarrow                      // out = unary(narrow·a + bias) for count rows
	stepBeta                        // out = draws of the stream with the concentrations a and b, as stepNormal
)

var stepNames = [...]string{"linear", "unary", "binary", "binary", "where", "wrap", "move", "sum", "amax", "amin", "argmax", "softmax", "matmul", "conv", "normal", "copy", "prod", "cumulate", "argsort", "take", "gather", "conv_transpose", "conv", "binary", "if", "loop", "linear", "beta"}

// none is the slot of an operand that is absent.
const none = -1

// step is one call of a kernel. The slots of operands and result are indices;
// the rest is used as the operation says.
type step struct {
	op           stepOp
	flag         bool // see the operation
	swapped      bool
	binary       kernel.BinaryOp
	a, b, c, out int
	unary        kernel.Unary
	matrix       *kernel.Matrix
	narrow       *kernel.Narrow
	count        dim
	n            int
	div          float64
	m, cols      dim
	axes         []axis
	srcOff       int
	dstOff       dim
	conv         *kernel.ConvShape
	packed       *kernel.PackedConv
	stream       uint32
	control      *control
	chain        *rowChain // of this product and those behind it

	note string // what the graph calls it, for the dump
}

// axis is a dimension of a move.
type axis struct{ n, dst, src dim }

// inPlace reports whether the step may write its result over operand a.
func (s *step) inPlace() bool {
	switch s.op {
	case stepUnary, stepBinary, stepTile, stepWrap, stepSoftmax, stepCumulate, stepColumns:
		return true
	default:
		return false
	}
}
