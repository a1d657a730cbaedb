package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// chainActs are the activations that a chain computes itself.
var chainActs = []Unary{
	{}, {Op: Relu}, {Op: Clamp, A: -0.5, B: 0.75}, {Op: Tanh}, {Op: Sigmoid}, {Op: Silu}, {Op: Elu, A: 1.05, B: 1.7, C: 1},
}

func newChain(r *rand.Rand, acts []Unary, widths ...int) *Chain {
	var layers []*Matrix
	var of []Unary
	for i := 1; i < len(widths); i++ {
		layers = append(layers, newLayer(r, widths[i], widths[i-1]).m)
		of = append(of, acts[i%len(acts)])
	}
	return NewChain(layers, of, false)
}

// checkChain holds a chain against its layers one after the other, to the bit,
// with all vectors against pages that fault.
func checkChain(t *testing.T, k Impl, c *Chain, x []float32) {
	t.Helper()
	n := c.Len()
	in, y, room := pageEnd(t, len(x)), pageEnd(t, c.layers[n-1].out), pageEnd(t, c.Room())
	copy(in, x)
	for i := range room {
		room[i] = nan32 // what was there before means nothing
	}
	k.Chain(y, in, c, room)
	want := x
	for i, m := range c.layers {
		next := make([]float32, m.out)
		k.Linear(next, m.out, want, m.in, 1, m, c.acts[i])
		want = next
	}
	for i, v := range y {
		if math.Float32bits(v) != math.Float32bits(want[i]) && !(isNaN(v) && isNaN(want[i])) {
			t.Fatalf("%d layers, output %d of %d: got %v, want %v", n, i, len(y), v, want[i])
		}
	}
}

func TestChain(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 1))
	forEachImpl(t, func(t *testing.T, k Impl) {
		for out := 1; out <= 150; out++ { // every split into blocks, panels and dots
			in := 1 + out%23
			checkChain(t, k, newChain(r, chainActs[out%len(chainActs):][:1], in, out), random(r, make([]float32, in)))
		}
		for in := 1; in <= 70; in++ { // every rest of four and of sixteen inputs
			for _, out := range []int{1, 4, 7, 12, 13, 64, 81} {
				checkChain(t, k, newChain(r, chainActs[:2], in, out), random(r, make([]float32, in)))
			}
		}
		for i, act := range chainActs {
			checkChain(t, k, newChain(r, []Unary{act, chainActs[(i+3)%len(chainActs)]}, 5, 64, 64, 3), random(r, make([]float32, 5)))
			checkChain(t, k, newChain(r, []Unary{act}, 17, 256, 256, 6), random(r, make([]float32, 17)))
			checkChain(t, k, newChain(r, []Unary{act, {}}, 3, 9, 70, 13, 1, 33), random(r, make([]float32, 3)))
		}
	})
}

// NaN in any input comes out of a chain, whatever the activations.
func TestChainKeepsNaN(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 2))
	forEachImpl(t, func(t *testing.T, k Impl) {
		for _, act := range chainActs {
			for _, widths := range [][]int{{5, 64, 64, 3}, {21, 30, 7}, {9, 80}} {
				c := newChain(r, []Unary{act}, widths...)
				for at := range widths[0] {
					x := random(r, make([]float32, widths[0]))
					x[at] = nan32
					y := make([]float32, widths[len(widths)-1])
					k.Chain(y, x, c, make([]float32, c.Room()))
					for o, v := range y {
						if !isNaN(v) {
							t.Fatalf("%v, input %d of %v is NaN: output %d is %v", act, at, widths, o, v)
						}
					}
				}
			}
		}
	})
}

// splitGeneric is what a product with the given number of partial sums gives,
// term by term: the bias begins the first, and they are added pairwise.
func splitGeneric(l layer, o, parts int, x []float32) float32 {
	sums := make([]float32, parts)
	sums[0] = l.b[o]
	whole := len(x) &^ 3
	for k, v := range x {
		at := k % parts
		if k >= whole {
			at = 0
		}
		sums[at] = fma32(v, l.w[o*l.in+k], sums[at])
	}
	for ; parts > 1; parts /= 2 {
		for i := range parts / 2 {
			sums[i] = sums[2*i] + sums[2*i+1]
		}
	}
	return sums[0]
}

