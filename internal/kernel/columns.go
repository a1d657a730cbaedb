package kernel

// MinColumns is the least length of segments for which Columns is worth its
// calls.
const MinColumns = 8

// Columns computes y = op(a, b), or op(b, a) where swapped, for segments of n
// numbers of a that share one number of b: segment i has b[i mod len(b)]. op is
// Add, Sub or Mul, and y may be a.
func (k Impl) Columns(op BinaryOp, y, a, b []float32, n int, swapped bool) {
	y = y[:len(a)]
	for at, i := 0, 0; at+n <= len(a); at += n {
		v := b[i]
		if i++; i == len(b) {
			i = 0
		}
		// A product with one and a sum with nothing are not rounded.
		factor, shift := float32(1), v
		switch {
		case op == Mul:
			factor, shift = v, 0
		case op == Sub && swapped:
			factor = -1
		case op == Sub:
			shift = -v
		}
		if k.vector {
			scaleVector(y[at:at+n], a[at:at+n], factor, shift)
		} else {
			scaleGeneric(y[at:at+n], a[at:at+n], factor, shift)
		}
	}
}
