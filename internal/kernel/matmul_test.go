package kernel

import (
	"math/rand/v2"
	"testing"
)

// Products of all small shapes, each sum in order with one rounding a term in
// the vector form; every row is what it is alone.
func TestMatMul(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(2, 8))
		for _, s := range [][3]int{{1, 1, 1}, {1, 5, 16}, {2, 7, 15}, {3, 0, 4}, {4, 9, 17}, {5, 3, 32}, {6, 16, 33}, {7, 2, 48}, {13, 40, 50}, {97, 3, 7}, {32, 16, 32}, {9, 700, 20}, {0, 3, 3}, {3, 3, 0}} {
			m, inner, n := s[0], s[1], s[2]
			a, b := random(r, make([]float32, m*inner)), random(r, make([]float32, inner*n))
			y, scratch := newGuarded(m*n, n%16), newGuarded(MatMulScratch(inner), 0)
			k.MatMul(y.s, a, b, m, inner, n, scratch.s)
			y.check(t)
			scratch.check(t)
			want := make([]float32, m*n)
			matMulGeneric(want, a, b, m, inner, n)
			if k.vector {
				for i := range m {
					for j := range n {
						var sum float32
						for q := range inner {
							sum = fma32(a[i*inner+q], b[q*n+j], sum)
						}
						want[i*n+j] = sum
					}
				}
			}
			for i, v := range y.s {
				if v != want[i] {
					t.Fatalf("%v, element %d: got %v, want %v", s, i, v, want[i])
				}
			}
		}
	})
}
