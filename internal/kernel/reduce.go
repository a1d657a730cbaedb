package kernel

import "math"

// The reductions below take x as rows of n numbers and sum in float64, in
// order.

// Sum computes y[r] = the sum of row r, divided by div.
func Sum(y, x []float32, n int, div float64) {
	for r := range y {
		var s float64
		for _, v := range x[r*n : (r+1)*n] {
			s += float64(v)
		}
		y[r] = float32(s / div)
	}
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
func Amax(y, x []float32, n int) {
	for r := range y {
		row := x[r*n : (r+1)*n]
		m := row[0]
		for _, v := range row[1:] {
			m = max(m, v)
		}
		y[r] = m
	}
}

// Amin computes y[r] = the least number of row r, NaN where there is one.
func Amin(y, x []float32, n int) {
	for r := range y {
		row := x[r*n : (r+1)*n]
		m := row[0]
		for _, v := range row[1:] {
			m = min(m, v)
		}
		y[r] = m
	}
}

// Argmax computes y[r] = the position of the first of the greatest numbers of
// row r, or of its first NaN.
func Argmax(y, x []float32, n int) {
	for r := range y {
		row := x[r*n : (r+1)*n]
		best := 0
		for i, v := range row {
			if isNaN(v) {
				best = i
				break
			}
			if v > row[best] {
				best = i
			}
		}
		y[r] = float32(best)
	}
}

func isNaN(v float32) bool { return math.IsNaN(float64(v)) }

// Softmax computes, for each row, exp(x)/Σexp(x), or its logarithm. y may be
// x.
func Softmax(y, x []float32, n int, logarithm bool) {
	if n == 0 {
		return
	}
	for at := 0; at+n <= len(x); at += n {
		in, out := x[at:at+n], y[at:at+n]
		top := in[0]
		for _, v := range in[1:] {
			top = max(top, v)
		}
		var sum float64
		for _, v := range in {
			sum += math.Exp(float64(v) - float64(top))
		}
		if logarithm {
			off := float64(top) + math.Log(sum)
			for i, v := range in {
				out[i] = float32(float64(v) - off)
			}
			continue
		}
		for i, v := range in {
			out[i] = float32(math.Exp(float64(v)-float64(top)) / sum)
		}
	}
}

// MatMul computes y = a·b for a of m rows of k numbers and b of k rows of n,
// each output in ascending order of k.
func MatMul(y, a, b []float32, m, k, n int) {
	for r := range m {
		out := y[r*n : (r+1)*n]
		clear(out)
		for i, v := range a[r*k : (r+1)*k] {
			for j, w := range b[i*n : (i+1)*n] {
				out[j] += v * w
			}
		}
	}
}
