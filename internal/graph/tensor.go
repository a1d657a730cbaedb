package graph

import (
	"fmt"
	"strings"
)

// DType is the element type of a value.
type DType uint8

// The element types that policies use.
const (
	Invalid DType = iota
	Float32
	Float64
	Float16
	BFloat16
	Int64
	Int32
	Int16
	Int8
	Uint8
	Bool
)

var dtypeNames = [...]string{"invalid", "f32", "f64", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool"}

// String returns the short name used in the text form: f32, i64, bool.
func (d DType) String() string {
	if int(d) < len(dtypeNames) {
		return dtypeNames[d]
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// IsFloat reports whether d is a floating point type.
func (d DType) IsFloat() bool { return d >= Float32 && d <= BFloat16 }

// Batch is the dimension of the batch axis: the number of rows, known only
// when the graph runs. A dimension of k*Batch is k values a row, as a reshape
// that merges the batch axis with another makes.
const Batch = -1

// Shape is the list of dimensions of a value. A dimension is fixed when it is
// 0 or more, and -k stands for k times the number of rows. A scalar has none.
type Shape []int

// String prints the shape as [B,5] with B for the batch axis, 3B for three
// values a row.
func (s Shape) String() string {
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		switch {
		case d >= 0:
			fmt.Fprintf(&b, "%d", d)
		case d == Batch:
			b.WriteByte('B')
		default:
			fmt.Fprintf(&b, "%dB", -d)
		}
	}
	b.WriteByte(']')
	return b.String()
}

// Tensor is constant data in row-major order. Exactly one of the three slices
// holds it: F32 for Float32, Float16 and BFloat16 (widened, which is exact),
// F64 for Float64, I64 for the integer types and Bool (0 or 1).
type Tensor struct {
	DType DType
	Shape Shape // fixed dimensions only
	F32   []float32
	F64   []float64
	I64   []int64

	// Narrow tells that a matrix is held in fewer bits in the file that it is
	// of, and is nil elsewhere. See AsNarrow.
	Narrow *Narrow
}

// Float32s returns a float32 tensor over data, which is not copied.
func Float32s(data []float32, shape ...int) *Tensor {
	return &Tensor{DType: Float32, Shape: shape, F32: data}
}

// Len returns the number of elements.
func (t *Tensor) Len() int { return len(t.F32) + len(t.F64) + len(t.I64) }

// At returns element i of the row-major order as a float64, which is exact
// but for integers beyond 2^53.
func (t *Tensor) At(i int) float64 {
	switch {
	case t.F32 != nil:
		return float64(t.F32[i])
	case t.F64 != nil:
		return t.F64[i]
	default:
		return float64(t.I64[i])
	}
}
