package graph

// category ranks element types as torch does: booleans below integers below
// floating point.
func (d DType) category() int {
	switch {
	case d == Bool:
		return 0
	case d.IsFloat():
		return 2
	default:
		return 1
	}
}

// IsInt reports whether d is an integer type. Bool is not one.
func (d DType) IsInt() bool { return d >= Int64 && d <= Uint8 }

// Bytes returns the size of one element in the type's own encoding, and 0 for
// a type that does not exist.
func (d DType) Bytes() int {
	switch d {
	case Float64, Int64:
		return 8
	case Float32, Int32:
		return 4
	case Float16, BFloat16, Int16:
		return 2
	case Int8, Uint8, Bool:
		return 1
	default:
		return 0
	}
}

// ParseDType returns the type of the short name that DType.String gives.
func ParseDType(name string) (DType, bool) {
	for d := Float32; d <= Bool; d++ {
		if dtypeNames[d] == name {
			return d, true
		}
	}
	return Invalid, false
}

// Promote returns the type in which two values of the same rank class meet,
// by torch's table: the wider of two types of one category, else the one of
// the higher category. Two that hold each other in neither direction meet in
// the next wider one: f16 and bf16 in f32, u8 and i8 in i16.
func Promote(a, b DType) DType {
	if a == b {
		return a
	}
	if ca, cb := a.category(), b.category(); ca != cb {
		if ca > cb {
			return a
		}
		return b
	}
	if a > b {
		a, b = b, a // in the order of the constants
	}
	switch {
	case a == Float64 || b == Float64:
		return Float64
	case a == Float32, a == Float16: // with f16 or bf16; f16 with bf16
		return Float32
	case b == Uint8 && a == Int8:
		return Int16
	default: // Int64, Int32, Int16, Int8, Uint8 go from wide to narrow.
		return a
	}
}

// promoteAll is torch's result type: values with dimensions decide; one
// without dimensions, as a number in a program is, only counts where its
// category is higher than that of all values with dimensions.
func promoteAll(in []*Value) DType {
	var dim, zero = Invalid, Invalid
	for _, v := range in {
		if len(v.Shape) > 0 {
			dim = promoteKnown(dim, v.DType)
		} else {
			zero = promoteKnown(zero, v.DType)
		}
	}
	if dim == Invalid || zero != Invalid && zero.category() > dim.category() {
		return promoteKnown(dim, zero)
	}
	return dim
}

func promoteKnown(a, b DType) DType {
	switch {
	case a == Invalid:
		return b
	case b == Invalid:
		return a
	default:
		return Promote(a, b)
	}
}

// floated is the type of a result that is always floating point: integers
// and booleans become float32, torch's default type.
func floated(d DType) DType {
	if d.IsFloat() {
		return d
	}
	return Float32
}

// Number adds a constant without dimensions that takes part in operations
// with like as a number in a Python program does: it does not widen like's
// type, and an integer value given to it keeps integers integer.
func (g *Graph) Number(x float64, like *Value) *Value {
	dt := Float32
	switch {
	case like.DType == Float64:
		dt = Float64
	case like.DType.IsFloat() && len(like.Shape) == 0:
		dt = like.DType
	}
	t := &Tensor{DType: dt, Shape: Shape{}}
	if dt == Float64 {
		t.F64 = []float64{x}
	} else {
		t.F32 = []float32{float32(roundTo(dt, x))}
	}
	return g.Constant("", t)
}

// Integer adds an i64 constant without dimensions: an integer of a program.
func (g *Graph) Integer(x int64) *Value {
	return g.Constant("", &Tensor{DType: Int64, Shape: Shape{}, I64: []int64{x}})
}