// With split sums the last one or two panels have four or two parts, and
// everything else is as it was.
func TestChainInParts(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 3))
	forEachImpl(t, func(t *testing.T, k Impl) {
		if !k.Chains() {
			t.Log("no chains to compare")
			return
		}
		for _, out := range []int{3, 13, 16, 17, 32, 33, 64, 70, 90, 100} {
			for in := 1; in <= 41; in++ {
				l := newLayer(r, out, in)
				c := NewChain([]*Matrix{l.m}, []Unary{{}}, true)
				x, y := random(r, make([]float32, in)), make([]float32, out)
				k.Chain(y, x, c, make([]float32, c.Room()))
				for o, got := range y {
					parts := 1
					if rest := out % wideWidth; o >= out-rest && !l.m.dot && rest <= 2*panelWidth {
						parts = 4 / ((rest + panelWidth - 1) / panelWidth)
					}
					want := l.exact(o, x)
					if parts > 1 {
						want = splitGeneric(l, o, parts, x)
					}
					if got != want {
						t.Fatalf("%dx%d in %d parts: output %d is %v, want %v", out, in, parts, o, got, want)
					}
				}
			}
		}
	})
}

func TestChainEndsWhereItMust(t *testing.T) {
	m := func(out, in int) *Matrix { return Pack(make([]float32, out*in), nil, out, in) }
	f := func(want int, acts []UnaryOp, layers ...*Matrix) {
		t.Helper()
		u := make([]Unary, len(acts))
		for i, a := range acts {
			u[i].Op = a
		}
		if got := NewChain(layers, u, false).Len(); got != want {
			t.Errorf("%d layers of %d", got, want)
		}
	}
	f(2, []UnaryOp{Relu, Tanh}, m(4, 3), m(5, 4))
	f(1, []UnaryOp{Relu, Gelu}, m(4, 3), m(5, 4))
	f(0, []UnaryOp{Gelu}, m(4, 3))
	f(1, []UnaryOp{Relu, Relu}, m(4, 3), m(5, 3))
	f(1, []UnaryOp{Relu, Relu}, m(512, 512), m(1, 512))
	f(0, []UnaryOp{Relu}, m(513, 512))
	f(0, []UnaryOp{Relu}, m(3, 0))
}

// The kernels that are named after AVX2 are encoded with what AVX2 has: the
// generator would take registers of AVX-512 where it runs out of others.
func TestAVX2KernelsNeedNoMore(t *testing.T) {
	files, err := filepath.Glob("*_amd64.s")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	more := regexp.MustCompile(`\b(?:[XY](?:1[6-9]|2\d|3[01])|Z\d+|K\d)\b`)
	seen := 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		of := ""
		for i, line := range strings.Split(string(data), "\n") {
			if strings.HasPrefix(line, "TEXT") {
				of = line
				seen++
			}
			if strings.Contains(of, "AVX2(") && more.MatchString(line) && !strings.HasPrefix(line, "//") {
				t.Errorf("%s:%d: %s in %s", f, i+1, strings.TrimSpace(line), of)
			}
		}
	}
	if seen < 40 {
		t.Errorf("%d functions seen", seen)
	}
}

func BenchmarkChain(b *testing.B) {
	k := Best()
	for _, widths := range [][]int{{5, 64, 64, 3}, {64, 64}, {17, 256, 256, 6}, {256, 256}, {12, 32, 32, 3}, {12, 16, 16, 3}, {80, 80, 16}} {
		for _, split := range []bool{false, true} {
			b.Run(fmt.Sprintf("%v/split=%v", widths, split), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				c := newChain(r, []Unary{{Op: Relu}}, widths...)
				c = NewChain(c.layers, c.acts, split)
				x, y, room := random(r, aligned(widths[0])), aligned(widths[len(widths)-1]), aligned(c.Room())
				b.ReportAllocs()
				bytes := 0
				for i := 1; i < len(widths); i++ {
					bytes += 4 * widths[i] * (widths[i-1] + 1)
				}
				b.SetBytes(int64(bytes))
				for b.Loop() {
					k.Chain(y, x, c, room)
				}
			})
		}
	}
}
