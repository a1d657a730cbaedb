package graph

import (
	"fmt"
	"math"
)

// Narrow says that a Float32 matrix of constants is held in fewer bits than its
// elements take: each is what the narrow one is widened to. It is the property
// of a file, which readers note, writers keep, and plans may compute with;
// every other part reads the elements. What changes the elements loses it.
type Narrow struct {
	// DType is BFloat16, which the elements are as they stand, or Int8.
	DType DType
	// Int8 holds, of Int8, the narrow elements in row-major order: element i is
	// float32(Int8[i])·Scale[row], the product rounded once.
	Int8 []int8
	// Scale holds one positive number for each index of dimension Axis.
	Scale []float32
	Axis  int // 0 or 1
}

// NarrowLeast is the least number of elements that NarrowWeights changes:
// float32 weights of fewer lie in the first cache level, from which they come
// as fast as they are multiplied.
const NarrowLeast = 8 << 10

// narrowOutputs is the fewest outputs of a layer that NarrowWeights changes:
// those of fewer are sums of another kind, in which narrow weights win nothing.
const narrowOutputs = 13

// NarrowWeights rounds the weights of dense layers, which are constant, of
// Float32 and of NarrowLeast elements or more, to the type: BFloat16, to nearest
// and half to even, or Int8, symmetric with a scale for each output. Layers of
// few outputs, biases and all other constants stay as they are, as do layers in
// the graphs inside nodes. It returns the number of weights, elements and
// layers, that were rounded.
//
// The graph should be optimized before: passes that change a weight afterwards
// make it Float32 again. The error tells of elements that the type cannot hold.
func NarrowWeights(g *Graph, to DType) (layers, elements int, err error) {
	if to != BFloat16 && to != Int8 {
		return 0, 0, fmt.Errorf("graph: %w: weights of %v; bf16 and i8 are known", ErrDType, to)
	}
	done := map[*Tensor]*Value{}
	for _, n := range g.Nodes {
		if n.Op != OpLinear || !worthNarrowing(n.In[1]) {
			continue
		}
		w := n.In[1]
		v, ok := done[w.Const]
		if !ok {
			t, err := narrowed(w.Const, to)
			if err != nil {
				return 0, 0, fmt.Errorf("graph: weight %q: %w", w.Name, err)
			}
			v = g.Constant(w.Name, t)
			done[w.Const] = v
			layers, elements = layers+1, elements+t.Len()
		}
		n.In[1] = v
	}
	return layers, elements, g.Verify()
}

func worthNarrowing(w *Value) bool {
	return w.Const != nil && w.DType == Float32 && w.Const.Narrow == nil && w.Const.Len() >= NarrowLeast && w.Shape[0] >= narrowOutputs
}

// narrowed is a matrix of one row an output in the type.
func narrowed(t *Tensor, to DType) (*Tensor, error) {
	out := &Tensor{DType: Float32, Shape: t.Shape, F32: make([]float32, len(t.F32)), Narrow: &Narrow{DType: to}}
	for i, x := range t.F32 {
		out.F32[i] = float32(roundTo(BFloat16, float64(x)))
		if d := out.F32[i] - out.F32[i]; d != 0 {
			return nil, fmt.Errorf("%w: element %d is %v, which %v does not hold", ErrDType, i, x, to)
		}
	}
	if to == BFloat16 {
		return out, nil
	}
	n := out.Narrow
	rows, cols := t.Shape[0], t.Shape[1]
	n.Int8, n.Scale = make([]int8, rows*cols), make([]float32, rows)
	for r := range rows {
		row := t.F32[r*cols : (r+1)*cols]
		var top float32
		for _, x := range row {
			top = max(top, float32(math.Abs(float64(x))))
		}
		n.Scale[r] = top / math.MaxInt8
		switch {
		case n.Scale[r] > mostScale:
			return nil, fmt.Errorf("%w: output %d has a weight of %v, which i8 does not hold", ErrDType, r, top)
		case n.Scale[r] < leastScale: // all are zero, or next to it
			n.Scale[r] = 1
		}
		for i, x := range row {
			q := min(max(math.RoundToEven(float64(x)/float64(n.Scale[r])), -math.MaxInt8), math.MaxInt8)
			n.Int8[r*cols+i] = int8(q)
			out.F32[r*cols+i] = float32(q) * n.Scale[r]
		}
	}
	return out, nil
}

