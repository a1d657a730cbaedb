package server

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// Features of several values are arrays, nested to their shape.

// shaped reads a feature of several values, nested to its shape, and returns
// how many values there were.
func (d *decoder) shaped(row int, f *policy.Feature, dst []float32) (int, bool) {
	switch c := d.next(); {
	case d.packedAhead(c, f, 3):
		return f.Size, d.packedFeature(row, f, dst, 3)
	case c != '[':
		return f.Size, d.wrongKind(d.fieldOf(row, f, 0), kindList, "an array of "+sizeWords(f.Shape), 3)
	}
	if len(f.Shape) == 1 {
		before := d.count
		ok := d.array(row, f, f.Size, 1, 0, dst, 3)
		if d.count > before {
			return d.index[0], ok
		}
		return f.Size, ok
	}
	return f.Size, d.nest(row, f, dst, 3)
}

// nest reads a feature that is nested to its shape or, as an image, with its
// channels first.
func (d *decoder) nest(row int, f *policy.Feature, dst []float32, depth int) bool {
	if !f.Image || f.Shape[1] == f.Shape[2] || d.innermost() != f.Shape[1] {
		return d.level(row, f, f.Shape, 0, dst, depth)
	}
	if cap(d.image) < f.Size {
		d.image = make([]float32, f.Size)
	}
	rows, columns, channels := f.Shape[0], f.Shape[1], f.Shape[2]
	image := d.image[:f.Size]
	if !d.level(row, f, []int{channels, rows, columns}, 0, image, depth) {
		return false
	}
	for c := range channels {
		for i, v := range image[c*rows*columns:][:rows*columns] {
			dst[i*channels+c] = v
		}
	}
	return true
}

// innermost returns the number of elements of the first of the arrays, three
// deep, that begin at pos; 0 where there is none.
func (d *decoder) innermost() int {
	ahead := d.scanner
	ahead.scratch = nil
	for range 2 {
		if ahead.next() != '[' {
			return 0
		}
		ahead.pos++
	}
	if ahead.next() != '[' || ahead.empty(']') {
		return 0
	}
	for n := 1; ; n++ {
		if !ahead.skip(6) {
			return 0
		}
		if more, _ := ahead.more(']'); !more {
			return n
		}
	}
}

// level reads one level of nested arrays.
func (d *decoder) level(row int, f *policy.Feature, shape []int, level int, dst []float32, depth int) bool {
	if d.next() != '[' {
		return d.wrongKind(d.fieldOf(row, f, level), kindList, "an array of "+sizeWords(shape), depth)
	}
	if depth >= maxDepth {
		return d.broken("the body nests too deep")
	}
	if len(shape) == 1 {
		return d.array(row, f, shape[0], level+1, level, dst, depth)
	}
	size := len(dst) / max(1, shape[0])
	n := 0
	if !d.empty(']') {
		for {
			d.index[level] = n
			if n < shape[0] && !d.full() {
				if !d.level(row, f, shape[1:], level+1, dst[n*size:][:size], depth+1) {
					return false
				}
			} else if !d.skip(depth + 1) {
				return false
			}
			n++
			more, ok := d.more(']')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	if n != shape[0] {
		d.sized(d.fieldOf(row, f, level), shape[0], n, "arrays")
	}
	return true
}

// array reads an array of size numbers, the innermost of a feature's. The
// number that came is left in index[level].
func (d *decoder) array(row int, f *policy.Feature, size, levels, level int, dst []float32, depth int) bool {
	n := 0
	low, high := float32(f.Low), float32(f.High)
	if !d.empty(']') {
		for {
			d.next()
			v, end := scanNumber(d.data, d.pos)
			switch {
			case end < 0 && d.full():
				if !d.skip(depth + 1) {
					return false
				}
			case end < 0:
				d.index[level] = n
				if !d.wrongKind(d.fieldOf(row, f, levels), kindNumber, "a number", depth+1) {
					return false
				}
			case n < size:
				x := float32(v)
				dst[n] = x
				if !(x >= low && x <= high && v >= -math.MaxFloat32 && v <= math.MaxFloat32) && !d.full() {
					d.index[level] = n
					d.outside(row, f, levels, v, d.data[d.pos:end])
				}
				d.pos = end
			default:
				d.pos = end
			}
			n++
			more, ok := d.more(']')
			if !ok {
				return false
			}
			if !more {
				break
			}
		}
	}
	if n != size {
		d.sized(d.fieldOf(row, f, level), size, n, "numbers")
	}
	d.index[level] = n
	return true
}

// opening counts the brackets that open at pos.
func (d *decoder) opening() (n int) {
	for _, c := range d.data[d.pos:] {
		switch c {
		case '[':
			n++
		case ' ', '\n', '\t', '\r':
		default:
			return n
		}
	}
	return n
}
