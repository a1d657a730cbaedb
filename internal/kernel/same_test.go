package kernel

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"
)

// The vector kernels of all machines do the same roundings in the same order,
// so that an action can be reproduced elsewhere to the bit. The digests are of
// their results on one input; an intended change of a kernel changes its line.
// The sign of a zero that relu or clamp meets is the one difference, and the
// input has none.
func TestSameBitsOnEveryMachine(t *testing.T) {
	if !Best().vector {
		t.Logf("this CPU has the Go twins alone, whose bits are not those of the vector kernels: %d digests not compared", len(digests))
	}
	for _, k := range Impls() {
		if k.vector {
			t.Run(k.String(), func(t *testing.T) { sameBits(t, k) })
		}
	}
}

func sameBits(t *testing.T, k Impl) {
	r := rand.New(rand.NewPCG(2026, 11))
	x := make([]float32, 4096)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 12)
	}
	compare := func(name string, y []float32) {
		t.Helper()
		h := fnv.New64a()
		for _, v := range y {
			var b [4]byte
			binary.LittleEndian.PutUint32(b[:], math.Float32bits(v))
			_, _ = h.Write(b[:]) // never fails
		}
		if got := h.Sum64(); got != digests[name] {
			t.Errorf("%s: digest %#x, want %#x", name, got, digests[name])
		}
	}
	y := make([]float32, len(x))
	for _, op := range []UnaryOp{Relu, Tanh, Sigmoid, Silu, Exp} {
		k.Apply(Unary{Op: op}, y, x)
		compare(Unary{Op: op}.String(), y)
	}
	k.Apply(Unary{Op: Elu, A: 1.0507, B: 1.7581, C: 1}, y, x)
	compare("elu", y)
	for _, s := range [][3]int{{3, 64, 11}, {12, 100, 40}, {70, 33, 100}} {
		out, in, rows := s[0], s[1], s[2]
		m := Pack(random(r, make([]float32, out*in)), random(r, make([]float32, out)), out, in)
		k.Linear(y, out, x, in, min(rows, len(x)/max(in, out)), m, Unary{})
		compare(fmt.Sprintf("linear %dx%d", out, in), y)
	}
	Normal(y, [2]uint32{1, 2}, 3, 4)
	compare("normal", y)
}

var digests = map[string]uint64{
	"relu":          0x4478078d58c704e0,
	"tanh":          0xecf3530a5f07e604,
	"sigmoid":       0x87e4ed920763f7b1,
	"silu":          0x524aea25d37284d4,
	"exp":           0x861bd1ddd8d83c3f,
	"elu":           0x908f681673efacbf,
	"linear 3x64":   0x5d57dc16bb38d9c9,
	"linear 12x100": 0xb9d0918f0ff5164f,
	"linear 70x33":  0x37a9ac880e268a32,
	"normal":        0xcfd6157d94427d1e,
}
