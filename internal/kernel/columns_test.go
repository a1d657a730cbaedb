package kernel

import (
	"math/rand/v2"
	"testing"
)

func TestColumns(t *testing.T) {
	forEachImpl(t, func(t *testing.T, k Impl) {
		r := rand.New(rand.NewPCG(3, 1))
		for _, n := range []int{1, 7, 8, 33} {
			a, b := random(r, make([]float32, 6*n)), random(r, make([]float32, 3))
			for _, op := range []BinaryOp{Add, Sub, Mul} {
				for _, swapped := range []bool{false, true} {
					y := newGuarded(6*n, n)
					k.Columns(op, y.s, a, b, n, swapped)
					y.check(t)
					for i, v := range a {
						p, q := []float32{v}, []float32{b[i/n%3]}
						if swapped {
							p, q = q, p
						}
						want := make([]float32, 1)
						Impl{}.Binary(op, want, p, q)
						if y.s[i] != want[0] {
							t.Fatalf("%v, swapped %v, element %d: got %v, want %v", op, swapped, i, y.s[i], want[0])
						}
					}
				}
			}
		}
	})
}

// The first positions of an order are those of the whole.
func TestArgsortFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	for n := 1; n < 80; n++ {
		x := make([]float32, 2*n)
		for i := range x {
			x[i] = float32(r.IntN(20))
			if r.IntN(15) == 0 {
				x[i] = nan32
			}
		}
		for _, down := range []bool{false, true} {
			want, got := make([]float32, 2*n), make([]float32, 2*n)
			Argsort(want, x, n, down)
			for first := 1; first <= min(n, 9); first++ {
				ArgsortFirst(got, x, n, first, down)
				for i := range 2 * first {
					at := i/first*n + i%first
					if got[at] != want[at] {
						t.Fatalf("%v, the first %d, position %d: got %v, want %v", x, first, at, got[at], want[at])
					}
				}
			}
		}
	}
}
