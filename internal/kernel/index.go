package kernel

import (
	"cmp"
	"slices"
)

// at turns an index of n elements, counted from the end where it is negative,
// into one from 0, if it is in range. NaN is not.
func at(index float32, n int) (int, bool) {
	if index < 0 {
		index += float32(n)
	}
	if !(index >= 0 && index < float32(n)) {
		return 0, false
	}
	return int(index), true
}

// Take copies parts of x: x holds outer times size parts of inner numbers, and
// of each size parts those that the index names are taken, one after another.
// An index out of range gives the number missing.
func Take(y, x, index []float32, outer, size, inner int, missing float32) {
	for o := range outer {
		from := x[o*size*inner:][:size*inner]
		for i, v := range index {
			part := y[(o*len(index)+i)*inner:][:inner]
			if k, ok := at(v, size); ok {
				copy(part, from[k*inner:])
				continue
			}
			for j := range part {
				part[j] = missing
			}
		}
	}
}

// Gather computes, for rows of n numbers of x and of m of the index and y, what
// stands in the row of x where the index tells; out of range it is missing.
func Gather(y, x, index []float32, n, m int, missing float32) {
	if m == 0 {
		return
	}
	for r := 0; r*m < len(index); r++ {
		row := x[r*n : (r+1)*n]
		for i, v := range index[r*m : (r+1)*m] {
			if k, ok := at(v, n); ok {
				y[r*m+i] = row[k]
			} else {
				y[r*m+i] = missing
			}
		}
	}
}

// Argsort computes, for each row of n numbers, the positions of its numbers in
// their order, equal ones in the order in which they stand. NaN is above all
// numbers.
func Argsort(y, x []float32, n int, descending bool) {
	if n == 0 {
		return
	}
	for at := 0; at+n <= len(x); at += n {
		in, out := x[at:at+n], y[at:at+n]
		for i := range out {
			out[i] = float32(i)
		}
		// The positions decide between equal numbers, so that no sort can
		// change their order.
		slices.SortFunc(out, func(p, q float32) int {
			c := compare(in[int(p)], in[int(q)])
			if descending {
				c = -c
			}
			if c == 0 {
				c = cmp.Compare(p, q)
			}
			return c
		})
	}
}

// ArgsortFirst computes the first positions of Argsort in each row; what is
// behind them means nothing. The order so far is kept sorted, and most numbers
// are behind its last.
func ArgsortFirst(y, x []float32, n, first int, descending bool) {
	if n == 0 || first == 0 {
		return
	}
	for at := 0; at+n <= len(x); at += n {
		in, out := x[at:at+n], y[at:at+first]
		for i, v := range in {
			k := min(i, first)
			for ; k > 0; k-- {
				c := compare(v, in[int(out[k-1])])
				if descending {
					c = -c
				}
				if c >= 0 {
					break
				}
				if k < first {
					out[k] = out[k-1]
				}
			}
			if k < first {
				out[k] = float32(i)
			}
		}
	}
}

func compare(a, b float32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	}
	switch {
	case isNaN(a) && isNaN(b):
		return 0
	case isNaN(a):
		return 1
	default:
		return -1
	}
}
