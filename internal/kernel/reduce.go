package kernel

import "math"

// The reductions below take x as rows of n numbers and sum in float64: in
// order, or the vector form in sixteen sums.

// minReduce is the length of rows from which they go to the vector kernels,
// which take eight numbers at once.
const minReduce = 8

// Sum computes y[r] = the sum of row r, divided by div.
func (k Impl) Sum(y, x []float32, n int, div float64) {
	for r := range y {
		row := x[r*n : (r+1)*n]
		if k.vector && n >= minReduce {
			y[r] = float32(sumVector(row) / div)
		} else {
			y[r] = float32(sumGeneric(row) / div)
		}
	}
}

// sumGeneric adds the numbers in their order.
func sumGeneric(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return s
}

// Prod computes y[r] = the product of row r.
func Prod(y, x []float32, n int) {
	for r := range y {
		p := 1.0
		for _, v := range x[r*n : (r+1)*n] {
			p *= float64(v)
		}
		y[r] = float32(p)
	}
}

// Cumulate computes, for each row, the sums of its first elements, or with
// product their products. y may be x.
func Cumulate(y, x []float32, n int, product bool) {
	if n == 0 {
		return
	}
	for at := 0; at+n <= len(x); at += n {
		in, out := x[at:at+n], y[at:at+n]
		sum := float64(in[0])
		out[0] = in[0]
		for i, v := range in[1:] {
			if product {
				sum *= float64(v)
			} else {
				sum += float64(v)
			}
			out[1+i] = float32(sum)
		}
	}
}

// Amax computes y[r] = the greatest number of row r, NaN where there is one.
func (k Impl) Amax(y, x []float32, n int) {
	for r := range y {
		if row := x[r*n : (r+1)*n]; k.vector && n >= minReduce {
			y[r] = amaxVector(row)
		} else {
			y[r] = amaxGeneric(row)
		}
	}
}

// Amin computes y[r] = the least number of row r, NaN where there is one.
func (k Impl) Amin(y, x []float32, n int) {
	for r := range y {
		if row := x[r*n : (r+1)*n]; k.vector && n >= minReduce {
			y[r] = aminVector(row)
		} else {
			y[r] = aminGeneric(row)
		}
	}
}

// amaxGeneric returns the greatest number, NaN where there is one.
func amaxGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x[1:] {
		m = max(m, v)
	}
	return m
}

// aminGeneric returns the least number, NaN where there is one.
func aminGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x[1:] {
		m = min(m, v)
	}
	return m
}

// Argmax computes y[r] = the position of the first of the greatest numbers of
// row r, or of its first NaN.
func (k Impl) Argmax(y, x []float32, n int) {
	for r := range y {
		if row := x[r*n : (r+1)*n]; k.vector && n >= minReduce {
			y[r] = float32(position(row, amaxVector(row)))
		} else {
			y[r] = float32(argmaxGeneric(row))
		}
	}
}

func argmaxGeneric(x []float32) int {
	best := 0
	for i, v := range x {
		if isNaN(v) {
			return i
		}
		if v > x[best] {
			best = i
		}
	}
	return best
}

// position returns where the greatest number first stands, or the first NaN
// where that is the greatest.
func position(x []float32, top float32) int {
	for i, v := range x {
		if v == top || isNaN(v) {
			return i
		}
	}
	return 0
}

func isNaN(v float32) bool { return math.IsNaN(float64(v)) }

// Softmax computes, for each row, exp(x)/Σexp(x), or its logarithm. y may be
// x.
func (k Impl) Softmax(y, x []float32, n int, logarithm bool) {
	if n == 0 {
		return
	}
	for at := 0; at+n <= len(x); at += n {
		switch in, out := x[at:at+n], y[at:at+n]; {
		case !k.vector || n < minReduce:
			softmaxGeneric(out, in, logarithm)
		case logarithm:
			logSoftmaxVector(out, in)
		default:
			expSubVector(out, in, amaxVector(in))
			scaleVector(out, out, float32(1/sumVector(out)), 0)
		}
	}
}

// logSoftmaxVector adds up the exponentials part by part, as y may be x.
func logSoftmaxVector(y, x []float32) {
	top, sum := amaxVector(x), 0.0
	var part [64]float32
	for i := 0; i < len(x); i += len(part) {
		p := part[:min(len(part), len(x)-i)]
		expSubVector(p, x[i:i+len(p)], top)
		sum += sumVector(p)
	}
	scaleVector(y, x, 1, -top)
	scaleVector(y, y, 1, float32(-math.Log(sum)))
}

func softmaxGeneric(y, x []float32, logarithm bool) {
	top := amaxGeneric(x)
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v) - float64(top))
	}
	if logarithm {
		off := math.Log(sum)
		for i, v := range x {
			y[i] = float32(float64(v) - float64(top) - off)
		}
		return
	}
	for i, v := range x {
		y[i] = float32(math.Exp(float64(v)-float64(top)) / sum)
	}
}

// expSubGeneric computes exp(x - top), the difference rounded.
func expSubGeneric(y, x []float32, top float32) {
	for i, v := range x {
		y[i] = float32(math.Exp(float64(v - top)))
	}
}

// scaleGeneric computes x·factor + shift, rounded once.
func scaleGeneric(y, x []float32, factor, shift float32) {
	for i, v := range x {
		y[i] = float32(float64(v)*float64(factor) + float64(shift))
	}
}