// The scales with which no product is beyond float32 or among its least
// numbers, where it would be rounded more than once.
const (
	leastScale = 0x1p-126
	mostScale  = 0x1p119
)

func usableScale(s float32) bool { return s >= leastScale && s <= mostScale }

// Dequantized is the matrix q[i][j]·scale of int8 elements with a scale for
// each index of the axis, or one for all. It reports false where some scale is
// not a positive number of a usual size: such a matrix is no Narrow.
func Dequantized(q *Tensor, scale []float32, axis int) (*Tensor, bool) {
	if q.DType != Int8 || len(q.Shape) != 2 || axis < 0 || axis > 1 {
		return nil, false
	}
	rows, cols := q.Shape[0], q.Shape[1]
	n := &Narrow{DType: Int8, Scale: scale, Axis: axis}
	if len(scale) == 1 {
		n.Scale = make([]float32, q.Shape[axis])
		for i := range n.Scale {
			n.Scale[i] = scale[0]
		}
	}
	if len(n.Scale) != q.Shape[axis] || rows*cols != len(q.I64) {
		return nil, false
	}
	for _, s := range n.Scale {
		if !usableScale(s) {
			return nil, false
		}
	}
	n.Int8 = make([]int8, len(q.I64))
	out := &Tensor{DType: Float32, Shape: q.Shape, F32: make([]float32, len(q.I64)), Narrow: n}
	for i, x := range q.I64 {
		s := n.Scale[i/cols*(1-axis)+i%cols*axis]
		n.Int8[i], out.F32[i] = int8(x), float32(x)*s
	}
	return out, true
}

// WidenedBFloat16 is a BFloat16 matrix as one of Float32.
func WidenedBFloat16(t *Tensor) *Tensor {
	return &Tensor{DType: Float32, Shape: t.Shape, F32: t.F32, Narrow: &Narrow{DType: BFloat16}}
}

// transposed is what is true of the matrix of the given shape turned round.
func (n *Narrow) transposed(rows, cols int) *Narrow {
	if n == nil || n.DType == BFloat16 {
		return n
	}
	t := &Narrow{DType: n.DType, Int8: make([]int8, len(n.Int8)), Scale: n.Scale, Axis: 1 - n.Axis}
	for r := range rows {
		for c := range cols {
			t.Int8[c*rows+r] = n.Int8[r*cols+c]
		}
	}
	return t
}

// Transposed returns a matrix turned round, as narrow as it was.
func Transposed(t *Tensor) *Tensor { return transposed(t) }

// AsNarrow returns how the tensor is held in fewer bits, nil where it is not.
func (t *Tensor) AsNarrow() *Narrow {
	n := t.Narrow
	if n == nil || t.DType != Float32 || len(t.Shape) != 2 || len(t.F32) != t.Shape[0]*t.Shape[1] {
		return nil
	}
	if n.DType == Int8 && (len(n.Int8) != len(t.F32) || len(n.Scale) != t.Shape[n.Axis]) {
		return nil
	}
	return n
}

// RowScales returns the scale of each row of a matrix held in int8; false where
// the columns have scales of their own.
func (t *Tensor) RowScales() ([]float32, bool) {
	n := t.AsNarrow()
	switch {
	case n == nil || n.DType != Int8:
		return nil, false
	case n.Axis == 0:
		return n.Scale, true
	}
	rows := make([]float32, t.Shape[0])
	for _, s := range n.Scale {
		if s != n.Scale[0] {
			return nil, false
		}
	}
	for i := range rows {
		rows[i] = n.Scale[0]
	}
	return rows, len(n.Scale) > 0
}

// HeldBytes is the size of the tensor's elements as a file holds them.
func (t *Tensor) HeldBytes() int {
	if n := t.AsNarrow(); n != nil {
		return t.Len()*n.DType.Bytes() + 4*len(n.Scale)
	}
	return t.Len() * t.DType.Bytes()
}
